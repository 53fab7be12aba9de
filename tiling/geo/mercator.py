"""Web Mercator (EPSG:3857) and its numbered tiles (OGC 17-083r4, WebMercatorQuad).

The world is a square of side 1 with its origin in the north-west; x goes east, y goes south.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tiling.values import Box

TILE_PX = 256  # a side of a tile, at scale 1
MAX_ZOOM = 20
MAX_LAT = 85.0511287798066  # where the square ends
EQUATOR_M = 40075016.68557849


def to_world(lon: ArrayLike, lat: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return x, y of places in degrees; latitudes beyond the square are taken to its edge.

    >>> [v.tolist() for v in to_world(0.0, 0.0)]
    [0.5, 0.5]
    """
    phi = np.radians(np.clip(np.asarray(lat, np.float64), -MAX_LAT, MAX_LAT))
    return np.asarray(lon, np.float64) / 360 + 0.5, 0.5 - np.arctanh(np.sin(phi)) / (2 * math.pi)


def from_world(x: float, y: float) -> tuple[float, float]:
    """Return lon, lat in degrees.

    >>> from_world(0.5, 0.5)
    (0.0, 0.0)
    """
    return (x - 0.5) * 360, math.degrees(math.asin(math.tanh((0.5 - y) * 2 * math.pi)))


def tile_box(zoom: int, x: int, y: int) -> Box:
    """Return the box of a tile in degrees.

    >>> tile_box(1, 1, 0)
    Box(west=0.0, south=0.0, east=180.0, north=85.0511287798066)
    """
    west, north = from_world(x / 2**zoom, y / 2**zoom)
    east, south = from_world((x + 1) / 2**zoom, (y + 1) / 2**zoom)
    return Box(west, south, east, north)


def pixels_per_metre(zoom: float, lat: float) -> float:
    """Return how many pixels a metre on the ground takes at a latitude, on the sphere.

    >>> round(pixels_per_metre(17, 60.0), 3)
    1.675
    """
    return TILE_PX * 2**zoom / (EQUATOR_M * math.cos(math.radians(min(abs(lat), MAX_LAT))))
