"""Groups of places whose tiles never share ground, however the tiles are turned and shifted.

A group is a cluster of ground cells that touch. Split places by `group` to avoid leakage between
training and validation, or between the folds of a probe. Places of different groups may always be
negatives of each other.

The converse is too coarse to choose negatives: a town is one group, and most of its places do not
overlap. Training therefore tests each pair in a batch (`loc2vec.train.batches.overlapping`). That
needs only coordinates; lists of neighbours would grow with the square of the density.
"""

import numpy as np
from numpy.typing import NDArray

from tiling.geo.geodesy import MEAN_RADIUS_M

# Half of the 26 cells around a cell, the other half being their opposites.
_AROUND = np.array([o for o in np.ndindex(3, 3, 3) if o > (1, 1, 1)]) - 1


def group_places(
    lat: NDArray[np.float64], lon: NDArray[np.float64], reach_m: float
) -> NDArray[np.int64]:
    """Return the group of each place, int64 [n], numbered by first appearance.

    Places nearer to each other than `reach_m` metres have the same group, places of one group need
    not be near.
    """
    cell, member = np.unique(_cubes(lat, lon, reach_m), axis=0, return_inverse=True)
    label = _components(len(cell), _touching(cell))[member]
    _, first, group = np.unique(label, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[group]


def _cubes(lat: NDArray[np.float64], lon: NDArray[np.float64], side_m: float) -> NDArray[np.int64]:
    """Return the cube of space that each place lies in, int64 [n, 3]: no seam, no pole."""
    phi, lambda_ = np.radians(lat), np.radians(lon)
    xyz = np.stack(
        [np.cos(phi) * np.cos(lambda_), np.cos(phi) * np.sin(lambda_), np.sin(phi)], axis=1
    )
    cubes: NDArray[np.int64] = np.floor(xyz * MEAN_RADIUS_M / side_m).astype(np.int64)
    return cubes


def _touching(cell: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the pairs of rows, int64 [m, 2], of distinct cells [n, 3] that share a corner."""
    span = np.ptp(cell, axis=0) + 3
    # ascending, as the rows are
    key = np.ravel_multi_index(tuple((cell - cell.min(0) + 1).T), tuple(span))
    pairs = []
    for x, y, z in _AROUND.tolist():
        wanted = key + (x * span[1] + y) * span[2] + z
        at = np.minimum(np.searchsorted(key, wanted), len(key) - 1)
        found = np.flatnonzero(key[at] == wanted)
        pairs.append(np.stack([found, at[found]], axis=1))
    return np.concatenate(pairs)


def _components(n: int, pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the connected component of each of n nodes: the least number of its nodes."""
    label = np.arange(n)
    while True:
        low = label[pairs].min(axis=1)
        joined = label.copy()
        for end in pairs.T:
            np.minimum.at(joined, label[end], low)  # the root of each end takes the lower label
        while not np.array_equal(joined, joined[joined]):
            joined = joined[joined]
        if np.array_equal(joined, label):
            return label
        label = joined
