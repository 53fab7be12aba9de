"""A user's own labels: places with a column to predict, in any file that places are read from."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from loc2vec.errors import LabelsError
from loc2vec.evaluation.tasks.task import Rows, Task
from loc2vec.model.arrays import Floats
from tiling.files.points import read_points
from tiling.files.tables import scalars_in
from tiling.words import quoted

# What stands around or within an amount: currencies, per cent, separators between thousands.
NOT_DIGITS = re.compile(r"[€$£¥₹%'\s]|^[A-Z]{3}\b|\b[A-Z]{3}$")
FEW = 10  # distinct whole numbers; so few are taken for the codes of classes


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """Places (degrees) with one value each; `where` names the rows for messages ("line 2").

    `table`: the file's whole table, a row each.
    """

    lat: Floats
    lon: Floats
    values: list[Any]
    where: list[str]
    table: pa.Table | None = None


def read_labels(path: Path, target: str) -> Labels:
    """Read places and the column `target`; an area stands for a point inside it.

    Raises `LabelsError` or `PointsError`, which name the row or the column at fault.
    """
    points = read_points(path)
    where = [points.file.where(row) for row in range(len(points))]
    values = values_of(path, points.table, target, where)
    return Labels(points.lat, points.lon, values, where, points.table)


def values_of(
    path: Path, table: pa.Table, target: str, where: Sequence[str], option: str = "--target"
) -> list[Any]:
    """Return the values of a column, none of which is missing; raises as `read_labels`."""
    if target not in table.column_names:
        shown = quoted(table.column_names)
        raise LabelsError(f"{path} has no column {target!r}: {option} must be one of {shown}")
    values = scalars_in(path, table, target)
    for row, value in zip(where, values, strict=True):
        if value is None or value == "" or (isinstance(value, float) and not math.isfinite(value)):
            said = "empty" if value is None or value == "" else str(value)
            raise LabelsError(
                f"{path}, {row}: {target!r} is {said}: fill it in, or leave the row out"
            )
        if isinstance(value, str) and _is_amount(value):
            raise LabelsError(
                f"{path}, {row}: {target!r} is {value!r:.60}: write a plain number, such as 1234.5"
            )
    return values


def _is_amount(text: str) -> bool:
    """Tell whether a text is a number in the clothes of an amount, as "€ 1,200" or "10 %"."""
    bare = NOT_DIGITS.sub("", text)
    return bool(re.fullmatch(r"-?[0-9][0-9.,]*", bare)) and (bare != text or "," in text)


def are_numbers(values: Sequence[Any]) -> bool:
    """Tell whether values are numbers, and not a few whole ones, which are codes of classes."""
    if any(isinstance(value, bool) or not isinstance(value, int | float) for value in values):
        return False
    return len(set(values)) > FEW or any(isinstance(value, float) for value in values)


def numbered(values: Sequence[Any]) -> tuple[tuple[str, ...], Rows]:
    """Return the different values as text, in order, and the number there of each: int64 [n].

    An array of texts would take the length of the longest for each.
    """
    texts = [str(value) for value in values]
    names = tuple(sorted(set(texts)))
    number = {name: place for place, name in enumerate(names)}
    return names, np.array([number[text] for text in texts], np.int64)


def task_of(labels: Labels, name: str, place: Rows, places: tuple[str, ...]) -> Task:
    """Make a task of labels.

    Text, booleans and a few distinct whole numbers are classes; other numbers are a regression.
    """
    classes: tuple[str, ...] = ()
    target: Rows | Floats
    if are_numbers(labels.values):
        target = np.array(labels.values, np.float64)
    else:
        classes, target = numbered(labels.values)
    about = f"{'class' if classes else 'number'} in the column {name!r}"
    return Task(name, about, labels.lat, labels.lon, target, classes, place, places)
