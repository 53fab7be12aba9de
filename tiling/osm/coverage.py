"""The area that an extract holds data for, which may be much less than the box it declares."""

from collections.abc import Callable

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from tiling.geo.geodesy import MetresPerDegree
from tiling.values import Box

CELL_M = 250.0
MIN_VERTICES = 4  # in a cell; fewer belong to the end of a way that leaves the extract
CLOSE_M = 1000.0  # gaps up to twice this are land without objects, not land without data
OPEN_M = 200.0  # strips narrower than twice this are ways that leave the extract


def coverage(vertices: NDArray[np.float64], header_box: Box | None) -> BaseGeometry:
    """Return the area, in degrees, that `vertices` float64 [n, 2] of (lon, lat) cover.

    Cells with enough vertices are joined across gaps of up to 2 km, then narrow strips go. Nothing
    outside `header_box` counts.
    """
    to_metres, to_degrees = _plane(vertices)
    cells, counts = np.unique(
        np.floor(to_metres(vertices) / CELL_M).astype(np.int64), axis=0, return_counts=True
    )
    low = cells[counts >= min(MIN_VERTICES, counts.max())] * CELL_M
    squares = shapely.box(low[:, 0], low[:, 1], low[:, 0] + CELL_M, low[:, 1] + CELL_M)
    closed = (
        shapely.union_all(squares)
        .buffer(CLOSE_M, quad_segs=2)
        .buffer(-CLOSE_M - OPEN_M, quad_segs=2)
    )
    area = shapely.transform(closed.buffer(OPEN_M, quad_segs=2), to_degrees)
    if header_box is not None:
        area = area.intersection(shapely.box(*header_box))
    return area


Plane = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def _plane(vertices: NDArray[np.float64]) -> tuple[Plane, Plane]:
    """Return functions from degrees to metres about the middle of the data, and back."""
    middle = np.median(vertices, axis=0)
    scale = np.array(MetresPerDegree.at(float(middle[1])))
    return lambda degrees: (degrees - middle) * scale, lambda metres: metres / scale + middle


def shrink(area: BaseGeometry, metres: float) -> BaseGeometry:
    """Return the part of `area` (degrees) that lies at least `metres` from its edge."""
    to_metres, to_degrees = _plane(shapely.get_coordinates(area))
    return shapely.transform(shapely.transform(area, to_metres).buffer(-metres), to_degrees)
