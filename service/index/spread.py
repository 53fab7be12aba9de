"""Results that lie apart on the ground: the nearest ones, none within some metres of a better."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from service.patience import left_s
from tiling.geo.geodesy import ground_distance_m

Ids = NDArray[np.int64]
Found = tuple[Ids, NDArray[np.float64]]
ONCE = 8  # times as many are searched for as are wanted: one search is then enough, mostly
LEAST = 64


def spread_out(
    search: Callable[[int, Ids], Found],
    lat: NDArray[np.float64],
    lon: NDArray[np.float64],
    k: int,
    metres: float,
) -> Found:
    """Return the ids and distances of `k` results, nearest first, at least `metres` apart.

    `search(count, taken)` returns the nearest that lie `metres` from all ids that it was ever told
    to be taken. Each is taken unless one nearer to the query was taken within `metres` of it.
    """
    taken, distances, new = np.empty(0, np.int64), np.empty(0), np.empty(0, np.int64)
    count = max(LEAST, ONCE * k)
    while len(taken) < k:
        left_s()
        ids, away = search(count, new)
        kept = _apart(lat[ids], lon[ids], k - len(taken), metres)
        new = ids[kept]
        taken, distances = np.append(taken, new), np.append(distances, away[kept])
        if len(ids) < count:
            break
        count *= 4
    return taken, distances


def first_apart(
    order: Ids, lat: NDArray[np.float64], lon: NDArray[np.float64], k: int, metres: float
) -> Ids:
    """Return at most `k` of the ids in `order`, each at least `metres` from all before it."""
    if not metres:
        return order[:k]
    taken, start, count = np.empty(0, np.int64), 0, max(LEAST, ONCE * k)
    while len(taken) < k and start < len(order):
        left_s()
        new = order[start : start + count]
        for row in taken:
            new = new[ground_distance_m(lat[row], lon[row], lat[new], lon[new]) >= metres]
        taken = np.append(taken, new[_apart(lat[new], lon[new], k - len(taken), metres)])
        start, count = start + count, count * 4
    return taken


def _apart(lat: NDArray[np.float64], lon: NDArray[np.float64], k: int, metres: float) -> Ids:
    """Return the positions of at most `k` places, in their order, at least `metres` apart."""
    left, kept = np.arange(len(lat)), list[int]()
    while len(left) and len(kept) < k:
        first = int(left[0])
        kept.append(first)
        far = ground_distance_m(lat[first], lon[first], lat[left], lon[left]) >= metres
        left = left[far & (left != first)]
    return np.array(kept, np.int64)
