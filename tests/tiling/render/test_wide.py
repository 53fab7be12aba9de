"""Wide tiles cut from shared pictures."""

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from tiling.geo.geodesy import MetresPerDegree
from tiling.render.batch import CHUNK
from tiling.render.renderer import Renderer
from tiling.render.wide import BLOCK_TILES, Block, WideTiles, block_by_block
from tiling.store.source import FeatureSource
from tiling.values import LonLat, Pose, TileGeometry

PLACE = LonLat(7.4246, 43.7384)
WIDE, BOTH = TileGeometry(radius_m=400.0), TileGeometry(wider_m=(400.0,))
HALF_PIXEL_M = 400 / 128
BLOCK_M = BLOCK_TILES * 800.0


def around(place: LonLat, count: int, step_m: float) -> list[LonLat]:
    scale = MetresPerDegree.at(place.lat)
    return [
        LonLat(place.lon + n % 4 * step_m / scale.x, place.lat + n // 4 * step_m / scale.y)
        for n in range(count)
    ]


def alone(source: FeatureSource, places: Sequence[LonLat]) -> NDArray[np.uint8]:
    renderer = Renderer(source, BOTH)
    return np.concatenate([renderer.north_up([place]) for place in places])


def test_cut_or_alone_a_tile_is_the_same(monaco: FeatureSource) -> None:
    places = around(PLACE, 16, 60.0)
    apart = np.abs(Renderer(monaco, BOTH).north_up(places).astype(int) - alone(monaco, places))
    assert apart[:, :12].max() == 0
    assert apart.max() <= 4  # where a line is clipped elsewhere
    assert (apart > 0).mean() < 1e-3


def test_it_shows_the_ground_around_the_place(monaco: FeatureSource) -> None:
    places = around(PLACE, 8, 70.0)
    exact = np.concatenate(
        [Renderer(monaco, WIDE).tiles(place, [Pose(place.lat, place.lon)]) for place in places]
    )
    found = Renderer(monaco, BOTH).north_up(places)[:, 12:]
    off = np.abs(found.astype(int) - exact).mean()
    shifted = np.abs(np.roll(found, 3, axis=2).astype(int) - exact).mean()
    assert off < 0.5 * shifted


class Drawn:
    """Notes the pictures that are asked for, (width, height); each holds 7."""

    def __init__(self) -> None:
        self.sizes: list[tuple[int, int]] = []

    def __call__(
        self, middle: LonLat, x: float, y: float, width: int, height: int
    ) -> NDArray[np.uint8]:
        self.sizes.append((width, height))
        return np.full((12, height, width), 7, np.uint8)


@pytest.mark.parametrize(
    ("count", "step_m", "expected"),
    [
        (1, 0.0, [(128, 128)]),
        (16, 20.0, [(138, 138)]),  # 60 m are 9.6 pixels
        (2, 800.0, [(256, 128)]),  # side by side: no less than two tiles, but no more
        (2, 900.0, [(128, 128)] * 2),
        (16, 200.0, [(224, 224)]),
    ],
)
def test_near_places_share_a_picture_no_larger_than_their_tiles(
    count: int, step_m: float, expected: list[tuple[int, int]]
) -> None:
    drawn = Drawn()
    out = np.zeros((count, 12, 128, 128), np.uint8)
    middle = Block.of(PLACE, BLOCK_M).middle
    wide = WideTiles(WIDE, drawn)
    for _ in range(2):  # whatever came before
        wide.tiles(around(middle, count, step_m), out)
    assert np.abs(np.array(drawn.sizes) - expected * 2).max() <= 1  # places are rounded to pixels
    assert (out == 7).all()


def test_places_of_a_grid_are_ordered_so_that_they_share_more_than_in_rows() -> None:
    scale = MetresPerDegree.at(PLACE.lat)
    lon, lat = np.meshgrid(
        PLACE.lon + np.arange(500) * 200 / scale.x, PLACE.lat + np.arange(16) * 200 / scale.y
    )
    places = np.stack([lon.ravel(), lat.ravel()], axis=1)

    def share(order: NDArray[np.int64]) -> float:
        """Return how much is drawn, beside each tile alone."""
        drawn, out = Drawn(), np.empty((CHUNK, 12, 128, 128), np.uint8)
        for first in range(0, len(order), CHUNK):
            chunk = [LonLat(*place) for place in places[order[first : first + CHUNK]].tolist()]
            WideTiles(WIDE, drawn).tiles(chunk, out)
        return sum(width * height for width, height in drawn.sizes) / 128**2 / len(places)

    rows, blocks = np.arange(len(places)), block_by_block(places, BOTH)
    assert sorted(blocks) == list(rows)
    assert share(blocks) < 0.2 < 0.25 < share(rows)
    assert np.array_equal(block_by_block(places, TileGeometry()), rows)


@pytest.mark.parametrize(
    "place",
    [
        PLACE,
        LonLat(179.9999, -17.0),
        LonLat(-179.9999, -17.0),
        LonLat(0.0, 0.0),
        LonLat(25.0, 84.9),
        LonLat(-70.0, -54.9),
    ],
)
def test_a_tile_lies_in_the_picture_of_its_block_half_a_pixel_off(place: LonLat) -> None:
    rng = np.random.default_rng(0)
    scale = MetresPerDegree.at(place.lat)
    for dx, dy in rng.uniform(-900, 900, (200, 2)).tolist():
        at = LonLat(place.lon + dx / scale.x, place.lat + dy / scale.y)
        block = Block.of(at, BLOCK_M)
        east, north = block.pixels(at, WIDE.pixels_per_metre)
        assert max(abs(east), abs(north)) <= (64 + 2) * BLOCK_TILES
        ours = MetresPerDegree.at(block.middle.lat)
        shown_lon = block.middle.lon + east / WIDE.pixels_per_metre / ours.x
        shown_lat = block.middle.lat + north / WIDE.pixels_per_metre / ours.y
        assert abs(shown_lon - at.lon) * scale.x <= 1.01 * HALF_PIXEL_M
        assert abs(shown_lat - at.lat) * scale.y <= 1.01 * HALF_PIXEL_M
