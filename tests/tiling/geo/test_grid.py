import numpy as np
import pytest
import shapely

from tiling.errors import GridError, PlaceError
from tiling.geo.geodesy import ground_distance_m
from tiling.geo.grid import grid, parse_box
from tiling.values import Box


@pytest.mark.parametrize("south", [-60.0, 0.0, 43.7, 70.0])
def test_places_are_the_asked_distance_apart(south: float) -> None:
    places = grid(shapely.box(7.0, south, 7.05, south + 0.03), 50)
    lon, lat = places.T
    in_row = lat[1:] == lat[:-1]
    along = ground_distance_m(lat[:-1], lon[:-1], lat[1:], lon[1:])[in_row]
    rows = np.unique(lat)
    across = ground_distance_m(rows[:-1], 7.0, rows[1:], 7.0)
    for distance in (along, across):
        # haversine is a sphere, the grid an ellipsoid
        np.testing.assert_allclose(distance, 50, rtol=0.006)


def test_every_place_lies_in_the_coverage_and_the_box() -> None:
    triangle = shapely.Polygon([(7.0, 43.0), (7.1, 43.0), (7.0, 43.1)])
    places = grid(triangle, 100, Box(6.9, 43.0, 7.02, 43.2))
    assert shapely.intersects_xy(triangle, *places.T).all()
    assert places[:, 0].max() < 7.02
    area_m2 = (0.02 * 0.1 - 0.02**2 / 2) * 111_130 * 81_500
    assert len(places) == pytest.approx(area_m2 / 100**2, rel=0.03)


def test_rows_run_from_the_south_west() -> None:
    places = grid(shapely.box(7.0, 43.0, 7.01, 43.01), 100)
    assert (np.lexsort((places[:, 0], places[:, 1])) == np.arange(len(places))).all()


def test_a_box_may_cross_the_antimeridian() -> None:
    fiji = shapely.union(shapely.box(179.9, -17.1, 180, -17), shapely.box(-180, -17.1, -179.9, -17))
    places = grid(fiji, 500, Box(179.95, -17.1, -179.95, -17.0))
    assert np.abs(places[:, 0]).min() >= 179.95
    assert (places[:, 0] > 0).any()
    assert (places[:, 0] < 0).any()


def test_a_box_smaller_than_a_step_holds_its_middle() -> None:
    (place,) = grid(shapely.box(7.0, 43.0, 7.001, 43.001), 1000)
    assert place == pytest.approx([7.0005, 43.0005])


def test_a_grid_without_a_place_is_refused() -> None:
    with pytest.raises(GridError, match=r"no place .* holds lon 7\.0"):
        grid(shapely.box(7, 43, 7.1, 43.1), 50, Box(8, 43, 8.1, 43.1))


def test_a_grid_of_too_many_places_is_refused() -> None:
    with pytest.raises(GridError, match="take a wider grid or a --bbox"):
        grid(shapely.box(0, 40, 20, 50), 10)


def test_a_box_is_met_with_the_coverage_first() -> None:
    town = shapely.box(7.4, 43.7, 7.45, 43.75)
    assert (grid(town, 100, Box(-170, -80, 170, 80)) == grid(town, 100)).all()
    inner = Box(7.41, 43.71, 7.42, 43.72)
    assert (grid(town, 100, inner) == grid(shapely.box(*inner), 100)).all()


def test_far_apart_towns_are_a_few_places() -> None:
    towns = shapely.union(shapely.box(7, 43, 7.01, 43.01), shapely.box(170, -45, 170.01, -44.99))
    places = grid(towns, 20)
    near = places[:, 0] < 100
    assert shapely.intersects_xy(towns, *places.T).all()
    for part, (lat, lon) in ((places[near], (43.0, 7.0)), (places[~near], (-45.0, 170.0))):
        width = ground_distance_m(lat, lon, lat, lon + 0.01)
        height = ground_distance_m(lat, lon, lat + 0.01, lon)
        assert len(part) == pytest.approx(width * height / 20**2, rel=0.02)


def test_a_box_is_read() -> None:
    assert parse_box("7.4, 43.7,7.5,43.8") == Box(7.4, 43.7, 7.5, 43.8)


@pytest.mark.parametrize("text", ["", "7,43,8", "7,43,8,44,9", "a,b,c,d", "7,44,8,43", "7,43,7,44"])
def test_a_malformed_box_is_refused(text: str) -> None:
    with pytest.raises(GridError):
        parse_box(text)


@pytest.mark.parametrize("text", ["7,nan,8,44", "7,43,8,inf", "43,170,44,171", "7,43,181,44"])
def test_a_box_off_the_earth_is_refused(text: str) -> None:
    with pytest.raises(PlaceError):
        parse_box(text)
