"""A distance in the embedding on a scale that people can read: the share of pairs farther apart."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

PAIRS = 100_000  # of indexed places, drawn at random
CHUNK = 10_000  # pairs that are measured together
STEPS = 1000  # of the scale: an index keeps a distance for each
ALIKE = 0.95  # alike: nearer to each other than this share of random pairs

VectorsOf = Callable[[NDArray[np.int64]], NDArray[np.float32]]


class Scale:
    """Distances of random pairs of an index, so that others can be compared with them.

    `steps` float64 [STEPS + 1], rising: the distance that each thousandth of the pairs is within.
    """

    def __init__(self, steps: NDArray[np.float64]) -> None:
        self.steps = steps
        self._distances, first = np.unique(steps, return_index=True)
        # Of equal distances the last: all of these pairs are within it.
        self._shares = (np.append(first[1:], len(steps)) - 1) / STEPS

    @classmethod
    def of(cls, count: int, vectors_of: VectorsOf) -> "Scale":
        """Return the scale of `count` vectors, the same for the same vectors.

        `vectors_of` gives some [n, D] by their numbers.
        """
        rng = np.random.default_rng(0)
        # Steps of less than the whole length: no row is paired with itself.
        first = rng.integers(count, size=PAIRS)
        second = (first + rng.integers(1, max(count, 2), size=PAIRS)) % count
        apart = [
            np.linalg.norm(vectors_of(one).astype(np.float64) - vectors_of(other), axis=1)
            for one, other in zip(
                *(np.split(rows, PAIRS // CHUNK) for rows in (first, second)), strict=True
            )
        ]
        steps = np.quantile(np.concatenate(apart), np.linspace(0, 1, STEPS + 1))
        return cls(np.array([float(f"{step:.6g}") for step in steps]))  # as it is written

    @classmethod
    def read(cls, values: Any) -> "Scale":
        """Return the scale that an index keeps; raises `ValueError` for what is none."""
        if not isinstance(values, list) or len(values) != STEPS + 1:
            raise ValueError(f"a scale has {STEPS + 1} distances")
        steps = np.array(values, np.float64)
        if not (np.isfinite(steps).all() and steps[0] >= 0 and (np.diff(steps) >= 0).all()):
            raise ValueError("the distances of a scale rise")
        return cls(steps)

    def distance(self, share: float) -> float:
        """Return the distance that is closer than a share of random pairs."""
        return float(np.interp(1 - share, np.linspace(0, 1, STEPS + 1), self.steps))

    def closer_than(self, distances: ArrayLike) -> NDArray[np.float64]:
        """Return the share of random pairs that are farther apart: float64 [n], 0 to 1."""
        nearer = np.interp(np.asarray(distances, np.float64), self._distances, self._shares, left=0)
        share: NDArray[np.float64] = 1 - nearer
        return share
