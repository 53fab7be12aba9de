"""Tiles of single shapes against pictures that Pillow paints, sixteen times as fine."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import shapely
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from shapely.geometry.base import BaseGeometry

from tests.tiling.handmade import features_of, make_store, open_store
from tiling.geo.geodesy import MetresPerDegree
from tiling.render.renderer import Renderer
from tiling.store.geopackage.source import GeoPackageSource
from tiling.values import LonLat, Pose, TileGeometry

PLACE = LonLat(7.4, 43.7)
FINE = 16  # a side of a pixel
Metres = Sequence[tuple[float, float]]
Pixels = NDArray[np.float64]
Open = Callable[..., GeoPackageSource]


def degrees(metres: Metres, place: LonLat = PLACE) -> list[tuple[float, float]]:
    """Take metres about a place to degrees."""
    scale = MetresPerDegree.at(place.lat)
    return [(place.lon + x / scale.x, place.lat + y / scale.y) for x, y in metres]


@pytest.fixture
def opened(tmp_path: Path) -> Open:
    """Open a store of features (channel, width, geometry)."""

    def build(
        *features: tuple[int, float, BaseGeometry], place: LonLat = PLACE
    ) -> GeoPackageSource:
        area = shapely.Point(*place).buffer(0.1)
        return open_store(make_store(tmp_path / "shapes.gpkg", features_of(*features), area))

    return build


def turned(metres: Metres, pose: Pose) -> list[tuple[float, float]]:
    """Turn counter-clockwise, then shift, as a pose says."""
    angle = math.radians(pose.rotation_deg)
    cos, sin = math.cos(angle), math.sin(angle)
    return [
        (cos * x - sin * y + pose.shift_x_m, sin * x + cos * y + pose.shift_y_m) for x, y in metres
    ]


class Paper:
    """A picture of a tile's ground, painted fine and then made coarse."""

    def __init__(self, geometry: TileGeometry) -> None:
        self._side = geometry.size * FINE
        self._scale = self._side / (2 * geometry.radius_m)
        self._image = Image.new("L", (self._side, self._side))
        self._pen = ImageDraw.Draw(self._image)

    def _at(self, x: float, y: float) -> tuple[float, float]:
        return self._side / 2 + x * self._scale - 0.5, self._side / 2 - y * self._scale - 0.5

    def area(self, metres: Metres, ink: int = 255) -> None:
        self._pen.polygon([self._at(x, y) for x, y in metres], fill=ink)

    def disc(self, x: float, y: float, radius_m: float) -> None:
        middle, radius = self._at(x, y), radius_m * self._scale
        box = [middle[0] - radius, middle[1] - radius, middle[0] + radius, middle[1] + radius]
        self._pen.ellipse(box, fill=255)

    def line(self, metres: Metres, width_m: float) -> None:
        for (x1, y1), (x2, y2) in pairwise(metres):
            length = math.hypot(x2 - x1, y2 - y1)
            nx, ny = (y1 - y2) / length * width_m / 2, (x2 - x1) / length * width_m / 2
            self.area(
                [(x1 + nx, y1 + ny), (x2 + nx, y2 + ny), (x2 - nx, y2 - ny), (x1 - nx, y1 - ny)]
            )
        for x, y in metres:
            self.disc(x, y, width_m / 2)

    def pixels(self) -> Pixels:
        """The share of each pixel that is painted, [size, size] of 0..1."""
        coarse = self._side // FINE
        fine = np.asarray(self._image).reshape(coarse, FINE, coarse, FINE)
        painted: Pixels = fine.sum(axis=(1, 3), dtype=np.int64) / (255 * FINE**2)
        return painted


def assert_alike(drawn: NDArray[np.uint8], paper: Paper, share: float = 0.97) -> None:
    """The pictures overlap in that share of what either covers, and differ at edges alone."""
    ours, theirs = drawn / 255, paper.pixels()
    assert theirs.sum() > 20, "there is something to compare"
    assert np.minimum(ours, theirs).sum() / np.maximum(ours, theirs).sum() >= share
    whole = (theirs == 0) | (theirs == 1)
    assert np.abs(ours - theirs)[whole].max() < 0.3


POSES = [
    (0.0, 0.0, 0.0), (90.0, 0.0, 0.0), (-35.0, 0.0, 0.0), (180.0, 25.0, -10.0),
    (0.0, 40.0, 0.0), (0.0, 0.0, -70.0), (213.0, -55.5, 31.25),
]  # fmt: skip
SCALES = [TileGeometry(), TileGeometry(64, 100.0), TileGeometry(128, 250.0), TileGeometry(96, 60.0)]
AREA = [(-30.0, -20.0), (45.0, -25.0), (50.0, 30.0), (5.0, 12.0), (-20.0, 55.0)]
WAY = [(-300.0, -40.0), (-10.0, -5.0), (30.0, 60.0), (35.0, 300.0)]


