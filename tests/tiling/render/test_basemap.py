"""The map picture for people."""

from pathlib import Path

import numpy as np
import pyproj
import pytest
import shapely
from numpy.typing import NDArray

from tiling.catalogue import load_catalogue
from tiling.geo.geodesy import box_around
from tiling.geo.mercator import from_world, pixels_per_metre, tile_box, to_world
from tiling.render.basemap import COLOURS, FEATURES_FROM_ZOOM, THEMES, Theme, draw_map, draw_tile
from tiling.store.base import FeatureSource
from tiling.store.geopackage.write import ExtractRecord, write_geopackage
from tiling.store.store import Store
from tiling.values import Box, Features, LonLat, TileGeometry

SEA, AWAY = LonLat(7.4400, 43.7300), LonLat(7.40, 43.71)
ROAD = LonLat(7.4219793, 43.7392899)  # the middle of a primary road


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
        for place, name in ((SEA, 5), (AWAY, "away"), (ROAD, "primary")):
            where = zoom, *tile_of(place, zoom)
            picture = draw_tile(monaco, *where, theme, scale)
            assert picture.shape == (256 * scale, 256 * scale, 3)
            assert pixel(picture, tile_box(*where), place) == rgb(COLOURS[theme][name]), (
                zoom,
                name,
            )


def test_tiles_fit_together(monaco: FeatureSource) -> None:
    """Four tiles are the picture of their common box: nothing ends at an edge."""
    zoom, (x, y) = 16, tile_of(LonLat(7.4246, 43.7384), 16)
    north_west, south_east = tile_box(zoom, x, y), tile_box(zoom, x + 1, y + 1)
    whole = draw_map(
        monaco, Box(north_west.west, south_east.south, south_east.east, north_west.north), 512
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
    assert tuple(rgb(COLOURS["light"]["away"])) in colours
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
    fingerprint = load_catalogue().fingerprint(TileGeometry())
    write_geopackage(store, features, (), [ExtractRecord("fiji", "0" * 64, covered)], fingerprint)
    with Store.at(store).open() as source:
        picture = draw_map(source, Box(179.98, -17.01, -179.98, -16.99), 200)
    land, water = rgb(COLOURS["light"]["land"]), rgb(COLOURS["light"][5])
    row = picture[len(picture) // 2].tolist()
    assert row[:49] + row[151:] == [land] * 98
    assert row[51:149] == [water] * 98
