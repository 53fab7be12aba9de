"""Positions in space, for nearest-neighbour searches on the ground."""

import numpy as np
from numpy.typing import NDArray

from tiling.geo.geodesy import MEAN_RADIUS_M


def on_the_globe(lat: NDArray[np.float64], lon: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return positions in space, metres, float64 [n, 3].

    Nearby, straight lines between them are as long as the ground.
    """
    phi, lam = np.radians(lat), np.radians(lon)
    unit = np.stack([np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)], axis=1)
    return MEAN_RADIUS_M * unit
