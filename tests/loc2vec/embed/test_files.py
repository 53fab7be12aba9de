import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

from loc2vec.embed.files import Vectors, read_vectors, write_vectors
from loc2vec.errors import VectorsError
from tiling.errors import UserError
from tiling.files.points import read_points


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


@pytest.mark.parametrize("name", ["embedding", "geometry", "lat", "lon"])
def test_a_column_of_the_user_is_not_replaced(tmp_path: Path, vectors: Vectors, name: str) -> None:
    theirs = replace(vectors, table=pa.table({name: [0] * 4}))
    with pytest.raises(VectorsError, match=f"column '{name}' of your file would be replaced"):
        write_vectors(tmp_path / "v.parquet", theirs)
    assert not (tmp_path / "v.parquet").exists()


def test_lengths_must_agree(vectors: Vectors) -> None:
    with pytest.raises(ValueError, match="lengths differ"):
        Vectors(vectors.lat[:3], vectors.lon, vectors.embedding, None, "m", "f")
    with pytest.raises(ValueError, match="lengths differ"):
        Vectors(vectors.lat, vectors.lon, vectors.embedding, pa.table({"a": [1]}), "m", "f")


def test_files_of_others_are_refused(tmp_path: Path, vectors: Vectors) -> None:
    foreign = tmp_path / "foreign.parquet"
    pq.write_table(pa.table({"lat": [1.0], "lon": [2.0]}), foreign)
    with pytest.raises(VectorsError, match=r"is no file of vectors \(no embedding\)"):
        read_vectors(foreign)
    pq.write_table(pa.table({"lat": [1.0], "lon": [2.0], "embedding": ["a"]}), foreign)
    with pytest.raises(VectorsError, match="no lists in embedding"):
        read_vectors(foreign)


LISTS = [pa.list_(pa.float32()), pa.large_list(pa.float64()), pa.list_(pa.float32(), 3)]


@pytest.mark.parametrize("lists", LISTS, ids=str)
def test_a_copy_that_another_program_wrote_is_read(
    tmp_path: Path, vectors: Vectors, lists: pa.DataType
) -> None:
    write_vectors(tmp_path / "v.parquet", vectors)
    table = pq.read_table(tmp_path / "v.parquet").replace_schema_metadata(None)
    column = table.column_names.index("embedding")
    table = table.set_column(column, "embedding", table["embedding"].cast(lists))
    pq.write_table(table.drop_columns(["geometry"]), tmp_path / "copy.parquet")
    with pytest.raises(VectorsError, match="does not say which model made its vectors: give that"):
        read_vectors(tmp_path / "copy.parquet")
    back = read_vectors(tmp_path / "copy.parquet", ("m@1", "f"))
    np.testing.assert_array_equal(back.embedding, vectors.embedding)
    assert (back.model, back.fingerprint) == ("m@1", "f")
    assert back.table is not None
    assert back.table.column_names == ["name", "beds"]


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"lat": [1.0, None]}, "row 2: its place, nan, is none on Earth"),
        ({"lon": [1.0, 999.0]}, "row 2: its place, 999.0, is none on Earth"),
        ({"lat": ["a", "b"]}, "its coordinates cannot be read"),
        ({"embedding": [[1.0], [1.0, 2.0]]}, r"its vectors have \[1, 2\] numbers"),
        ({"embedding": [[1.0], [float("nan")]]}, "row 2: its vector is not finite"),
        ({"embedding": [[1.0], [None]]}, "row 2: its vector is not finite"),
    ],
)
def test_rows_that_no_index_could_take_are_named(
    tmp_path: Path, columns: dict[str, object], said: str
) -> None:
    whole = {"lat": [1.0, 2.0], "lon": [1.0, 2.0], "embedding": [[1.0], [2.0]]}
    pq.write_table(pa.table(whole | columns), tmp_path / "v.parquet")
    with pytest.raises(VectorsError, match=said):
        read_vectors(tmp_path / "v.parquet", ("m@1", "f"))


@pytest.mark.parametrize("ending", [".csv", ".gpkg", ".geojson", ".PARQUET"])
def test_the_ending_decides_what_is_written(tmp_path: Path, vectors: Vectors, ending: str) -> None:
    path = tmp_path / f"v{ending}"
    write_vectors(path, vectors)
    points = read_points(path)
    np.testing.assert_allclose(points.lat, vectors.lat)
    np.testing.assert_allclose(points.lon, vectors.lon)
    assert points.table["name"].to_pylist() == ["a", None, "c", "d"]
    if ending == ".PARQUET":
        np.testing.assert_array_equal(read_vectors(path).embedding, vectors.embedding)
    else:
        columns = [points.table[f"embedding_{number}"].to_pylist() for number in (1, 2, 3)]
        assert columns[0] == [0, None, 6, 9]
        np.testing.assert_allclose([column[2] for column in columns], vectors.embedding[2])


@pytest.mark.parametrize("name", ["v", "v.txt", "v.xlsx", "v.parquet.gz"])
def test_another_ending_is_refused(tmp_path: Path, vectors: Vectors, name: str) -> None:
    with pytest.raises(UserError, match=r"its name must end in \.parquet, \.csv, \.gpkg"):
        write_vectors(tmp_path / name, vectors)
    assert not list(tmp_path.iterdir())


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
