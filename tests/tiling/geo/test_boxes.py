"""Boxes about places, grids in boxes and cells, at the seams of the Earth."""

import h3
import numpy as np
import pyproj
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from tiling.errors import GridError, PlaceError
from tiling.geo.cells import cell_of_place, parent_of_cell, place_of_cell
from tiling.geo.geodesy import MetresPerDegree, box_around, ground_distance_m
from tiling.geo.grid import MAX_PLACES, check_box, grid
from tiling.values import Box, LonLat

GEOD = pyproj.Geod(ellps="WGS84")
few = settings(max_examples=80, deadline=None, derandomize=True)


@few
@given(st.floats(-180, 180), st.floats(-84, 84), st.floats(1, 2000), st.floats(1, 2000))
def test_a_box_reaches_as_far_as_geodesics(lon: float, lat: float, x_m: float, y_m: float) -> None:
    box = box_around(LonLat(lon, lat), x_m, y_m)
    assert all(-180 <= edge <= 180 for edge in (box.west, box.east))
    for edge, along in ((box.east, 1), (box.west, -1)):
        turn = (edge - lon) * along % 360
        assert GEOD.inv(0, lat, turn, lat)[2] == pytest.approx(x_m, rel=1e-3)
    assert GEOD.inv(lon, lat, lon, box.north)[2] == pytest.approx(y_m, rel=1e-3)
    assert GEOD.inv(lon, lat, lon, box.south)[2] == pytest.approx(y_m, rel=1e-3)
    assert box.contains(LonLat(lon, lat))


def test_without_a_height_a_box_is_as_high_as_wide() -> None:
    assert box_around(LonLat(7, 43), 250) == box_around(LonLat(7, 43), 250, 250)
    assert box_around(LonLat(7, 43), 250) != box_around(LonLat(7, 43), 250, 100)


@pytest.mark.parametrize(
    ("place", "west", "east"),
    [
        (LonLat(179.9995, 0), 179, -179),
        (LonLat(-179.9995, 0), 179, -179),
        (LonLat(180, 0), 179, -179),
    ],
)
def test_a_box_over_the_antimeridian_has_its_west_in_the_east(
    place: LonLat, west: float, east: float
) -> None:
    box = box_around(place, 200)
    assert box.crosses_antimeridian
    assert west < box.west <= 180
    assert -180 <= box.east < east
    assert not box.contains(LonLat(0, 0))


def test_a_box_that_only_touches_the_antimeridian_does_not_cross_it() -> None:
    metres = 0.25 * MetresPerDegree.at(0).x
    east, west = (box_around(LonLat(lon, 0), metres) for lon in (179.75, -179.75))
    assert (east.west, east.east) == (179.5, 180)
    assert (west.west, west.east) == (-180, -179.5)


@pytest.mark.parametrize(("lat", "edge"), [(89.9999, 90), (-89.9999, -90)])
def test_a_box_ends_at_the_pole_and_goes_all_round_it(lat: float, edge: float) -> None:
    box = box_around(LonLat(12, lat), 100)
    assert edge in (box.south, box.north)
    assert (box.west, box.east) == (-180, 180)
    assert all(box.contains(LonLat(lon, lat)) for lon in (-180, -12, 0, 99.5, 180))


@few
@given(st.floats(-90, 90), st.floats(-180, 180), st.floats(-90, 90), st.floats(-180, 180))
def test_distances_are_symmetric_and_close_over_the_seam(
    lat1: float, lon1: float, lat2: float, lon2: float
) -> None:
    there = float(ground_distance_m(lat1, lon1, lat2, lon2))
    assert there == pytest.approx(float(ground_distance_m(lat2, lon2, lat1, lon1)), abs=1e-6)
    assert 0 <= there <= np.pi * 6371008.8 + 1e-6
    assert float(ground_distance_m(lat1, lon1 + 360, lat2, lon2)) == pytest.approx(there, abs=1e-2)
    assert float(ground_distance_m(lat1, lon1, lat1, lon1)) == 0


def test_distances_of_arrays_are_those_of_each_pair() -> None:
    lat = np.array([0.0, 10.0, 90.0])
    table = ground_distance_m(lat[:, None], 0.0, lat, 180.0)
    assert table.shape == (3, 3)
    assert float(table[0, 0]) == pytest.approx(np.pi * 6371008.8)
    assert float(table[2, 2]) == pytest.approx(0, abs=1e-6)
    np.testing.assert_allclose(table, table.T)


