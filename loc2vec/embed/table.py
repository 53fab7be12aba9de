"""A table of vectors in PostgreSQL: one row a place, found by its URL, .../DATABASE/TABLE.

Columns: `place` (the number of the row, from 0), lat, lon, the user's columns, `embedding`, and
`geometry`, a point. The embedding is a `cube`, or a `vector` where pgvector is installed; both are
null outside the store. What is said of all rows is JSON in the comment of the table.

A table is filled under another name, part by part. It appears whole, with its indexes.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from loc2vec.embed.files import Vectors
from loc2vec.errors import VectorsError
from tiling.errors import StoreError
from tiling.store.postgis.database import Connection, Database
from tiling.store.postgis.extensions import has_extension, require_extension
from tiling.store.postgis.statements import copy_lines, escaped, execute, rows
from tiling.store.store import without_secrets

URL = re.compile(r"(?P<database>postgres(?:ql)?://[^/?]*/[^/?]+)/(?P<table>[^/?]+)(?P<query>\?.*)?")
NAME = re.compile(r"[a-z_][a-z0-9_]{0,50}")  # with what is added to it less than 63 bytes
LOADING = "_loading"
LOCK = 0x6C6F63  # "loc": the first number of the advisory lock of a table
OURS = ("place", "lat", "lon", "embedding", "geometry")
MOST_OF_CUBE = 100  # dimensions
_MEMORY = """
SELECT set_config('maintenance_work_mem', least, false) FROM (VALUES ('256MB')) AS v (least)
WHERE pg_size_bytes(current_setting('maintenance_work_mem')) < pg_size_bytes(least)"""  # an index's

_CREATE = """
CREATE TABLE {name} (
    place bigint NOT NULL, lat float8 NOT NULL, lon float8 NOT NULL, {more}
    embedding {kind}, geometry geometry(Point, 4326) NOT NULL
)
"""
_FINISH = """
ALTER TABLE {loading} ADD PRIMARY KEY (place);
CREATE INDEX ON {loading} USING {embedding};
CREATE INDEX ON {loading} USING gist (geometry);
ANALYZE {loading};
ALTER TABLE {loading} RENAME TO {name};
"""
_FRESH = "CREATE TEMP TABLE fresh (place bigint, embedding {kind}) ON COMMIT DROP"
_UPDATE = """
UPDATE {name} AS old SET embedding = fresh.embedding FROM fresh WHERE old.place = fresh.place
"""


class VectorTable:
    """The URL of a table; `location` has no secrets."""

    def __init__(self, given: str) -> None:
        """Raise `StoreError` for a malformed URL."""
        self.location = without_secrets(given)
        found = URL.fullmatch(given)
        schema, _, name = unquote(found["table"]).rpartition(".") if found else ("", "", "")
        if not found or not all(NAME.fullmatch(part) for part in (schema or "public", name)):
            raise StoreError(
                f"{self.location} is no URL of a table: write postgresql://USER@HOST/DATABASE/TABLE"
                " with small letters, digits and _ in TABLE or SCHEMA.TABLE"
            )
        self.database = Database(found["database"] + (found["query"] or ""))
        self.schema, self.name = schema, name

    @contextmanager
    def opened(self) -> Iterator["OpenTable"]:
        """Connect; `StoreError` while another command writes the table, or without PostGIS."""
        connection = self.database.connect()
        try:
            with self.database.failing():
                _lock(connection, self)
                require_extension(self.database, connection, "postgis", "")
                if not has_extension(connection, "vector"):
                    require_extension(self.database, connection, "cube", "")
                if self.schema:
                    execute(connection, f"SET search_path = {self.schema}, public")
                execute(connection, _MEMORY)
                connection.commit()
                yield OpenTable(self, connection)
        finally:
            connection.close()

    def __str__(self) -> str:
        return self.location


def _lock(connection: Connection, table: VectorTable) -> None:
    query = "SELECT pg_try_advisory_lock(%s, hashtext(%s))"
    if not rows(connection, query, (LOCK, f"{table.schema}.{table.name}"))[0][0]:
        raise StoreError(f"another command is writing {table}: wait for it, then try again")


class OpenTable:
    """A table of vectors that is being written."""

    def __init__(self, table: VectorTable, connection: Connection) -> None:
        self._table, self._connection = table, connection
        self._name, self._loading = table.name, f"{table.name}{LOADING}"
        self._is_vector = has_extension(connection, "vector")

    def facts(self, loading: bool = False) -> dict[str, Any] | None:
        """Return what is said of all rows; None without such a table.

        Raises `VectorsError` for a table that `loc2vec embed` did not make.
        """
        name = self._loading if loading else self._name
        query = "SELECT obj_description(to_regclass(%s), 'pg_class'), to_regclass(%s) IS NOT NULL"
        ((comment, there),) = rows(self._connection, query, (name, name))
        if not there:
            return None
        try:
            facts: dict[str, Any] = json.loads(comment or "")
            if {"model", "store", "dim"} <= facts.keys():
                return facts
        except (ValueError, AttributeError):
            pass
        raise VectorsError(f"{self._table}: there is a table {name} that loc2vec did not make")

    def claim(self, plan: Mapping[str, Any], columns: pa.Schema) -> set[int]:
        """Begin to fill a new table, or go on; returns the numbers of the parts that it has.

        Raises `VectorsError` when another job is filling it.
        """
        begun = self.facts(loading=True)
        if begun is None:
            self._create(plan, columns)
        elif begun["plan"] != plan["plan"]:
            raise VectorsError(
                f"{self._table} is being filled by another job: go on with that one, "
                f"or DROP TABLE {self._loading}"
            )
        query = f"SELECT DISTINCT place / {plan['places_per_part']} FROM {self._loading}"  # noqa: S608 - of our own
        return {int(number) for (number,) in rows(self._connection, query)}

    def _create(self, plan: Mapping[str, Any], columns: pa.Schema) -> None:
        taken = sorted(set(OURS) & set(columns.names))
        if taken:
            raise VectorsError(
                f"the column {taken[0]!r} of your file would be replaced: rename or drop it"
            )
        if not self._is_vector and plan["dim"] > MOST_OF_CUBE:
            raise VectorsError(f"a cube has {MOST_OF_CUBE} numbers at most: install pgvector")
        more = "".join(f"{_quoted(f.name)} {_sql_type(f.type)}, " for f in columns)
        kind = self._kind(plan["dim"])
        statement = _CREATE.format(name=self._loading, more=more, kind=kind)
        execute(self._connection, statement.replace("%", "%%"), ())
        self._say(self._loading, plan)
        self._connection.commit()

    def _kind(self, dim: int) -> str:
        return f"vector({dim})" if self._is_vector else "cube"

    def put(self, first: int, vectors: Vectors) -> None:
        """Append the rows of a part, the first of this number, in one transaction."""
        copy_lines(self._connection, self._loading, self._lines(first, vectors))
        self._connection.commit()

    def _lines(self, first: int, vectors: Vectors) -> Iterator[str]:
        places = range(first, first + len(vectors))
        points = [
            f"SRID=4326;POINT({lon!r} {lat!r})"
            for lon, lat in zip(vectors.lon.tolist(), vectors.lat.tolist(), strict=True)
        ]
        table = [] if vectors.table is None else [_texts(c) for c in vectors.table.columns]
        columns = (
            map(str, places), map(repr, vectors.lat.tolist()), map(repr, vectors.lon.tolist()),
            *table, self._embeddings(vectors.embedding), points,
        )  # fmt: skip
        return ("\t".join(row) for row in zip(*columns, strict=True))

    def _embeddings(self, embedding: NDArray[np.float32]) -> Iterator[str]:
        before, after = "[]" if self._is_vector else "()"
        for row in embedding.astype(np.float64).tolist():
            text = ",".join(map(repr, row))
            yield r"\N" if "nan" in text else f"{before}{text}{after}"

    def finish(self, plan: Mapping[str, Any]) -> None:
        """Index the table, and give it its name."""
        hnsw = self._is_vector and rows(self._connection, "SELECT FROM pg_am WHERE amname = 'hnsw'")
        embedding = "hnsw (embedding vector_l2_ops)" if hnsw else "gist (embedding)"
        names = {"loading": self._loading, "name": self._name}
        statement = _FINISH.format(**names, embedding=embedding)
        if self._is_vector and not hnsw:  # older than 0.5: without an exact index
            statement = "\n".join(ln for ln in statement.splitlines() if embedding not in ln)
        execute(self._connection, statement)
        self._say(self._name, plan)
        self._connection.commit()

    def places(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the numbers of the rows, int64 [n], and their (lon, lat), float64 [n, 2]."""
        found = rows(self._connection, f"SELECT place, lon, lat FROM {self._name} ORDER BY place")  # noqa: S608 - of our own
        if not found:
            return np.empty(0, np.int64), np.empty((0, 2))
        place, lon, lat = zip(*found, strict=True)
        return np.array(place, np.int64), np.stack([lon, lat], axis=1)

    def update(self, places: NDArray[np.int64], vectors: Vectors, facts: Mapping[str, Any]) -> None:
        """Put new vectors into rows, in one transaction with what is said of all rows."""
        texts = self._embeddings(vectors.embedding)
        lines = (f"{place}\t{text}" for place, text in zip(places.tolist(), texts, strict=True))
        execute(self._connection, _FRESH.format(kind=self._kind(vectors.embedding.shape[1])))
        copy_lines(self._connection, "fresh", lines)
        execute(self._connection, _UPDATE.format(name=self._name))
        self._say(self._name, facts)
        self._connection.commit()

    def _say(self, name: str, facts: Mapping[str, Any]) -> None:
        execute(self._connection, f"COMMENT ON TABLE {name} IS %s", (json.dumps(dict(facts)),))


