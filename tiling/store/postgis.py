"""The feature store of the full stack: a schema in a PostGIS database. The only module that knows psycopg2.

Schema `loc2vec` holds what `loc2vec import` put there: `features` (what is drawn, along a
space-filling curve, with a GiST index), `extracts` (name, hash, fingerprint and area of each),
`updates` (what was done to it since), `changed` (where that shows), and `names` (what places are
called).

Reading outlasts a restart of the database: connections are checked before they are used, and a
question that finds no database is asked again for as long as the source's patience goes.
"""

import logging
import select
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from queue import Empty, LifoQueue
from typing import Any, Self
from urllib.parse import unquote

import numpy as np
import psycopg2
import psycopg2.errors
import psycopg2.extensions
from numpy.typing import NDArray

from tiling.catalogue import Catalogue
from tiling.errors import StoreError, StoreReplacedError, StoreUnavailableError
from tiling.osm.names import MOST
from tiling.store.base import Coverage, Names, Outline, halves
from tiling.store.changes import Changes
from tiling.values import Box, Features, check_fingerprint

log = logging.getLogger(__name__)

SCHEMES = ("postgresql://", "postgres://")
PATIENCE_S = 30.0  # a restart takes a few seconds
LONGEST_PAUSE_S = 1.0
# libpq gives up a server that is silent, instead of hanging for minutes.
LIVELY = {
    "connect_timeout": "5",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "tcp_user_timeout": "15000",
}
SECRETS = ("password", "sslpassword")
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
# Also where there are no features there is one row: it says by which catalogue the store was made,
# and what its content is, in the same breath, because the whole store may be replaced while it is
# open.
_QUERY = """
SELECT made.fingerprint, made.content, channel, width_m, ST_AsBinary(geom, 'NDR')
FROM (
    SELECT (SELECT min(fingerprint) FROM loc2vec.extracts) AS fingerprint,
        (SELECT content FROM loc2vec.updates ORDER BY number DESC LIMIT 1) AS content
) AS made
LEFT JOIN loc2vec.features ON geom && ST_MakeEnvelope(%(west)s, %(south)s, %(east)s, %(north)s, 4326)
"""
_LARGE = """
AND greatest(ST_XMax(geom) - ST_XMin(geom), ST_YMax(geom) - ST_YMin(geom)) >= %(smallest)s
"""
_OUTLINE = """
SELECT id, channel, width_m, (ST_XMin(geom) + ST_XMax(geom)) / 2, (ST_YMin(geom) + ST_YMax(geom)) / 2
FROM loc2vec.features ORDER BY id
"""
_SOME = """
SELECT ST_AsBinary(geom, 'NDR') FROM unnest(%s::bigint[]) WITH ORDINALITY AS asked (id, place)
JOIN loc2vec.features USING (id) ORDER BY place
"""
# The index of `names` is one of words without a language: what `fold` made needs no dictionary.
_FIND = """
SELECT name, folded, kind, rank, lat, lon FROM loc2vec.names
WHERE array_to_tsvector(string_to_array(folded, ' ')) @@ %(words)s::tsquery
ORDER BY CASE WHEN folded = %(folded)s THEN 0 WHEN starts_with(folded, %(folded)s) THEN 1 ELSE 2 END,
    rank, length(folded), name COLLATE "C", lat, lon LIMIT %(most)s
"""
_NAMES_IN = """
SELECT name, folded, kind, rank, lat, lon FROM loc2vec.names
WHERE lat BETWEEN %(south)s AND %(north)s AND lon BETWEEN %(west)s AND %(east)s
ORDER BY folded COLLATE "C", name COLLATE "C", lat, lon
"""
_HAS_NAMES = "SELECT to_regclass('loc2vec.names') IS NOT NULL"
_IS_THERE = "SELECT to_regclass('loc2vec.extracts') IS NOT NULL"
_EXTRACTS = (
    "SELECT fingerprint, sha256, name, ST_AsBinary(geom, 'NDR') FROM loc2vec.extracts ORDER BY id"
)
_CONTENT = "SELECT content FROM loc2vec.updates ORDER BY number DESC LIMIT 1"
_CHANGED = """
SELECT reach_m, ST_AsBinary(geom, 'NDR') FROM loc2vec.updates AS past
LEFT JOIN loc2vec.changed ON changed.number > past.number WHERE past.content = %s
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


def without_secrets(location: str) -> str:
    """Return a URL without its password, to be shown and remembered.

    >>> without_secrets("postgresql://me:secret@db/osm?sslmode=require&password=secret")
    'postgresql://me@db/osm?sslmode=require'
    """
    scheme, _, rest = location.partition("://")
    rest, _, query = rest.partition("?")
    authority, slash, path = rest.partition("/")
    user, at, hosts = authority.rpartition("@")
    shown = f"{scheme}://{user.partition(':')[0]}{at}{hosts}{slash}{path}"
    kept = [
        item for item in query.split("&") if item and unquote(item.partition("=")[0]) not in SECRETS
    ]
    return f"{shown}?{'&'.join(kept)}" if kept else shown


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


def _pool(location: str) -> Pool:
    database = Database(location)
    known = _POOLS.get(database.location)
    tells_more = location != database.location
    if known is None or (tells_more and known.database.parameters != database.parameters):
        known = _POOLS[database.location] = Pool(database)
    return known


class PostgisSource(Coverage, Names):
    """A PostGIS store open for reading. It holds no connection: each question takes one from the pool."""

    catalogue: Catalogue

    def __init__(
        self, location: str, patience_s: float = PATIENCE_S, content: str | None = None
    ) -> None:
        """Open the store.

        Raises `StoreError` when there is none, `StoreUnavailableError` when nobody answers.

        `content`: the hash of the content that alone will do; features of another are refused.
        """
        self._content = content
        self._pool = _pool(location)
        self._patience_s = patience_s
        self.location = self._pool.database.location
        self.name = self._pool.database.name
        if not self._ask(_IS_THERE)[0][0]:  # asked first, so that the server's log shows no error
            raise self._pool.database.holds_no_store()
        extracts = self._ask(_EXTRACTS)
        if not extracts:
            raise StoreError(f"{self.location} holds no extract: import it again")
        fingerprints = {fingerprint for fingerprint, _, _, _ in extracts}
        if len(fingerprints) != 1:
            raise StoreError(
                f"{self.location} holds extracts of several catalogues: import it again"
            )
        (self.fingerprint,) = fingerprints
        self.extract_hashes = tuple(sha256 for _, sha256, _, _ in extracts)
        super().__init__(
            [bytes(area) for _, _, _, area in extracts], [name for _, _, name, _ in extracts]
        )

    def content_hash(self) -> str:
        """Return the hash of what was imported and how it was updated since."""
        return str(self._ask(_CONTENT)[0][0])

    def features(self, box: Box, smallest_deg: float = 0.0) -> Features:
        """Return the features whose bounding boxes meet `box`, in the order of the store.

        Those whose own boxes are neither so wide nor so high as `smallest_deg` degrees are left
        out.
        """
        query = _QUERY + (_LARGE if smallest_deg else "") + "ORDER BY id"
        answer = [
            row
            for part in halves(box)
            for row in self._ask(query, {**part._asdict(), "smallest": smallest_deg})
        ]
        for made_by, content in {(row[0], row[1]) for row in answer}:
            check_fingerprint(self.location, made_by, self.fingerprint)
            if self._content not in (None, content):
                raise StoreReplacedError(
                    f"{self.location} was replaced or updated while it was open"
                )
        rows = [row for row in answer if row[2] is not None]
        return Features(
            np.array([row[2] for row in rows], np.int8),
            np.array([row[3] for row in rows], np.float32),
            _objects([row[4] for row in rows]),
        )

    def outline(self) -> Outline:
        """Return what and where all features are."""
        ids, channel, width, x, y = zip(*self._ask(_OUTLINE), strict=True)
        middle = np.stack([np.array(x, np.float64), np.array(y, np.float64)], axis=1)
        return Outline(
            np.array(ids, np.int64), np.array(channel, np.int8), np.array(width, np.float32), middle
        )

    def geometries(self, ids: NDArray[np.int64]) -> NDArray[np.object_]:
        """Return the WKB, object [n] of bytes, of the features with these ids."""
        return _objects([row[0] for row in self._ask(_SOME, (ids.tolist(),))])

    @property
    def has_names(self) -> bool:
        """Tell whether the store was imported with the names of its places."""
        return bool(self._ask(_HAS_NAMES)[0][0])

    def _called(self, words: Sequence[str], folded: str) -> Iterable[Sequence[Any]]:
        match = " & ".join(f"'{word}'" for word in words) + ":*"
        return self._ask(_FIND, {"words": match, "folded": folded, "most": MOST})

    def _called_in(self, box: Box) -> Iterable[Sequence[Any]]:
        return self._ask(_NAMES_IN, box._asdict())

    def changes_since(self, content: str) -> Changes:
        """Return what updates changed since the store had this content hash.

        `StoreError` when it never had.
        """
        rows = self._ask(_CHANGED, (content,))
        if not rows:
            raise StoreError(
                f"{self.location} was imported anew since, or is another store: embed all places again"
            )
        changed = [row for row in rows if row[1] is not None]
        return Changes.of([row[0] for row in changed], [bytes(row[1]) for row in changed])

    def _ask(self, query: str, values: Any = None) -> Rows:
        return self._pool.ask(query, values, self._patience_s)

    def close(self) -> None:
        """Let go of the store; its connections stay in the pool."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _objects(values: list[memoryview]) -> NDArray[np.object_]:
    array = np.empty(len(values), object)
    array[:] = [bytes(value) for value in values]
    return array
