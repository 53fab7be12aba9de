"""Places on a regular grid, a fixed distance apart on the ground."""

import math
from collections.abc import Iterable, Iterator

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from tiling.errors import GridError
from tiling.geo.geodesy import MetresPerDegree
from tiling.values import Box, check_place, halves

MAX_PLACES = 20_000_000  # more takes hours, and is most likely a typo


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
    `GridError` when there are none, or more than `MAX_PLACES`.
    """
    count = count_about(coverage, metres, box)
    if count > MAX_PLACES:
        raise GridError(
            f"a grid of {metres} m would have about {count} places: take a wider grid or a --bbox"
        )
    return np.concatenate(list(grid_rows(coverage, metres, box)))


def grid_rows(
    coverage: BaseGeometry, metres: float, box: Box | None = None
) -> Iterator[NDArray[np.float64]]:
    """Yield the places of a grid as `grid` has them, row by row: (lon, lat) [n, 2], n > 0."""
    shapely.prepare(coverage)
    parts = shapely.bounds(shapely.get_parts(coverage))  # [p, 4]
    met = _met(Box(*coverage.bounds), box)
    count = 0
    for row in _rows(met, metres, parts) if met is not None else ():
        inside = row[shapely.intersects_xy(coverage, row[:, 0], row[:, 1])]
        count += len(inside)
        if len(inside):
            yield inside
    if not count:
        west, south, east, north = coverage.bounds
        raise GridError(
            f"no place of the grid lies in the store, which holds lon {west:.5f}..{east:.5f}, "
            f"lat {south:.5f}..{north:.5f}: take a finer grid or another box"
        )


def _met(bounds: Box, box: Box | None) -> Box | None:
    """Return the part of `box` within `bounds`; of one across the antimeridian, its latitudes."""
    if box is None:
        return bounds
    south, north = max(box.south, bounds.south), min(box.north, bounds.north)
    west, east = box.west, box.east
    if not box.crosses_antimeridian:
        west, east = max(west, bounds.west), min(east, bounds.east)
        if west >= east:
            return None
    return Box(west, south, east, north) if south < north else None


def _rows(box: Box, metres: float, parts: NDArray[np.float64]) -> Iterator[NDArray[np.float64]]:
    """Yield the (lon, lat) [n, 2] of each row, half a step inside the south-west corner.

    Places and rows that lie in no box of `parts`, float64 [p, 4], are left out: far-apart towns
    cost no more than near ones.
    """
    scale = MetresPerDegree.at((box.south + box.north) / 2)
    lats = _steps(box.south, box.north, metres / scale.y)
    spans = np.searchsorted(lats, parts[:, 1], "left"), np.searchsorted(lats, parts[:, 3], "right")
    for lat in lats[_union(zip(*spans, strict=True))]:
        per_degree = max(MetresPerDegree.at(float(lat)).x, 1e-9)
        step, width = min(metres / per_degree, _width(box)), _width(box)
        count = max(1, math.ceil(width / step - 0.5))
        near = parts[(parts[:, 1] <= lat) & (lat <= parts[:, 3])]
        columns = _columns(near, box.west, step, count)
        lon = np.float64(box.west) + (columns + 0.5) * step
        lon = np.where(lon > 180, lon - 360, lon)
        yield np.stack([lon, np.full_like(lon, lat)], axis=1)


def _columns(parts: NDArray[np.float64], west: float, step: float, count: int) -> NDArray[np.int64]:
    """Return the columns of a row that lie in a box of `parts`, rising."""
    spans: list[tuple[int, int]] = []
    for turn in (0, 360):  # a row across the antimeridian goes on beyond 180 degrees
        first = np.floor((parts[:, 0] + turn - west) / step - 0.5).clip(0, count).astype(np.int64)
        last = np.ceil((parts[:, 2] + turn - west) / step + 0.5).clip(0, count).astype(np.int64)
        spans += zip(first.tolist(), last.tolist(), strict=True)
    return _union(spans)


def _union(spans: Iterable[tuple[int, int]]) -> NDArray[np.int64]:
    """Return the numbers of all spans [first, last), each once, rising."""
    empty = np.empty(0, np.int64)
    return np.unique(np.concatenate([empty, *(np.arange(*span) for span in spans)]))


def _steps(start: float, end: float, step: float) -> NDArray[np.float64]:
    """Return start + step/2, start + 3*step/2, ... below `end`, at least one."""
    count = max(1, math.ceil((end - start) / step - 0.5))
    return np.float64(start) + (np.arange(count) + 0.5) * min(step, end - start)


def _width(box: Box) -> float:
    return box.east - box.west + (360 if box.crosses_antimeridian else 0)


def count_about(coverage: BaseGeometry, metres: float, box: Box | None = None) -> int:
    """Return about how many places a grid has, from the area that it covers."""
    area = coverage
    if box is not None:
        area = shapely.union_all(
            [shapely.intersection(coverage, shapely.box(*half)) for half in halves(box)]
        )
    parts = shapely.get_parts(area)
    middles = (shapely.bounds(parts)[:, 1] + shapely.bounds(parts)[:, 3]) / 2
    scales = [MetresPerDegree.at(lat) for lat in middles.tolist()]
    square = np.array([scale.x * scale.y for scale in scales])
    return int((shapely.area(parts) * square).sum() / metres**2)
