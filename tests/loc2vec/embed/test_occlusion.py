import numpy as np
import pytest
from numpy.typing import NDArray

from loc2vec.embed.occlusion import dependence, why

CHANNELS, SIZE = 12, 8


def encode(tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the cover of channel 3 and twice that of channel 5, on which all depends."""
    cover = tiles.mean((2, 3), dtype=np.float32) / 255
    return np.stack([cover[:, 3], 2 * cover[:, 5]], axis=1)


@pytest.fixture
def tile() -> NDArray[np.uint8]:
    tile = np.zeros((CHANNELS, SIZE, SIZE), np.uint8)
    tile[[3, 5, 7]] = 255
    return tile


def test_the_channel_that_sets_two_places_apart_is_found(tile: NDArray[np.uint8]) -> None:
    other = tile.copy()
    other[5] = 0
    found = why(encode, tile, other)
    assert found.distance == pytest.approx(2.0)
    assert found.effect[5] == pytest.approx(2.0)
    assert not np.delete(found.effect, 5).any()
    assert np.array_equal(why(encode, other, tile).without, found.without)


def test_a_channel_that_brings_two_places_together_is_found(tile: NDArray[np.uint8]) -> None:
    def mixed(tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return channel 3 / (1 + 9 * channel 5): a full channel 5 outweighs channel 3."""
        cover = tiles.mean((2, 3), dtype=np.float32) / 255
        vectors: NDArray[np.float32] = cover[:, 3:4] / (1 + 9 * cover[:, 5:6])
        return vectors

    other = tile.copy()
    other[3] = 0
    found = why(mixed, tile, other)
    assert found.effect[3] == pytest.approx(0.1)
    assert found.effect[5] == pytest.approx(0.1 - 1.0)


def test_a_place_is_like_itself(tile: NDArray[np.uint8]) -> None:
    found = why(encode, tile, tile)
    assert found.distance == 0
    assert not found.effect.any()


def test_a_vector_depends_on_what_it_is_made_of(tile: NDArray[np.uint8]) -> None:
    before = tile.copy()
    moved = dependence(encode, tile)
    assert moved.shape == (CHANNELS,)
    assert moved[[3, 5]] == pytest.approx([1.0, 2.0])
    assert not np.delete(moved, [3, 5]).any()
    assert np.array_equal(tile, before)


def test_an_empty_tile_depends_on_nothing() -> None:
    empty = np.zeros((CHANNELS, SIZE, SIZE), np.uint8)
    assert not dependence(encode, empty).any()
    assert not why(encode, empty, empty).without.any()