def poses(every: int = 1) -> list[Pose]:
    return [Pose(PLACE.lat, PLACE.lon, *motion) for motion in POSES[::every]]


@pytest.mark.parametrize("geometry", SCALES, ids=str)
def test_an_area_lies_where_it_is_turned_and_shifted_to(
    opened: Open, geometry: TileGeometry
) -> None:
    with opened((4, 0.0, shapely.Polygon(degrees(AREA)))) as source:
        tiles = Renderer(source, geometry).tiles(PLACE, poses())
    for tile, pose in zip(tiles, poses(), strict=True):
        paper = Paper(geometry)
        paper.area(turned(AREA, pose))
        assert_alike(tile[4], paper)
        assert not np.delete(tile, 4, axis=0).any()


@pytest.mark.parametrize("geometry", SCALES, ids=str)
def test_a_line_is_as_wide_as_on_the_ground(opened: Open, geometry: TileGeometry) -> None:
    with opened((0, 18.0, shapely.LineString(degrees(WAY)))) as source:
        tiles = Renderer(source, geometry).tiles(PLACE, poses(2))
    for tile, pose in zip(tiles, poses(2), strict=True):
        paper = Paper(geometry)
        paper.line(turned(WAY, pose), 18.0)
        assert_alike(tile[0], paper)


@pytest.mark.parametrize("geometry", SCALES, ids=str)
def test_a_point_is_a_disc_of_its_radius(opened: Open, geometry: TileGeometry) -> None:
    spots = [(-20.0, 15.0), (40.0, -33.0)]
    points = [(3, 12.0, shapely.Point(degrees([spot]))) for spot in spots]
    with opened(*points) as source:
        tiles = Renderer(source, geometry).tiles(PLACE, poses(2))
    for tile, pose in zip(tiles, poses(2), strict=True):
        paper = Paper(geometry)
        for x, y in turned(spots, pose):
            paper.disc(x, y, 12.0)
        assert_alike(tile[3], paper, 0.95)


def test_a_hole_stays_open(opened: Open) -> None:
    ring, hole = [(-60, -60), (60, -60), (60, 60), (-60, 60)], [(-20, -10), (30, -10), (0, 40)]
    shape = shapely.Polygon(degrees(ring), [degrees(hole)])
    with opened((5, 0.0, shape)) as source:
        tile = Renderer(source).tile(poses()[6]).pixels[5]
    paper = Paper(TileGeometry())
    paper.area(turned(ring, poses()[6]))
    paper.area(turned(hole, poses()[6]), ink=0)
    assert_alike(tile, paper)


def test_the_ends_of_a_line_are_round(opened: Open) -> None:
    with opened((1, 40.0, shapely.LineString(degrees([(-30, 0), (30, 0)])))) as source:
        tile = Renderer(source).tile(poses()[0]).pixels[1] / 255
    ground = 40 * 60 + math.pi * 20**2
    assert tile.sum() * (200 / 128) ** 2 == pytest.approx(ground, rel=0.01)


@pytest.mark.parametrize("channel", range(12))
def test_a_channel_is_a_picture_of_its_own(opened: Open, channel: int) -> None:
    square = shapely.Polygon(degrees([(-50, -50), (50, -50), (50, 50), (-50, 50)]))
    with opened((channel, 0.0, square)) as source:
        tile = Renderer(source).tile(poses()[0]).pixels
    assert tile[channel].sum() / 255 == pytest.approx(64 * 64, rel=1e-3)
    assert tile[channel, 64, 64] == 255
    assert not np.delete(tile, channel, axis=0).any()


def test_halves_of_a_pixel_add_up_and_full_cover_stays_full(opened: Open) -> None:
    pixel = 200 / 128
    left = shapely.Polygon(degrees([(0, 0), (pixel / 2, 0), (pixel / 2, 50), (0, 50)]))
    right = shapely.Polygon(degrees([(pixel / 2, 0), (pixel, 0), (pixel, 50), (pixel / 2, 50)]))
    with opened((4, 0.0, left), (4, 0.0, right), (5, 0.0, left), (5, 0.0, left)) as source:
        tile = Renderer(source).tile(poses()[0]).pixels
    column = tile[:, 40:60, 64]
    assert np.abs(column[4] / 255 - 0.75).max() < 0.02, "1 - (1 - 0.5) (1 - 0.5)"
    assert np.abs(column[5] / 255 - 0.75).max() < 0.02
    assert not tile[:, :, 66:].any()


