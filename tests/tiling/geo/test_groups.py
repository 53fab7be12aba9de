"""Groups of places against a search over all pairs."""

import numpy as np
import pytest
from numpy.typing import NDArray

from tiling.geo.geodesy import ground_distance_m
from tiling.geo.globe import on_the_globe
from tiling.geo.groups import group_places

REACH_M = 400.0
Array = NDArray[np.float64]


def scattered(lat: float, lon: float, side_m: float, count: int, seed: int) -> tuple[Array, Array]:
    """Places at random in a square, which may lie over a pole or the antimeridian."""
    rng = np.random.default_rng(seed)
    radius = 6371008.8
    north, east = rng.uniform(-side_m / 2, side_m / 2, (2, count)) / radius
    phi, lam = np.radians(lat), np.radians(lon)
    up = np.array([np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)])
    to_east = np.array([-np.sin(lam), np.cos(lam), 0.0])
    to_north = np.cross(up, to_east)
    xyz = up + north[:, None] * to_north + east[:, None] * to_east
    xyz /= np.linalg.norm(xyz, axis=1)[:, None]
    return np.degrees(np.arcsin(xyz[:, 2])), np.degrees(np.arctan2(xyz[:, 1], xyz[:, 0]))


@pytest.mark.parametrize(
    ("lat", "lon"), [(43.7, 7.4), (0.0, 0.0), (0.0, 180.0), (-53.0, -180.0), (90.0, 0), (-90.0, 9)]
)
@pytest.mark.parametrize("side_m", [1_000, 20_000])
def test_near_places_are_in_one_group_wherever_they_lie(
    lat: float, lon: float, side_m: float
) -> None:
    lats, lons = scattered(lat, lon, side_m, 150, seed=int(side_m))
    group = group_places(lats, lons, REACH_M)
    near = ground_distance_m(lats[:, None], lons[:, None], lats, lons) < REACH_M
    assert near.sum() > 150, "some pairs are near"
    assert (group[:, None] == group)[near].all()


@pytest.mark.parametrize("side_m", [20_000, 60_000])
def test_each_group_hangs_together_through_touching_cubes(side_m: float) -> None:
    lat, lon = scattered(43.7, 7.4, side_m, 200, seed=1)
    group = group_places(lat, lon, REACH_M)
    cube = np.floor(on_the_globe(lat, lon) / REACH_M).astype(int)
    touch = np.abs(cube[:, None] - cube).max(axis=2) <= 1
    reached = touch.copy()
    for _ in range(8):  # squaring doubles the length of the chains
        reached = (reached.astype(int) @ reached.astype(int)) > 0
    assert ((group[:, None] == group) == reached).all()
    assert 1 < len(set(group.tolist())) < 200


def test_far_apart_places_are_alone_and_numbered_as_they_come() -> None:
    lat, lon = np.array([10.0, -20.0, 10.0, 50.0, -20.0]), np.array([0.0, 5.0, 0.0, 9.0, 5.0])
    assert group_places(lat, lon, REACH_M).tolist() == [0, 1, 0, 2, 1]


def test_one_place_is_one_group() -> None:
    assert group_places(np.array([43.7]), np.array([7.4]), REACH_M).tolist() == [0]


def test_a_chain_is_one_group_however_it_is_ordered() -> None:
    lon: Array = np.arange(60, dtype=np.float64) * 0.003  # 334 m apart at the equator
    rng = np.random.default_rng(0)
    for _ in range(5):
        order = rng.permutation(60)
        assert (group_places(np.zeros(60), lon[order], REACH_M) == 0).all()
    cut: Array = np.where(np.arange(60) < 30, lon, lon + 0.02)
    assert group_places(np.zeros(60), cut, REACH_M).tolist() == [0] * 30 + [1] * 30


def test_turning_the_places_round_the_axis_changes_no_near_pair() -> None:
    lat, lon = scattered(-17.0, 30.0, 5_000, 80, seed=4)
    near = ground_distance_m(lat[:, None], lon[:, None], lat, lon) < REACH_M
    for turn in (150.0, -210.0):
        group = group_places(lat, lon + turn, REACH_M)
        assert (group[:, None] == group)[near].all()


def test_straight_lines_on_the_globe_are_as_long_as_the_ground_nearby() -> None:
    lat, lon = scattered(43.7, 180.0, 10_000, 50, seed=2)
    xyz = on_the_globe(lat, lon)
    assert xyz.shape == (50, 3)
    np.testing.assert_allclose(np.linalg.norm(xyz, axis=1), 6371008.8)
    straight = np.linalg.norm(xyz[:, None] - xyz, axis=2)
    np.testing.assert_allclose(
        straight, ground_distance_m(lat[:, None], lon[:, None], lat, lon), rtol=1e-5, atol=1e-3
    )
    corners = on_the_globe(np.array([0.0, 0.0, 90.0, -90.0]), np.array([0.0, 90.0, 9.0, 9.0]))
    expected = 6371008.8 * np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, -1.0]])
    np.testing.assert_allclose(corners, expected, atol=1e-6)
