"""Metres against PROJ."""

import numpy as np
import pyproj
import pytest

from tiling.geo.geodesy import MetresPerDegree, box_around, ground_distance_m
from tiling.values import Box, LonLat

GEOD = pyproj.Geod(ellps="WGS84")


@pytest.mark.parametrize("lat", [-78.0, -33.0, 0.0, 43.7, 60.0, 80.0])
def test_metres_per_degree_agree_with_geodesics(lat: float) -> None:
    scale = MetresPerDegree.at(lat)
    step = 1e-3
    assert GEOD.inv(0, lat, step, lat)[2] == pytest.approx(scale.x * step, rel=1e-6)
    assert GEOD.inv(0, lat - step / 2, 0, lat + step / 2)[2] == pytest.approx(
        scale.y * step, rel=1e-6
    )


def test_ground_distance_agrees_with_geodesics_to_half_a_percent() -> None:
    rng = np.random.default_rng(0)
    lat, lon = rng.uniform(-89, 89, (2, 100)), rng.uniform(-180, 180, (2, 100))
    expected = GEOD.inv(lon[0], lat[0], lon[1], lat[1])[2]
    np.testing.assert_allclose(
        ground_distance_m(lat[0], lon[0], lat[1], lon[1]), expected, rtol=6e-3
    )


def test_boxes_wrap_at_the_antimeridian_and_hold_every_longitude_at_a_pole() -> None:
    west, _, east, _ = box_around(LonLat(-179.9999, 10), 200)
    assert west > 179 > -179 > east
    assert box_around(LonLat(30, 90), 100)[::2] == (-180, 180)
    assert box_around(LonLat(30, -90), 100).south == -90


def test_a_box_knows_what_it_contains() -> None:
    assert Box(1, 2, 3, 4).contains(LonLat(1, 4))
    assert not Box(1, 2, 3, 4).contains(LonLat(0.99, 3))
    assert not Box(179, 0, -179, 1).contains(LonLat(0, 0.5))
