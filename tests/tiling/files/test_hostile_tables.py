"""Tables that no program should write: one line says what is wrong with them."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

from tiling.errors import PointsError
from tiling.files.points import read_points

POINT = shapely.Point(7.4, 43.7).wkb
DEEP = bytes.fromhex("010700000001000000") * 100_000 + POINT
NOT_UTF8 = pa.Array.from_buffers(
    pa.string(), 1, [None, pa.py_buffer(np.array([0, 1], np.int32)), pa.py_buffer(b"\xff")]
)


def refused(path: Path, columns: dict[str, Any], geo: bytes | None = None) -> str:
    table = pa.table(columns)
    if geo is not None:
        table = table.replace_schema_metadata({b"geo": geo})
    pq.write_table(table, path)
    with pytest.raises(PointsError) as error:
        read_points(path)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    "geo",
    [b"[]", b"7", b'"x"', b'{"columns": []}', b'{"columns": {"geometry": null}}', b"\xff", b"{",
     b'{"columns": {"geometry": {"crs": {"id": "EPSG"}}}}', b"[" * 100_000],
)  # fmt: skip
def test_what_a_file_says_of_its_geometries_may_be_anything(tmp_path: Path, geo: bytes) -> None:
    said = refused(tmp_path / "p.parquet", {"geometry": pa.array([POINT], pa.binary())}, geo)
    assert said.endswith("what it says of its geometries is no GeoParquet")


@pytest.mark.parametrize(
    ("lat", "said"),
    [
        (pa.array([0], pa.timestamp("s", "Mars/Base")), "cannot read the column 'lat' of"),
        (pa.array([2**62], pa.timestamp("us")), "cannot read the column 'lat' of"),
        (pa.array([[1.0]]), "must hold numbers or text"),
        (pa.array([b"1"], pa.binary()), "must hold numbers or text"),
        (NOT_UTF8, "UTF8"),
        (pa.array(["9" * 5000]), "row 1: lat inf"),
        (pa.array(["x" * 9000]), "is not a number"),
    ],
)
def test_places_of_any_kind_are_refused(tmp_path: Path, lat: pa.Array, said: str) -> None:
    message = refused(tmp_path / "p.parquet", {"lat": lat, "lon": [7.4]})
    assert said in message
    assert len(message) < 500


@pytest.mark.parametrize(
    ("wkb", "said"),
    [
        (DEEP, "row 1: its collections lie too deep within one another"),
        (shapely.Point(7, np.nan).wkb, "row 1 has a coordinate that is not finite"),
        (shapely.MultiPoint([(7, 43), (np.inf, 1)]).wkb, "coordinate that is not finite"),
        (shapely.Polygon([(0, 0), (1e308, 0), (1e308, 1e308)]).wkb, "row 1"),
        (b"\x01\x03\x00\x00\x00\xff\xff\xff\x7f", "cannot read the geometries"),
        (b"", "cannot read the geometries"),
    ],
)  # fmt: skip
def test_geometries_of_any_kind_are_refused(tmp_path: Path, wkb: bytes, said: str) -> None:
    assert said in refused(tmp_path / "p.parquet", {"geometry": pa.array([wkb], pa.binary())})


@pytest.mark.parametrize("cell", [4.5, None, True, "", "8a3969a41d37fff0"])
def test_cells_of_any_kind_are_refused(tmp_path: Path, cell: object) -> None:
    assert "is no H3 cell" in refused(tmp_path / "p.parquet", {"h3": [cell]})


def test_names_of_columns_stay_on_one_line_and_short(tmp_path: Path) -> None:
    message = refused(tmp_path / "p.parquet", {"a\nb": [1], "n" * 3000: [2]})
    assert "it has 'a\\nb', 'nnn" in message
    assert len(message) < 500


def test_decimal_numbers_are_places(tmp_path: Path) -> None:
    decimals = pa.array([43.7]).cast(pa.decimal128(9, 4))
    pq.write_table(pa.table({"lat": decimals, "lon": [7.4]}), tmp_path / "p.parquet")
    assert read_points(tmp_path / "p.parquet").lat.tolist() == [43.7]
