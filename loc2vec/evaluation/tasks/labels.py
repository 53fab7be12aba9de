"""A user's own labels: places with a column to predict, from CSV, GeoJSON or Parquet."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from loc2vec.errors import LabelsError
from loc2vec.evaluation.tasks.task import Rows, Task
from loc2vec.model.arrays import Floats
from tiling.errors import PlaceError
from tiling.files.atomic import require_file
from tiling.files.geoparquet import GEOMETRY
from tiling.files.points import has_columns, read_points
from tiling.values import check_place

GEOJSON = (".geojson", ".json")
FEW = 10  # distinct whole numbers; so few are taken for the codes of classes


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """Places (degrees) with one value each; `where` names the rows for messages ("line 2")."""

    lat: Floats
    lon: Floats
    values: list[Any]
    where: list[str]


def read_labels(path: Path, target: str) -> Labels:
    """Read places and the column `target`; an area stands for a point inside it.

    Raises `LabelsError` or `PointsError`, which name the row or the column at fault.
    """
    require_file(path, LabelsError, "give a .csv, .geojson or .parquet file of labels")
    if path.suffix in GEOJSON:
        labels = _of_geojson(path, target)
    elif path.suffix == ".parquet" and not has_columns(path):
        labels = _of_geoparquet(path, target)
    else:
        points = read_points(path)
        word, first = ("row", 1) if path.suffix == ".parquet" else ("line", 2)
        where = [f"{word} {number}" for number in range(first, first + len(points))]
        labels = Labels(points.lat, points.lon, _column(path, points.table, target), where)
    for row, value in zip(labels.where, labels.values, strict=True):
        if value is None or value == "" or (isinstance(value, float) and not math.isfinite(value)):
            raise LabelsError(
                f"{path}, {row}: {target!r} is {_said(value)}: fill it in, or leave the row out"
            )
    return labels


def _said(value: object) -> str:
    return "empty" if value is None or value == "" else str(value)


def _column(path: Path, table: pa.Table, target: str) -> list[Any]:
    if target not in table.column_names:
        raise _no_column(path, target, table.column_names)
    values: list[Any] = table[target].to_pylist()
    return values


def _no_column(path: Path, target: str, names: Sequence[str]) -> LabelsError:
    return LabelsError(
        f"{path} has no column {target!r}: --target must be one of {', '.join(names)}"
    )


def _of_geojson(path: Path, target: str) -> Labels:
    try:
        features = json.loads(path.read_text(encoding="utf-8"))["features"]
        geometries = [_geometry(feature.get("geometry")) for feature in features]
        properties = [feature["properties"] or {} for feature in features]
    except (ValueError, KeyError, TypeError, AttributeError, shapely.errors.GEOSException) as error:
        raise LabelsError(f"{path} is no GeoJSON collection of features: {error}") from error
    names = list(dict.fromkeys(name for row in properties for name in row))
    if target not in names:
        raise _no_column(path, target, names)
    where = [f"feature {number}" for number in range(1, len(features) + 1)]
    return _of_geometries(
        path, np.array(geometries, object), [row.get(target) for row in properties], where
    )


def _geometry(value: object) -> BaseGeometry | None:
    return None if value is None else shapely.from_geojson(json.dumps(value))


def _of_geoparquet(path: Path, target: str) -> Labels:
    table = pq.read_table(path)
    geometries = shapely.from_wkb(_column(path, table, GEOMETRY))
    where = [f"row {number}" for number in range(1, table.num_rows + 1)]
    return _of_geometries(path, geometries, _column(path, table, target), where)


def _of_geometries(
    path: Path, geometries: NDArray[np.object_], values: list[Any], where: list[str]
) -> Labels:
    for geometry, row in zip(geometries, where, strict=True):
        if geometry is None or geometry.is_empty:
            raise LabelsError(f"{path}, {row} has no coordinates: give it a point or an area")
    lon, lat = shapely.get_coordinates(shapely.point_on_surface(geometries)).reshape(-1, 2).T
    for row, a, b in zip(where, lat.tolist(), lon.tolist(), strict=True):
        try:
            check_place(a, b)
        except PlaceError as error:
            raise LabelsError(
                f"{path}, {row}: {error}: coordinates must be degrees (EPSG:4326)"
            ) from error
    return Labels(lat, lon, values, where)


def are_numbers(values: Sequence[Any]) -> bool:
    """Tell whether values are numbers, and not a few whole ones, which are codes of classes."""
    if any(isinstance(value, bool) or not isinstance(value, int | float) for value in values):
        return False
    return len(set(values)) > FEW or any(isinstance(value, float) for value in values)


def task_of(labels: Labels, name: str, place: Rows, places: tuple[str, ...]) -> Task:
    """Make a task of labels.

    Text, booleans and a few distinct whole numbers are classes; other numbers are a regression.
    """
    classes: tuple[str, ...] = ()
    target: Rows | Floats
    if are_numbers(labels.values):
        target = np.array(labels.values, np.float64)
    else:
        names, target = np.unique([str(value) for value in labels.values], return_inverse=True)
        classes = tuple(names.tolist())
    about = f"{'class' if classes else 'number'} in the column {name!r}"
    return Task(name, about, labels.lat, labels.lon, target, classes, place, places)
