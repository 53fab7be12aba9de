"""The area that an extract holds data for, which may be much less than the box it declares."""

import math
from collections.abc import Callable, Iterator
from typing import Protocol

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
MERGE_AT = 4_000_000  # cells that are kept apart at most
MOST_CELLS = 40_000  # at once in GEOS, which takes 1.3 kB of memory for each
MARGIN = math.ceil(2 * (CLOSE_M + OPEN_M) / CELL_M)  # cells; what lies farther changes nothing

Plane = Callable[[NDArray[np.float64]], NDArray[np.float64]]


class Positions(Protocol):
    """Positions in degrees, as `tiling.osm.gather.vertices.Vertices` keeps them."""

    def chunks(self) -> Iterator[NDArray[np.float64]]:
        """Yield all of them, float64 [n, 2] of (lon, lat)."""

    def median(self) -> NDArray[np.float64]:
        """Return the median longitude and latitude, float64 [2]."""


def coverage(
    vertices: Positions, header_box: Box | None, buildings: Positions | None = None
) -> BaseGeometry:
    """Return the area, in degrees, that the vertices of all features cover.

    Cells with enough vertices are joined across gaps of up to 2 km, then narrow strips go. Nothing
    outside `header_box` counts. Inside of it all is mapped, so the cells of buildings that stand
    alone there, as on islets, are covered as well.
    """
    plane = to_metres, to_degrees = _plane(vertices.median())
    cells, counts = _cells(vertices, to_metres)
    ground = _ground(cells[counts >= min(MIN_VERTICES, counts.max())])
    area = shapely.transform(ground, to_degrees)
    if header_box is None or area.is_empty:
        return area
    frame = shapely.box(*header_box)
    area = area.intersection(frame)
    if buildings is None:
        return area
    islets = _islets(area, frame, buildings, plane)
    return shapely.union_all([area, *islets]).intersection(frame) if len(islets) else area


def _islets(
    area: BaseGeometry, frame: BaseGeometry, buildings: Positions, plane: tuple[Plane, Plane]
) -> NDArray[np.object_]:
    """Return the cells, in degrees, of the buildings in `frame` that `area` leaves out."""
    to_metres, to_degrees = plane
    shapely.prepare([area, frame])
    left_out = [np.zeros((0, 2))]
    for chunk in buildings.chunks():
        here = shapely.intersects_xy(frame, *chunk.T) & ~shapely.intersects_xy(area, *chunk.T)
        left_out.append(chunk[here])
    cells = np.unique(np.floor(to_metres(np.concatenate(left_out)) / CELL_M), axis=0) * CELL_M
    squares = shapely.box(*cells.T, *(cells + CELL_M).T)
    degrees: NDArray[np.object_] = shapely.transform(squares, to_degrees)
    return degrees


def _cells(vertices: Positions, to_metres: Plane) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the cells that hold vertices, int64 [n, 2] of (x, y), and how many each holds."""
    keys, counts = np.zeros(0, np.int64), np.zeros(0, np.int64)
    waiting: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
    for chunk in vertices.chunks():
        cell = np.floor(to_metres(chunk) / CELL_M).astype(np.int64)
        waiting.append(np.unique((cell[:, 1] << 32) + cell[:, 0], return_counts=True))
        if sum(len(some) for some, _ in waiting) > MERGE_AT:
            keys, counts = _merged([(keys, counts), *waiting])
            waiting = []
    keys, counts = _merged([(keys, counts), *waiting])
    x = ((keys + (1 << 31)) & 0xFFFFFFFF) - (1 << 31)
    return np.stack([x, (keys - x) >> 32], axis=1), counts


def _merged(
    parts: list[tuple[NDArray[np.int64], NDArray[np.int64]]],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    keys, place = np.unique(np.concatenate([key for key, _ in parts]), return_inverse=True)
    counts = np.bincount(place, np.concatenate([count for _, count in parts]), len(keys))
    return keys, counts.astype(np.int64)


def _ground(cells: NDArray[np.int64]) -> BaseGeometry:
    """Return the ground, in metres, that cells cover: block by block where they are many."""
    blocks = list(_blocks(cells, cells.min(axis=0) - MARGIN, cells.max(axis=0) + 1 + MARGIN))
    if len(blocks) == 1:
        return _closed(cells)
    return shapely.union_all([_closed(some).intersection(block) for some, block in blocks])


def _closed(cells: NDArray[np.int64]) -> BaseGeometry:
    """Join cells across gaps, then take narrow strips away."""
    joined = shapely.union_all(_rows(cells)).buffer(CLOSE_M, quad_segs=2)
    return joined.buffer(-CLOSE_M - OPEN_M, quad_segs=2).buffer(OPEN_M, quad_segs=2)


def _blocks(
    cells: NDArray[np.int64], low: NDArray[np.int64], high: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], BaseGeometry]]:
    """Yield blocks, in metres, that together are the one from `low` to `high`.

    With each come the cells in it and in a margin about it. Blocks without cells are left out.
    """
    if len(cells) <= MOST_CELLS:
        if len(cells):
            yield cells, shapely.box(*low * CELL_M, *high * CELL_M)
        return
    axis = int(np.argmax(high - low))
    along = cells[:, axis]
    cut = _emptiest(along, int(low[axis]), int(high[axis]))
    end, start = high.copy(), low.copy()
    end[axis] = start[axis] = cut
    yield from _blocks(cells[along < cut + MARGIN], low, end)
    yield from _blocks(cells[along >= cut - MARGIN], start, high)


def _emptiest(along: NDArray[np.int64], low: int, high: int) -> int:
    """Return where to cut from `low` to `high`: in the middle half, where the fewest cells are."""
    quarter = (high - low) // 4
    first, last = low + quarter, high - quarter
    near = along[(along >= first - MARGIN) & (along < last + MARGIN)] - (first - MARGIN)
    counts = np.bincount(near, minlength=last - first + 2 * MARGIN)
    held = np.convolve(counts, np.ones(2 * MARGIN, np.int64), "valid")
    return first + int(np.argmin(held))


def _rows(cells: NDArray[np.int64]) -> NDArray[np.object_]:
    """Return rectangles, in metres, of the cells that follow one another from west to east.

    They are far fewer than the cells, and cover the same.
    """
    first = np.ones(len(cells), np.bool_)
    first[1:] = (np.diff(cells[:, 1]) != 0) | (np.diff(cells[:, 0]) != 1)
    start = np.flatnonzero(first)
    end = np.append(start[1:], len(cells)) - 1
    west, south = cells[start, 0] * CELL_M, cells[start, 1] * CELL_M
    boxes: NDArray[np.object_] = shapely.box(
        west, south, (cells[end, 0] + 1) * CELL_M, south + CELL_M
    )
    return boxes


def _plane(middle: NDArray[np.float64]) -> tuple[Plane, Plane]:
    """Return functions from degrees to metres about `middle`, and back."""
    scale = np.array(MetresPerDegree.at(float(middle[1])))
    return lambda degrees: (degrees - middle) * scale, lambda metres: metres / scale + middle


def shrink(area: BaseGeometry, metres: float) -> BaseGeometry:
    """Return the part of `area` (degrees) that lies at least `metres` from its edge."""
    to_metres, to_degrees = _plane(np.median(shapely.get_coordinates(area), axis=0))
    return shapely.transform(shapely.transform(area, to_metres).buffer(-metres), to_degrees)
