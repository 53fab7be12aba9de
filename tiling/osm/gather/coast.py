"""The sea as polygons. OSM has only its edge: lines tagged natural=coastline, land on the left."""

from collections.abc import Sequence

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from tiling.values import Box


def sea_polygons(coastline: Sequence[bytes], box: Box) -> list[BaseGeometry]:
    """Return the polygons of sea in `box`, degrees; none without a coastline (WKB lines).

    The coastline and the edge of the box divide the box into faces. A face is sea if more of the
    coastline on its border, by length, has it on the right than on the left. So a gap in the data
    loses one face at most, and never floods the land.
    """
    frame = shapely.box(*box)
    lines = shapely.line_merge(shapely.union_all(shapely.from_wkb(list(coastline))), directed=True)
    parts = [
        part for part in shapely.get_parts(shapely.intersection(lines, frame)) if part.length > 0
    ]
    if not parts:
        return []
    # Noding all edges together lets `polygonize` find the faces between them.
    edges = [*parts, *_bridges(parts, frame), frame.exterior]
    faces = shapely.get_parts(shapely.polygonize(shapely.get_parts(shapely.union_all(edges))))
    segments, lengths = _segments(parts)
    on_right = _count(faces, _beside(segments, -1), lengths)
    on_left = _count(faces, _beside(segments, +1), lengths)
    return [
        face for face, right, left in zip(faces, on_right, on_left, strict=True) if right > left
    ]


def _bridges(parts: Sequence[BaseGeometry], frame: BaseGeometry) -> list[BaseGeometry]:
    """Return a straight line from each loose end of the coastline to the edge of the box.

    The coastline of an extract ends where the data do, which may be well inside the box.
    """
    ends = np.array([end for part in parts for end in (part.coords[0], part.coords[-1])])
    unique, count = np.unique(ends, axis=0, return_counts=True)
    loose = shapely.points(unique[count == 1])
    inside = loose[shapely.distance(loose, frame.exterior) > 1e-9]
    return [shapely.shortest_line(end, frame.exterior) for end in inside]


def _segments(parts: Sequence[BaseGeometry]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the segments, float64 [n, start or end, lon or lat], and their lengths in degrees."""
    pairs = [
        np.stack([c[:-1], c[1:]], axis=1) for c in (shapely.get_coordinates(part) for part in parts)
    ]
    segments = np.concatenate(pairs)
    return segments, np.hypot(*(segments[:, 1] - segments[:, 0]).T)


def _beside(segments: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    """Return a point beside the middle of each segment, 1e-7 degrees away, one unit of OSM.

    `side`: +1 is left, -1 is right.
    """
    along = segments[:, 1] - segments[:, 0]
    length = np.hypot(*along.T)[:, None]
    normal = np.stack([-along[:, 1], along[:, 0]], axis=1) / np.maximum(length, 1e-12)
    points: NDArray[np.float64] = segments.mean(axis=1) + side * 1e-7 * normal
    return points


def _count(
    faces: NDArray[np.object_], points: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the summed weight of the points within each face, float64 [faces]."""
    face, point = shapely.STRtree(shapely.points(points)).query(faces, predicate="contains")
    return np.bincount(face, weights[point], minlength=len(faces)).astype(np.float64)
