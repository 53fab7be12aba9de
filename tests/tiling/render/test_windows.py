"""The ground that a tile shows, and which places of a grid share a picture."""

import math

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.affinity import rotate, translate

from tests.tiling.handmade import features_of
from tiling.geo.geodesy import MetresPerDegree
from tiling.render.renderer import ROW_PX, _rows, _Scene, _Window
from tiling.values import LonLat, Pose, TileGeometry

PLACE = LonLat(7.4, 43.7)
GEOMETRY = TileGeometry()
PIXEL_M = GEOMETRY.metres_per_pixel
ANGLE, SHIFT = st.floats(-720, 720), st.floats(-80, 80)
few = settings(max_examples=60, deadline=None, derandomize=True)


def outline(window: _Window) -> shapely.Polygon:
    """The window as a polygon, metres about the place: it turns against the map."""
    bare = shapely.box(
        -window.half_width, -window.half_height, window.half_width, window.half_height
    )
    return translate(rotate(bare, -window.rotation_deg, origin=(0, 0)), window.x, window.y)


@few
@given(ANGLE, SHIFT, SHIFT)
def test_a_window_is_the_tile_taken_back_through_its_pose(
    angle: float, x_m: float, y_m: float
) -> None:
    window = _Window.of(Pose(0, 0, angle, x_m, y_m), 100.0)
    tile = rotate(translate(shapely.box(-100, -100, 100, 100), -x_m, -y_m), -angle, origin=(0, 0))
    assert shapely.hausdorff_distance(outline(window), tile) < 1e-6
    extent = np.abs(np.array(tile.bounds).reshape(2, 2)).max(axis=0)
    assert window.extent == pytest.approx(extent.tolist(), abs=1e-6)


def test_an_oblong_window_reaches_as_far_as_its_corners() -> None:
    for angle in (0.0, 30.0, 90.0, 135.0, -20.0):
        window = _Window(10.0, -5.0, 200.0, 50.0, angle)
        far = np.abs(np.array(outline(window).bounds).reshape(2, 2)).max(axis=0)
        assert window.extent == pytest.approx(far.tolist())


@few
@given(ANGLE, SHIFT, SHIFT, st.integers(0, 10_000))
def test_a_feature_is_shown_when_its_box_meets_the_window(
    angle: float, x_m: float, y_m: float, seed: int
) -> None:
    rng, scale = np.random.default_rng(seed), np.array(MetresPerDegree.at(PLACE.lat))
    corners = rng.uniform(-400, 400, (30, 2))
    boxes = [(x, y, x + w, y + h) for (x, y), (w, h) in zip(
        corners.tolist(), rng.uniform(1, 150, (30, 2)).tolist(), strict=True)]  # fmt: skip
    shapes = [shapely.box(*(np.array(box).reshape(2, 2) / scale + PLACE).ravel()) for box in boxes]
    scene = _Scene(PLACE, features_of(*((4, 0.0, shape) for shape in shapes)), 0.0)
    windows = [_Window.of(Pose(0, 0, angle, x_m, y_m), 100.0), _Window(30, 0, 150, 40, 0.0)]
    for shown, window in zip(scene.shown(windows), windows, strict=True):
        near = outline(window)
        for number, box in enumerate(boxes):
            apart = near.distance(shapely.box(*box))
            if apart > 1e-3:
                assert not shown[number]
            elif near.intersection(shapely.box(*box)).area > 1e-3:
                assert shown[number]


def test_a_wide_line_and_an_edge_reach_beyond_their_box() -> None:
    scale = MetresPerDegree.at(PLACE.lat)
    shapes = [
        shapely.LineString([(PLACE.lon + x / scale.x, PLACE.lat - 0.001 + y) for y in (0, 0.002)])
        for x in (108.0, 110.0, 112.0)
    ]
    scene = _Scene(PLACE, features_of(*((0, 18.0, shape) for shape in shapes)), 1.5)
    assert scene.shown([_Window.of(Pose(0, 0), 100.0)]).tolist() == [[True, True, False]]


def step(pixels: float, lat: float = PLACE.lat) -> float:
    """Degrees of longitude of so many pixels."""
    return pixels * PIXEL_M / MetresPerDegree.at(lat).x


def row(*pixels: float, lat: float = PLACE.lat, lon: float = PLACE.lon) -> list[LonLat]:
    return [
        LonLat((lon + step(pixel, lat) + 180) % 360 - 180, lat) for pixel in pixels
    ]  # fmt: skip


def runs(places: list[LonLat], geometry: TileGeometry = GEOMETRY) -> list[tuple[int, list[int]]]:
    return list(_rows(places, geometry))


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        ([], []),
        ([0], [(0, [0])]),
        ([0, 1, 5, 64, 128], [(0, [0, 1, 5, 64, 128])]),
        ([0, 128, 256], [(0, [0, 128, 256])]),
        ([0, 129], [(0, [0]), (1, [0])]),
        ([0, 64, 193, 250], [(0, [0, 64]), (2, [0, 57])]),
        ([0, 0, 64], [(0, [0]), (1, [0, 64])]),
        ([64, 0], [(0, [0]), (1, [0])]),
        ([0, 10, 5], [(0, [0, 10]), (2, [0])]),
        ([0, 20.1], [(0, [0]), (1, [0])]),
        ([0, 20.5, 40.5], [(0, [0]), (1, [0, 20])]),
    ],
)
def test_neighbours_share_a_picture(
    pixels: list[float], expected: list[tuple[int, list[int]]]
) -> None:
    assert runs(row(*pixels)) == expected


def test_a_picture_is_no_wider_than_the_limit() -> None:
    places = row(*range(0, 5000, 100))
    found = runs(places)
    assert sum(len(columns) for _, columns in found) == len(places)
    assert [first for first, _ in found] == [0, 20, 40]
    assert max(columns[-1] for _, columns in found) + GEOMETRY.size <= ROW_PX
    assert found[0][1][-1] + 100 + GEOMETRY.size > ROW_PX, "one more would not fit"


def test_places_of_another_latitude_are_alone() -> None:
    places = [*row(0, 64), *row(128, lat=PLACE.lat + 1e-9), *row(128, 192)]
    assert runs(places) == [(0, [0, 64]), (2, [0]), (3, [0, 64])]


def test_a_row_goes_on_over_the_antimeridian() -> None:
    places = row(0, 100, 200, lat=-17.0, lon=180 - step(150, -17.0))
    assert places[1].lon > 0 > places[2].lon
    assert runs(places) == [(0, [0, 100, 200])]


def test_the_pixels_are_those_of_the_geometry() -> None:
    wide = TileGeometry(128, 200.0)
    assert runs(row(0, 64), wide) == [(0, [0, 32])]
    assert runs(row(0, 65), wide) == [(0, [0]), (1, [0])], "half a pixel apart"
    assert math.isclose(wide.metres_per_pixel, 2 * PIXEL_M)
