"""How an import cuts large polygons and orders features along a curve."""

from pathlib import Path

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tiling.handmade import GROUND, open_store, opl
from tiling.catalogue.catalogue import load_catalogue
from tiling.osm.gather.curve import morton, spread
from tiling.osm.gather.pieces import MAX_VERTICES, OVERLAP_DEG, cut
from tiling.store.geopackage.import_ import import_extracts
from tiling.values import Box

WORLD = Box(-180, -90, 180, 90)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 2**32 - 1))
def test_spreading_puts_a_zero_between_the_bits(value: int) -> None:
    spaced = int(spread(np.array([value], np.uint64))[0])
    expected = int("".join(f"0{bit}" for bit in f"{value:032b}"), 2)
    assert spaced == expected


def test_the_curve_goes_through_each_quarter_before_the_next() -> None:
    side = 16
    # half of the world is a square of the curve
    x, y = np.meshgrid(np.linspace(-179, -1, side), np.linspace(-89, 89, side))
    points = shapely.points(x.ravel(), y.ravel())
    order = np.argsort(morton(shapely.bounds(points)))
    quarters = (x.ravel() > -90).astype(int) + 2 * (y.ravel() > 0)
    assert (np.diff(quarters[order]) >= 0).all()
    first = order[: side * side // 4]
    inner = (x.ravel()[first] > -135).astype(int) + 2 * (y.ravel()[first] > -45)
    assert (np.diff(inner) >= 0).all()


def test_the_code_of_a_shape_is_that_of_the_middle_of_its_box() -> None:
    shapes = np.array([shapely.box(6, 42, 8, 44), shapely.LineString([(6, 44), (8, 42)])])
    (point,) = morton(shapely.bounds([shapely.Point(7, 43)]))
    assert morton(shapely.bounds(shapes)).tolist() == [point, point]
    assert point.dtype == np.uint64
    ends = morton(shapely.bounds([shapely.Point(-180, -90), shapely.Point(180, 90)]))
    assert ends[0] == 0
    assert ends[1] > ends[0]


def star(radius: float, corners: int = 4_000, seed: int = 0) -> shapely.Polygon:
    """A ragged round shape of so many corners."""
    angle = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    reach = radius * np.random.default_rng(seed).uniform(0.9, 1.0, corners)
    return shapely.Polygon(
        np.stack([7 + reach * np.cos(angle), 43 + reach * np.sin(angle)], axis=1)
    )


@pytest.mark.parametrize("radius", [0.01, 0.5])
def test_a_large_polygon_becomes_small_ones_that_overlap_a_little(radius: float) -> None:
    whole = star(radius)
    pieces = cut(whole)
    assert len(pieces) >= len(whole.exterior.coords) // MAX_VERTICES
    assert max(shapely.get_num_coordinates(pieces)) <= MAX_VERTICES
    assert shapely.union_all(pieces).symmetric_difference(whole).area < 1e-9 * whole.area + 1e-12
    narrow = 2 * OVERLAP_DEG
    for number, piece in enumerate(pieces):
        for other in pieces[number + 1 :]:
            common = piece & other
            if not common.is_empty:
                west, south, east, north = common.bounds
                assert min(east - west, north - south) <= narrow + 1e-9


def test_a_long_polygon_is_cut_across_its_longer_side() -> None:
    x = np.linspace(7, 8, 600)
    strip = shapely.Polygon([*((v, 43.0) for v in x), *((v, 43.1) for v in x[::-1])])
    left, right, *more = sorted(cut(strip), key=lambda piece: piece.bounds[0])
    assert left.bounds[1::2] == pytest.approx((43.0, 43.1))
    assert left.bounds[2] == pytest.approx(7 + (right.bounds[2] - 7) / 2, abs=0.3)
    assert len(more) <= 2


def test_the_halves_overlap_by_twenty_metres_however_they_are_cut() -> None:
    x = np.linspace(7, 8, 260)
    lying = shapely.Polygon([*((v, 43.0) for v in x), *((v, 43.1) for v in x[::-1])])
    standing = shapely.transform(lying, lambda lon_lat: lon_lat[:, ::-1])
    assert shapely.get_num_coordinates(lying) > MAX_VERTICES
    for strip, edges in ((lying, (0, 2)), (standing, (1, 3))):
        first, second = cut(strip)
        low, high = ((first & second).bounds[edge] for edge in edges)
        assert high - low == pytest.approx(2 * OVERLAP_DEG)
        assert (low + high) / 2 == pytest.approx(7.5)


def test_what_needs_no_cut_is_left_alone() -> None:
    small = star(0.01, 100)
    assert cut(small) == [small]
    assert cut(shapely.Polygon()) == []
    tiny = star(3 * OVERLAP_DEG)
    assert cut(tiny) == [tiny], "smaller than the overlap, it would never end"


def test_a_hole_stays_open_in_the_pieces() -> None:
    ring, hole = star(0.5), star(0.2, 3_000, seed=1)
    pieces = cut(shapely.Polygon(ring.exterior, [hole.exterior]))
    assert not any(piece.contains(shapely.Point(7, 43)) for piece in pieces)
    assert shapely.union_all(pieces).area == pytest.approx(ring.area - hole.area, rel=1e-6)


NODES = [f"n{n} v1 x{10 + n % 10 / 1000:.4f} y{n // 10 / 1000:.4f}" for n in range(1, 100)]
TREES = [
    f"n{500 + n} v1 x{10 + x:.4f} y{y:.4f} Tnatural=tree"
    for n, (x, y) in enumerate([(0.009, 0.009), (0.0, 0.0), (0.009, 0.0), (0.0, 0.009)])
]


def test_the_store_is_in_the_order_of_the_curve(tmp_path: Path) -> None:
    path = opl(tmp_path / "hand.osm.opl", [*NODES, *TREES])
    summary = import_extracts([path], tmp_path / "hand.gpkg", load_catalogue())
    with open_store(tmp_path / "hand.gpkg") as source:
        codes = morton(shapely.bounds(shapely.from_wkb(source.features(WORLD).wkb)))
    assert (np.diff(codes.astype(float)) > 0).all()
    assert (summary.features, summary.by_channel["green"], summary.lost) == (4, 4, {})
    assert sum(summary.by_channel.values()) == 4


def test_objects_at_one_place_keep_the_order_of_kinds_and_ids(tmp_path: Path) -> None:
    square = "Nn11,n12,n22,n21,n11"
    lines = [
        f"w9 v1 Tbuilding=yes,amenity=school {square}",
        f"w8 v1 Thighway=service {square}",
        f"w7 v1 Tbuilding=yes {square}",
        "w3 v1 T " + square,
        "r2 v1 Ttype=multipolygon,landuse=forest Mw3@outer",
        "n700 v1 x10.0015 y0.0015 Tnatural=tree",
    ]
    path = opl(tmp_path / "hand.osm.opl", [*NODES, *GROUND, *lines])
    import_extracts([path], tmp_path / "hand.gpkg", load_catalogue())
    with open_store(tmp_path / "hand.gpkg") as source:
        found = source.features(Box(9, -1, 11, 1))
    codes = morton(shapely.bounds(shapely.from_wkb(found.wkb)))
    order = np.argsort(codes, kind="stable")
    assert order.tolist() == sorted(order.tolist())
    same = [int(c) for c, code in zip(found.channel, codes, strict=True) if code == codes[-1]]
    assert same == [channel for channel in [6, 4, 1, 4, 11, 6] if channel in same][-len(same) :]


def test_the_sea_is_drawn_in_the_channel_of_water(tmp_path: Path) -> None:
    lines = [*TREES, "w5 v1 Tnatural=coastline Nn5,n15,n25,n35,n45,n55,n65,n75,n85,n95"]
    path = opl(tmp_path / "coast.osm.opl", [*NODES, *lines])
    summary = import_extracts([path], tmp_path / "hand.gpkg", load_catalogue())
    assert summary.by_channel["water"] == 1
    with open_store(tmp_path / "hand.gpkg") as source:
        found = source.features(WORLD)
        west, south, east, north = source.coverage.bounds
    (sea,) = shapely.from_wkb(found.wkb[found.channel == 5])
    assert sea.bounds == pytest.approx((10.005, south, east, north), abs=1e-6)
    assert west < 10.005
