"""Pictures of places and tiles by hand: squares on a map, overlays, the sprites of a page."""

import numpy as np
import pytest
from numpy.typing import NDArray

from loc2vec.errors import ExploreError
from loc2vec.paper.colours import Components, from_hex, to_hex
from loc2vec.paper.overlays import HEAT, heat, laid_over, only_channel, tinted
from loc2vec.paper.page import COLUMNS, SPRITE, Points, _channels, atlas, page, small
from loc2vec.paper.painting import Painting, spacing_of
from loc2vec.paper.squares import paint
from loc2vec.paper.strips import Cell, View
from tiling.catalogue.catalogue import load_catalogue
from tiling.geo.geodesy import MetresPerDegree
from tiling.values import Box, LonLat

Colour = tuple[int, int, int]
PALETTE = load_catalogue().palette
RED, GREEN, BLUE = (200, 0, 0), (0, 200, 0), (0, 0, 200)


def colours(*some: Colour) -> NDArray[np.uint8]:
    return np.array(some, np.uint8)


def painted(xy: list[tuple[float, float]], side: float, *some: Colour) -> NDArray[np.uint8]:
    """Squares in a picture 8 pixels wide and 6 high."""
    return paint(np.array(xy), colours(*some), side, 8, 6)


PALETTE = load_catalogue().palette


class TestSquares:
    def test_a_square_fills_its_pixels_and_no_others(self) -> None:
        picture = painted([(4, 3)], 2, RED)
        expected = np.zeros((6, 8, 4), np.uint8)
        expected[2:4, 3:5] = (*RED, 255)
        assert np.array_equal(picture, expected)

    def test_squares_side_by_side_abut_without_gap_or_overlap(self) -> None:
        for side in (1.5, 2.0, 2.4):
            xy = [(0.3 + number * side, 3.0) for number in range(3)]
            picture = painted(xy, side, RED, GREEN, BLUE)
            row = picture[3, : round(xy[-1][0] + side / 2)]
            assert (row[:, 3] == 255).all(), side
            changes = (row[1:, :3] != row[:-1, :3]).any(1).sum()
            assert changes == 2, side

    def test_the_last_of_two_squares_on_one_spot_is_seen(self) -> None:
        picture = painted([(4, 3), (4, 3)], 2, RED, GREEN)
        assert picture[3, 4].tolist() == [*GREEN, 255]

    @pytest.mark.parametrize("at", [(-3, 3), (11, 3), (4, -3), (4, 9)])
    def test_a_square_outside_is_not_painted(self, at: tuple[float, float]) -> None:
        assert not painted([at], 2, RED).any()

    def test_a_square_across_the_border_is_cut(self) -> None:
        picture = painted([(0, 0)], 4, RED)
        assert picture[:2, :2, 3].all()
        assert picture[:, :, 3].sum() == 4 * 255

    def test_places_within_a_pixel_have_the_mean_of_their_colours(self) -> None:
        picture = painted([(4.1, 3.2), (4.8, 3.9), (0.5, 0.5)], 0.5, RED, BLUE, GREEN)
        assert picture[3, 4].tolist() == [100, 0, 100, 255]
        assert picture[0, 0].tolist() == [*GREEN, 255]
        assert (picture[:, :, 3] > 0).sum() == 2

    def test_small_places_outside_are_left_out(self) -> None:
        assert not painted([(-0.1, 3), (8, 3), (4, 6.0), (4, -0.5)], 1, RED, RED, RED, RED).any()


