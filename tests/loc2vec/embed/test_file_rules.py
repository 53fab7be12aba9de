"""Vectors of two files together, and vectors that others have made."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

from loc2vec.embed.files import Vectors, join_vectors, read_vectors, write_vectors
from loc2vec.embed.foreign import read_foreign
from loc2vec.errors import VectorsError
from tiling.errors import PointsError


def vectors(count: int, table: pa.Table | None = None, first: float = 0.0) -> Vectors:
    numbers = np.arange(count, dtype=np.float64) + first
    embedding = np.stack([numbers, -numbers], axis=1).astype(np.float32)
    return Vectors(numbers / 10, numbers / 5, embedding, table, "small@1", "f" * 16, "store")


def test_joined_vectors_are_the_rows_of_both() -> None:
    joined = join_vectors(vectors(3), vectors(2, first=7))
    assert joined.embedding[:, 0].tolist() == [0, 1, 2, 7, 8]
    assert joined.lat.tolist() == pytest.approx([0, 0.1, 0.2, 0.7, 0.8])
    assert joined.lon.tolist() == pytest.approx([0, 0.2, 0.4, 1.4, 1.6])
    assert joined.table is None
    assert (joined.model, joined.fingerprint, joined.store) == ("small@1", "f" * 16, "store")


def test_vectors_of_two_stores_are_of_none() -> None:
    assert join_vectors(vectors(1), replace(vectors(1), store="other")).store == ""


@pytest.mark.parametrize("change", [{"model": "other@2"}, {"fingerprint": "e" * 16}])
def test_vectors_of_two_models_do_not_go_together(change: dict[str, str]) -> None:
    other = replace(vectors(1), **change)  # type: ignore[arg-type]
    with pytest.raises(VectorsError, match=r"vectors of small@1 and of .* do not go together"):
        join_vectors(vectors(1), other)


NAMES, BEDS = pa.table({"name": ["a", "b"]}), pa.table({"beds": [1, 2], "name": ["c", None]})


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (NAMES, None, {"name": ["a", "b", None, None]}),
        (None, BEDS, {"beds": [None, None, 1, 2], "name": [None, None, "c", None]}),
        (NAMES, BEDS, {"name": ["a", "b", "c", None], "beds": [None, None, 1, 2]}),
        (NAMES, NAMES, {"name": ["a", "b", "a", "b"]}),
        (
            pa.table({"n": [1, 2]}),
            pa.table({"n": [0.5, 1.5]}),
            {"n": [1.0, 2.0, 0.5, 1.5]},
        ),
    ],
)
def test_a_column_that_one_lacks_is_null_there(
    first: pa.Table | None, second: pa.Table | None, expected: dict[str, list[object]]
) -> None:
    joined = join_vectors(vectors(2, first), vectors(2, second))
    assert joined.table is not None
    assert joined.table.to_pydict() == expected


def test_columns_of_different_kinds_do_not_go_together() -> None:
    texts, numbers = pa.table({"x": ["a", "b"]}), pa.table({"x": [[1], [2]]})
    with pytest.raises(VectorsError, match="the columns do not go together"):
        join_vectors(vectors(2, texts), vectors(2, numbers))


def test_joined_vectors_are_written_and_read(tmp_path: Path) -> None:
    joined = join_vectors(vectors(2, NAMES), vectors(2))
    write_vectors(tmp_path / "v.parquet", joined)
    back = read_vectors(tmp_path / "v.parquet")
    assert np.array_equal(back.embedding, joined.embedding)
    assert back.table is not None
    assert back.table.to_pydict() == {"name": ["a", "b", None, None]}
    assert back.store == "store"


def foreign(tmp_path: Path, metadata: dict[Any, Any] | None = None, **columns: object) -> Vectors:
    table = pa.table(columns).replace_schema_metadata(metadata)
    pq.write_table(table, tmp_path / "theirs.parquet")
    return read_foreign(tmp_path / "theirs.parquet")


LISTS = [
    pa.array([[1.0, 2.0], [3.0, 4.0]], pa.list_(pa.float64())),
    pa.array([[1, 2], [3, 4]], pa.list_(pa.int32())),
    pa.array([[1, 2], [3, 4]], pa.large_list(pa.float32())),
    pa.array([[1, 2], [3, 4]], pa.list_(pa.float32(), 2)),
    pa.array([[1, 2], [3, 4]], pa.list_(pa.uint8())),
]


@pytest.mark.parametrize("lists", LISTS, ids=lambda lists: str(lists.type))
def test_lists_of_numbers_of_any_kind_are_vectors(tmp_path: Path, lists: pa.Array) -> None:
    found = foreign(tmp_path, lat=[43.0, 44.0], lon=[7, 8], embedding=lists)
    assert found.embedding.tolist() == [[1, 2], [3, 4]]
    assert found.embedding.dtype == np.float32
    assert (found.lat.tolist(), found.lon.tolist()) == ([43, 44], [7, 8])
    assert (found.model, found.fingerprint, found.table) == ("theirs.parquet", "", None)


def test_rows_without_a_vector_are_left_out(tmp_path: Path) -> None:
    found = foreign(
        tmp_path,
        {"model": "theirs@9", "fingerprint": "abc"},
        lat=[1.0, 2.0, 3.0],
        lon=[4.0, 5.0, 6.0],
        embedding=[None, [1.0], None],
    )
    assert (found.lat.tolist(), found.lon.tolist()) == ([2], [5])
    assert (found.model, found.fingerprint) == ("theirs@9", "abc")


def test_what_a_file_says_of_its_model_may_be_no_text(tmp_path: Path) -> None:
    said = {b"model": b"\xff", b"fingerprint": b"\xfe"}
    found = foreign(tmp_path, said, lat=[1.0], lon=[4.0], embedding=[[1.0]])
    assert found.model == found.fingerprint == "\ufffd"


def test_places_may_be_geometries(tmp_path: Path) -> None:
    shapes = [shapely.Point(7, 43), shapely.box(0, 0, 2, 4)]
    wkb = [shapely.to_wkb(shape) for shape in shapes]
    found = foreign(tmp_path, geometry=wkb, embedding=[[1.0], [2.0]])
    assert (found.lat.tolist(), found.lon.tolist()) == ([43, 2], [7, 1])


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"embedding": [[1.0]]}, "has 0 columns called lat or latitude, and no geometry"),
        ({"lat": [1.0], "embedding": [[1.0]]}, "has 0 columns called lon"),
        ({"lat": ["x"], "lon": ["y"], "embedding": [[1.0]]}, "row 1: lat 'x' is not a number"),
        ({"geometry": [b"no wkb"], "embedding": [[1.0]]}, "cannot read the geometries"),
        (
            {"lat": [1.0], "lon": [2.0]},
            "has no column 'embedding' of lists .*: it has 'lat', 'lon'",
        ),
        ({"lat": [1.0], "lon": [2.0], "embedding": [1.0]}, "has no column 'embedding' of lists"),
        ({"lat": [1.0], "lon": [2.0], "embedding": [[1e308]]}, "row 1: its vector is not finite"),
        ({"lat": [1.0], "lon": [2.0], "embedding": [["a"]]}, "has no column 'embedding' of lists"),
        (
            {"lat": [1.0], "lon": [2.0], "embedding": pa.array([None], pa.list_(pa.float32()))},
            "holds no vector: every 'embedding' is empty",
        ),
        (
            {"lat": [1.0] * 3, "lon": [2.0] * 3, "embedding": [None, [1.0, 2.0], [1.0]]},
            "row 3: 1 numbers, row 2 has 2: vectors must be of one length",
        ),
        (
            {"lat": [1.0], "lon": [2.0], "embedding": pa.array([[]], pa.list_(pa.float32()))},
            "row 1: 0 numbers",
        ),
        (
            {"lat": [1.0] * 3, "lon": [2.0] * 3, "embedding": [None, [1.0], [float("nan")]]},
            "row 3: its vector is not finite",
        ),
        (
            {"lat": [1.0, float("inf")], "lon": [2.0, 2.0], "embedding": [[1.0], [1.0]]},
            "row 2: lat inf, lon 2.0: both must be finite",
        ),
    ],
)
def test_what_is_wrong_with_vectors_of_others_is_named(
    tmp_path: Path, columns: dict[str, object], message: str
) -> None:
    with pytest.raises((VectorsError, PointsError), match=message):
        foreign(tmp_path, **columns)  # type: ignore[arg-type]
