"""What is laid over a tile or a map."""

import numpy as np
import pytest

from loc2vec.paper.overlays import HEAT, heat, laid_over, only_channel, tinted
from tiling.catalogue import load_catalogue

PALETTE = load_catalogue().palette


def test_only_one_channel_keeps_its_colour() -> None:
    tile = np.zeros((12, 4, 4), np.uint8)
    tile[4, 1, 2], tile[7, 3, 3] = 255, 255
    over = only_channel(tile, 4, PALETTE)
    assert over.shape == (4, 4, 4)
    assert (over[:, :, 3] == 255).all()
    assert over[1, 2, :3].tolist() == [round(0.6 * value) for value in PALETTE.colours[4]]
    rest = np.ones((4, 4), bool)
    rest[1, 2] = False
    assert (over[rest][:, :3] == 250).all(), "other channels and empty ground are pale"


def test_the_channel_of_a_second_scale_has_the_colour_of_the_first() -> None:
    tile = np.full((24, 2, 2), 255, np.uint8)
    assert (only_channel(tile, 16, PALETTE) == only_channel(tile, 4, PALETTE)).all()


def test_heat_goes_from_clear_to_dark() -> None:
    values = np.repeat(np.linspace(0, 2, 9)[None], 9, axis=0)
    over = heat(values, 2.0, 90).astype(int)
    assert over.shape == (90, 90, 4)
    assert over[45, 0].tolist() == [*HEAT[0], 0]
    assert over[45, -1].tolist() == [*HEAT[-1], 255]
    assert (np.diff(over[45, :, 3]) >= 0).all()
    brightness = over[45, :, :3].sum(1)
    assert (np.diff(brightness) <= 0).all()


def test_heat_beyond_the_highest_value_is_the_darkest_and_none_is_clear() -> None:
    assert (heat(np.full((3, 3), 9.0), 2.0, 6)[:, :, 3] == 255).all()
    assert not heat(np.zeros((3, 3)), 0.0, 6)[:, :, 3].any()


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0])
def test_a_picture_shines_through_as_much_as_it_should(strength: float) -> None:
    picture = np.full((2, 2, 3), 100, np.uint8)
    over = np.zeros((2, 2, 4), np.uint8)
    over[0, 0] = (200, 0, 100, 255)
    found = laid_over(picture, over, strength)
    assert found[0, 0].tolist() == [100 + 100 * strength, 100 - 100 * strength, 100]
    assert (found[1] == 100).all()


def test_a_tinted_map_keeps_its_relief_where_it_has_colour() -> None:
    chart = np.full((1, 3, 3), 242, np.uint8)
    chart[0, 1] = 222
    over = np.zeros((1, 3, 4), np.uint8)
    over[0, :2] = (100, 150, 200, 255)
    found = tinted(chart, over)
    assert found[0, 0].tolist() == [100, 150, 200], "ground of the usual grey changes nothing"
    assert found[0, 1].tolist() == [70, 120, 170], "darker ground darkens the colour"
    assert found[0, 2].tolist() == [242, 242, 242], "without colour it is the map"
