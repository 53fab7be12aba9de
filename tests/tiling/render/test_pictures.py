"""Pictures for people: PNGs of the map, contact sheets, and the thread that renders them."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import shapely
from PIL import Image

from tests.tiling.handmade import features_of, make_store, open_store
from tiling.catalogue.catalogue import load_catalogue
from tiling.errors import Loc2VecError
from tiling.geo.geodesy import MetresPerDegree
from tiling.geo.mercator import TILE_PX, to_world
from tiling.render.contact_sheet import FOOT, GAP, HEAD, LABEL, write_sheet
from tiling.render.pictures import BaseTile, TileNumber, encode_png
from tiling.render.renderer import Renderer
from tiling.render.thread import RenderThread
from tiling.store.geopackage.source import GeoPackageSource
from tiling.store.store import Store
from tiling.values import PAPER, LonLat, Pose, Tile, TileGeometry

PLACE = LonLat(7.4, 43.7)

PALETTE = load_catalogue().palette


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake of 100 m about a place."""
    scale = MetresPerDegree.at(PLACE.lat)
    x, y = 50 / scale.x, 50 / scale.y
    lake = shapely.box(PLACE.lon - x, PLACE.lat - y, PLACE.lon + x, PLACE.lat + y)
    path = tmp_path_factory.mktemp("stores") / "lake.gpkg"
    return make_store(path, features_of((5, 0.0, lake)), shapely.Point(*PLACE).buffer(0.05))


@pytest.fixture
def source(store: Path) -> Iterator[GeoPackageSource]:
    """The store of the lake, open."""
    with open_store(store) as opened:
        yield opened


@pytest.mark.parametrize("channels", [3, 4])
def test_a_png_keeps_every_pixel(channels: int) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (5, 7, channels)).astype(np.uint8)
    image = Image.open(io.BytesIO(encode_png(picture)))
    assert (image.format, image.mode, image.size) == ("PNG", "RGBA"[:channels], (7, 5))
    assert np.array_equal(np.asarray(image), picture)


@pytest.mark.parametrize("scale", [1, 2])
def test_a_base_tile_shows_the_lake_at_its_number(source: GeoPackageSource, scale: int) -> None:
    zoom = 16
    x, y = (float(v) * 2**zoom for v in to_world(*PLACE))
    tile = BaseTile(TileNumber(zoom, int(x), int(y), scale), "light")
    image = Image.open(io.BytesIO(tile.png(source)))
    assert image.size == (TILE_PX * scale, TILE_PX * scale)
    at = int(x % 1 * TILE_PX * scale), int(y % 1 * TILE_PX * scale)
    dark = Image.open(io.BytesIO(BaseTile(tile.tile, "dark").png(source)))
    assert image.getpixel(at) == (0xB7, 0xD4, 0xE6)
    assert dark.getpixel(at) == (0x17, 0x32, 0x4A)
    away = BaseTile(TileNumber(zoom, 0, 0), "light")
    assert Image.open(io.BytesIO(away.png(source))).getcolors() == [(256**2, (0xE3, 0xE6, 0xEA))]


def test_a_thread_renders_what_a_renderer_does(store: Path, source: GeoPackageSource) -> None:
    thread, renderer = RenderThread(Store.at(store)), Renderer(source)
    places = [PLACE, LonLat(PLACE.lon + 0.001, PLACE.lat)]
    pose = Pose(PLACE.lat, PLACE.lon, 30.0, 10.0, -5.0)
    assert np.array_equal(thread.render(places), renderer.north_up(places))
    assert np.array_equal(thread.tile(pose).pixels, renderer.tile(pose).pixels)
    picture = BaseTile(TileNumber(12, 0, 0), "dark")
    assert thread.picture(picture) == picture.png(source)
    thread.close()
    with pytest.raises(RuntimeError, match="shutdown"):
        thread.tile(pose)


def test_a_thread_without_its_store_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(Loc2VecError, match=r"none\.gpkg"):
        RenderThread(Store.at(tmp_path / "none.gpkg"))


def tile_of(cover: dict[int, int]) -> Tile:
    """A tile whose channels are covered evenly, 0 to 255."""
    pixels = np.zeros((12, 16, 16), np.uint8)
    for channel, value in cover.items():
        pixels[channel] = value
    return Tile(pixels, Pose(0, 0), tuple(f"channel {n}" for n in range(12)), 10.0, PALETTE)


def test_a_sheet_has_a_row_a_tile_and_a_column_a_channel(tmp_path: Path) -> None:
    tiles = [tile_of({}), tile_of({4: 255, 5: 128})]
    write_sheet(tmp_path / "sheet.png", tiles, ["the first", "the second"])
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    step = 16 + GAP
    assert sheet.shape == (HEAD + 2 * (step + LABEL) + FOOT, 13 * step + GAP, 3)

    def cell(row: int, column: int) -> list[list[int]]:
        """The colours of one picture of the sheet."""
        y, x = HEAD + row * (step + LABEL) + LABEL, GAP + column * step
        colours: list[list[int]] = np.unique(
            sheet[y : y + 16, x : x + 16].reshape(-1, 3), axis=0
        ).tolist()
        return colours

    paper = [list(PAPER)]
    assert all(cell(0, column) == paper for column in range(13))
    assert cell(1, 0) == [PALETTE.composite(tiles[1].pixels)[0, 0].tolist()]
    full = [round(0.72 * value) for value in PALETTE.colours[4]]
    assert np.abs(np.array(cell(1, 5)) - full).max() <= 1
    half = np.array(PAPER) + 128 / 255 * (0.72 * np.array(PALETTE.colours[5]) - np.array(PAPER))
    assert np.abs(np.array(cell(1, 6)) - half).max() <= 1
    assert cell(1, 7) == paper
    assert [entry.name for entry in tmp_path.iterdir()] == ["sheet.png"]


def test_the_scale_bar_is_50_m_long(tmp_path: Path) -> None:
    write_sheet(tmp_path / "sheet.png", [tile_of({})], ["here"])
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    bar = (sheet[-12] == (60, 60, 60)).all(axis=1)
    first = int(np.flatnonzero(bar)[0])
    assert first == GAP
    assert bar[first : first + 6].all(), "5 pixels of 10 m"
    assert not bar[first + 7 : first + 10].any()


def test_a_row_without_a_label_is_an_error_and_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="zip"):
        write_sheet(tmp_path / "sheet.png", [tile_of({}), tile_of({})], ["one"])
    assert list(tmp_path.iterdir()) == []


def test_scales_have_their_channels_side_by_side(source: GeoPackageSource) -> None:
    renderer = Renderer(source, TileGeometry(wider_m=(400.0,)))
    tile = renderer.tile(Pose(PLACE.lat, PLACE.lon))
    assert len(tile.channels) == len(tile.pixels) == 24
    near, far = (tile.pixels[n].sum() / 255 for n in (5, 17))
    assert near == pytest.approx(64 * 64, rel=0.01)
    assert far == pytest.approx(16 * 16, rel=0.02)
