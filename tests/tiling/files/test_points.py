"""Reading a user's points."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tiling.errors import PlaceError, PointsError
from tiling.files.points import read_points
from tiling.values import check_place


def csv(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "points.csv"
    path.write_text(text)
    return path


def test_csv_and_parquet_keep_order_and_other_columns(tmp_path: Path) -> None:
    points = read_points(csv(tmp_path, "name,Latitude,lng\nb,43.7,7.4\na,-10,-180\n"))
    assert points.lat.tolist() == [43.7, -10]
    assert points.lon.tolist() == [7.4, -180]
    assert points.table["name"].to_pylist() == ["b", "a"]
    pq.write_table(pa.table({"lat": [1.5], "lon": [2]}), tmp_path / "points.parquet")
    assert read_points(tmp_path / "points.parquet").lon.tolist() == [2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot read"),
        ("lat,lon\n", "holds no points"),
        ("x,z\n1,2\n", "0 columns called lat or latitude, and no geometry: it has 'x', 'z'"),
        ("lat,latitude,lon\n1,1,2\n", "2 columns called"),
        ("lat,lon\n1,2\n1,2,3\n", "line 3 has 3 columns, the header 2"),
        ("lat,lon\n1,2\nhere,2\n", "line 3: lat 'here' is not a number"),
        ("lat,lon\n1,2\n,2\n", "line 3: lat .* is not a number"),
        ("lat,lon\n1,2\n1,nan\n", "line 3: lon .* is not a number"),
        ("lat,lon\n1,2\n3,4\n139.7,35.6\n", "line 4: .*swapped"),
        ("lat,lon\n1,2\n1,inf\n", "line 3: .*finite"),
        ("lat,lon\n1,200\n", "line 2: lon 200.0 is out of range"),
    ],
)
def test_a_bad_row_is_named_by_its_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(PointsError, match=message):
        read_points(csv(tmp_path, text))


def test_a_file_that_is_not_there_or_not_parquet(tmp_path: Path) -> None:
    with pytest.raises(PointsError, match="is not a file"):
        read_points(tmp_path / "none.csv")
    (tmp_path / "fake.parquet").write_bytes(b"PAR1 and nothing else PAR1")
    with pytest.raises(PointsError, match=r"cannot read .*fake\.parquet"):
        read_points(tmp_path / "fake.parquet")


@pytest.mark.parametrize(
    ("lat", "lon"), [(float("nan"), 0), (0, float("inf")), (91, 170), (-90.1, 0), (0, 180.5)]
)
def test_places_out_of_range_are_refused(lat: float, lon: float) -> None:
    with pytest.raises(PlaceError):
        check_place(lat, lon)


def test_the_edges_of_the_range_are_places() -> None:
    for lat, lon in ((90, 180), (-90, -180), (0.0, -0.0)):
        assert check_place(lat, lon) == (lon, lat)
