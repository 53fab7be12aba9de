import numpy as np
import pytest
from numpy.typing import NDArray

from loc2vec.evaluation.baselines import channel_means
from loc2vec.evaluation.retrieval import (
    effective_rank,
    encode_slots,
    ranks_of_own,
    retrieval,
    thinned,
)
from tests.loc2vec.memory import MemoryDataset


def test_an_encoder_that_ignores_pose_finds_every_place(make_dataset: type[MemoryDataset]) -> None:
    result = retrieval(channel_means, make_dataset(n_places=30))
    assert (result["recall@1"], result["recall@10"], result["mrr"]) == (1, 1, 1)
    assert result["gallery"] == result["queries"] == 30


def test_a_constant_encoder_finds_nothing(make_dataset: type[MemoryDataset]) -> None:
    result = retrieval(
        lambda tiles: np.ones((len(tiles), 4), np.float32), make_dataset(n_places=30)
    )
    assert result["recall@1"] == result["recall@10"] == 0
    assert result["mrr"] == pytest.approx(1 / 30)
    assert result["effective_rank"] == 0


def test_ranks_equal_a_naive_count() -> None:
    rng = np.random.default_rng(0)
    gallery = rng.normal(size=(40, 3)).astype(np.float32)
    queries = gallery[:30] + rng.normal(size=(30, 3)).astype(np.float32)
    naive = []
    for i, query in enumerate(queries):
        distances = np.linalg.norm(gallery - query, axis=1)
        naive.append(1 + sum(d < distances[i] for d in distances))
    assert ranks_of_own(queries, gallery).tolist() == naive


def test_ranks_do_not_depend_on_the_chunks() -> None:
    rng = np.random.default_rng(0)
    gallery = rng.normal(size=(1100, 3)).astype(np.float32)
    queries = gallery + 0.3 * rng.normal(size=(1100, 3)).astype(np.float32)
    last = ranks_of_own(np.roll(queries, 100, 0), np.roll(gallery, 100, 0))
    assert np.array_equal(np.roll(last, -100), ranks_of_own(queries, gallery))


def test_vectors_that_are_not_finite_find_nothing() -> None:
    gallery = np.eye(5, dtype=np.float32)
    assert ranks_of_own(np.full_like(gallery, np.nan), gallery).tolist() == [5] * 5


def test_distractors_make_it_harder(make_dataset: type[MemoryDataset]) -> None:
    data = make_dataset(n_places=10)
    again = make_dataset(n_places=10, south=5.0)  # the same tiles elsewhere
    result = retrieval(channel_means, data, distractors=[again])
    assert (result["gallery"], result["queries"], result["recall@1"]) == (20, 10, 0)
    other = retrieval(
        channel_means, data, distractors=[make_dataset(n_places=10, seed=1, south=5.0)]
    )
    assert (other["gallery"], other["recall@1"]) == (20, 1)


def test_no_two_of_a_gallery_are_near_and_it_has_the_size_asked_for(
    make_dataset: type[MemoryDataset],
) -> None:
    data = make_dataset(n_places=10, spacing_m=100)
    drawn: list[float] = []

    class Watched(MemoryDataset):
        def tile(self, place: int, slot: int) -> NDArray[np.uint8]:
            if slot == 0:
                drawn.append(self.lat[place])
            return super().tile(place, slot)

    others = [Watched(n_places=20, spacing_m=100, south=south) for south in (0.0, 0.02, 5.0)]
    found = retrieval(channel_means, data, distractors=others)
    own = int(retrieval(channel_means, data)["gallery"])
    assert found["queries"] == own
    assert found["gallery"] == own + len(drawn)
    assert np.diff(sorted(drawn)).min() * 111_195 >= 250
    assert 9 <= len(drawn) <= 21  # the first lies where the queries are, but for its end
    drawn.clear()
    assert retrieval(channel_means, data, distractors=others, gallery=own + 4)["gallery"] == own + 4
    assert len(drawn) == 4


def test_channels_of_the_queries_are_switched_off(make_dataset: type[MemoryDataset]) -> None:
    data = make_dataset(n_places=20)
    empty: list[NDArray[np.int64]] = []

    def watch(tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        empty.append((~tiles.any((2, 3))).sum(1))
        return channel_means(tiles)

    found = retrieval(watch, data, channels_off=3)
    anchors, queries, switched_off = empty
    assert not anchors.any()
    assert not queries.any()
    assert (switched_off == 3).all()
    assert found["recall@1"] == 1 > found["recall@1 off"]
    assert found["recall@1 off"] <= found["recall@10 off"]


def test_places_are_thinned_to_their_separation(make_dataset: type[MemoryDataset]) -> None:
    data = make_dataset(n_places=20, spacing_m=100)
    assert thinned(data.lat, data.lon, 250).tolist() == [0, 3, 6, 9, 12, 15, 18]
    # along the equator
    assert thinned(data.lon - 7, data.lat, 250).tolist() == [0, 3, 6, 9, 12, 15, 18]
    assert thinned(data.lat, data.lon, 250, limit=2).tolist() == [0, 3]


def test_limit_draws_by_seed(make_dataset: type[MemoryDataset]) -> None:
    data = make_dataset(n_places=40)
    seen: list[int] = []

    def watch(tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        seen.append(tiles.sum())
        return channel_means(tiles)

    assert retrieval(watch, data, limit=5)["gallery"] == 5
    retrieval(watch, data, limit=5)
    retrieval(watch, data, limit=5, queries_seed=1)
    assert seen[:2] == seen[2:4] != seen[4:]


def test_queries_are_never_the_anchors() -> None:
    seen: list[set[int]] = []

    class Watched(MemoryDataset):
        def tiles(
            self,
            places: NDArray[np.int64],
            slots: NDArray[np.int64],
            out: NDArray[np.uint8] | None = None,
        ) -> NDArray[np.uint8]:
            seen.append(set(slots.tolist()))
            return super().tiles(places, slots, out)

    retrieval(channel_means, Watched(n_places=30))
    assert seen == [{0}, {1, 2, 3}]


def test_effective_rank_counts_directions() -> None:
    square = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]], np.float32)
    assert effective_rank(np.hstack([square, 0 * square])) == pytest.approx(2)
    assert effective_rank(square[:, :1] * np.ones((1, 5), np.float32)) == pytest.approx(1, abs=1e-3)
    assert effective_rank(5 + square) == pytest.approx(2)  # the mean does not count
    uneven = square * np.array([1, 3], np.float32)
    expected = np.exp(-(0.25 * np.log(0.25) + 0.75 * np.log(0.75)))
    assert effective_rank(uneven) == pytest.approx(expected)


def test_slots_are_encoded_in_order_whatever_the_chunk(
    make_dataset: type[MemoryDataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make_dataset()
    places, slots = np.array([5, 2, 7, 2, 0]), np.array([0, 3, 1, 0, 2])
    whole = encode_slots(channel_means, data, places, slots)
    monkeypatch.setattr("loc2vec.evaluation.retrieval.READ_TILES", 2)
    assert np.array_equal(encode_slots(channel_means, data, places, slots), whole)
    assert np.array_equal(whole[1], channel_means(data.tile(2, 3)[None])[0])


def test_channel_means_are_coverage() -> None:
    tiles = np.zeros((2, 12, 4, 4), np.uint8)
    tiles[1, 3, :2] = 255
    assert channel_means(tiles)[1].tolist() == [0, 0, 0, 0.5, 0, 0, 0, 0, 0, 0, 0, 0]
