"""The map picture for people."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyproj
import pytest
import shapely
from numpy.typing import NDArray

from tiling.catalogue.catalogue import Catalogue, load_catalogue
from tiling.catalogue.channel import Look
from tiling.geo.geodesy import box_around
from tiling.geo.mercator import from_world, pixels_per_metre, tile_box, to_world
from tiling.osm.gather.gather import ExtractRecord
from tiling.render.basemap import FEATURES_FROM_ZOOM, draw_map, draw_tile
from tiling.render.style import AREA, AWAY, LAND, LINE, THEMES, Theme, looks_of
from tiling.store.geopackage.write import write_geopackage
from tiling.store.source import FeatureSource
from tiling.store.store import Store
from tiling.values import Box, Features, LonLat

SEA, FAR = LonLat(7.4300, 43.7310), LonLat(7.40, 43.71)
ROAD = LonLat(7.4219793, 43.7392899)  # the middle of a primary road


def look_of(channel: str) -> Look:
    catalogue = load_catalogue()
    return looks_of(catalogue)[catalogue.channels.index(channel)]


WATER, PRIMARY = look_of("water").lines[0].colour, look_of("major roads").lines[2].colour


def rgb(colour: str) -> list[int]:
    return [int(colour[at : at + 2], 16) for at in (1, 3, 5)]


def tile_of(place: LonLat, zoom: int) -> tuple[int, int]:
    x, y = to_world(place.lon, place.lat)
    return int(x * 2**zoom), int(y * 2**zoom)


def pixel(picture: NDArray[np.uint8], box: Box, place: LonLat) -> list[int]:
    """The colour of a place in the picture of a box, by PROJ's Web Mercator."""
    project = pyproj.Transformer.from_crs("EPSG:4326", "EPSG:3857", always_xy=True).transform
    (west, south), (east, north), (x, y) = (project(*v) for v in (box[:2], box[2:], place))
    height, width = picture.shape[:2]
    row = int((north - y) / (north - south) * height)
    column = int((x - west) / (east - west) * width)
    return [int(value) for value in picture[row, column]]


def test_the_plane_is_that_of_proj() -> None:
    project = pyproj.Transformer.from_crs("EPSG:4326", "EPSG:3857", always_xy=True).transform
    for lon, lat in ((7.4246, 43.7384), (-179.5, -60.0), (0.0, 85.05)):
        x, y = to_world(lon, lat)
        side = 40075016.68557849
        np.testing.assert_allclose(
            project(lon, lat), ((x - 0.5) * side, (0.5 - y) * side), rtol=1e-9, atol=1e-6
        )
        np.testing.assert_allclose(from_world(float(x), float(y)), (lon, lat), atol=1e-9)
    assert pixels_per_metre(0, 0) == pytest.approx(256 / 40075016.68557849)


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("scale", [1, 2])
def test_what_is_where(monaco: FeatureSource, theme: Theme, scale: int) -> None:
    for zoom in (14, 16):
        for place, colour in ((SEA, WATER), (FAR, AWAY), (ROAD, PRIMARY)):
            where = zoom, *tile_of(place, zoom)
            picture = draw_tile(monaco, *where, theme, scale)
            assert picture.shape == (256 * scale, 256 * scale, 3)
            expected = rgb(colour[THEMES.index(theme)])
            assert pixel(picture, tile_box(*where), place) == expected, (zoom, colour)


@pytest.mark.parametrize("zoom", [8, 13, 16])
def test_what_lies_beyond_the_covered_area_is_not_shown_as_map(
    monaco: FeatureSource, zoom: int
) -> None:
    """The sea of an extract reaches to its box, and its roads into the neighbours."""
    box = tile_box(zoom, *tile_of(SEA, zoom))
    picture = draw_map(monaco, box, 256)
    lon, lat = (grid.ravel() for grid in np.meshgrid(
        np.linspace(box.west, box.east, 60)[1:-1], np.linspace(box.south, box.north, 60)[1:-1]
    ))  # fmt: skip
    border = shapely.buffer(shapely.boundary(monaco.coverage), 3 * (box.east - box.west) / 256)
    clear = ~shapely.intersects_xy(border, lon, lat)
    inside = shapely.intersects_xy(monaco.coverage, lon, lat)
    away = rgb(AWAY[0])
    seen = [pixel(picture, box, LonLat(*place)) == away for place in zip(lon, lat, strict=True)]
    assert np.array_equal(np.array(seen)[clear], ~inside[clear])
    assert (~inside[clear]).any()


