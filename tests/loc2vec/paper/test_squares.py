"""Squares on a map: where they lie, how they abut, and what places share."""

import numpy as np
import pytest
from numpy.typing import NDArray

from loc2vec.errors import ExploreError
from loc2vec.paper.painting import Painting, spacing_of
from loc2vec.paper.squares import paint
from tiling.geo.geodesy import MetresPerDegree
from tiling.values import Box

RED, BLUE = [255, 0, 0], [0, 0, 255]


def at(*points: tuple[float, float]) -> NDArray[np.float64]:
    return np.array(points, np.float64)


def colours(*each: list[int]) -> NDArray[np.uint8]:
    return np.array(each, np.uint8)


def test_a_square_lies_about_its_place_and_leaves_the_rest_clear() -> None:
    picture = paint(at((5, 4)), colours(RED), 4.0, width=10, height=8)
    assert picture.shape == (8, 10, 4)
    filled = picture[:, :, 3] == 255
    assert np.argwhere(filled).min(0).tolist() == [2, 3]
    assert np.argwhere(filled).max(0).tolist() == [5, 6]
    assert filled.sum() == 16
    assert (picture[filled] == [*RED, 255]).all()
    assert not picture[~filled].any()


@pytest.mark.parametrize("side", [1.7, 2.5, 3.3, 7.9])
def test_neighbours_on_a_grid_leave_no_gap(side: float) -> None:
    xy = np.stack(np.meshgrid(np.arange(12), np.arange(9)), axis=2).reshape(-1, 2) * side + 3.2
    picture = paint(xy, np.full((len(xy), 3), 200, np.uint8), side, 40, 30)
    rows, columns = np.nonzero(picture[:, :, 3])
    block = picture[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1, 3]
    assert (block == 255).all()


def test_a_square_is_cut_at_the_edge_and_left_out_beyond_it() -> None:
    picture = paint(at((0, 0), (-50, 3), (3, 99)), colours(RED, BLUE, BLUE), 4.0, 6, 6)
    assert (picture[:2, :2] == [*RED, 255]).all()
    assert (picture[:, :, 3] > 0).sum() == 4


def test_small_squares_show_the_mean_colour_of_the_places_in_a_pixel() -> None:
    xy = at((1.1, 2.9), (1.8, 2.2), (3.5, 0.5), (-0.1, 0.0), (4.0, 0.0))
    picture = paint(xy, colours(RED, BLUE, BLUE, RED, RED), 1.0, width=4, height=3)
    assert picture[2, 1].tolist() == [128, 0, 128, 255]
    assert picture[0, 3].tolist() == [*BLUE, 255]
    assert (picture[:, :, 3] > 0).sum() == 2, "places outside the picture are left out"


def grid(lat: float, spacing_m: float, side: int) -> Painting:
    """A square grid of places, `spacing_m` apart on the ground."""
    scale = MetresPerDegree.at(lat)
    step = np.arange(side) * spacing_m
    lon, south = np.meshgrid(7 + step / scale.x, lat + step / scale.y)
    tints = np.full((side * side, 3), 90, np.uint8)
    return Painting(south.ravel(), lon.ravel(), tints, spacing_m)


@pytest.mark.parametrize("lat", [0.0, 43.7, -62.0])
def test_a_grid_covers_its_box_but_for_the_margin(lat: float) -> None:
    painting = grid(lat, 50.0, 8)
    height = 400
    picture = painting.paint(painting.box, 400, height)
    rows, columns = np.nonzero(picture[:, :, 3])
    block = picture[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1, 3]
    assert (block == 255).all()
    assert columns.min() > 10
    assert columns.max() < 390
    assert (columns.max() - columns.min()) / 400 == pytest.approx(8 / 10, abs=0.02)


def test_the_spacing_of_a_grid_is_found_and_equal_places_count_once() -> None:
    painting = grid(51.5, 120.0, 6)
    twice = np.tile(painting.lat, 2), np.tile(painting.lon, 2)
    assert spacing_of(*twice) == pytest.approx(120, rel=0.01)
    with pytest.raises(ExploreError, match="one place is no map"):
        spacing_of(np.array([1.0, 1.0]), np.array([2.0, 2.0]))


@pytest.mark.parametrize(
    ("lat", "lon"), [([0, 0], [0, 30]), ([-15, 15], [0, 0]), ([84.9, 85.06], [0, 0])]
)
def test_places_too_far_apart_for_one_map_are_refused(lat: list[float], lon: list[float]) -> None:
    far = Painting(np.array(lat), np.array(lon), np.zeros((2, 3), np.uint8), 100.0)
    with pytest.raises(ExploreError, match="give a --bbox of one town"):
        assert far.box


def test_north_is_up_and_west_is_left() -> None:
    painting = Painting(np.array([50.0]), np.array([8.0]), colours(RED), 100.0)
    box = Box(7.99, 49.99, 8.03, 50.01)
    (x, y), side = painting.pixels(box, 400)[0][0], painting.pixels(box, 400)[1]
    assert x == pytest.approx(100, abs=0.01)
    assert 155 < y < 156.5, "Web Mercator is stretched: the middle lies about half way down"
    assert side == pytest.approx(1.02 * 100 / (MetresPerDegree.at(50.0).x / 10_000), rel=0.01)
