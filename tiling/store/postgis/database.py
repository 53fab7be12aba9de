"""A PostgreSQL database: where it is, its connections, its errors. The only module that knows psycopg2.

Reading outlasts a restart of the database: connections are checked before they are used, and a
query that finds no database is sent again for as long as the caller's patience lasts.
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
# libpq gives up a server that is silent, instead of hanging for minutes.
LIVELY = {
    "connect_timeout": "5",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "tcp_user_timeout": "15000",
}
ENVIRONMENT = {
    "host": "PGHOST", "hostaddr": "PGHOSTADDR", "port": "PGPORT", "dbname": "PGDATABASE", "user": "PGUSER",
    "password": "PGPASSWORD", "passfile": "PGPASSFILE", "service": "PGSERVICE", "options": "PGOPTIONS",
    "sslmode": "PGSSLMODE", "sslcert": "PGSSLCERT", "sslkey": "PGSSLKEY", "sslrootcert": "PGSSLROOTCERT",
    "application_name": "PGAPPNAME", "connect_timeout": "PGCONNECT_TIMEOUT",
    "target_session_attrs": "PGTARGETSESSIONATTRS", "channel_binding": "PGCHANNELBINDING",
}  # fmt: skip
# What a server says to a client that will never be let in; whatever else it says may pass.
REFUSED = (
    "authentication failed",
    "no password supplied",
    "does not exist",
    "no pg_hba.conf entry",
    "not permitted",
)

_SETTINGS = """
SET jit = off;
SELECT set_config('statement_timeout', '60s', false) WHERE current_setting('statement_timeout') = '0'
"""

Rows = list[tuple[Any, ...]]
Connection = Any  # psycopg2's, which has no types


class Database:
    """Where a database is: `location` is its URL without secrets, `parameters` are libpq's with them."""

    def __init__(self, location: str) -> None:
        """Take a URL apart.

        `StoreError` when it is malformed. What it does not say, libpq looks for itself.
        """
        self.location = without_secrets(location)
        try:
            self.parameters: dict[str, str] = psycopg2.extensions.parse_dsn(location)
        except psycopg2.ProgrammingError:  # whose text may hold the password
            raise StoreError(
                f"{self.location} is no URL of a database: write postgresql://USER@HOST:PORT/DATABASE"
            ) from None

    @property
    def name(self) -> str:
        """Return the name of the database, or the location where the URL does not say it."""
        return self.parameters.get("dbname", self.location)

    def environment(self) -> dict[str, str]:
        """Return the variables that tell another program where the database is: a command line shows in `ps`."""
        unknown = sorted(self.parameters.keys() - ENVIRONMENT.keys())
        if unknown:
            raise StoreError(
                f"{self.location}: cannot hand {', '.join(unknown)} to osm2pgsql: leave it out"
            )
        return {ENVIRONMENT[keyword]: value for keyword, value in self.parameters.items()}

    def connect(self) -> Connection:
        """Open a connection; raises what `failure` returns."""
        try:
            return psycopg2.connect(**{**LIVELY, **self.parameters})
        except psycopg2.Error as error:
            raise self.failure(error) from error

    @contextmanager
    def failing(self) -> Iterator[None]:
        """Turn psycopg2's errors into ours."""
        try:
            yield
        except psycopg2.Error as error:
            raise self.failure(error) from error

    def failure(self, error: psycopg2.Error) -> StoreError | StoreUnavailableError:
        """Return our error for one of psycopg2: unavailable when it can help to ask again."""
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

        While the database is away it is asked again, up to `patience_s` seconds, then
        `StoreUnavailableError` is raised; `StoreError` at once when asking again cannot help.
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
                if pause:  # not for a single connection that was cut
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
        """Close what is idle: when one connection was cut, the others most likely were."""
        with suppress(Empty):
            while True:
                self._idle.get_nowait().close()


def _is_alive(connection: Connection) -> bool:
    """Tell whether an idle connection is still good: a server that ended it has sent something."""
    if connection.closed:
        return False
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return not poll.poll(0)


# by location without secrets, so that who knows a source's location may open it again
_POOLS: dict[str, Pool] = {}


def pool_of(location: str) -> Pool:
    """Return the pool of a database, which all threads of the process share."""
    database = Database(location)
    known = _POOLS.get(database.location)
    tells_more = location != database.location
    if known is None or (tells_more and known.database.parameters != database.parameters):
        known = _POOLS[database.location] = Pool(database)
    return known
