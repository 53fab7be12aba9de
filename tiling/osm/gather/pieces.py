"""Cutting large polygons into pieces: a query for a small box then reads only what it needs."""

import shapely
from shapely.geometry.base import BaseGeometry

MAX_VERTICES = 512  # of a polygon in a store; larger ones are cut
OVERLAP_DEG = 1e-4  # about 10 m, some pixels: no seam shows where a polygon was cut


def cut(polygon: BaseGeometry) -> list[BaseGeometry]:
    """Halve a polygon until no piece has more than `MAX_VERTICES`.

    The halves overlap by `OVERLAP_DEG`. A polygon too small to be halved stays whole.
    """
    if shapely.get_num_coordinates(polygon) <= MAX_VERTICES:
        return [] if polygon.is_empty else [polygon]
    west, south, east, north = polygon.bounds
    if max(east - west, north - south) < 8 * OVERLAP_DEG:
        return [polygon]
    if east - west > north - south:
        middle = (west + east) / 2
        halves = [
            (west, south, middle + OVERLAP_DEG, north),
            (middle - OVERLAP_DEG, south, east, north),
        ]
    else:
        middle = (south + north) / 2
        halves = [
            (west, south, east, middle + OVERLAP_DEG),
            (west, middle - OVERLAP_DEG, east, north),
        ]
    both = [shapely.intersection(polygon, shapely.box(*half)) for half in halves]
    areas = [
        p for piece in both for p in shapely.get_parts(piece) if p.geom_type.endswith("Polygon")
    ]
    return [part for area in areas for part in cut(area)]
