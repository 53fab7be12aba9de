"""Positions in memory."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass
class Held:
    """Positions, float64 [n, 2] of (lon, lat)."""

    lon_lat: NDArray[np.float64]

    def chunks(self) -> Iterator[NDArray[np.float64]]:
        """Yield them in two chunks."""
        yield from np.array_split(self.lon_lat, 2)

    def median(self) -> NDArray[np.float64]:
        """Return their median."""
        return np.median(self.lon_lat, axis=0)
