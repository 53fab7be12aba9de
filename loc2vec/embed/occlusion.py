"""Why two places are alike or different, and what one vector depends on: by emptying one channel at a time.

Training switches channels off as well, so that a tile with an empty channel is nothing new to the
network.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loc2vec.model.compute import Encode

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Why:
    """How far apart two places lie, and how far without each channel: `without` float64 [C]."""

    distance: float
    without: Floats

    @property
    def effect(self) -> Floats:
        """How much farther apart each channel puts them, float64 [C].

        Below 0 it brings them together.

        The effects do not add up to the distance: channels work together.
        """
        return self.distance - self.without


def why(encode: Encode, a: Pixels, b: Pixels) -> Why:
    """Compare two tiles, uint8 [C, H, W], as they are and with each channel emptied in both."""
    drawn = _drawn(a) | _drawn(b)
    vectors = encode(
        np.concatenate([a[None], b[None], without_each(a, drawn), without_each(b, drawn)])
    )
    (distance,) = _distances(vectors[:1], vectors[1:2])
    without = np.full(len(a), distance)
    without[drawn] = _distances(*np.split(vectors[2:], 2))
    return Why(float(distance), without)


def dependence(encode: Encode, tile: Pixels) -> Floats:
    """Return how far the vector of a tile, uint8 [C, H, W], moves when each channel is emptied: float64 [C]."""
    drawn = _drawn(tile)
    vectors = encode(np.concatenate([tile[None], without_each(tile, drawn)]))
    moved = np.zeros(len(tile))
    moved[drawn] = _distances(vectors[:1], vectors[1:])
    return moved


def without_each(tile: Pixels, channels: NDArray[np.bool_]) -> Pixels:
    """Return copies of a tile, in each of which one of the `channels` bool [C] is empty: uint8 [n, C, H, W]."""
    numbers = np.flatnonzero(channels)
    copies = np.repeat(tile[None], len(numbers), axis=0)
    copies[np.arange(len(numbers)), numbers] = 0
    return copies


def _drawn(tile: Pixels) -> NDArray[np.bool_]:
    """Tell which channels hold anything; emptying another one changes nothing."""
    drawn: NDArray[np.bool_] = np.logical_or.reduce(tile.astype(bool), axis=(1, 2))
    return drawn


def _distances(a: NDArray[np.float32], b: NDArray[np.float32]) -> Floats:
    distances: Floats = np.linalg.norm(a.astype(np.float64) - b, axis=1)
    return distances