def test_north_is_up_and_east_is_right(opened: Open) -> None:
    marks = {
        0: [(0, 70), (10, 70), (10, 80), (0, 80)],
        1: [(70, 0), (80, 0), (80, 10), (70, 10)],
    }
    areas = [(channel, 0.0, shapely.Polygon(degrees(ring))) for channel, ring in marks.items()]
    with opened(*areas) as source:
        straight, left = Renderer(source).tiles(
            PLACE, [Pose(PLACE.lat, PLACE.lon), Pose(PLACE.lat, PLACE.lon, 90.0)]
        )

    def middle(picture: NDArray[np.uint8]) -> tuple[float, float]:
        rows, columns = np.nonzero(picture > 128)
        return float(rows.mean()), float(columns.mean())

    assert middle(straight[0]) == pytest.approx((15.5, 66.7), abs=1)
    assert middle(straight[1]) == pytest.approx((60.3, 111.5), abs=1)
    assert middle(left[1]) == pytest.approx((15.5, 60.3), abs=1), "the east is turned to the top"
    assert middle(left[0]) == pytest.approx((60.3, 15.5), abs=1)


@pytest.mark.parametrize("place", [LonLat(-70.0, -53.0), LonLat(25.0, 71.0), LonLat(180.0, 0.0)])
def test_metres_are_metres_elsewhere(opened: Open, place: LonLat) -> None:
    inside = [(-50.0, -40.0), (-5.0, -40.0), (-5.0, 40.0), (-50.0, 40.0)]
    with opened((4, 0.0, shapely.Polygon(degrees(inside, place))), place=place) as source:
        tile = Renderer(source).tile(Pose(place.lat, place.lon, 30.0, 5.0, 5.0)).pixels
    paper = Paper(TileGeometry())
    paper.area(turned(inside, Pose(0, 0, 30.0, 5.0, 5.0)))
    assert_alike(tile[4], paper)


def test_what_lies_west_of_the_antimeridian_is_seen_from_the_east(opened: Open) -> None:
    place = LonLat(-179.9999, 10.0)
    scale = MetresPerDegree.at(place.lat)
    beyond = shapely.box(180 - 60 / scale.x, 10 - 20 / scale.y, 180, 10 + 20 / scale.y)
    with opened((4, 0.0, beyond), place=LonLat(179.99, 10.0)) as source:
        tile = Renderer(source).tile(Pose(place.lat, place.lon)).pixels[4]
    edge = -0.0001 * scale.x
    paper = Paper(TileGeometry())
    paper.area([(edge - 60, -20), (edge, -20), (edge, 20), (edge - 60, 20)])
    assert_alike(tile, paper)


@pytest.mark.parametrize("metres", [100.5, 99.0, 108.0])
def test_a_wide_line_reaches_into_the_tile_from_beside_it(opened: Open, metres: float) -> None:
    road = shapely.LineString(degrees([(metres, -300), (metres, 300)]))
    with opened((0, 18.0, road)) as source:
        tile = Renderer(source).tile(poses()[0]).pixels[0]
    paper = Paper(TileGeometry())
    paper.line([(metres, -300), (metres, 300)], 18.0)
    shown = paper.pixels()
    assert np.abs(tile / 255 - shown).max() < 0.15
    assert (tile[:, -1] > 0).all()


def test_a_disc_reaches_into_the_tile_from_a_corner_of_it(opened: Open) -> None:
    with opened((11, 12.0, shapely.Point(degrees([(105.0, 105.0)])))) as source:
        tile = Renderer(source).tile(poses()[0]).pixels[11]
    assert tile[0, -1] > 100
    assert not tile[20:, :].any()


def test_the_same_order_gives_the_same_pixels_again(opened: Open) -> None:
    features = [
        (0, 18.0, shapely.LineString(degrees(WAY))),
        (4, 0.0, shapely.Polygon(degrees(AREA))),
    ]
    with opened(*features) as source:
        renderer = Renderer(source)
        first = renderer.tiles(PLACE, poses())
        assert np.array_equal(first, renderer.tiles(PLACE, poses()))
        assert np.array_equal(first[::-1], Renderer(source).tiles(PLACE, poses()[::-1]))
        north = renderer.north_up([PLACE])
        assert np.array_equal(north[0], first[0])
