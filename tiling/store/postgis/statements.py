"""Statements to a PostGIS store, as its imports and updates send them."""

import secrets
from collections.abc import Iterable, Iterator
from io import StringIO, TextIOBase
from itertools import islice
from typing import Any

import shapely

from tiling.store.postgis.database import Connection, Rows

ROWS_AT_ONCE = 2000  # that are fetched from the database
LINES_AT_ONCE = 500  # that are sent to it
_ESCAPED = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})


def execute(connection: Connection, query: str, values: object = None) -> None:
    """Execute a statement and return nothing."""
    with connection.cursor() as cursor:
        cursor.execute(query, values)


def rows(connection: Connection, query: str, values: object = None) -> Rows:
    """Return all rows of a query."""
    with connection.cursor() as cursor:
        cursor.execute(query, values)
        found: Rows = cursor.fetchall()
    return found


def columns(connection: Connection, query: str, values: object) -> Iterator[list[list[Any]]]:
    """Yield the columns of `ROWS_AT_ONCE` rows at a time; the last column is WKB."""
    with connection.cursor(f"columns_{secrets.token_hex(4)}") as cursor:
        cursor.execute(query, values)
        while some := cursor.fetchmany(ROWS_AT_ONCE):
            *others, wkb = (list(column) for column in zip(*some, strict=True))
            yield [*others, [bytes(geometry) for geometry in wkb]]


def copy_into(connection: Connection, table: str, records: Iterable[tuple[Any, ...]]) -> None:
    """Append rows of plain values; the last value is a geometry."""
    lines = [
        "\t".join((*map(str, plain), shapely.to_wkb(geometry, hex=True)))
        for *plain, geometry in records
    ]
    if lines:
        with connection.cursor() as cursor:
            cursor.copy_expert(f"COPY {table} FROM STDIN", StringIO("\n".join(lines)))


class _Lines(TextIOBase):
    """A file of lines that are made when it is read."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = iter(lines)

    def read(self, size: int | None = -1) -> str:
        """Return the next lines, "" at the end; `size` is only a hint."""
        return "".join(f"{line}\n" for line in islice(self._lines, LINES_AT_ONCE))


def copy_lines(connection: Connection, table: str, lines: Iterable[str]) -> None:
    """Append rows, each a line in the text format of COPY."""
    with connection.cursor() as cursor:
        cursor.copy_expert(f"COPY {table} FROM STDIN", _Lines(lines))


def escaped(text: str) -> str:
    r"""Return a value as the text format of COPY has it.

    >>> escaped("a\tb")
    'a\\tb'
    """
    return text.translate(_ESCAPED)
