"""Columns of the user's as further features of a place, beside its vector."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import pyarrow as pa

from loc2vec.errors import LabelsError
from loc2vec.model.arrays import Floats
from tiling.files.tables import scalars_in

MOST_TEXTS = 50  # of a column


@dataclass(frozen=True, slots=True)
class Column:
    """A column: a number, or one of the `texts`; each text is a feature of its own, 0 or 1."""

    name: str
    texts: tuple[str, ...] = ()

    @classmethod
    def of(cls, name: str, values: Sequence[Any]) -> Self:
        """Return the column that holds some values, none of them missing.

        Raises `LabelsError` for more than `MOST_TEXTS` texts.
        """
        if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
            return cls(name)
        texts = sorted({str(value) for value in values})
        if len(texts) > MOST_TEXTS:
            raise LabelsError(
                f"--with {name}: {len(texts)} different texts are no feature: give a column of "
                f"numbers, or of at most {MOST_TEXTS} texts"
            )
        return cls(name, tuple(texts))

    def features(self, values: Sequence[Any]) -> Floats:
        """Return the features of values: float64 [n, 1], or [n, texts].

        Raises `LabelsError` for a value that is missing, no number, or a text that is not known.
        """
        if self.texts:
            known = {text: number for number, text in enumerate(self.texts)}
            rows = [self._number(row, value, known) for row, value in enumerate(values)]
            return np.eye(len(self.texts))[rows]
        try:
            numbers = np.array(values, np.float64)
        except (TypeError, ValueError):
            numbers = np.array([_as_number(value) for value in values])
        for row in np.flatnonzero(~np.isfinite(numbers))[:1].tolist():
            raise LabelsError(
                f"{self.name!r} of place {row + 1} is {values[row]!r}, where a number was learned: "
                "fill it in, or leave the place out"
            )
        return numbers[:, None]

    def _number(self, row: int, value: Any, known: dict[str, int]) -> int:
        if str(value) not in known:
            raise LabelsError(
                f"{self.name!r} of place {row + 1} is {value!r}, which was not learned: "
                f"there is {', '.join(self.texts)}"
            )
        return known[str(value)]

    def as_values(self) -> dict[str, Any]:
        """Return it as JSON."""
        return asdict(self)

    @classmethod
    def from_values(cls, values: dict[str, Any]) -> Self:
        """Return what `as_values` wrote."""
        return cls(values["name"], tuple(values["texts"]))


@dataclass(frozen=True, slots=True)
class Wanted:
    """A column that is asked for; `value`: what all places to predict have of it, where given."""

    name: str
    value: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read NAME or NAME=VALUE."""
        name, given, value = text.partition("=")
        return cls(name.strip(), value.strip() if given else None)


def further(
    columns: Sequence[Column], wanted: Sequence[Wanted], table: pa.Table | None, count: int
) -> Floats:
    """Return the features of `count` places to predict: float64 [count, F].

    They come from `wanted`, else from the `table` of the places. Raises `LabelsError` where neither
    has a column.
    """
    given = {one.name: one.value for one in wanted if one.value is not None}
    parts = [np.empty((count, 0))]
    for column in columns:
        if column.name in given:
            parts.append(np.repeat(column.features([given[column.name]]), count, axis=0))
        elif table is not None and column.name in table.column_names:
            parts.append(column.features(scalars_in("the places to predict", table, column.name)))
        else:
            raise LabelsError(
                f"the places to predict have no column {column.name!r}: give --points with it, or "
                f"one value for all, as --with '{column.name}={(*column.texts, '3')[0]}'"
            )
    return np.concatenate(parts, axis=1)


def _as_number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")
