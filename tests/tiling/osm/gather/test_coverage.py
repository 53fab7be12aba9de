"""Which ground counts as mapped, in metres at any latitude."""

from pathlib import Path

import numpy as np
import pytest
import shapely
from numpy.typing import NDArray

from tests.tiling.osm.gather.positions import Held
from tiling.geo.geodesy import MetresPerDegree
from tiling.osm.gather import coverage as module
from tiling.osm.gather.coverage import CELL_M, CLOSE_M, coverage, shrink
from tiling.osm.gather.vertices import Vertices
from tiling.values import Box

Metres = NDArray[np.float64]
PLACE = (10.0, 50.0)
METRES = np.array(MetresPerDegree.at(PLACE[1]))
MANY, MOST = 1_200, 800  # cells, in all and in a block


def moved(vertices: Metres, x_m: float, y_m: float) -> Metres:
    further: Metres = vertices + np.array([x_m, y_m])
    return further


def grid(width_m: float, height_m: float, step_m: float = 50.0) -> Metres:
    """Vertices on a grid whose south-west corner is the origin, metres."""
    x, y = np.meshgrid(np.arange(0, width_m, step_m), np.arange(0, height_m, step_m))
    return np.stack([x.ravel(), y.ravel()], axis=1)


def covered(metres: Metres, lat: float = 50.0, box: Box | None = None) -> shapely.Geometry:
    """The coverage of vertices in metres, taken to degrees and back."""
    scale = np.array(MetresPerDegree.at(lat))
    area = coverage(Held(metres / scale + (10.0, lat)), box)
    return shapely.transform(area, lambda degrees: (degrees - (10.0, lat)) * scale)


@pytest.mark.parametrize("lat", [0.0, 50.0, -70.0])
def test_a_square_of_vertices_is_covered_at_any_latitude(lat: float) -> None:
    area = covered(grid(5_000, 3_000), lat)
    assert shapely.box(300, 300, 4_700, 2_700).within(area)
    assert area.within(shapely.box(-300, -300, 5_300, 3_300))


def test_a_lake_without_objects_is_covered_and_a_wide_gap_is_not() -> None:
    def with_gap(gap_m: float) -> shapely.Geometry:
        left = grid(3_000, 6_000)
        return covered(np.concatenate([left, moved(left, 3_000 + gap_m, 0)]))

    inside = shapely.Point(3_000 + CLOSE_M / 2, 3_000)
    assert with_gap(CLOSE_M).contains(inside)
    assert with_gap(CLOSE_M).geom_type == "Polygon"
    wide = with_gap(3.5 * CLOSE_M)
    assert wide.geom_type == "MultiPolygon"
    assert len(wide.geoms) == 2


def test_a_strip_that_leaves_the_extract_is_not_covered() -> None:
    town = grid(4_000, 4_000)
    road = np.stack([np.arange(4_000, 12_000, 20.0), np.full(400, 2_000.0)], axis=1)
    area = covered(np.concatenate([town, road]))
    assert area.contains(shapely.Point(2_000, 2_000))
    assert not area.intersects(shapely.Point(8_000, 2_000))
    valley = np.stack([np.arange(4_000, 12_000, 20.0), np.full(400, 2_000.0)], axis=1)
    wide = np.concatenate([moved(valley, 0, shift) for shift in (-400, -200, 0, 200, 400)])
    assert covered(np.concatenate([town, wide])).contains(shapely.Point(8_000, 2_000))


def test_a_cell_with_few_vertices_does_not_count_unless_all_have_few() -> None:
    town = grid(2_000, 2_000)
    sparse = moved(grid(2_000, 2_000, step_m=250.0), 5_000, 0)
    area = covered(np.concatenate([town, sparse]))
    assert not area.intersects(shapely.Point(6_000, 1_000))
    alone = covered(sparse)
    assert alone.contains(shapely.Point(6_000, 1_000))


def test_the_box_of_the_header_cuts_and_never_widens() -> None:
    scale = np.array(MetresPerDegree.at(50))
    east, north = (2_000, 2_500) / scale + (10.0, 50.0)
    cut = covered(grid(5_000, 5_000), box=Box(9.0, 49.0, float(east), float(north)))
    assert cut.bounds[2:] == pytest.approx((2_000, 2_500), abs=1)
    whole = covered(grid(5_000, 5_000))
    assert covered(grid(5_000, 5_000), box=Box(0, 0, 90, 90)).equals(whole)


