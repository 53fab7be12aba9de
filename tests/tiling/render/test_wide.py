"""Wide tiles cut from shared pictures."""

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from tiling.geo.geodesy import MetresPerDegree
from tiling.render.renderer import Renderer
from tiling.render.wide import SHARED, Block, WideTiles
from tiling.store.source import FeatureSource
from tiling.values import LonLat, Pose, TileGeometry

PLACE = LonLat(7.4246, 43.7384)
WIDE, BOTH = TileGeometry(radius_m=400.0), TileGeometry(wider_m=(400.0,))
HALF_PIXEL_M = 400 / 128


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


def test_near_places_share_a_picture_and_the_same_call_gives_the_same() -> None:
    drawn: list[tuple[float, float, int]] = []

    def draw(middle: LonLat, x: float, y: float, size: int) -> NDArray[np.uint8]:
        drawn.append((x, y, size))
        return np.zeros((12, size, size), np.uint8)

    wide, out = WideTiles(WIDE, draw), np.empty((16, 12, 128, 128), np.uint8)
    middle = Block.of(PLACE, 800.0).middle
    few = around(middle, SHARED - 1, 20.0)
    wide.tiles(few, out[: len(few)])
    assert [size for _, _, size in drawn] == [128] * len(few)
    drawn.clear()
    wide.tiles(around(middle, 16, 20.0), out)
    assert len(drawn) == 1
    wide.tiles(around(middle, 16, 20.0), out)
    assert len(drawn) == 1
    wide.tiles(few, out[: len(few)])  # whatever came before
    assert len(drawn) == 1 + len(few)


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
        block = Block.of(at, 800.0)
        east, north = block.pixels(at, WIDE.pixels_per_metre)
        assert max(abs(east), abs(north)) <= 64 + 2
        ours = MetresPerDegree.at(block.middle.lat)
        shown_lon = block.middle.lon + east / WIDE.pixels_per_metre / ours.x
        shown_lat = block.middle.lat + north / WIDE.pixels_per_metre / ours.y
        assert abs(shown_lon - at.lon) * scale.x <= 1.01 * HALF_PIXEL_M
        assert abs(shown_lat - at.lat) * scale.y <= 1.01 * HALF_PIXEL_M
