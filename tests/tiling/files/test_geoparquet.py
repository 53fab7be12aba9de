"""GeoParquet files by their specification (1.1), read back with pyarrow alone."""

import json
import struct
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tiling.files.geoparquet import PointsWriter, parquet_bytes, with_points, write_points

LAT, LON = np.array([43.7384, -90.0, 0.5]), np.array([7.4246, 180.0, -179.5])


def point(wkb: bytes) -> tuple[float, float]:
    """Read a point by the letter of the standard: byte order, type 1, x, y."""
    order, kind, x, y = struct.unpack("<BIdd", wkb)
    assert (order, kind) == (1, 1)
    return x, y


def test_points_stand_longitude_first_beside_their_rows(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "places.parquet"
    write_points(path, pa.table({"name": ["a", "b", "c"]}), LAT, LON, {"made": "by hand"})
    table = pq.read_table(path)
    assert table.column_names == ["name", "geometry"]
    assert [point(wkb) for wkb in table["geometry"].to_pylist()] == list(
        zip(LON.tolist(), LAT.tolist(), strict=True)
    )
    assert table.schema.metadata[b"made"] == b"by hand"
    assert pq.ParquetFile(path).metadata.row_group(0).column(0).compression == "ZSTD"
    assert [entry.name for entry in path.parent.iterdir()] == ["places.parquet"]


def test_the_metadata_is_that_of_the_specification() -> None:
    table = with_points(pa.table({"n": [1, 2, 3]}), LAT, LON, {})
    geo = json.loads(table.schema.metadata[b"geo"])
    assert geo == {
        "version": "1.1.0",
        "primary_column": "geometry",
        "columns": {
            "geometry": {
                "encoding": "WKB",
                "geometry_types": ["Point"],
                "bbox": [-179.5, -90.0, 180.0, 43.7384],
            }
        },
    }, "no crs means longitude and latitude"
    assert table.schema.field("geometry").type == pa.binary()


def test_a_place_that_is_nowhere_has_no_point_and_no_part_in_the_box() -> None:
    lat, lon = np.array([np.nan, 1.0, 2.0]), np.array([5.0, np.inf, 3.0])
    table = with_points(pa.table({"n": [1, 2, 3]}), lat, lon, {})
    nowhere, nowhere_too, somewhere = table["geometry"].to_pylist()
    assert (nowhere, nowhere_too) == (None, None)
    assert point(somewhere) == (3.0, 2.0)
    geo = json.loads(table.schema.metadata[b"geo"])
    assert geo["columns"]["geometry"]["bbox"] == [3.0, 2.0, 3.0, 2.0]


def test_without_places_there_is_no_box() -> None:
    none = np.zeros(0)
    table = with_points(pa.table({"n": pa.array([], pa.int64())}), none, none, {})
    assert table.num_rows == 0
    assert "bbox" not in json.loads(table.schema.metadata[b"geo"])["columns"]["geometry"]


def test_facts_of_the_caller_stand_beside_the_geometry_and_old_ones_go() -> None:
    table = pa.table({"n": [1, 2, 3]}).replace_schema_metadata({"old": "gone", "pandas": "{}"})
    metadata = with_points(table, LAT, LON, {"plan": "ff"}).schema.metadata
    assert set(metadata) == {b"geo", b"plan"}


@pytest.mark.parametrize("compression", ["zstd", "none"])
def test_the_same_table_gives_the_same_bytes(compression: str) -> None:
    def table(names: list[str]) -> bytes:
        return parquet_bytes(with_points(pa.table({"n": names}), LAT, LON, {}), compression)

    assert table(["a", "b", "c"]) == table(["a", "b", "c"]) != table(["a", "b", "d"])
    read = pq.ParquetFile(pa.BufferReader(table(["a", "b", "c"])))
    expected = {"zstd": "ZSTD", "none": "UNCOMPRESSED"}[compression]
    assert read.metadata.row_group(0).column(0).compression == expected
    assert read.read()["n"].to_pylist() == ["a", "b", "c"]


def test_a_file_that_is_written_in_blocks_is_the_same_but_for_its_box(tmp_path: Path) -> None:
    table = pa.table({"name": ["a", "b", "c"]})
    writer = PointsWriter(tmp_path / "places.parquet", {"made": "by hand"})
    for rows in (slice(0, 2), slice(2, 3)):
        part = table.slice(rows.start, rows.stop - rows.start)
        writer.write(part, LAT[rows], LON[rows])
    writer.close()
    found = pq.read_table(tmp_path / "places.parquet")
    expected = with_points(table, LAT, LON, {"made": "by hand"})
    assert found.equals(expected)
    geo = json.loads(expected.schema.metadata[b"geo"])
    del geo["columns"]["geometry"]["bbox"]
    assert json.loads(found.schema.metadata[b"geo"]) == geo
    assert found.schema.metadata[b"made"] == b"by hand"
