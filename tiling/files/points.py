"""Reading a user's file of points: CSV or Parquet with the columns lat and lon."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tiling.errors import PlaceError, PointsError
from tiling.files.atomic import require_file, sha256_of
from tiling.values import check_place

NAMES = {"lat": ("lat", "latitude"), "lon": ("lon", "lng", "longitude")}


@dataclass(frozen=True, slots=True, eq=False)
class Points:
    """Points in file order: `lat`, `lon` float64 [n] in degrees, and the file's whole table."""

    lat: NDArray[np.float64]
    lon: NDArray[np.float64]
    table: pa.Table

    def __len__(self) -> int:
        return len(self.lat)

    @property
    def more(self) -> pa.Table:
        """Return the columns of the file that are not the latitude or the longitude."""
        return self.table.select([n for n in self.table.column_names if not _is_coordinate(n)])


def _is_coordinate(column: str) -> bool:
    return any(column.lower() in names for names in NAMES.values())


def hash_of_points(path: Path) -> str:
    """Return the SHA-256 of a file of points; `PointsError` without one."""
    _require(path)
    return sha256_of(path)


def _require(path: Path) -> None:
    require_file(path, PointsError, "give a .csv or .parquet file with the columns lat and lon")


def read_points(path: Path) -> Points:
    """Read `path`; `PointsError` names the line of a malformed row and the row of a bad place."""
    _require(path)
    parquet = path.suffix == ".parquet"
    try:
        table = pq.read_table(path) if parquet else _read_csv(path)
    except (pa.ArrowInvalid, pa.ArrowKeyError) as error:
        raise PointsError(f"cannot read {path}: {error}") from error
    if not table.num_rows:
        raise PointsError(f"{path} holds no points")
    first_line = 1 if parquet else 2  # a CSV's first line is the header
    word = "row" if parquet else "line"
    lat, lon = (_column(path, table, name, first_line, word) for name in ("lat", "lon"))
    for number, (a, b) in enumerate(zip(lat.tolist(), lon.tolist(), strict=True), first_line):
        try:
            check_place(a, b)
        except PlaceError as error:
            raise PointsError(f"{path}, {word} {number}: {error}") from error
    return Points(lat, lon, table)


def has_columns(path: Path) -> bool:
    """Tell whether a Parquet file has columns for latitude and longitude.

    Raises `PointsError` for a file that is no Parquet.
    """
    try:
        names = {name.lower() for name in pq.read_schema(path).names}
    except (OSError, pa.ArrowInvalid) as error:
        raise PointsError(f"cannot read {path}: {error}") from error
    return all(names & set(NAMES[column]) for column in NAMES)


def _read_csv(path: Path) -> pa.Table:
    broken: list[str] = []

    def stop(row: pyarrow.csv.InvalidRow) -> str:
        where = f"line {row.number}" if row.number else f"the line {row.text!r}"
        broken.append(
            f"{where} has {row.actual_columns} columns, the header {row.expected_columns}"
        )
        return "error"

    parsing = pyarrow.csv.ParseOptions(invalid_row_handler=stop)
    # row numbers are known to one thread alone
    reading = pyarrow.csv.ReadOptions(use_threads=False)
    try:
        return pyarrow.csv.read_csv(path, reading, parsing)
    except pa.ArrowInvalid as error:
        raise PointsError(f"cannot read {path}: {broken[0] if broken else error}") from error


def _column(
    path: Path, table: pa.Table, name: str, first_line: int, word: str
) -> NDArray[np.float64]:
    found = [column for column in table.column_names if column.lower() in NAMES[name]]
    if len(found) != 1:
        raise PointsError(
            f"{path} has {len(found)} columns called {' or '.join(NAMES[name])}, must have one"
        )
    values = np.empty(table.num_rows)
    for row, value in enumerate(table[found[0]].to_pylist()):
        try:
            values[row] = float(value)
        except (TypeError, ValueError) as error:
            raise PointsError(
                f"{path}, {word} {row + first_line}: {name} {value!r} is not a number"
            ) from error
    return values
