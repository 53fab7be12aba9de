"""The sea of harder coasts: those that cut the box, and those that are broken."""

import numpy as np
import pytest
import shapely
from shapely.geometry.base import BaseGeometry

from tiling.osm.gather.coast import sea_polygons
from tiling.values import Box

BOX = Box(0.0, 0.0, 1.0, 1.0)
Line = list[tuple[float, float]]


def sea(*lines: Line) -> BaseGeometry:
    return shapely.union_all(sea_polygons([shapely.LineString(line).wkb for line in lines], BOX))


def ring(x: float, y: float, radius: float, land_inside: bool = True) -> Line:
    """A round coast: anticlockwise about land, clockwise about water."""
    circle = shapely.Point(x, y).buffer(radius, quad_segs=16).exterior.coords
    return list(circle)[::-1] if land_inside else list(circle)


def assert_same(area: BaseGeometry, expected: BaseGeometry) -> None:
    assert area.symmetric_difference(expected).area < 1e-9


WHOLE = shapely.box(*BOX)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ([(-1, 0.3), (2, 0.3)], shapely.box(0, 0, 1, 0.3)),
        ([(2, 0.3), (-1, 0.3)], shapely.box(0, 0.3, 1, 1)),
        ([(0.3, 2), (0.3, -1)], shapely.box(0, 0, 0.3, 1)),
        ([(0.7, -1), (0.7, 2)], shapely.box(0.7, 0, 1, 1)),
        ([(-0.5, 0.5), (0.5, -0.5)], None),
        ([(-0.25, 0.5), (0.5, -0.25)], shapely.Polygon([(0, 0), (0.25, 0), (0, 0.25)])),
        ([(0.5, -0.25), (-0.25, 0.5)], WHOLE - shapely.Polygon([(0, 0), (0.25, 0), (0, 0.25)])),
    ],
)
def test_a_straight_coast_parts_the_box(line: Line, expected: BaseGeometry | None) -> None:
    if expected is None:  # it touches the box at its corner alone
        assert sea(line).is_empty
    else:
        assert_same(sea(line), expected)


def test_a_bay_is_sea_as_far_as_it_reaches_inland() -> None:
    bay = [(0.6, -1.0), (0.6, 0.4), (0.3, 0.4), (0.3, 0.6), (0.6, 0.6), (0.6, 2.0)]
    assert_same(sea(bay), shapely.box(0.6, 0, 1, 1) | shapely.box(0.3, 0.4, 0.6, 0.6))


def test_a_strait_lies_between_two_coasts() -> None:
    northward, southward = [(0.4, -1.0), (0.4, 2.0)], [(0.6, 2.0), (0.6, -1.0)]
    assert_same(sea(northward, southward), shapely.box(0.4, 0, 0.6, 1))
    assert_same(sea(southward, northward), shapely.box(0.4, 0, 0.6, 1))


def test_an_isthmus_lies_between_two_seas() -> None:
    coasts = [(0.4, 2.0), (0.4, -1.0)], [(0.6, -1.0), (0.6, 2.0)]
    assert_same(sea(*coasts), shapely.box(0, 0, 0.4, 1) | shapely.box(0.6, 0, 1, 1))


def test_islands_in_the_sea_and_a_lagoon_in_an_island() -> None:
    island, lagoon, islet = ring(0.5, 0.5, 0.3), ring(0.5, 0.5, 0.2, False), ring(0.5, 0.5, 0.1)
    discs = [shapely.Polygon(line) for line in (island, lagoon, islet)]
    assert_same(sea(island, lagoon, islet), WHOLE - discs[0] | discs[1] - discs[2])
    assert_same(sea(island), WHOLE - discs[0])
    assert_same(sea(lagoon), discs[1])


def test_an_island_that_the_edge_cuts() -> None:
    island = ring(1.0, 0.5, 0.2)
    assert_same(sea(island), WHOLE - shapely.Polygon(island))
    away = ring(2.0, 0.5, 0.2)
    assert sea(away).is_empty
    assert_same(sea(island, away), sea(island))


def test_a_coast_that_comes_and_goes_over_the_edge() -> None:
    teeth = [(-0.1, 0.2), (0.2, 0.2), (0.2, -0.2), (0.4, -0.2), (0.4, 0.2), (1.1, 0.2)]
    expected = shapely.box(0, 0, 0.2, 0.2) | shapely.box(0.4, 0, 1, 0.2)
    assert_same(sea(teeth), expected)


def test_a_coast_in_many_pieces_in_any_order() -> None:
    island = ring(0.5, 0.5, 0.3)
    pieces = [island[start : start + 2] for start in range(len(island) - 1)]
    order = np.random.default_rng(0).permutation(len(pieces)).tolist()
    assert_same(sea(*(pieces[number] for number in order)), sea(island))


def test_a_gap_in_an_island_never_floods_it() -> None:
    island = ring(0.5, 0.5, 0.3)
    torn = island[: len(island) - 12]
    wet = sea(torn)
    assert wet.area == pytest.approx(sea(island).area, rel=0.25)
    assert not wet.contains(shapely.Point(0.4, 0.5))
    assert wet.contains(shapely.Point(0.02, 0.98))


def test_a_loose_end_at_the_edge_needs_no_bridge() -> None:
    assert_same(sea([(0.5, 0.0), (0.5, 1.0)]), shapely.box(0.5, 0, 1, 1))


def test_a_piece_the_wrong_way_round_is_outvoted() -> None:
    coast = [(0.5, -0.1), (0.5, 0.6)], [(0.5, 0.6), (0.5, 0.9)], [(0.5, 1.1), (0.5, 0.9)]
    assert_same(sea(*coast), shapely.box(0.5, 0, 1, 1))


def test_where_as_much_speaks_for_land_as_for_sea_it_is_land() -> None:
    assert sea([(0.5, -0.1), (0.5, 0.5)], [(0.5, 1.1), (0.5, 0.5)]).is_empty


def test_the_sea_is_a_share_of_the_box_without_overlaps() -> None:
    rng = np.random.default_rng(3)
    middles = rng.uniform(0.1, 0.9, (4, 2)).round(1) + rng.uniform(-0.01, 0.01, (4, 2))
    islands = [ring(x, y, 0.03) for x, y in middles.tolist()]
    faces = sea_polygons([shapely.LineString(line).wkb for line in islands], BOX)
    wet = shapely.union_all(faces)
    assert sum(face.area for face in faces) == pytest.approx(wet.area)
    assert_same(wet, WHOLE - shapely.union_all([shapely.Polygon(line) for line in islands]))


def test_a_coast_of_no_length_is_no_coast() -> None:
    assert sea([(0.5, 0.5), (0.5, 0.5)]).is_empty
    assert sea([(-1.0, 0.0), (0.0, 0.0)]).is_empty
