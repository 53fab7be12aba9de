"""Ways through the space of embeddings: arithmetic, interpolation, random walks. All end at indexed places."""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from tiling.values import LonLat

Vector = NDArray[np.float32]


class Neighbor(Protocol):
    """An indexed place: its id, where it is and how far its vector lies from the one that was asked about."""

    @property
    def id(self) -> int: ...
    @property
    def lat(self) -> float: ...
    @property
    def lon(self) -> float: ...
    @property
    def distance(self) -> float: ...


Found = TypeVar("Found", bound=Neighbor)


def combine(plus: Vector, minus: Vector) -> Vector:
    """Return the sum of `plus` [n, D] less the sum of `minus` [m, D]: [D].

    >>> combine(np.ones((2, 3), np.float32), np.ones((1, 3), np.float32)).tolist()
    [1.0, 1.0, 1.0]
    """
    total: Vector = plus.sum(axis=0) - minus.sum(axis=0)
    return total.astype(np.float32)


def between(start: Vector, end: Vector, steps: int) -> tuple[NDArray[np.float64], Vector]:
    """Return `steps` shares from 0 to 1, and the embeddings [steps, D] at these shares of the straight way."""
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
    """Return the places of a random walk from `start` [D]: each of the `k` nearest to the last that are new.

    `nearest` gives the indexed places nearest to a vector, so many at most, and may leave out what
    lies near those it is handed on the ground. The walk ends early when no new place is left.
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
