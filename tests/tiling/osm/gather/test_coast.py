"""The sea from its coastline, and the area that data covers."""

import numpy as np
import pytest
import shapely

from tests.tiling.osm.gather.positions import Held
from tiling.geo.geodesy import MetresPerDegree
from tiling.osm.gather.coast import sea_polygons
from tiling.osm.gather.coverage import coverage, shrink
from tiling.values import Box

BOX = Box(0.0, 0.0, 1.0, 1.0)
NORTHWARD = [(0.5, -0.1), (0.5, 0.5), (0.5, 1.1)]  # land on its left: the west
ISLAND = [(0.7, 0.4), (0.8, 0.4), (0.8, 0.6), (0.7, 0.6), (0.7, 0.4)]  # anticlockwise: land inside
LAGOON = [(0.2, 0.4), (0.2, 0.6), (0.3, 0.6), (0.3, 0.4), (0.2, 0.4)]  # clockwise: sea inside


def sea(*lines: list[tuple[float, float]]) -> shapely.Geometry:
    return shapely.union_all(sea_polygons([shapely.LineString(line).wkb for line in lines], BOX))


def test_the_sea_lies_on_the_right_of_the_coastline() -> None:
    assert sea(NORTHWARD).equals(shapely.box(0.5, 0, 1, 1))
    assert sea(NORTHWARD[::-1]).equals(shapely.box(0, 0, 0.5, 1))


def test_islands_are_land_and_lagoons_are_sea() -> None:
    expected = shapely.box(0.5, 0, 1, 1) - shapely.Polygon(ISLAND) | shapely.Polygon(LAGOON)
    assert sea(NORTHWARD, ISLAND, LAGOON).equals(expected)
    assert sea(ISLAND).equals(shapely.box(*BOX) - shapely.Polygon(ISLAND))


def test_a_coast_in_pieces_is_the_same_coast() -> None:
    assert sea(NORTHWARD[:2], NORTHWARD[1:]).equals(sea(NORTHWARD))


def test_a_coast_that_ends_inside_is_closed_at_the_nearest_edge() -> None:
    cut = [(0.5, 0.05), (0.5, 0.5), (0.5, 0.96)]
    assert sea(cut).symmetric_difference(sea(NORTHWARD)).area < 0.001


def test_without_a_coast_there_is_no_sea() -> None:
    assert sea_polygons([], BOX) == []
    assert sea_polygons([shapely.LineString([(2, 2), (3, 3)]).wkb], BOX) == []


def town(lon: float, lat: float, rng: np.random.Generator) -> np.ndarray:
    """5,000 vertices over 2 km by 2 km."""
    scale = np.array(MetresPerDegree.at(lat))
    return np.asarray(np.array([lon, lat]) + rng.uniform(-1000, 1000, (5000, 2)) / scale)


def test_coverage_is_where_the_data_is() -> None:
    rng = np.random.default_rng(0)
    vertices = town(10, 60, rng)
    # a railway that leaves the extract
    tail = np.array([10, 60]) + np.linspace([0.02, 0], [0.5, 0.3], 60)
    area = coverage(Held(np.concatenate([vertices, tail])), None)
    assert shapely.contains_xy(area, *vertices.T).mean() > 0.98
    assert not area.intersects(shapely.Point(10.3, 60.18))
    metres2 = area.area * np.prod(MetresPerDegree.at(60))
    assert metres2 == pytest.approx(4e6, rel=0.3)


def test_coverage_stays_in_the_declared_box() -> None:
    area = coverage(Held(town(10, 60, np.random.default_rng(0))), Box(10.0, 59.9, 10.1, 60.1))
    assert area.bounds[0] == 10.0


def test_shrinking_goes_inward_by_metres() -> None:
    scale = MetresPerDegree.at(60)
    square = shapely.box(10, 60, 10 + 1000 / scale.x, 60 + 1000 / scale.y)
    inner = shrink(square, 250)
    assert inner.area == pytest.approx(square.area / 4, rel=0.01)
