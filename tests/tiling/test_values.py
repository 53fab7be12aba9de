"""The values that travel through the system check themselves when they are made."""

import hashlib
import io
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tiling.catalogue.catalogue import load_catalogue
from tiling.dataset.poses import MAX_SHIFT_M
from tiling.errors import FingerprintError, PlaceError
from tiling.values import (
    N_CHANNELS,
    PAPER,
    Box,
    Features,
    LonLat,
    Pose,
    Tile,
    TileGeometry,
    check_fingerprint,
    check_place,
    fingerprint,
)

PALETTE = load_catalogue().palette


def blank() -> NDArray[np.uint8]:
    return np.zeros((12, 3, 4), np.uint8)


@pytest.mark.parametrize(
    ("box", "inside", "outside"),
    [
        (
            Box(1, 2, 3, 4),
            [(1, 2), (3, 4), (2, 3), (1, 4)],
            [(0.9, 3), (3.1, 3), (2, 1.9), (2, 4.1)],
        ),
        (
            Box(170, -5, -170, 5),
            [(170, 0), (180, 5), (-180, -5), (-170, 0), (-175, 0)],
            [(169.9, 0), (-169.9, 0), (0, 0), (175, 5.1), (-175, -5.1)],
        ),
        (Box(-180, -90, 180, 90), [(-180, -90), (180, 90), (0, 0)], []),
    ],
)
def test_a_box_contains_its_edges_and_nothing_beyond(
    box: Box, inside: list[tuple[float, float]], outside: list[tuple[float, float]]
) -> None:
    assert all(box.contains(LonLat(*place)) for place in inside)
    assert not any(box.contains(LonLat(*place)) for place in outside)


def test_a_tile_is_200_m_in_128_pixels_unless_it_is_told_otherwise() -> None:
    assert TileGeometry() == TileGeometry(128, 100.0, ())
    assert Pose(43.7, 7.4) == Pose(43.7, 7.4, 0.0, 0.0, 0.0)
    assert (N_CHANNELS, MAX_SHIFT_M) == (12, 80.0)


def test_only_west_beyond_east_crosses_the_antimeridian() -> None:
    assert Box(10, 0, 9, 1).crosses_antimeridian
    assert not Box(9, 0, 10, 1).crosses_antimeridian
    assert not Box(9, 0, 9, 1).crosses_antimeridian


@pytest.mark.parametrize(
    ("lat", "lon", "message"),
    [
        (float("nan"), 0, "finite"),
        (0, float("-inf"), "finite"),
        (90.0001, 0, "swapped"),
        (-180, 90, "swapped"),
        (180.1, 0, r"lat 180.1 is out of range -90..90$"),
        (91, 90.1, r"lat 91 is out of range -90..90$"),
        (0, 180.0001, r"lon 180.0001 is out of range -180..180"),
        (0, -181, r"lon -181 is out of range"),
    ],
)
def test_what_is_wrong_with_a_place_is_said(lat: float, lon: float, message: str) -> None:
    with pytest.raises(PlaceError, match=message):
        check_place(lat, lon)


def test_a_place_is_made_of_plain_floats() -> None:
    place = check_place(np.float64(-90), 180)
    assert place == LonLat(180.0, -90.0)
    assert {type(value) for value in place} == {float}


