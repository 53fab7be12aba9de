"""Vectors in files and occlusion: round trips of many shapes, and reasons by brute force."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from loc2vec.embed.batch import Places, places_of_file
from loc2vec.embed.files import Vectors, join_vectors, read_vectors, write_vectors
from loc2vec.embed.foreign import read_foreign
from loc2vec.embed.occlusion import dependence, why, without_each
from loc2vec.errors import VectorsError

few = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def vectors(count: int, dim: int, missing: float = 0.0, seed: int = 0) -> Vectors:
    rng = np.random.default_rng(seed)
    embedding = rng.normal(size=(count, dim)).astype(np.float32)
    embedding[rng.random(count) < missing] = np.nan
    lat, lon = rng.uniform(-90, 90, count), rng.uniform(-180, 180, count)
    return Vectors(lat, lon, embedding, None, "m@1", "f" * 16, "s")


@few
@given(st.integers(0, 30), st.integers(1, 40), st.sampled_from([0.0, 0.3, 1.0]))
def test_vectors_of_any_shape_are_read_as_written(
    tmp_path: Path, count: int, dim: int, missing: float
) -> None:
    known = vectors(count, dim, missing)
    write_vectors(tmp_path / "v.parquet", known)
    back = read_vectors(tmp_path / "v.parquet")
    np.testing.assert_array_equal(back.embedding, known.embedding)
    np.testing.assert_array_equal(back.lat, known.lat)
    np.testing.assert_array_equal(back.lon, known.lon)
    np.testing.assert_array_equal(back.inside, known.inside)
    assert (len(back), back.store) == (count, "s")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_row_with_one_number_that_is_not_finite_has_no_vector(
    tmp_path: Path, value: float
) -> None:
    known = vectors(3, 4)
    known.embedding[1, 2] = value
    assert known.inside.tolist() == [True, False, True]
    write_vectors(tmp_path / "v.parquet", known)
    back = read_vectors(tmp_path / "v.parquet")
    assert np.isnan(back.embedding[1]).all()
    assert np.array_equal(back.embedding[[0, 2]], known.embedding[[0, 2]])


COLUMNS = {
    "名前": ["東京", "Ö", None],
    "when": pa.array([0, None, 10**15], pa.timestamp("us")),
    "tags": [["a", "b"], [], None],
    "yes": [True, False, None],
    "share": [0.5, None, float("inf")],
}


def test_columns_of_every_kind_are_kept(tmp_path: Path) -> None:
    table = pa.table(COLUMNS)
    write_vectors(tmp_path / "v.parquet", replace(vectors(3, 2), table=table))
    back = read_vectors(tmp_path / "v.parquet").table
    assert back is not None
    assert back.to_pydict() == table.to_pydict()
    assert back.schema.names == list(COLUMNS)
    assert back.schema.types == table.schema.types


def test_the_same_vectors_are_the_same_file(tmp_path: Path) -> None:
    for name in ("a.parquet", "b.parquet"):
        write_vectors(tmp_path / name, vectors(9, 3, 0.3))
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.parquet", "b.parquet"]


def test_a_file_that_is_replaced_holds_the_new_vectors(tmp_path: Path) -> None:
    path = tmp_path / "v.parquet"
    write_vectors(path, vectors(9, 3))
    write_vectors(path, vectors(2, 5))
    assert read_vectors(path).embedding.shape == (2, 5)


@pytest.mark.parametrize("fact", ["model", "fingerprint"])
def test_vectors_of_which_a_fact_is_lacking_are_refused(tmp_path: Path, fact: str) -> None:
    path = tmp_path / "v.parquet"
    write_vectors(path, vectors(2, 2))
    table = pq.read_table(path)
    facts = {k: v for k, v in table.schema.metadata.items() if k != fact.encode()}
    pq.write_table(table.replace_schema_metadata(facts), path)
    with pytest.raises(
        VectorsError, match="does not say which model made its vectors: give that --model"
    ):
        read_vectors(path)


@pytest.mark.parametrize("column", ["lat", "lon", "embedding"])
def test_vectors_of_which_a_column_is_lacking_are_refused(tmp_path: Path, column: str) -> None:
    path = tmp_path / "v.parquet"
    write_vectors(path, vectors(2, 2))
    pq.write_table(pq.read_table(path).drop_columns([column]), path)
    with pytest.raises(VectorsError, match=rf"\(no {column}"):
        read_vectors(path)


def test_vectors_of_a_store_that_is_not_known(tmp_path: Path) -> None:
    path = tmp_path / "v.parquet"
    write_vectors(path, vectors(2, 2))
    table = pq.read_table(path)
    facts = {key: value for key, value in table.schema.metadata.items() if key != b"store"}
    pq.write_table(table.replace_schema_metadata(facts), path)
    assert read_vectors(path).store == ""


def test_our_own_files_can_be_read_as_those_of_others(tmp_path: Path) -> None:
    known = vectors(12, 3, 0.4)
    write_vectors(tmp_path / "v.parquet", known)
    found = read_foreign(tmp_path / "v.parquet")
    np.testing.assert_array_equal(found.embedding, known.embedding[known.inside])
    np.testing.assert_array_equal(found.lat, known.lat[known.inside])
    assert (found.model, found.fingerprint) == ("m@1", "f" * 16)


def test_joining_is_associative_and_nothing_adds_nothing() -> None:
    one, two, three = (vectors(n, 2, seed=n) for n in (3, 1, 4))
    left = join_vectors(join_vectors(one, two), three)
    right = join_vectors(one, join_vectors(two, three))
    np.testing.assert_array_equal(left.embedding, right.embedding)
    np.testing.assert_array_equal(left.lon, right.lon)
    same = join_vectors(one, vectors(0, 2))
    np.testing.assert_array_equal(same.embedding, one.embedding)


def test_places_of_a_file_keep_their_order(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("Latitude,name,lng\n1.5,Ö,-2\n-3,b,4.25\n1.5,Ö,-2\n")
    places = places_of_file(tmp_path / "p.csv")
    assert places.lon_lat.tolist() == [[-2, 1.5], [4.25, -3], [-2, 1.5]]
    assert len(places) == 3
    assert places.table is not None
    assert places.table["name"].to_pylist() == ["Ö", "b", "Ö"]
    assert Places(np.zeros((2, 2))).table is None


def mixed(tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Vectors in which channels interact."""
    cover = tiles.mean((2, 3), dtype=np.float32) / 255
    weights = np.random.default_rng(7).normal(size=(cover.shape[1], 5)).astype(np.float32)
    return np.asarray(np.tanh(cover @ weights), np.float32)


