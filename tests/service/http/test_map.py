"""The tiles of the map: the base map and the overlay of colours."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from numpy.typing import NDArray
from PIL import Image

from loc2vec.embed.files import Vectors
from loc2vec.paper.colours import Colours
from service.engine.engine import Engine
from service.index.index import NeighborIndex
from service.index.overlay import Overlay
from service.index.pictures import Cells
from service.settings import Settings
from tests.conftest import GRID_M
from tests.service.conftest import serving
from tests.service.http.test_app import check_problem
from tiling.geo.mercator import tile_box, to_world
from tiling.render.basemap import draw_tile
from tiling.render.pictures import BaseTile, TileNumber
from tiling.render.process import RenderProcess
from tiling.store.store import Store

ZOOM = 15


def tile_of(lon: float, lat: float, zoom: int) -> TileNumber:
    x, y = to_world(lon, lat)
    return TileNumber(zoom, int(x * 2**zoom), int(y * 2**zoom))


MIDDLE = tile_of(7.4246, 43.7384, ZOOM)


def path_of(layer: str, tile: TileNumber) -> str:
    return f"/map/{layer}/{tile.zoom}/{tile.x}/{tile.y}.png"


def pixels(png: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(png)))


def test_a_tile_of_the_base_map(client: TestClient, monaco_store: Path) -> None:
    answer = client.get(path_of("base", MIDDLE), params={"theme": "dark", "scale": 2})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    with Store.at(monaco_store).open() as source:
        expected = draw_tile(source, *MIDDLE[:3], "dark", 2)
    assert np.array_equal(pixels(answer.content), expected)


@pytest.mark.parametrize("layer", ["base", "pca"])
def test_tiles_are_drawn_once_and_kept(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, layer: str
) -> None:
    first = client.get(path_of(layer, MIDDLE))
    assert first.headers["cache-control"] == "public, max-age=300"

    def never(*_: object) -> bytes:
        raise AssertionError("drawn again")

    monkeypatch.setattr(BaseTile, "png", never)
    monkeypatch.setattr(Cells, "png", never)
    assert client.get(path_of(layer, MIDDLE)).content == first.content
    kept = client.get(path_of(layer, MIDDLE), headers={"if-none-match": first.headers["etag"]})
    assert (kept.status_code, kept.content) == (304, b"")


def test_the_overlay_shows_every_indexed_place_in_its_colour(
    client: TestClient, vectors: Vectors
) -> None:
    picture = pixels(client.get(path_of("pca", MIDDLE), params={"scale": 2}).content)
    assert picture.shape == (512, 512, 4)
    rows = np.flatnonzero(vectors.inside)
    colours = Colours.fit(vectors.embedding[rows]).rgb(vectors.embedding[rows])
    x, y = to_world(vectors.lon[rows], vectors.lat[rows])
    column, row = ((v * 2**ZOOM - first) * 512 for v, first in ((x, MIDDLE.x), (y, MIDDLE.y)))
    here = (np.minimum(column, row) > 0) & (np.maximum(column, row) < 512)
    assert here.sum() > 5
    at = picture[row[here].astype(int), column[here].astype(int)]
    assert (at[:, 3] == 255).all()
    assert np.abs(at[:, :3].astype(int) - colours[here]).max() <= 1
    assert len(np.unique(at, axis=0)) > 3


def test_squares_of_a_grid_cover_it_without_gaps_and_end_with_it(
    vectors: Vectors, index_folder: Path
) -> None:
    overlay = Overlay(NeighborIndex.open(index_folder))
    assert overlay._spacing_m == pytest.approx(GRID_M, rel=0.01)
    for zoom in (12, 13, 14, 16, 18):
        tile = tile_of(7.4246, 43.7384, zoom)
        alpha = overlay.cells(tile).draw()[:, :, 3]
        box = tile_box(*tile[:3])
        if zoom >= 16:
            assert alpha.all()  # the middle of Monaco
        else:
            assert 0 < (alpha > 0).sum() < alpha.size * 0.9
        outside = tile_of(box.west - 1, box.south, zoom)
        assert not overlay.cells(outside).draw().any()


def test_places_that_share_a_pixel_are_mixed() -> None:
    xy = np.array([[1.2, 0.4], [1.9, 0.1], [3.0, 3.0], [-0.1, 2.0], [4.0, 2.0]], np.float32)
    colours = np.array([[10, 20, 30], [30, 40, 50], [9, 9, 9], [1, 1, 1], [1, 1, 1]], np.uint8)
    picture = Cells(xy, colours, 0.5, size=4).draw()
    assert picture[0, 1].tolist() == [20, 30, 40, 255]
    assert picture[3, 3].tolist() == [9, 9, 9, 255]
    assert (picture[:, :, 3] > 0).sum() == 2


@pytest.mark.parametrize("side", [1.5, 2.0, 7.3, 100.0])
def test_squares_are_painted_as_a_loop_would(side: float) -> None:
    rng = np.random.default_rng(0)
    xy = rng.uniform(-20, 84, (50, 2)).astype(np.float32)
    colours = rng.integers(0, 255, (50, 3)).astype(np.uint8)
    expected = np.zeros((64, 64, 4), np.uint8)
    for (x, y), colour in zip(xy, colours, strict=True):
        x0, x1, y0, y1 = (
            max(0, round(float(v)))
            for v in (x - side / 2, x + side / 2, y - side / 2, y + side / 2)
        )
        expected[y0:y1, x0:x1] = [*colour, 255]
    assert np.array_equal(Cells(xy, colours, side, size=64).draw(), expected)


def test_a_process_renders_them_too(monaco_store: Path, engine: Engine) -> None:
    process = RenderProcess(Store.at(monaco_store))
    try:
        base = process.picture(BaseTile(MIDDLE, "light"))
        cells = process.picture(engine.search.overlay.cells(MIDDLE))
    finally:
        process.close()
    assert base == engine.base_map(MIDDLE, "light")
    assert cells == engine.overlay(MIDDLE)


def test_another_index_has_another_overlay(
    settings: Settings, vectors: Vectors, tmp_path: Path
) -> None:
    half = np.arange(len(vectors)) % 2 == 0
    few = replace(
        vectors,
        lat=vectors.lat[half],
        lon=vectors.lon[half],
        embedding=vectors.embedding[half],
        table=None,
    )
    with Engine.open(settings) as engine:
        first = engine.overlay(MIDDLE)
        engine.use(NeighborIndex.build(few, tmp_path / "few"))
        second = engine.overlay(MIDDLE)
    assert (pixels(first)[:, :, 3] > 0).mean() > 0.9
    assert second != first


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/map/base/21/0/0.png", 422),
        ("/map/base/-1/0/0.png", 422),
        ("/map/base/3/8/0.png", 404),
        ("/map/base/3/0/8.png", 404),
        ("/map/base/3/0/99999999999999999999.png", 422),
        ("/map/base/3.0/0/x.png", 422),
        ("/map/roads/3/0/0.png", 422),
        ("/map/base/3/0/0.jpg", 404),
        ("/map/base/3/0/0.png?scale=3", 422),
        ("/map/base/3/0/0.png?theme=pink", 422),
        ("/map/base/3/0/0.png?style=dark", 422),
        ("/map/base/3/0/0.png?scale=1&scale=2", 422),
    ],
)
def test_what_is_no_tile_is_refused(client: TestClient, path: str, status: int) -> None:
    check_problem(client.get(path), status)


def test_the_ends_of_the_world_are_drawn(client: TestClient) -> None:
    for zoom, x, y in ((0, 0, 0), (1, 1, 1), (20, 0, 0), (20, 2**20 - 1, 2**20 - 1), (7, 127, 63)):
        for layer in ("base", "pca"):
            answer = client.get(path_of(layer, TileNumber(zoom, x, y)))
            assert answer.status_code == 200, (layer, zoom)
            assert pixels(answer.content).shape[:2] == (256, 256)


def test_without_an_index_there_is_a_base_map_and_no_overlay(settings: Settings) -> None:
    with serving(settings.model_copy(update={"index": None})) as client:
        assert client.get(path_of("base", MIDDLE)).status_code == 200
        problem: Any = check_problem(client.get(path_of("pca", MIDDLE)), 503)
    assert "loc2vec index" in problem["detail"]