def _quoted(name: str) -> str:
    """Return a user's name of a column as SQL has it.

    >>> _quoted('a"b')
    '"a""b"'
    """
    if not name or "\0" in name or len(name.encode()) > 63:
        raise VectorsError(f"a column of PostgreSQL cannot be called {name!r}: rename it")
    return '"' + name.replace('"', '""') + '"'


def _sql_type(kind: pa.DataType) -> str:
    for told, name in (
        (pa.types.is_boolean, "boolean"),
        (pa.types.is_uint64, "numeric"),
        (pa.types.is_integer, "bigint"),
        (pa.types.is_floating, "float8"),
        (pa.types.is_decimal, "numeric"),
        (pa.types.is_date, "date"),
        (pa.types.is_nested, "jsonb"),
    ):
        if told(kind):
            return name
    if pa.types.is_timestamp(kind):
        return "timestamp" if kind.tz is None else "timestamptz"
    return "text"


def _texts(column: pa.ChunkedArray) -> Iterable[str]:
    """Return the values of a column in the text format of COPY."""
    kind = column.type
    if pa.types.is_timestamp(kind):
        column = column.cast(pa.timestamp("us", kind.tz), safe=False)
    as_json = pa.types.is_nested(kind)
    for value in column.to_pylist():
        if value is None:
            yield r"\N"
        else:
            yield escaped(json.dumps(value, default=str) if as_json else str(value))