class TestPainting:
    BOX = Box(7.40, 43.70, 7.50, 43.80)

    def painting(self, lat: list[float], lon: list[float], spacing_m: float = 100) -> Painting:
        rgb = np.full((len(lat), 3), 9, np.uint8)
        return Painting(np.array(lat), np.array(lon), rgb, spacing_m)

    def test_corners_of_the_box_are_corners_of_the_picture(self) -> None:
        painting = self.painting([43.80, 43.70], [7.40, 7.50])
        at, _ = painting.pixels(self.BOX, 500)
        assert at[0] == pytest.approx([0, 0], abs=1e-6)
        assert at[1, 0] == pytest.approx(500)
        # Mercator keeps shapes: height over width is that of the ground
        scale = MetresPerDegree.at(43.75)
        assert at[1, 1] / 500 == pytest.approx(scale.y / scale.x, rel=0.01)

    def test_a_square_has_its_side_on_the_ground(self) -> None:
        _, side = self.painting([43.75], [7.45]).pixels(self.BOX, 500)
        metres = MetresPerDegree.at(43.75).x * 0.1  # the width of the box
        assert side == pytest.approx(500 * 100 / metres, rel=0.03)

    def test_the_box_has_room_for_whole_squares(self) -> None:
        box = self.painting([43.70, 43.80], [7.40, 7.50]).box
        scale = MetresPerDegree.at(43.75)
        assert (43.70 - box.south) * scale.y == pytest.approx(150, rel=0.02)
        assert (7.40 - box.west) * scale.x == pytest.approx(150, rel=0.02)
        assert box.north - 43.80 == pytest.approx(43.70 - box.south)

    @pytest.mark.parametrize(("lat", "lon"), [((0, 0), (0, 25)), ((40, 62), (7, 7)), ((86,), (7,))])
    def test_places_too_far_apart_or_north_are_refused(
        self, lat: tuple[float, ...], lon: tuple[float, ...]
    ) -> None:
        with pytest.raises(ExploreError, match="give a --bbox of one town"):
            _ = self.painting(list(lat), list(lon)).box

    def test_the_spacing_is_the_median_of_the_nearest_and_ignores_copies(self) -> None:
        step = 100 / MetresPerDegree.at(0).x
        lon = np.array([0, 1, 2, 3, 50]) * step
        assert spacing_of(np.zeros(5), lon) == pytest.approx(100, rel=0.01)
        twice = np.repeat(lon, 2)
        assert spacing_of(np.zeros(10), twice) == pytest.approx(100, rel=0.01)


class TestOverlays:
    def test_one_channel_alone_is_its_ink_on_white_and_opaque(self) -> None:
        tile = np.zeros((12, 4, 4), np.uint8)
        tile[3, 0], tile[5] = 255, 255
        picture = only_channel(tile, 3, PALETTE)
        assert picture[0, 0].tolist() == [
            *np.rint(0.6 * np.array(PALETTE.colours[3])).tolist(),
            255,
        ]
        assert picture[1, 1].tolist() == [250, 250, 250, 255]  # whatever channel 5 holds

    def test_heat_is_clear_where_there_is_none_and_darkest_at_the_top(self) -> None:
        values = np.zeros((8, 8))
        values[:, 4:] = 3.0
        picture = heat(values, high=3.0, size=64)
        assert picture.shape == (64, 64, 4)
        assert picture[32, 4, 3] == 0
        assert picture[32, 60].tolist() == [*HEAT[-1], 255]

    def test_more_heat_is_darker(self) -> None:
        ramp = np.repeat(np.linspace(0, 1, 16)[None], 16, axis=0)
        picture = heat(ramp, high=1.0, size=16).astype(int)
        shown = 255 - picture[8, :, 3:] / 255 * (255 - picture[8, :, :3])  # on white
        assert (np.diff(shown.mean(1)) <= 0.5).all()

    def test_no_heat_at_all_is_no_division_by_zero(self) -> None:
        assert not heat(np.zeros((2, 2)), high=0.0, size=8)[:, :, 3].any()

    def test_a_map_is_tinted_only_under_the_squares(self) -> None:
        chart = np.full((2, 2, 3), 242, np.uint8)
        chart[0, 1] = 142  # a house: darker
        over = np.zeros((2, 2, 4), np.uint8)
        over[0] = (*RED, 255)
        picture = tinted(chart, over)
        assert picture[0, 0].tolist() == list(RED)
        assert picture[0, 1].tolist() == [50, 0, 0]
        assert np.array_equal(picture[1], chart[1])

    @pytest.mark.parametrize(("alpha", "expected"), [(0, 100), (255, 175), (128, 138)])
    def test_a_picture_shows_through_what_lies_over_it(self, alpha: int, expected: int) -> None:
        picture = np.full((1, 1, 3), 100, np.uint8)
        over = np.array([[[200, 200, 200, alpha]]], np.uint8)
        assert laid_over(picture, over)[0, 0].tolist() == [expected] * 3