@pytest.mark.parametrize("zoom", [14, 16, 18])
def test_tiles_fit_together(monaco: FeatureSource, zoom: int) -> None:
    """Four tiles are the picture of their common box: nothing ends at an edge, no name either."""
    x, y = tile_of(LonLat(7.4246, 43.7384), zoom)
    north_west, south_east = tile_box(zoom, x, y), tile_box(zoom, x + 1, y + 1)
    whole = draw_map(
        monaco,
        Box(north_west.west, south_east.south, south_east.east, north_west.north),
        512,
        names=True,
    )
    four = [
        np.concatenate([draw_tile(monaco, zoom, x + i, y + j) for i in (0, 1)], axis=1)
        for j in (0, 1)
    ]
    assert whole.shape == (512, 512, 3)
    # an edge may be rounded otherwise
    assert np.abs(whole.astype(int) - np.concatenate(four)).max() <= 4


def test_far_out_only_the_covered_area_is_asked_for(
    monaco: FeatureSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> Features:
        raise AssertionError("the features of half a continent")

    monkeypatch.setattr(type(monaco), "features", never)
    zoom = FEATURES_FROM_ZOOM - 1
    picture = draw_tile(monaco, zoom, *tile_of(SEA, zoom))
    colours = {tuple(colour) for colour in picture.reshape(-1, 3).tolist()}
    assert tuple(rgb(AWAY[0])) in colours
    assert len(colours) > 1  # Monaco is a dot


@pytest.mark.parametrize("smallest", [0.0, 0.0003, 0.002, 0.01])
def test_small_features_are_left_out(monaco: FeatureSource, smallest: float) -> None:
    box = box_around(LonLat(7.4246, 43.7384), 3000)
    everything = monaco.features(box)
    bounds = shapely.bounds(shapely.from_wkb(everything.wkb))
    side = (bounds[:, 2:] - bounds[:, :2]).max(axis=1)
    kept = monaco.features(box, smallest)
    found = set(kept.wkb.tolist())
    near = 1e-5  # the R-tree holds float32, rounded outwards
    assert found >= set(everything.wkb[side >= smallest + near].tolist())
    assert not found & set(everything.wkb[side < smallest - near].tolist())
    assert 0 < len(kept) <= len(everything)


def test_the_picture_may_cross_the_antimeridian(tmp_path: Path) -> None:
    lakes = [
        shapely.box(179.990, -17.005, 180, -16.995),
        shapely.box(-180, -17.005, -179.990, -16.995),
    ]
    wkb = np.empty(2, object)
    wkb[:] = shapely.to_wkb(lakes)
    features = Features(np.array([5, 5], np.int8), np.zeros(2, np.float32), wkb)
    covered = shapely.MultiPolygon(
        [shapely.box(179.9, -17.1, 180, -16.9), shapely.box(-180, -17.1, -179.9, -16.9)]
    )
    store = tmp_path / "fiji.gpkg"
    record = ExtractRecord("fiji", "0" * 64, covered)
    write_geopackage(store, [features], (), [record], load_catalogue())
    with Store.at(store).open() as source:
        picture = draw_map(source, Box(179.98, -17.01, -179.98, -16.99), 200)
    land, water = rgb(LAND[0]), rgb(WATER[0])
    row = picture[len(picture) // 2].tolist()
    assert row[:49] + row[151:] == [land] * 98
    assert row[51:149] == [water] * 98


@pytest.fixture(scope="module")
def own(
    monaco_pbf: Path, own_catalogue: Catalogue, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FeatureSource]:
    """Monaco by a catalogue that says nothing of the base map."""
    store = tmp_path_factory.mktemp("own") / "own.gpkg"
    Store.at(store).import_extracts([monaco_pbf], own_catalogue)
    with Store.at(store).open() as source:
        yield source


@pytest.mark.parametrize("theme", THEMES)
def test_the_look_of_a_channel_follows_from_its_colour(own: FeatureSource, theme: Theme) -> None:
    """The sea is a tint of its colour, and a primary road nearly has its own."""
    land = np.array(rgb(LAND[THEMES.index(theme)]))
    where = 16, *tile_of(SEA, 16)
    sea = land + AREA * (np.array([0x1F, 0x5F, 0xBF]) - land)
    assert np.abs(pixel(draw_tile(own, *where, theme), tile_box(*where), SEA) - sea).max() <= 0.5
    where = 16, *tile_of(ROAD, 16)
    road = land + LINE * (np.array([0xF0, 0xD0, 0x00]) - land)
    assert np.abs(pixel(draw_tile(own, *where, theme), tile_box(*where), ROAD) - road).max() <= 0.5


def test_a_derived_look_shows_what_the_rules_draw(own_catalogue: Catalogue) -> None:
    looks = dict(zip(own_catalogue.channels, looks_of(own_catalogue), strict=True))
    assert [line.width_m for line in looks["busy streets"].lines] == [12, 20]
    assert [line.from_zoom for line in looks["busy streets"].lines] == [10, 7]
    assert looks["busy streets"].colour is None
    assert looks["trees"].dot is not None
    assert not looks["trees"].lines
    assert looks["houses"].outline is not None
    assert looks["houses"].area_from > looks["parks"].area_from
    assert looks["houses"].area_order > looks["sea and rivers"].area_order
    assert looks["sea and rivers"].area_order > looks["parks"].area_order