def test_a_grid_starts_half_a_step_inside_and_keeps_its_step() -> None:
    box, step = Box(10.0, 50.0, 10.01, 50.01), 100.0
    places = grid(shapely.box(*box), step)
    row = places[places[:, 1] == places[0, 1]]
    lat = float(row[0, 1])
    # a row lies in degrees, half a step from the corner
    assert lat - box.south == pytest.approx(step / 2 / MetresPerDegree.at(50.005).y)
    assert row[0, 0] - box.west == pytest.approx(step / 2 / MetresPerDegree.at(lat).x)
    np.testing.assert_allclose(np.diff(row[:, 0]), step / MetresPerDegree.at(lat).x)
    rows = np.unique(places[:, 1])
    np.testing.assert_allclose(np.diff(rows), step / MetresPerDegree.at(50.005).y)
    assert box.north - rows[-1] >= 0
    assert box.north - rows[-1] < np.diff(rows)[0]
    assert box.east - row[-1, 0] < np.diff(row[:, 0])[0]


def test_a_grid_may_hold_places_up_to_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_PLACES == 20_000_000
    monkeypatch.setattr("tiling.geo.grid.MAX_PLACES", 100)
    scale = MetresPerDegree.at(0.0)
    for side_m, refused in ((990, False), (1_010, True)):
        half = side_m / 2
        box = Box(-half / scale.x, -half / scale.y, half / scale.x, half / scale.y)
        if refused:
            with pytest.raises(GridError, match=r"of 100.0 m would have about 102 places"):
                grid(shapely.box(*box), 100.0)
        else:
            assert len(grid(shapely.box(*box), 100.0)) == 100


def test_a_wide_box_over_the_antimeridian_counts_the_short_way_round(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tiling.geo.grid.MAX_PLACES", 30)
    world = shapely.box(-180, -90, 180, 90)
    places = grid(world, 10_000, Box(179.9, -0.1, -179.9, 0.1))
    assert places[:2, 0].tolist() == pytest.approx([179.9449, -179.9653], abs=1e-3)
    with pytest.raises(GridError, match="places: take a wider grid"):
        grid(world, 10_000, Box(-179.9, -0.1, 179.9, 0.1))


def test_a_grid_at_a_pole_has_few_places_in_its_last_row() -> None:
    places = grid(shapely.box(-180, 89.9, 180, 90), 2_000)
    rows, counts = np.unique(places[:, 1], return_counts=True)
    assert rows.max() < 90
    assert (np.diff(counts) < 0).all(), "circles shrink towards the pole"
    circle_m = 2 * np.pi * 2_000 * 0.5
    assert counts[-1] == pytest.approx(circle_m / 2_000, abs=3)


@pytest.mark.parametrize(
    ("edges", "error"),
    [
        ((7, 43, 7, 44), GridError),
        ((7, 44, 8, 44), GridError),
        ((7, 44, 8, 43), GridError),
        ((7, 43, 8, 90.5), PlaceError),
        ((-180.5, 43, 8, 44), PlaceError),
    ],
)
def test_a_box_without_ground_is_refused(
    edges: tuple[float, float, float, float], error: type[Exception]
) -> None:
    with pytest.raises(error):
        check_box(*edges)
    assert check_box(170, -10, -170, 10) == Box(170, -10, -170, 10)


@few
@given(st.floats(-180, 180), st.floats(-90, 90), st.integers(0, 10))
def test_a_place_lies_near_the_middle_of_its_cell(lon: float, lat: float, resolution: int) -> None:
    cell = cell_of_place(LonLat(lon, lat), resolution)
    middle = place_of_cell(cell)
    edge_m = h3.average_hexagon_edge_length(resolution, unit="m")
    assert float(ground_distance_m(middle.lat, middle.lon, lat, lon)) < 2 * edge_m
    assert cell_of_place(middle, resolution) == cell


def test_the_parent_of_a_cell_holds_it_and_its_neighbours() -> None:
    cell = cell_of_place(LonLat(7.4246, 43.7384), 9)
    for resolution in range(5, 10):
        parent = parent_of_cell(cell, resolution)
        assert cell in h3.cell_to_children(parent, 9)
    assert parent_of_cell(cell, 9) == cell


def test_a_cell_without_a_middle_is_refused_in_a_short_line() -> None:
    with pytest.raises(PlaceError) as refused:
        place_of_cell("8" * 5_000)
    assert len(str(refused.value)) < 200
    with pytest.raises(PlaceError, match="no H3 cell"):
        place_of_cell("ffffffffffffffff"[:15])