class TestPages:
    @staticmethod
    def view(number: int) -> View:
        tile = np.zeros((12, 128, 128), np.uint8)
        tile[number % 12] = 255
        return View(LonLat(7 + number / 100, 43.5), f"Place {number}", tile, PALETTE)

    def test_a_cell_of_a_place_says_which_and_shows_its_tile(self) -> None:
        view = self.view(3)
        cell = Cell.of(view, "first", ["d 0.5"])
        assert cell.lines == ["Place 3", "d 0.5"]
        assert cell.place == view.where == "43.50000,7.03000"
        assert cell.tile is view.tile
        assert np.array_equal(PALETTE.composite(view.tile), view.picture)

    def test_channels_of_a_place_are_ink_on_paper(self) -> None:
        tile = self.view(3).tile
        inked = _channels(tile, PALETTE)
        assert inked.shape == (128, 12 * 128, 3)
        assert np.array_equal(inked[:, 3 * 128 : 4 * 128], only_channel(tile, 3, PALETTE)[:, :, :3])
        assert (inked[:, :128] == 250).all(), "paper where there is nothing"
        assert np.array_equal(_channels(tile, None)[:, 3 * 128 : 4 * 128], tile[3])

    def test_sprites_stand_in_rows_in_their_order(self) -> None:
        pictures = [np.full((128, 128, 3), number, np.uint8) for number in range(COLUMNS + 2)]
        sheet = atlas(pictures)
        assert sheet.shape == (2 * SPRITE, COLUMNS * SPRITE, 3)
        assert (sheet[:SPRITE, 5 * SPRITE : 6 * SPRITE] == 5).all()
        assert (sheet[SPRITE:, SPRITE : 2 * SPRITE] == COLUMNS + 1).all()
        assert (sheet[SPRITE:, 2 * SPRITE :] == 255).all()  # none is left

    def test_a_small_picture_keeps_what_lies_where(self) -> None:
        picture = np.zeros((128, 128, 3), np.uint8)
        picture[:64, :64] = 255
        half = small(picture)
        assert half.shape == (SPRITE, SPRITE, 3)
        assert half[4, 4].tolist() == [255] * 3
        assert not half[-4, -4].any()

    def test_points_of_a_page_are_rounded_and_named(self) -> None:
        points = Points(
            np.array([[0.123456, -1.0], [2.0, 3.0]]),
            [self.view(0), self.view(1)],
            colours(RED, BLUE),
            ["x", "y"],
            ["note of the first", "note of the second"],
            groups=[("reds", "#c80000")],
        )
        text = page("Title", "Lead", [points], [f"channel {n}" for n in range(12)])
        for said in ("0.1235", "#c80000", "#0000c8", "Place 1", "43.50000,7.01000", "reds"):
            assert said in text, said
        assert "0.123456" not in text


@pytest.mark.parametrize("count", [1, 3, 5])
def test_components_beyond_the_numbers_of_a_vector_are_nothing(count: int) -> None:
    vectors = np.random.default_rng(0).normal(size=(50, 2)) * [3, 1]
    found = Components.fit(vectors, count)
    assert found.axes.shape == (count, 2)
    assert found.shares.sum() == pytest.approx(1 if count > 1 else found.shares[0])
    assert not found.axes[2:].any()
    assert not found.project(vectors)[:, 2:].any()


def test_hex_and_back() -> None:
    every = np.random.default_rng(0).integers(0, 256, (200, 3), np.uint8)
    assert np.array_equal(from_hex(to_hex(every)), every)
