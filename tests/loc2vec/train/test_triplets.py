"""The triplets that an encoder gets most wrong."""

import numpy as np
import pytest
from numpy.typing import NDArray

from loc2vec.errors import RunError
from loc2vec.train.triplets import GAP, Sample, distances, hardest, picture, sample
from tests.loc2vec.memory import MemoryDataset
from tiling.values import TILE_SIZE


def first_pixels(tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
    return tiles[:, :4, 0, 0].astype(np.float32)


def seen_as(anchors: list[list[float]], positives: list[list[float]]) -> Sample:
    places = np.arange(len(anchors))
    vectors = (np.array(each, np.float32) for each in (anchors, positives))
    return Sample(places, np.ones_like(places), *vectors)


def test_distances_are_euclidean() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(5, 3)).astype(np.float32), rng.normal(size=(4, 3)).astype(np.float32)
    found = distances(a, b)
    naive = [[float(np.linalg.norm(x - y)) for y in b] for x in a]
    np.testing.assert_allclose(found, naive, rtol=1e-5)


def test_the_worst_triplet_has_the_farthest_positive_for_its_nearest_negative() -> None:
    data = MemoryDataset(n_places=4)
    seen = seen_as([[0, 0], [3, 0], [50, 0], [90, 0]], [[0, 1], [9, 0], [50, 20], [90, 3]])
    first, second, *_ = hardest(seen, data, 4)
    # Place 1: positive 6 away, nearest negative 3. Place 2: 20 away, nearest negative 40.
    assert (first.positive_distance, first.negative_distance) == (6.0, 3.0)
    assert (first.anchor == data.tile(1, 0)).all()
    assert (first.positive == data.tile(1, 1)).all()
    assert (first.negative == data.tile(0, 0)).all()
    assert second.positive_distance - second.negative_distance <= 3


def test_a_negative_may_be_near_the_positive_and_not_the_anchor() -> None:
    data = MemoryDataset(n_places=3)
    seen = seen_as([[0, 0], [10, 0], [99, 0]], [[9, 0], [10, 0], [99, 0]])
    worst = hardest(seen, data, 1)[0]
    assert worst.negative_distance == 1.0
    assert (worst.negative == data.tile(1, 0)).all()


def test_no_anchor_comes_twice_and_the_worst_come_first() -> None:
    data = MemoryDataset(n_places=20)
    rng = np.random.default_rng(1)
    seen = seen_as(rng.normal(size=(20, 4)).tolist(), rng.normal(size=(20, 4)).tolist())
    found = hardest(seen, data, 8)
    assert len(found) == 8
    wrong = [each.positive_distance - each.negative_distance for each in found]
    assert wrong == sorted(wrong, reverse=True)
    assert len({each.anchor.tobytes() for each in found}) == 8


def test_one_place_has_no_triplet() -> None:
    assert hardest(seen_as([[0, 0]], [[1, 1]]), MemoryDataset(n_places=1), 5) == []


def test_a_sample_is_the_same_at_every_call_and_has_no_near_places() -> None:
    data = MemoryDataset(n_places=40, spacing_m=100.0)
    first, again = sample(first_pixels, data, 10), sample(first_pixels, data, 10)
    assert np.array_equal(first.places, again.places)
    assert np.array_equal(first.positives, again.positives)
    assert len(first.places) == 10
    gaps = np.diff(np.sort(first.places))
    assert gaps.min() >= 3, "250 m at the least"
    assert ((first.slots >= 1) & (first.slots <= data.positives)).all()
    expected = first_pixels(data.tiles(first.places, first.slots))
    assert (first.positives == expected).all()


def test_a_sample_of_anchors_alone_is_refused() -> None:
    with pytest.raises(RunError, match="hold no positives"):
        sample(first_pixels, MemoryDataset(positives=0), 4)


def test_a_picture_has_a_row_a_triplet_and_three_tiles_in_it() -> None:
    data = MemoryDataset(n_places=6)
    rng = np.random.default_rng(1)
    seen = seen_as(rng.normal(size=(6, 4)).tolist(), rng.normal(size=(6, 4)).tolist())
    triplets = hardest(seen, data, 4)
    shown = picture(triplets)
    step = TILE_SIZE + GAP
    assert shown.shape == (4 * step, 3 * step, 3)
    assert (shown[TILE_SIZE:step] == 255).all(), "a white gap"
    expected = data.catalogue.palette.composite(triplets[2].negative)
    assert (
        shown[2 * step : 2 * step + TILE_SIZE, 2 * step : 2 * step + TILE_SIZE] == expected
    ).all()
