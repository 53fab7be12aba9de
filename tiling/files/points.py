"""Places in a user's file: columns of latitude and longitude, of H3 cells, or geometries."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray
from shapely.errors import GEOSException

from tiling.errors import PlaceError, PointsError
from tiling.files.atomic import sha256_of
from tiling.files.tables import UserTable, read_table, require_table, scalars_in, values_in
from tiling.geo.cells import place_of_cell
from tiling.geo.wkb import is_too_deep
from tiling.values import check_place
from tiling.words import in_one_line, quoted

NAMES = {
    "lat": ("lat", "latitude", "decimallatitude"),
    "lon": ("lon", "long", "lng", "longitude", "decimallongitude"),
}
CELLS = ("h3", "h3_cell", "h3_index")  # as text or as whole numbers
XY = {"lat": "y", "lon": "x"}  # where there are no such columns
IN_DEGREES = ", in degrees (EPSG:4326)"
DEGREES = ("", "EPSG:4326", "OGC:CRS84", "EPSG:4979", "OGC:CRS84h", "WGS 84", "WGS 84 (CRS84)")


@dataclass(frozen=True, slots=True, eq=False)
class Points:
    """Points in file order: `lat`, `lon` float64 [n] in degrees, and the file they stand in.

    `columns`: those that said where they are.
    """

    lat: NDArray[np.float64]
    lon: NDArray[np.float64]
    file: UserTable
    columns: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.lat)

    @property
    def table(self) -> pa.Table:
        """Return the file's whole table."""
        return self.file.table

    @property
    def more(self) -> pa.Table:
        """Return the columns of the file that do not say where the points are."""
        place = {*self.columns, self.file.geometry}
        return self.table.select([name for name in self.table.column_names if name not in place])


def hash_of_points(path: Path) -> str:
    """Return the SHA-256 of a file of points; `PointsError` without one."""
    require_table(path)
    return sha256_of(path)


def read_points(path: Path) -> Points:
    """Read the places of a file; an area stands for a point inside it.

    `PointsError` names the line of a malformed row, the row of a bad place, or the coordinate
    system of geometries that are not in degrees.
    """
    return points_of(read_table(path))


def points_of(file: UserTable) -> Points:
    """Return the places of a table; raises `PointsError` as `read_points` does."""
    if not file.table.num_rows:
        raise PointsError(f"{file.path} holds no points")
    names = _columns(file)
    if names is not None:
        lat, lon = (_numbers(file, name, what) for what, name in zip(NAMES, names, strict=True))
    elif file.geometry is not None:
        names, (lon, lat) = (file.geometry,), _middles(file)
    elif cells := [name for name in file.table.column_names if name.lower() in CELLS]:
        names, (lon, lat) = (cells[0],), _middles_of_cells(file, cells[0])
    else:
        raise PointsError(_lacking(file))
    inside = (np.abs(lat) <= 90) & (np.abs(lon) <= 180)  # not so where one is not a number
    for row in np.flatnonzero(~inside)[:1].tolist():
        try:
            check_place(float(lat[row]), float(lon[row]))
        except PlaceError as error:
            raise PointsError(f"{file.path}, {file.where(row)}: {error}{_hint(names)}") from error
    return Points(lat, lon, file, names)


def _hint(names: tuple[str, ...]) -> str:
    return (
        "" if len(names) == 2 and names[0].lower() in NAMES["lat"] else ", in degrees (EPSG:4326)"
    )


def _columns(file: UserTable) -> tuple[str, ...] | None:
    """Return the columns of latitude and longitude, or None where there is neither."""
    found = {
        what: [name for name in file.table.column_names if name.lower() in names]
        for what, names in NAMES.items()
    }
    if not any(found.values()):
        found = {
            what: [name for name in file.table.column_names if name.lower() == XY[what]]
            for what in NAMES
        }
        if not all(found.values()):
            return None
    for what, names in found.items():
        if len(names) != 1:
            raise PointsError(
                f"{file.path} has {len(names)} columns called {' or '.join(NAMES[what][:-1])}, "
                "must have one"
            )
    return found["lat"][0], found["lon"][0]


def _lacking(file: UserTable) -> str:
    return (
        f"{file.path} has 0 columns called {' or '.join(NAMES['lat'][:-1])}, and no geometry: "
        f"it has {quoted(file.table.column_names)}"
    )


def _numbers(file: UserTable, name: str, what: str) -> NDArray[np.float64]:
    column = file.table[name]
    if pa.types.is_floating(column.type) or pa.types.is_integer(column.type):
        column = column.cast(pa.float64(), safe=False)
        if not column.null_count:
            return np.asarray(column.to_numpy(), np.float64)
    values = np.empty(len(column))
    for row, value in enumerate(scalars_in(file.path, file.table, name)):
        try:
            values[row] = _number(value)
        except (TypeError, ValueError) as error:
            raise PointsError(
                f"{file.path}, {file.where(row)}: {what} {value!r:.60} is not a number"
            ) from error
    return values


def _number(value: Any) -> float:
    # A comma before the decimals, where no point is.
    return float(value.replace(",", ".") if isinstance(value, str) else value)


def _middles_of_cells(file: UserTable, name: str) -> NDArray[np.float64]:
    """Return (lon, lat) float64 [2, n] of the H3 cells in a column."""
    values = np.empty((file.table.num_rows, 2))
    for row, cell in enumerate(scalars_in(file.path, file.table, name)):
        try:
            values[row] = place_of_cell(cell)
        except PlaceError as error:
            raise PointsError(f"{file.path}, {file.where(row)}: {error}") from error
    return values.T


def _middles(file: UserTable) -> NDArray[np.float64]:
    """Return (lon, lat) float64 [2, n] of the geometries."""
    wgs84 = file.crs.startswith(('GEOGCS["WGS 84"', 'GEOGCRS["WGS 84"'))
    if not wgs84 and file.crs not in DEGREES:
        raise PointsError(
            f"the geometries of {file.path} are in {file.crs[:60]}: "
            "save them in degrees (EPSG:4326)"
        )
    try:
        with np.errstate(invalid="ignore"):  # GEOS looks at places that are not finite, too
            geometries = shapely.from_wkb(_wkb(file))
            points = shapely.point_on_surface(geometries)
    except (GEOSException, TypeError, ValueError) as error:
        raise PointsError(
            f"cannot read the geometries of {file.path}: {in_one_line(error)[:200]}"
        ) from error
    corners, rows = shapely.get_coordinates(geometries, return_index=True)
    for row in rows[~np.isfinite(corners).all(axis=1)][:1].tolist():
        raise PointsError(f"{file.path}, {file.where(row)} has a coordinate that is not finite")
    for row in np.flatnonzero(shapely.is_missing(points) | shapely.is_empty(points))[:1].tolist():
        raise PointsError(
            f"{file.path}, {file.where(row)} has no coordinates: give it a point or an area"
        )
    return np.asarray(shapely.get_coordinates(points).reshape(-1, 2).T, np.float64)


def _wkb(file: UserTable) -> list[Any]:
    """Return the geometries as they are in the table; none may end GEOS by its depth."""
    values = values_in(file.path, file.table, str(file.geometry))
    for row, wkb in enumerate(values):
        if isinstance(wkb, bytes | str) and is_too_deep(wkb):
            raise PointsError(
                f"{file.path}, {file.where(row)}: its collections lie too deep within one another"
            )
    return values