def test_features_of_different_lengths_are_refused() -> None:
    one, two, none = np.zeros(1, np.int8), np.zeros(2, np.float32), np.zeros(0, object)
    with pytest.raises(ValueError, match="lengths differ: 1, 2, 0"):
        Features(one, two, none)
    assert len(Features(np.zeros(3, np.int8), np.zeros(3, np.float32), np.zeros(3, object))) == 3


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.zeros((2, 3, 3), np.float32), r"must be uint8 \[C, H, W\], not float32 \(2, 3, 3\)"),
        (np.zeros((3, 3), np.uint8), r"not uint8 \(3, 3\)"),
        (np.zeros((3, 3, 3), np.uint8), "3 channels of pixels, 2 channel names"),
    ],
)
def test_a_tile_checks_its_pixels(pixels: NDArray[np.uint8], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Tile(pixels, Pose(0, 0), ("a", "b"), 1.0, PALETTE)


def test_a_tile_shows_one_channel_in_grey_and_all_of_them_in_colour() -> None:
    pixels = blank()
    pixels[5, 1] = 200
    tile = Tile(pixels, Pose(0, 0), tuple("abcdefghijkl"), 1.0, PALETTE)
    grey = Image.open(io.BytesIO(tile.png(5)))
    colour = Image.open(io.BytesIO(tile.png()))
    assert (grey.mode, colour.mode, colour.size) == ("L", "RGB", (4, 3))
    assert np.array_equal(np.asarray(grey), pixels[5])
    assert np.array_equal(np.asarray(colour), PALETTE.composite(pixels))
    assert not np.asarray(Image.open(io.BytesIO(tile.png(0)))).any(), "channel 0 is the first"


def test_a_tile_has_a_geometry_for_each_scale() -> None:
    geometry = TileGeometry(64, 100.0, (400.0, 50.0))
    assert geometry.each == (TileGeometry(64, 100.0), TileGeometry(64, 400), TileGeometry(64, 50))
    assert (geometry.scales, TileGeometry().scales) == (3, 1)
    assert geometry.widest == TileGeometry(64, 400.0)
    assert TileGeometry(64, 500.0, (400.0,)).widest == TileGeometry(64, 500.0)
    assert geometry.metres_per_pixel == 200 / 64
    assert geometry.pixels_per_metre == 64 / 200
    assert geometry.as_values() == {"size": 64, "radius_m": 100.0, "wider_m": [400.0, 50.0]}
    assert TileGeometry(wider_m=[400.0]).wider_m == (400.0,)  # type: ignore[arg-type]
    assert hash(TileGeometry(wider_m=[400.0])) == hash(  # type: ignore[arg-type]
        TileGeometry(wider_m=(400.0,))
    )


def test_without_cover_the_composite_is_paper() -> None:
    assert (PALETTE.composite(blank()) == np.array(PAPER, np.uint8)).all()


@pytest.mark.parametrize("channel", range(12))
def test_full_cover_takes_the_colour_of_its_channel_and_half_of_it_the_middle(channel: int) -> None:
    pixels = blank()
    pixels[channel, 0], pixels[channel, 1] = 255, 128
    picture = PALETTE.composite(pixels)
    colour, paper = np.array(PALETTE.colours[channel], float), np.array(PAPER, float)
    assert picture[0, 0].tolist() == list(PALETTE.colours[channel])
    assert np.abs(picture[1, 0] - (paper + 128 / 255 * (colour - paper))).max() <= 0.51
    assert picture[2, 0].tolist() == list(PAPER)


def test_a_channel_covers_those_that_are_painted_before_it() -> None:
    assert sorted(PALETTE.order) == list(range(12))
    for below, above in pairwise(PALETTE.order):
        pixels = blank()
        pixels[[below, above]] = 255
        assert PALETTE.composite(pixels)[0, 0].tolist() == list(PALETTE.colours[above])


def test_a_fingerprint_follows_the_printed_values_and_their_order() -> None:
    assert fingerprint("a", 1) == hashlib.sha256(b"('a', 1)").hexdigest()[:16]
    distinct = [fingerprint(*parts) for parts in (("a", 1), (1, "a"), ("a", 1.0), ("a", "1"), ())]
    assert len(set(distinct)) == 5


def test_things_of_different_fingerprints_do_not_meet() -> None:
    check_fingerprint("it", "aa", "aa")
    with pytest.raises(FingerprintError, match=r"it was made .*\(fingerprint aa, expected bb\)"):
        check_fingerprint("it", "aa", "bb")
