"""A distance in the embedding on a scale that people can read: the share of pairs farther apart."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from service.index.index import NeighborIndex

PAIRS = 100_000  # of indexed places, drawn at random
CHUNK = 10_000  # pairs that are measured together
ALIKE = 0.95  # alike: nearer to each other than this share of random pairs


class Scale:
    """Distances of random pairs of an index, so that others can be compared with them."""

    def __init__(self, index: NeighborIndex) -> None:
        rng = np.random.default_rng(0)
        # Steps of less than the whole length: no row is paired with itself.
        first = rng.integers(len(index), size=PAIRS)
        second = (first + rng.integers(1, max(len(index), 2), size=PAIRS)) % len(index)
        pairs = index.ids[np.stack([first, second])]
        self._distances = np.sort(
            np.concatenate(
                [
                    np.linalg.norm(index.vectors_of(one) - index.vectors_of(other), axis=1)
                    for one, other in (
                        pairs[:, start : start + CHUNK] for start in range(0, PAIRS, CHUNK)
                    )
                ]
            ).astype(np.float64)
        )

    def closer_than(self, distances: ArrayLike) -> NDArray[np.float64]:
        """Return the share of random pairs that are farther apart: float64 [n], 0 to 1."""
        nearer = np.searchsorted(self._distances, np.asarray(distances, np.float64), "right")
        share: NDArray[np.float64] = 1 - nearer / len(self._distances)
        return share