def some_tile(seed: int) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    tile = rng.integers(0, 256, (12, 6, 6)).astype(np.uint8)
    tile[rng.random(12) < 0.4] = 0
    return tile


@pytest.mark.parametrize("seed", range(6))
def test_reasons_are_those_of_emptying_each_channel_by_hand(seed: int) -> None:
    a, b = some_tile(seed), some_tile(seed + 100)
    found = why(mixed, a, b)
    moved = dependence(mixed, a)
    for channel in range(12):
        less = [tile.copy() for tile in (a, b)]
        for tile in less:
            tile[channel] = 0
        first, second = mixed(np.stack(less)).astype(np.float64)
        assert found.without[channel] == pytest.approx(np.linalg.norm(first - second), abs=1e-6)
        own, without = mixed(np.stack([a, less[0]])).astype(np.float64)
        assert moved[channel] == pytest.approx(np.linalg.norm(own - without), abs=1e-6)
    np.testing.assert_allclose(found.effect, found.distance - found.without)


def test_empty_channels_are_not_encoded() -> None:
    asked: list[int] = []

    def counting(tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        asked.append(len(tiles))
        return mixed(tiles)

    tile = np.zeros((12, 6, 6), np.uint8)
    tile[4] = 9
    other = np.zeros_like(tile)
    other[8] = 9
    dependence(counting, tile)
    why(counting, tile, other)
    assert asked == [2, 6], "the tiles, and both without each of the two channels"


def test_copies_without_a_channel_leave_the_tile_as_it_is() -> None:
    tile = some_tile(0)
    before = tile.copy()
    copies = without_each(tile, np.arange(12) % 5 == 0)
    assert copies.shape == (3, 12, 6, 6)
    for copy, channel in zip(copies, (0, 5, 10), strict=True):
        assert not copy[channel].any()
        assert np.array_equal(np.delete(copy, channel, 0), np.delete(tile, channel, 0))
    assert np.array_equal(tile, before)
    assert without_each(tile, np.zeros(12, bool)).shape == (0, 12, 6, 6)
