"""Places on a regular grid, a fixed distance apart on the ground."""

import math
from collections.abc import Iterator

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from tiling.errors import GridError
from tiling.geo.geodesy import MetresPerDegree
from tiling.values import Box, check_place

MAX_PLACES = 20_000_000  # in the box; more takes hours, and is most likely a typo


def parse_box(text: str) -> Box:
    """Read "W,S,E,N" in degrees.

    West > east crosses the antimeridian. Raises `GridError` or `PlaceError`.

    >>> parse_box("7.40,43.72,7.44,43.76").north
    43.76
    """
    try:
        west, south, east, north = (float(part) for part in text.split(","))
    except ValueError as error:
        raise GridError(
            f"box {text!r}: give four numbers W,S,E,N, for example 7.40,43.72,7.44,43.76"
        ) from error
    return check_box(west, south, east, north)


def check_box(west: float, south: float, east: float, north: float) -> Box:
    """Return the box, or raise `GridError` or `PlaceError`.

    West > east crosses the antimeridian.
    """
    check_place(south, west)
    check_place(north, east)
    if south >= north or west == east:
        raise GridError(f"box {west},{south},{east},{north} is empty: the order is W,S,E,N")
    return Box(west, south, east, north)


def grid(coverage: BaseGeometry, metres: float, box: Box | None = None) -> NDArray[np.float64]:
    """Return the places of a grid in `coverage` and `box`, (lon, lat) [n, 2], from the south-west.

    Rows are `metres` apart, and so are the places of a row, at the latitude of each row. Raises
    `GridError` when there are none, or too many.
    """
    box = box or Box(*coverage.bounds)
    _check_count(box, metres)
    shapely.prepare(coverage)
    rows = [
        row[shapely.intersects_xy(coverage, row[:, 0], row[:, 1])] for row in _rows(box, metres)
    ]
    places = np.concatenate(rows)
    if not len(places):
        west, south, east, north = coverage.bounds
        raise GridError(
            f"no place of the grid lies in the store, which holds lon {west:.5f}..{east:.5f}, "
            f"lat {south:.5f}..{north:.5f}: take a finer grid or another box"
        )
    return places


def _rows(box: Box, metres: float) -> Iterator[NDArray[np.float64]]:
    """Yield the (lon, lat) [n, 2] of each row, half a step inside the south-west corner."""
    scale = MetresPerDegree.at((box.south + box.north) / 2)
    for lat in _steps(box.south, box.north, metres / scale.y):
        per_degree = max(MetresPerDegree.at(float(lat)).x, 1e-9)
        lon = _steps(box.west, box.west + _width(box), metres / per_degree)
        lon = np.where(lon > 180, lon - 360, lon)
        yield np.stack([lon, np.full_like(lon, lat)], axis=1)


def _steps(start: float, end: float, step: float) -> NDArray[np.float64]:
    """Return start + step/2, start + 3*step/2, ... below `end`, at least one."""
    count = max(1, math.ceil((end - start) / step - 0.5))
    return np.float64(start) + (np.arange(count) + 0.5) * min(step, end - start)


def _width(box: Box) -> float:
    return box.east - box.west + (360 if box.crosses_antimeridian else 0)


def _check_count(box: Box, metres: float) -> None:
    scale = MetresPerDegree.at((box.south + box.north) / 2)
    count = (box.north - box.south) * scale.y * _width(box) * scale.x / metres**2
    if count > MAX_PLACES:
        raise GridError(
            f"a grid of {metres} m would have about {count:.0f} places: "
            "take a wider grid or a --bbox"
        )
