"""Geometries within geometries: how deep they lie, in every dialect of well-known binary."""

import struct

import pytest
import shapely
from shapely.geometry.base import BaseGeometry

from tiling.geo.wkb import MOST, is_too_deep

PARTS = [
    shapely.Point(1, 2, 3),
    shapely.LineString([(0, 0), (1, 1), (2, 0)]),
    shapely.box(0, 0, 9, 9) - shapely.box(2, 2, 3, 3),
]


def nested(depth: int) -> BaseGeometry:
    """Collections within one another, each behind other parts."""
    held: BaseGeometry = shapely.Point(0, 0)
    for _ in range(depth):
        held = shapely.GeometryCollection([*PARTS, held])
    return held


@pytest.mark.parametrize(
    "options", [{}, {"byte_order": 0}, {"flavor": "iso"}, {"include_srid": True}]
)
def test_a_depth_is_counted_through_parts_of_all_kinds(options: dict[str, object]) -> None:
    for depth, deep in ((MOST, False), (MOST + 1, True)):
        wkb = shapely.to_wkb(shapely.set_srid(nested(depth), 4326), **options)
        assert is_too_deep(wkb) is deep
        assert is_too_deep(wkb.hex()) is deep


def test_width_is_no_depth() -> None:
    many = shapely.MultiPoint([(n, n) for n in range(1000)])
    assert not is_too_deep(shapely.GeometryCollection([many] * 3).wkb)


def test_what_is_cut_off_or_no_geometry_is_left_to_others() -> None:
    whole = nested(3).wkb * 30
    assert not is_too_deep(nested(3).wkb[:-5] + whole[:900])
    assert not is_too_deep(b"\xff" * 1000)
    assert not is_too_deep("no geometry" * 100)
    assert not is_too_deep(struct.pack("<BII", 1, 3, 2**32 - 1) + bytes(1000))
