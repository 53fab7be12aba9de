"""The user's columns in an index: what kind each is, and their values as answers give them."""

from collections.abc import Sequence
from enum import Enum
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from service.errors import ColumnError


class Kind(Enum):
    """What a column holds, in a word for people."""

    NUMBER = "numbers"
    TEXT = "text"
    TRUTH = "true or false"
    TIME = "times"


def kind_of(kind: pa.DataType) -> Kind | None:
    """Return what a column of this type holds; None for what is neither compared nor answered."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    is_ = pa.types
    if is_.is_integer(kind) or is_.is_floating(kind) or is_.is_decimal(kind):
        return Kind.NUMBER
    if is_.is_string(kind) or is_.is_large_string(kind):
        return Kind.TEXT
    if is_.is_boolean(kind):
        return Kind.TRUTH
    return Kind.TIME if is_.is_date(kind) or is_.is_timestamp(kind) else None


def kinds_of(table: pa.Table | None) -> dict[str, Kind]:
    """Return the kinds of the columns that can be asked for, by name."""
    schema = () if table is None else table.schema
    return {field.name: kind for field in schema if (kind := kind_of(field.type)) is not None}


def require_columns(table: pa.Table | None, names: Sequence[str]) -> None:
    """Raise `ColumnError` for a column that the index does not have."""
    known = kinds_of(table)
    for name in names:
        if name not in known:
            there = ", ".join(list(known)[:50]) or "none: embed a file that has columns"
            raise ColumnError(f"the index has no column {name[:100]!r}, its columns are {there}")


def values_of(
    table: pa.Table | None, names: Sequence[str], rows: NDArray[np.int64]
) -> list[dict[str, Any]]:
    """Return the values of some columns at `rows` [n], in their order.

    Raises `ColumnError` for a column that the index does not have.
    """
    require_columns(table, names)
    if table is None or not names:
        return [{} for _ in rows]
    found: list[dict[str, Any]] = table.select(list(names)).take(pa.array(rows)).to_pylist()
    return found
