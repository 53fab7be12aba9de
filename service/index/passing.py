"""Which rows of the user's columns pass a filter."""

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from service.errors import FilterError
from service.index.columns import Kind, kind_of, require_columns
from service.index.where import AND, IN, IS_NULL, NOT, OR, Joined, Test, Value, Where, tests_of
from service.patience import left_s

COMPARE: Mapping[str, Callable[..., Any]] = {
    "=": pc.equal,
    "<>": pc.not_equal,
    "<": pc.less,
    "<=": pc.less_equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
}
# With three values, as in SQL: what an empty value says is not known.
JOIN: Mapping[str, Callable[..., Any]] = {AND: pc.and_kleene, OR: pc.or_kleene}


def require_fitting(where: Where, table: pa.Table | None) -> None:
    """Raise `ColumnError` or `FilterError` for a filter that does not fit the columns."""
    tests = list(tests_of(where))
    require_columns(table, [test.column for test in tests])
    for test in tests:
        assert table is not None  # noqa: S101 - it has the column
        _as_one(test, table.schema.field(test.column).type)


def passing(where: Where, table: pa.Table | None) -> NDArray[np.bool_]:
    """Tell which rows of the table pass: bool [rows].

    Raises `ColumnError` or `FilterError` for a filter that does not fit its columns.
    """
    require_fitting(where, table)
    found = _found(where, table).combine_chunks().fill_null(False)
    return np.asarray(found.to_numpy(zero_copy_only=False), np.bool_)


def _found(where: Where, table: pa.Table) -> pa.ChunkedArray:
    """Return where it is true, false or, for an empty value, null: one for each row."""
    if isinstance(where, Joined):
        parts = [_found(part, table) for part in where.parts]
        return pc.invert(parts[0]) if where.op == NOT else reduce(JOIN[where.op], parts)
    left_s()
    column = table[where.column]
    if where.op == IS_NULL:
        return pc.is_null(column, nan_is_null=True)
    if pa.types.is_dictionary(column.type):  # each of its texts is compared once
        parts = [_compared(where, part.dictionary).take(part.indices) for part in column.chunks]
        return pa.chunked_array(parts, pa.bool_())
    return _compared(where, column)


def _compared(where: Test, column: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    values = _as_one(where, column.type)
    column = column.cast(values.type, safe=False)
    if where.op != IN:
        return COMPARE[where.op](column, values[0])
    return pc.if_else(pc.is_valid(column), pc.is_in(column, value_set=values), None)


def _as_one(test: Test, column: pa.DataType) -> pa.Array:
    """Return the values of a comparison as the type that column and values are compared as."""
    kind = kind_of(column)
    for value in test.values:
        if kind is None or not _fits(kind, value):
            hint = ": put it between quotes" if kind in (Kind.TEXT, Kind.TIME) else ""
            raise FilterError(_unlike(test, value, kind) + hint)
    try:
        return _array(test.values, column, kind)
    except (pa.ArrowException, OverflowError, ValueError) as error:
        told = _unlike(test, test.values[0], kind)
        raise FilterError(f"{told}: write a time like 2026-05-31") from error


def _fits(kind: Kind, value: Value) -> bool:
    if kind is Kind.NUMBER:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return isinstance(value, bool if kind is Kind.TRUTH else str)


def _unlike(test: Test, value: Value, kind: Kind | None) -> str:
    holds = "what cannot be compared" if kind is None else kind.value
    return f"the column {test.column[:100]!r} holds {holds}, not {str(value)[:100]!r}"


def _array(values: Sequence[Value], column: pa.DataType, kind: Kind | None) -> pa.Array:
    if kind is Kind.NUMBER:
        return _numbers(values, column)
    if kind is Kind.TIME and pa.types.is_timestamp(column):  # without a zone, UTC is meant
        bare = pa.array([str(value).removesuffix("Z") for value in values])
        return bare.cast(pa.timestamp(column.unit))
    wanted = pa.string() if kind is Kind.TEXT else column
    return pa.array(values).cast(wanted) if values else pa.nulls(0, wanted)


def _numbers(values: Sequence[Value], column: pa.DataType) -> pa.Array:
    """Whole numbers are compared as such, so that long ones are not rounded."""
    if pa.types.is_integer(column) and all(isinstance(value, int) for value in values):
        try:
            return pa.array(values, column)
        except (pa.ArrowException, OverflowError):  # no number of the column is so large
            pass
    kind = column if pa.types.is_float32(column) else pa.float64()
    return pa.array([float(value) for value in values], kind)
