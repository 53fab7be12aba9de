"""Positions in a file: what the area of an extract is made from, however many there are."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

AT_ONCE = 1 << 20  # positions
UNITS = 10_000_000  # of OSM in a degree
HALF = 1 << 16


class Vertices:
    """Positions on disk, 8 bytes each, to be appended and then read in order."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.touch()

    def append(self, lon_lat: NDArray[np.float64]) -> None:
        """Append positions, float64 [n, 2] of (lon, lat); they are rounded to units of OSM."""
        with self._path.open("ab") as file:
            np.rint(lon_lat * UNITS).astype(np.int32).tofile(file)

    def chunks(self) -> Iterator[NDArray[np.float64]]:
        """Yield all positions in degrees, float64 [n, 2], up to `AT_ONCE` at a time."""
        for units in self._units():
            yield units / UNITS

    def _units(self) -> Iterator[NDArray[np.int32]]:
        with self._path.open("rb") as file:
            while len(some := np.fromfile(file, np.int32, 2 * AT_ONCE)):
                yield some.reshape(-1, 2)

    def median(self) -> NDArray[np.float64]:
        """Return the median longitude and latitude, float64 [2], exactly.

        The upper halves of the numbers are counted first, then the lower halves of those that
        share the upper half of the median.
        """
        upper = np.zeros((2, HALF), np.int64)
        for units in self._units():
            for axis in (0, 1):
                upper[axis] += np.bincount((units[:, axis] >> 16) + HALF // 2, minlength=HALF)
        count = int(upper[0].sum())
        ranks = sorted({(count - 1) // 2, count // 2})
        middles = [[self._at(axis, rank, upper[axis]) for rank in ranks] for axis in (0, 1)]
        median: NDArray[np.float64] = np.mean(np.array(middles) / UNITS, axis=1)
        return median

    def _at(self, axis: int, rank: int, upper: NDArray[np.int64]) -> int:
        """Return the number of this rank, from 0, along an axis."""
        ends = np.cumsum(upper)
        high = int(np.searchsorted(ends, rank, side="right"))
        lower = np.zeros(HALF, np.int64)
        for units in self._units():
            some = units[(units[:, axis] >> 16) + HALF // 2 == high, axis]
            lower += np.bincount(some & (HALF - 1), minlength=HALF)
        low = np.searchsorted(np.cumsum(lower), rank - (ends[high] - upper[high]), side="right")
        return ((high - HALF // 2) << 16) + int(low)

    def remove(self) -> None:
        """Remove the file."""
        self._path.unlink()
