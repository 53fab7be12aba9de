"""Metres on the ground: an affine map about a place, and distances between places.

The WGS 84 ellipsoid's radii of curvature (Snyder, Map Projections: A Working Manual, USGS 1395,
1987, eq. 4-18 to 4-20) make degrees into metres: true to 0.01 m over 255 m at 60 degrees of
latitude.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tiling.values import Box, LonLat

SEMI_MAJOR_M = 6378137.0
ECCENTRICITY_2 = 0.0066943799901413165
MEAN_RADIUS_M = 6371008.8


class MetresPerDegree(NamedTuple):
    """Ground metres in one degree of longitude (`x`) and latitude (`y`).

    >>> MetresPerDegree.at(0.0)
    MetresPerDegree(x=111319.49079327358, y=110574.2758216281)
    """

    x: float
    y: float

    @classmethod
    def at(cls, lat: float) -> "MetresPerDegree":
        """Return the scale at latitude `lat`, degrees."""
        phi = math.radians(lat)
        w2 = 1 - ECCENTRICITY_2 * math.sin(phi) ** 2
        prime_vertical = SEMI_MAJOR_M / math.sqrt(w2)
        meridian = SEMI_MAJOR_M * (1 - ECCENTRICITY_2) / w2**1.5
        return cls(math.radians(prime_vertical * math.cos(phi)), math.radians(meridian))


def box_around(place: LonLat, x_m: float, y_m: float | None = None) -> Box:
    """Return the box that reaches `x_m` metres east and west of `place`, `y_m` north and south.

    `y_m` is `x_m` by default.

    >>> box_around(LonLat(179.9999, 0.0), 100).crosses_antimeridian
    True
    """
    scale = MetresPerDegree.at(place.lat)
    dy = (x_m if y_m is None else y_m) / scale.y
    # Near a pole the box holds every longitude.
    dx = min(x_m / max(scale.x, 1e-9), 180.0)
    south, north = max(place.lat - dy, -90.0), min(place.lat + dy, 90.0)
    if dx == 180.0:
        return Box(-180.0, south, 180.0, north)
    return Box(_wrap(place.lon - dx), south, _wrap(place.lon + dx), north)


def _wrap(lon: float) -> float:
    if lon < -180:
        return lon + 360
    return lon - 360 if lon > 180 else lon


def ground_distance_m(
    lat1: ArrayLike, lon1: ArrayLike, lat2: ArrayLike, lon2: ArrayLike
) -> NDArray[np.float64]:
    """Return great-circle distances in metres (haversine on the mean sphere); arrays broadcast.

    >>> round(float(ground_distance_m(43.7384, 7.4246, 43.7384, 7.4346)))
    803
    """
    phi1, lambda1, phi2, lambda2 = (
        np.radians(np.asarray(v, np.float64)) for v in (lat1, lon1, lat2, lon2)
    )
    a = (
        np.sin((phi2 - phi1) / 2) ** 2
        + np.cos(phi1) * np.cos(phi2) * np.sin((lambda2 - lambda1) / 2) ** 2
    )
    distance: NDArray[np.float64] = 2 * MEAN_RADIUS_M * np.arcsin(np.sqrt(np.clip(a, 0, 1)))
    return distance