def test_shrinking_too_far_leaves_nothing() -> None:
    square = shapely.box(10, 50, 10.01, 50.01)
    assert shrink(square, 5_000).is_empty
    assert shrink(square, 0).symmetric_difference(square).area < 1e-12


@pytest.mark.parametrize("lat", [0.0, 60.0, -75.0])
def test_what_is_left_lies_so_far_inside_on_every_side(lat: float) -> None:
    scale = MetresPerDegree.at(lat)
    square = shapely.box(10, lat, 10 + 2_000 / scale.x, lat + 2_000 / scale.y)
    west, south, east, north = shrink(square, 300).bounds
    inside = [
        (west - 10) * scale.x,
        (south - lat) * scale.y,
        2_000 - (east - 10) * scale.x,
        2_000 - (north - lat) * scale.y,
    ]
    assert inside == pytest.approx([300] * 4, rel=2e-3)


def test_buildings_that_stand_alone_within_the_box_are_covered() -> None:
    town = grid(2_000, 2_000) / METRES + PLACE
    islet = np.array([[6_000.0, 6_000.0], [6_010.0, 6_010.0]]) / METRES + PLACE
    beyond = np.array([[60_000.0, 6_000.0]]) / METRES + PLACE
    vertices = Held(np.concatenate([town, islet, beyond]))
    buildings = Held(np.concatenate([town[::7], islet, beyond]))
    box = Box(9.9, 49.9, 10.3, 50.3)
    without, area = coverage(vertices, box), coverage(vertices, box, buildings)
    assert not shapely.intersects_xy(without, *islet.T).any()
    assert shapely.intersects_xy(area, *islet.T).all()
    assert not shapely.intersects_xy(area, *beyond.T).any(), "what lies beyond the box is not whole"
    more = shapely.transform(area - without, lambda degrees: degrees * METRES).area
    assert CELL_M**2 < more < 5 * CELL_M**2, "those of the islet, and of corners of the town"
    assert coverage(vertices, None, buildings).equals(coverage(vertices, None))


@pytest.mark.parametrize(
    ("place", "share"),
    [((10.0, 50.0), 0.25), ((0.0, 89.0), 0.05), ((20.0, -89.5), 0.9), ((179.9, -17.0), 0.1)],
)
def test_block_by_block_the_same_ground_is_covered(
    place: tuple[float, float], share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    side = int((MANY / share) ** 0.5)
    x, y = np.nonzero(rng.random((side, side)) < share)
    four = np.repeat(np.stack([x, y], axis=1) - side / 2, 4, axis=0) * CELL_M
    degrees = four / np.array(MetresPerDegree.at(place[1])) + place
    degrees[:, 0] = (degrees[:, 0] + 180) % 360 - 180
    whole = coverage(Held(degrees), None)
    sizes: list[int] = []
    closed = module._closed

    def counted(cells: NDArray[np.int64]) -> shapely.Geometry:
        sizes.append(len(cells))
        return closed(cells)

    monkeypatch.setattr(module, "_closed", counted)
    monkeypatch.setattr(module, "MOST_CELLS", MOST)
    blocks = coverage(Held(degrees), None)
    assert len(sizes) >= 3
    assert max(sizes) <= MOST
    assert blocks.symmetric_difference(whole).area < 1e-7 * whole.area


@pytest.mark.parametrize("count", [1, 2, 3, 1000, 1001])
def test_the_median_is_that_of_all_vertices(tmp_path: Path, count: int) -> None:
    rng = np.random.default_rng(count)
    lon_lat = np.round(rng.uniform([-180, -90], [180, 90], (count, 2)), 7)
    vertices = Vertices(tmp_path / "vertices")
    for part in np.array_split(lon_lat, 3):
        vertices.append(part)
    np.testing.assert_array_equal(vertices.median(), np.median(lon_lat, axis=0))
    np.testing.assert_array_equal(np.concatenate(list(vertices.chunks())), lon_lat)
