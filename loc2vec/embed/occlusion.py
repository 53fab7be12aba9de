"""Occlusion: why two places are similar or not, by emptying one channel of the tiles at a time.

Training empties channels, too, so the network knows such tiles.
"""

from dataclasses import dataclass

import numpy as np

from loc2vec.model.arrays import Flags, Floats, Pixels, Vectors
from loc2vec.model.compute import Encode


@dataclass(frozen=True, eq=False)
class Why:
    """How far apart two places lie, and how far without each channel: `without` float64 [C]."""

    distance: float
    without: Floats

    @property
    def effect(self) -> Floats:
        """Return how much farther apart each channel puts them, float64 [C]; below 0: nearer.

        The effects do not add up to the distance, because channels interact.
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
    """Return how far a tile's vector moves when each channel is emptied, float64 [C].

    `tile` uint8 [C, H, W].
    """
    drawn = _drawn(tile)
    vectors = encode(np.concatenate([tile[None], without_each(tile, drawn)]))
    moved = np.zeros(len(tile))
    moved[drawn] = _distances(vectors[:1], vectors[1:])
    return moved


def without_each(tile: Pixels, channels: Flags) -> Pixels:
    """Return copies of a tile, uint8 [n, C, H, W], each without one of `channels`, bool [C]."""
    numbers = np.flatnonzero(channels)
    copies = np.repeat(tile[None], len(numbers), axis=0)
    copies[np.arange(len(numbers)), numbers] = 0
    return copies


def _drawn(tile: Pixels) -> Flags:
    """Tell which channels hold anything; emptying the others changes nothing."""
    drawn: Flags = np.logical_or.reduce(tile.astype(bool), axis=(1, 2))
    return drawn


def _distances(a: Vectors, b: Vectors) -> Floats:
    distances: Floats = np.linalg.norm(a.astype(np.float64) - b, axis=1)
    return distances
