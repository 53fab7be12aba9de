"""Web Mercator against its formulae (OGC 17-083r4) and against PROJ."""

import math
from itertools import pairwise

import numpy as np
import pyproj
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiling.geo.mercator import (
    EQUATOR_M,
    MAX_LAT,
    TILE_PX,
    from_world,
    pixels_per_metre,
    tile_box,
    to_world,
)

LON = st.floats(-180, 180)
LAT = st.floats(-MAX_LAT, MAX_LAT)
few = settings(max_examples=60, deadline=None, derandomize=True)


@few
@given(LON, LAT)
def test_the_world_is_the_gudermannian_turned_upside_down(lon: float, lat: float) -> None:
    x, y = to_world(lon, lat)
    expected = 0.5 - math.log(math.tan(math.pi / 4 + math.radians(lat) / 2)) / (2 * math.pi)
    assert float(x) == pytest.approx((lon + 180) / 360, abs=1e-12)
    assert float(y) == pytest.approx(expected, abs=1e-9)


@few
@given(LON, LAT)
def test_there_and_back_is_the_same_place(lon: float, lat: float) -> None:
    x, y = to_world(lon, lat)
    assert from_world(float(x), float(y)) == pytest.approx((lon, lat), abs=1e-7)


def test_the_corners_of_the_world_are_those_of_the_square() -> None:
    x, y = to_world([-180, 180], [MAX_LAT, -MAX_LAT])
    np.testing.assert_allclose(x, [0, 1], atol=1e-15)
    np.testing.assert_allclose(y, [0, 1], atol=1e-9)
    assert from_world(0, 0) == pytest.approx((-180, MAX_LAT))
    assert from_world(1, 1) == pytest.approx((180, -MAX_LAT))


@pytest.mark.parametrize("lat", [86.0, 90.0])
def test_what_lies_beyond_the_square_is_taken_to_its_edge(lat: float) -> None:
    assert to_world(0, lat)[1] == to_world(0, MAX_LAT)[1]
    assert to_world(0, -lat)[1] == to_world(0, -MAX_LAT)[1]
    assert pixels_per_metre(3, lat) == pixels_per_metre(3, MAX_LAT) == pixels_per_metre(3, -lat)


def test_many_places_are_projected_at_once() -> None:
    lon, lat = np.array([[0.0, 90.0], [-90.0, 7.4]]), np.array([[0.0, 45.0], [-45.0, 43.7]])
    x, y = to_world(lon, lat)
    assert x.shape == y.shape == (2, 2)
    assert (x[1, 1], y[1, 1]) == tuple(map(float, to_world(7.4, 43.7)))
    assert y[0, 1] < 0.5 < y[1, 0], "y goes to the south"


@few
@given(st.integers(0, 20), LON, LAT)
def test_a_place_lies_in_the_tile_of_its_number(zoom: int, lon: float, lat: float) -> None:
    side = 2**zoom
    x, y = (min(int(float(v) * side), side - 1) for v in to_world(lon, lat))
    box = tile_box(zoom, x, y)
    assert box.west - 1e-9 <= lon <= box.east + 1e-9
    assert box.south - 1e-9 <= lat <= box.north + 1e-9
    assert box.east - box.west == pytest.approx(360 / side)


def test_the_tiles_of_a_zoom_fill_the_world_without_a_gap() -> None:
    boxes = [[tile_box(2, x, y) for x in range(4)] for y in range(4)]
    for row in boxes:
        assert [box.east for box in row[:-1]] == [box.west for box in row[1:]]
    for upper, lower in pairwise(boxes):
        assert [box.south for box in upper] == pytest.approx([box.north for box in lower])
        assert all(above.north > below.north for above, below in zip(upper, lower, strict=True))
    assert (boxes[0][0].west, boxes[3][3].east) == (-180, 180)


@pytest.mark.parametrize("lat", [0.0, 43.7, -60.0, 80.0])
def test_a_metre_has_as_many_pixels_as_proj_stretches_it(lat: float) -> None:
    factors = pyproj.Proj("EPSG:3857").get_factors(7.0, lat)
    on_the_sphere = 1 / math.cos(math.radians(lat))
    assert factors.meridional_scale == pytest.approx(on_the_sphere, rel=0.01)
    per_metre_of_the_plane = TILE_PX * 2**12 / EQUATOR_M
    assert pixels_per_metre(12, lat) == pytest.approx(per_metre_of_the_plane * on_the_sphere)
    assert pixels_per_metre(13, lat) == pytest.approx(2 * pixels_per_metre(12, lat))
