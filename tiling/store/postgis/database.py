"""A PostgreSQL database: its location, connections and errors. The only module that knows psycopg2.

Readers survive a restart of the database. Connections are checked before they are used, and a query
that finds no database is repeated for as long as the caller's patience lasts.
"""

import logging
import select
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from queue import Empty, LifoQueue
from typing import Any

import psycopg2
import psycopg2.errors
import psycopg2.extensions

from tiling.errors import StoreError, StoreUnavailableError
from tiling.store.store import without_secrets

log = logging.getLogger(__name__)

LONGEST_PAUSE_S = 1.0
# With these, libpq gives up a silent server within seconds; by default it hangs for minutes.
LIVELY = {
    "connect_timeout": "5",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "tcp_user_timeout": "15000",
}
# libpq's parameters, and its environment variables for them.
ENVIRONMENT = {
    "host": "PGHOST", "hostaddr": "PGHOSTADDR", "port": "PGPORT", "dbname": "PGDATABASE",
    "user": "PGUSER", "password": "PGPASSWORD", "passfile": "PGPASSFILE",
    "service": "PGSERVICE", "options": "PGOPTIONS", "application_name": "PGAPPNAME",
    "sslmode": "PGSSLMODE", "sslcert": "PGSSLCERT", "sslkey": "PGSSLKEY",
    "sslrootcert": "PGSSLROOTCERT", "connect_timeout": "PGCONNECT_TIMEOUT",
    "target_session_attrs": "PGTARGETSESSIONATTRS", "channel_binding": "PGCHANNELBINDING",
}  # fmt: skip
# Words of errors that repeating a query cannot help; any other error of a connection may pass.
REFUSED = (
    "authentication failed",
    "no password supplied",
    "does not exist",
    "no pg_hba.conf entry",
    "not permitted",
)

_SETTINGS = """
SET jit = off;
SELECT set_config('statement_timeout', '60s', false)
WHERE current_setting('statement_timeout') = '0'
"""

Rows = list[tuple[Any, ...]]
Connection = Any  # psycopg2's, which has no types


class Database:
    """The location of a database.

    `location` is its URL without secrets; `parameters` are those of libpq, secrets included.
    """

    def __init__(self, location: str) -> None:
        """Parse a URL; libpq has defaults for what it lacks. Raises `StoreError` if malformed."""
        self.location = without_secrets(location)
        try:
            self.parameters: dict[str, str] = psycopg2.extensions.parse_dsn(location)
        except psycopg2.ProgrammingError:  # its text may hold the password
            raise StoreError(
                f"{self.location} is no URL of a database: "
                "write postgresql://USER@HOST:PORT/DATABASE"
            ) from None

    @property
    def name(self) -> str:
        """Return the name of the database, or the location if the URL has no name."""
        return self.parameters.get("dbname", self.location)

    def environment(self) -> dict[str, str]:
        """Return the environment variables that tell another program where the database is.

        Its command line would show in the list of processes.
        """
        unknown = sorted(self.parameters.keys() - ENVIRONMENT.keys())
        if unknown:
            raise StoreError(
                f"{self.location}: cannot hand {', '.join(unknown)} to osm2pgsql: leave it out"
            )
        return {ENVIRONMENT[keyword]: value for keyword, value in self.parameters.items()}

    def connect(self) -> Connection:
        """Open a connection; raises the errors of `failure`."""
        try:
            return psycopg2.connect(**{**LIVELY, **self.parameters})
        except psycopg2.Error as error:
            raise self.failure(error) from error

    @contextmanager
    def failing(self) -> Iterator[None]:
        """Translate the errors of psycopg2 into ours."""
        try:
            yield
        except psycopg2.Error as error:
            raise self.failure(error) from error

    def failure(self, error: psycopg2.Error) -> StoreError | StoreUnavailableError:
        """Return our error for one of psycopg2: unavailable if a repeated query may succeed."""
        told = " ".join(str(error).split())
        if isinstance(error, psycopg2.errors.UndefinedTable | psycopg2.errors.InvalidSchemaName):
            return self.holds_no_store()
        if isinstance(error, psycopg2.errors.InsufficientPrivilege):
            return StoreError(f"{self.location} does not allow it ({told}): ask its owner")
        away = isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError)
        if away and not any(word in told for word in REFUSED):
            return StoreUnavailableError(
                f"{self.location} does not answer ({told}): is the database running?"
            )
        return StoreError(f"{self.location}: {told}")

    def holds_no_store(self) -> StoreError:
        """Return the error of a database that nothing was imported into."""
        advice = f"make one with `loc2vec import REGION.osm.pbf --store {self.location}`"
        return StoreError(f"{self.location} holds no store: {advice}")


class Pool:
    """Connections to one database for the threads of one process."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._idle: LifoQueue[Connection] = LifoQueue()

    def ask(self, query: str, values: Any, patience_s: float) -> Rows:
        """Return all rows of a query that only reads.

        While the database is away the query is repeated for up to `patience_s` seconds. Then
        `StoreUnavailableError` is raised. `StoreError` is raised at once if repeating cannot help.
        """
        end, pause = time.monotonic() + patience_s, 0.0
        while True:
            try:
                with self.database.failing():
                    return self._ask_once(query, values)
            except StoreUnavailableError as error:
                self._forget()
                if time.monotonic() + pause > end:
                    raise
                if pause:  # the first failure may be just a connection that was cut
                    log.warning("%s; asking again for %.0f s", error, end - time.monotonic())
            time.sleep(pause)
            pause = min(2 * pause + 0.1, LONGEST_PAUSE_S)

    def _ask_once(self, query: str, values: Any) -> Rows:
        connection = self._take()
        try:
            with connection.cursor() as cursor:
                cursor.execute(query, values)
                rows: Rows = cursor.fetchall()
        except BaseException:
            connection.close()
            raise
        self._idle.put(connection)
        return rows

    def _take(self) -> Connection:
        with suppress(Empty):
            while True:
                connection = self._idle.get_nowait()
                if _is_alive(connection):
                    return connection
                connection.close()
        connection = self.database.connect()
        connection.set_session(readonly=True, autocommit=True)
        with connection.cursor() as cursor:
            cursor.execute(_SETTINGS)
        return connection

    def _forget(self) -> None:
        """Close the idle connections: when one was cut, most likely all were."""
        with suppress(Empty):
            while True:
                self._idle.get_nowait().close()


def _is_alive(connection: Connection) -> bool:
    """Tell whether an idle connection is alive: a server that ended it has sent something."""
    if connection.closed:
        return False
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return not poll.poll(0)


# By location without secrets: the location of a source is enough to open it again.
_POOLS: dict[str, Pool] = {}


def pool_of(location: str) -> Pool:
    """Return the connections to a database that all threads of the process share."""
    database = Database(location)
    known = _POOLS.get(database.location)
    tells_more = location != database.location
    if known is None or (tells_more and known.database.parameters != database.parameters):
        known = _POOLS[database.location] = Pool(database)
    return known
