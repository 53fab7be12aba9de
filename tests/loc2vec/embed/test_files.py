import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

from loc2vec.embed.files import Vectors, read_vectors, write_vectors
from loc2vec.errors import VectorsError


@pytest.fixture
def vectors() -> Vectors:
    embedding = np.arange(12, dtype=np.float32).reshape(4, 3)
    embedding[1] = np.nan
    return Vectors(
        lat=np.array([43.7, 0.0, -16.5, 60.1]),
        lon=np.array([7.4, 0.0, 179.99, 24.9]),
        embedding=embedding,
        table=pa.table({"name": ["a", None, "c", "d"], "beds": [1, 2, 3, 4]}),
        model="small@0123456789ab",
        fingerprint="0123456789abcdef",
    )


def test_what_is_written_is_read(tmp_path: Path, vectors: Vectors) -> None:
    write_vectors(tmp_path / "v.parquet", vectors)
    back = read_vectors(tmp_path / "v.parquet")
    np.testing.assert_array_equal(back.lat, vectors.lat)
    np.testing.assert_array_equal(back.lon, vectors.lon)
    np.testing.assert_array_equal(back.embedding, vectors.embedding)
    assert back.embedding.dtype == np.float32
    assert back.table is not None
    assert back.table.equals(vectors.table)
    assert (back.model, back.fingerprint) == (vectors.model, vectors.fingerprint)
    assert back.inside.tolist() == [True, False, True, True]


@pytest.mark.parametrize("rows", [slice(0, 0), slice(1, 2), slice(0, 1)])
def test_few_rows_and_rows_outside(tmp_path: Path, vectors: Vectors, rows: slice) -> None:
    some = Vectors(
        vectors.lat[rows],
        vectors.lon[rows],
        vectors.embedding[rows],
        None,
        vectors.model,
        vectors.fingerprint,
    )
    write_vectors(tmp_path / "v.parquet", some)
    back = read_vectors(tmp_path / "v.parquet")
    np.testing.assert_array_equal(back.embedding, some.embedding)
    assert back.table is None


def test_many_row_groups(tmp_path: Path, vectors: Vectors) -> None:
    write_vectors(tmp_path / "v.parquet", vectors)
    table = pq.read_table(tmp_path / "v.parquet")
    pq.write_table(table, tmp_path / "groups.parquet", row_group_size=1)
    np.testing.assert_array_equal(
        read_vectors(tmp_path / "groups.parquet").embedding, vectors.embedding
    )


def test_pyarrow_reads_the_columns(tmp_path: Path, vectors: Vectors) -> None:
    write_vectors(tmp_path / "v.parquet", vectors)
    table = pq.read_table(tmp_path / "v.parquet")
    assert table.column_names == ["lat", "lon", "name", "beds", "embedding", "geometry"]
    assert table.schema.field("embedding").type == pa.list_(pa.float32(), 3)
    assert table["embedding"].to_pylist() == [[0, 1, 2], None, [6, 7, 8], [9, 10, 11]]
    points = shapely.from_wkb(table["geometry"].to_pylist())
    np.testing.assert_array_equal(
        shapely.get_coordinates(points), np.stack([vectors.lon, vectors.lat], 1)
    )


def test_metadata_is_geoparquet_with_attribution(tmp_path: Path, vectors: Vectors) -> None:
    write_vectors(tmp_path / "v.parquet", vectors)
    metadata = pq.read_schema(tmp_path / "v.parquet").metadata
    geo = json.loads(metadata[b"geo"])
    assert geo["version"].startswith("1.1")
    assert geo["primary_column"] == "geometry"
    assert geo["columns"]["geometry"]["encoding"] == "WKB"
    assert geo["columns"]["geometry"]["geometry_types"] == ["Point"]
    assert metadata[b"model"] == b"small@0123456789ab"
    assert metadata[b"attribution"] == b"(c) OpenStreetMap contributors, ODbL"


def test_columns_of_ours_in_the_users_table_are_replaced(tmp_path: Path, vectors: Vectors) -> None:
    ours = pa.table(
        {"embedding": [0] * 4, "geometry": [b""] * 4, "lat": [9.0] * 4, "name": list("wxyz")}
    )
    write_vectors(
        tmp_path / "v.parquet",
        Vectors(
            vectors.lat, vectors.lon, vectors.embedding, ours, vectors.model, vectors.fingerprint
        ),
    )
    back = read_vectors(tmp_path / "v.parquet")
    assert back.table is not None
    assert back.table.column_names == ["name"]
    np.testing.assert_array_equal(back.lat, vectors.lat)


def test_lengths_must_agree(vectors: Vectors) -> None:
    with pytest.raises(ValueError, match="lengths differ"):
        Vectors(vectors.lat[:3], vectors.lon, vectors.embedding, None, "m", "f")
    with pytest.raises(ValueError, match="lengths differ"):
        Vectors(vectors.lat, vectors.lon, vectors.embedding, pa.table({"a": [1]}), "m", "f")


def test_files_of_others_are_refused(tmp_path: Path, vectors: Vectors) -> None:
    foreign = tmp_path / "foreign.parquet"
    pq.write_table(pa.table({"lat": [1.0], "lon": [2.0]}), foreign)
    with pytest.raises(VectorsError, match="no embedding, geometry, model, fingerprint"):
        read_vectors(foreign)
    write_vectors(tmp_path / "v.parquet", vectors)
    table = pq.read_table(tmp_path / "v.parquet")
    lists = table["embedding"].cast(pa.list_(pa.float32()))
    pq.write_table(table.set_column(4, "embedding", lists), foreign)
    with pytest.raises(VectorsError, match="no fixed-size embedding"):
        read_vectors(foreign)


def test_what_is_no_parquet_is_refused(tmp_path: Path, vectors: Vectors) -> None:
    with pytest.raises(VectorsError, match="is not a file"):
        read_vectors(tmp_path / "none.parquet")
    write_vectors(tmp_path / "v.parquet", vectors)
    whole = (tmp_path / "v.parquet").read_bytes()
    (tmp_path / "cut.parquet").write_bytes(whole[:-20])
    with pytest.raises(VectorsError, match="no Parquet file, or is damaged"):
        read_vectors(tmp_path / "cut.parquet")
    (tmp_path / "text.parquet").write_text("lat,lon\n1,2\n")
    with pytest.raises(VectorsError, match="no Parquet file, or is damaged"):
        read_vectors(tmp_path / "text.parquet")
