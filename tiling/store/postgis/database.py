"""A PostgreSQL database: its location, connections and errors. The only module that knows psycopg2.

Readers survive a restart of the database. Connections are checked before they are used, and a query
that finds no database is repeated for as long as the caller's patience lasts.

They survive a database that hangs, too, and a network that swallows packets. Their connections are
asynchronous, so that this side gives up after a while, whatever libpq and the server do.
"""

import logging
import os
import select
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from queue import Empty, LifoQueue
from typing import Any
from weakref import WeakSet

import psycopg2
import psycopg2.errors
import psycopg2.extensions

from tiling.errors import StoreError, StoreUnavailableError
from tiling.store.store import answer_s, without_secrets
from tiling.words import in_one_line

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

# The server ends what nobody waits for any more, from version 14 on.
_SETTINGS = """
SET default_transaction_read_only = on;
SET jit = off;
SELECT set_config(name, '1s', false) FROM pg_settings
WHERE name = 'client_connection_check_interval';
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

    @property
    def secrets(self) -> dict[str, str]:
        """Return libpq's variable for the password of the URL, if it has one."""
        password = self.parameters.get("password")
        return {} if password is None else {"PGPASSWORD": password}

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
        with self.failing():
            return psycopg2.connect(**{**LIVELY, **self.parameters})

    def connect_reader(self, end_s: float) -> Connection:
        """Open an asynchronous connection that only reads; `fetch` asks it."""
        connection = psycopg2.connect(**{**LIVELY, **self.parameters}, async_=True)
        try:
            self._wait(connection, end_s)
            self.fetch(connection, _SETTINGS, None, end_s)
        except BaseException:
            connection.close()
            raise
        return connection

    def fetch(self, connection: Connection, query: str, values: Any, end_s: float) -> Rows:
        """Return all rows of a query to an asynchronous connection.

        Raises `StoreUnavailableError` when they are not there at `end_s` of the monotonic clock.
        """
        with connection.cursor() as cursor:
            cursor.execute(query, values)
            self._wait(connection, end_s)
            rows: Rows = cursor.fetchall()
        return rows

    def _wait(self, connection: Connection, end_s: float) -> None:
        """Wait until the connection has done what it was asked to do."""
        while (state := connection.poll()) != psycopg2.extensions.POLL_OK:
            ready = select.poll()
            writes = state == psycopg2.extensions.POLL_WRITE
            ready.register(connection.fileno(), select.POLLOUT if writes else select.POLLIN)
            left_s = end_s - time.monotonic()
            if left_s <= 0 or not ready.poll(1000 * left_s):
                raise StoreUnavailableError(f"{self.location} does not answer: it hangs")

    @contextmanager
    def failing(self) -> Iterator[None]:
        """Translate the errors of psycopg2 into ours."""
        try:
            yield
        except psycopg2.Error as error:
            raise self.failure(error) from error

    def failure(self, error: psycopg2.Error) -> StoreError | StoreUnavailableError:
        """Return our error for one of psycopg2: unavailable if a repeated query may succeed."""
        told = in_one_line(error)
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
        self._inherited: list[LifoQueue[Connection]] = []
        _ALL.add(self)

    def leave_to_parent(self) -> None:
        """Leave the connections alone in a forked process: they are those of its parent.

        They are kept, because closing them would end the parent's sessions.
        """
        self._inherited.append(self._idle)
        self._idle = LifoQueue()

    def ask(self, query: str, values: Any, patience_s: float) -> Rows:
        """Return all rows of a query that only reads.

        While the database is away the query is repeated for up to `patience_s` seconds. Then
        `StoreUnavailableError` is raised. `StoreError` is raised at once if repeating cannot help.
        One that hangs is given up after `answer_s(patience_s)` seconds.
        """
        end, pause = time.monotonic() + patience_s, 0.0
        while True:
            try:
                with self.database.failing():
                    return self._ask_once(query, values, time.monotonic() + answer_s(patience_s))
            except StoreUnavailableError as error:
                self._forget()
                if time.monotonic() + pause > end:
                    raise
                if pause:  # the first failure may be just a connection that was cut
                    log.warning("%s; asking again for %.0f s", error, end - time.monotonic())
            time.sleep(pause)
            pause = min(2 * pause + 0.1, LONGEST_PAUSE_S)

    def _ask_once(self, query: str, values: Any, end_s: float) -> Rows:
        connection = self._take(end_s)
        try:
            rows = self.database.fetch(connection, query, values, end_s)
        except BaseException:
            connection.close()
            raise
        self._idle.put(connection)
        return rows

    def _take(self, end_s: float) -> Connection:
        with suppress(Empty):
            while True:
                connection = self._idle.get_nowait()
                if _is_alive(connection):
                    return connection
                connection.close()
        return self.database.connect_reader(end_s)

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


_ALL: WeakSet[Pool] = WeakSet()


def _leave_all_to_parent() -> None:
    for pool in list(_ALL):
        pool.leave_to_parent()


os.register_at_fork(after_in_child=_leave_all_to_parent)
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
