"""Arithmetic, interpolation and random walks in the space of embeddings."""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

import numpy as np

from loc2vec.model.arrays import Floats, Vector, Vectors
from tiling.values import LonLat


class Neighbor(Protocol):
    """An indexed place; `distance` is from the vector that was asked about."""

    @property
    def id(self) -> int: ...
    @property
    def lat(self) -> float: ...
    @property
    def lon(self) -> float: ...
    @property
    def distance(self) -> float: ...


Found = TypeVar("Found", bound=Neighbor)


def combine(plus: Vectors, minus: Vectors) -> Vector:
    """Return the sum of `plus` [n, D] less the sum of `minus` [m, D]: [D].

    >>> combine(np.ones((2, 3), np.float32), np.ones((1, 3), np.float32)).tolist()
    [1.0, 1.0, 1.0]
    """
    total: Vector = plus.sum(axis=0) - minus.sum(axis=0)
    return total.astype(np.float32)


def between(start: Vector, end: Vector, steps: int) -> tuple[Floats, Vectors]:
    """Return `steps` shares from 0 to 1, and the interpolated embeddings [steps, D]."""
    shares = np.linspace(0.0, 1.0, steps)
    way = (1 - shares[:, None]) * start.astype(np.float64) + shares[:, None] * end
    return shares, way.astype(np.float32)


def walk(
    nearest: Callable[[Vector, int, Sequence[LonLat]], Sequence[Found]],
    vector_of: Callable[[int], Vector],
    start: Vector,
    steps: int,
    k: int,
    seed: int,
) -> list[Found]:
    """Return the places of a random walk from `start` [D].

    Each step goes to one of the `k` new places nearest to the last. `nearest(vector, count,
    places)` returns indexed places; it may leave out those near `places` on the ground. The walk
    ends early when no new place is left.
    """
    rng = np.random.default_rng(seed)
    at, way = start, dict[int, Found]()
    for _ in range(steps):
        near = nearest(at, k + len(way), [LonLat(place.lon, place.lat) for place in way.values()])
        new = [neighbor for neighbor in near if neighbor.id not in way][:k]
        if not new:
            break
        chosen = new[rng.integers(len(new))]
        way[chosen.id] = chosen
        at = vector_of(chosen.id)
    return list(way.values())
