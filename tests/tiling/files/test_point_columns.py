"""Which columns of a user's file are coordinates, and where a bad one stands."""

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tiling.errors import PointsError
from tiling.files.points import hash_of_points, read_points


def parquet(tmp_path: Path, **columns: list[object]) -> Path:
    path = tmp_path / "points.parquet"
    pq.write_table(pa.table(columns), path)
    return path


def csv(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "points.csv"
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize("lat", ["lat", "LAT", "Latitude"])
@pytest.mark.parametrize("lon", ["lon", "Lng", "LONGITUDE"])
def test_a_coordinate_has_several_names(tmp_path: Path, lat: str, lon: str) -> None:
    points = read_points(csv(tmp_path, f"{lon},x,{lat}\n7,a,43\n8,b,44\n"))
    assert (points.lat.tolist(), points.lon.tolist()) == ([43, 44], [7, 8])
    assert len(points) == 2
    assert points.more.column_names == ["x"]
    assert points.more["x"].to_pylist() == ["a", "b"]
    assert points.table.column_names == [lon, "x", lat]


def test_only_whole_names_are_coordinates(tmp_path: Path) -> None:
    points = read_points(csv(tmp_path, "lat,lon,lat_old,x_lon\n1,2,3,4\n"))
    assert points.more.column_names == ["lat_old", "x_lon"]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"lat": [1.0]}, r"0 columns called lon or long or lng or longitude, must have one"),
        ({"lat": [1.0], "lon": [2.0], "lng": [2.0]}, "2 columns called lon"),
        ({"lat": [1.0, None], "lon": [2.0, 2.0]}, "row 2: lat None is not a number"),
        ({"lat": ["1", "x"], "lon": [2.0, 2.0]}, "row 2: lat 'x' is not a number"),
        ({"lat": [[1.0]], "lon": [2.0]}, "the column 'lat' of .* holds list"),
        ({"lat": [95.0], "lon": [100.0]}, "row 1: lat 95.0 is out of range"),
        ({"lat": [1.0, float("nan")], "lon": [2.0, 2.0]}, "row 2: .*finite"),
        ({"lat": [], "lon": []}, "holds no points"),
    ],
)
def test_a_bad_row_of_a_parquet_file_is_named_by_its_number(
    tmp_path: Path, columns: dict[str, list[object]], message: str
) -> None:
    with pytest.raises(PointsError, match=message):
        read_points(parquet(tmp_path, **columns))


def test_numbers_may_be_whole_or_text(tmp_path: Path) -> None:
    points = read_points(parquet(tmp_path, lat=["1", " 2.5 "], lon=[3, 4]))
    assert (points.lat.tolist(), points.lon.tolist()) == ([1.0, 2.5], [3.0, 4.0])
    assert points.lat.dtype == points.lon.dtype == np.float64


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lat,lon\n1,2\n3\n", "line 3 has 1 columns, the header 2"),
        ("lat,lon\n1,2\n3,4,5\n6,7,8\n", "line 3 has 3 columns"),
        ("lat,lon\n1,2\n1,2\n\xe9,2\n", "line 4: lat 'é' is not a number"),
        ('lat,lon\n"1,2\n', r"cannot read .*points\.csv"),
    ],
)
def test_a_bad_line_of_a_csv_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(PointsError, match=message):
        read_points(csv(tmp_path, text))


def test_lines_may_end_as_on_windows_and_begin_with_a_mark(tmp_path: Path) -> None:
    points = read_points(csv(tmp_path, "\ufefflat,lon\r\n1,2\r\n3,4\r\n"))
    assert (points.lat.tolist(), points.lon.tolist()) == ([1, 3], [2, 4])


def test_the_hash_of_a_file_of_points_is_that_of_its_bytes(tmp_path: Path) -> None:
    path = csv(tmp_path, "lat,lon\n1,2\n")
    assert hash_of_points(path) == hashlib.sha256(b"lat,lon\n1,2\n").hexdigest()
    with pytest.raises(PointsError, match="give a CSV, Parquet, GeoPackage"):
        hash_of_points(tmp_path / "none.csv")
