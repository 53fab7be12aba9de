"""Vectors that other programs made, in any file that places are read from."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from loc2vec.embed.files import EMBEDDING, Vectors, is_list, read_parquet
from loc2vec.errors import VectorsError
from tiling.files.points import points_of
from tiling.files.tables import UserTable, read_table, values_in
from tiling.words import quoted


def read_foreign(path: Path) -> Vectors:
    """Read places and their vectors: lists in `embedding`, or numbers in embedding_1, ...

    Rows without a vector are left out. Raises `VectorsError` or `PointsError`, which name the row
    or the column at fault.
    """
    points = points_of(
        UserTable(path, read_parquet(path), "row") if path.is_dir() else read_table(path)
    )
    table, where = points.table, points.file.where
    lists = _lists(path, table)
    held = [row for row, numbers in enumerate(lists) if numbers is not None]
    if not held:
        raise VectorsError(f"{path} holds no vector: every {EMBEDDING!r} is empty")
    length = len(lists[held[0]])
    for row in held:
        if len(lists[row]) != length or not length:
            raise VectorsError(
                f"{path}, {where(row)}: {len(lists[row])} numbers, "
                f"{where(held[0])} has {length}: vectors must be of one length"
            )
    with np.errstate(over="ignore"):  # what is too large is found next
        embedding = np.array([lists[row] for row in held], np.float32)
    bad = np.flatnonzero(~np.isfinite(embedding).all(1))
    if len(bad):
        raise VectorsError(f"{path}, {where(held[bad[0]])}: its vector is not finite")
    facts = table.schema.metadata or {}
    return Vectors(
        lat=points.lat[held],
        lon=points.lon[held],
        embedding=embedding,
        table=None,
        model=facts.get(b"model", path.name.encode()).decode(errors="replace"),
        fingerprint=facts.get(b"fingerprint", b"").decode(errors="replace"),
    )


def _lists(path: Path, table: pa.Table) -> list[Any]:
    """Return the numbers of each row, None where it has no vector."""
    names = table.column_names
    if EMBEDDING in names and is_list(table.schema.field(EMBEDDING).type):
        lists: list[Any] = values_in(path, table, EMBEDDING)
        return lists
    count = next(n for n in range(len(names) + 1) if f"{EMBEDDING}_{n + 1}" not in names)
    columns = [f"{EMBEDDING}_{n + 1}" for n in range(count)]
    for name in columns:
        kind = table.schema.field(name).type
        if not (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
            raise VectorsError(f"{path}: the column {name!r} holds no numbers")
    if not columns:
        raise VectorsError(
            f"{path} has no column {EMBEDDING!r} of lists of numbers, and no {EMBEDDING}_1, ...: "
            f"it has {quoted(names)}"
        )
    rows = zip(*(table[name].to_pylist() for name in columns), strict=True)
    return [None if None in row else row for row in rows]
