"""GeoTIFFs of vectors and of pictures, made by hand and read back with rasterio."""

from pathlib import Path

import numpy as np
import pyproj
import pytest
import rasterio
import shapely
from rasterio.enums import ColorInterp

from loc2vec.embed.files import Vectors
from loc2vec.embed.raster import RasterGrid, raster_grid, write_geotiff, write_picture
from tiling.errors import GridError
from tiling.values import Box

MONACO = shapely.box(7.40, 43.72, 7.44, 43.75)


def numbered(grid: RasterGrid, dim: int = 3) -> Vectors:
    """Vectors of the cells in their order; the first cell has none."""
    count = grid.width * grid.height
    embedding = np.arange(count * dim, dtype=np.float32).reshape(count, dim)
    embedding[0] = np.nan
    lon, lat = grid.lon_lat.T
    return Vectors(lat, lon, embedding, None, "small@1", "f" * 16)


def test_the_cells_lie_row_by_row_from_the_north_west() -> None:
    grid = RasterGrid(32632, 400_000.0, 4_800_000.0, 250.0, 4, 3)
    to_metres = pyproj.Transformer.from_crs(4326, 32632, always_xy=True)
    x, y = to_metres.transform(*grid.lon_lat.T)
    assert x.reshape(3, 4)[0] == pytest.approx([400_125, 400_375, 400_625, 400_875], abs=0.01)
    assert y.reshape(3, 4)[:, 0] == pytest.approx([4_799_875, 4_799_625, 4_799_375], abs=0.01)


@pytest.mark.parametrize("metres", [50.0, 333.0, 20_000.0])
def test_the_cells_cover_the_area_and_their_corners_are_whole_steps(metres: float) -> None:
    grid = raster_grid(MONACO, metres)
    assert (grid.epsg, grid.metres) == (32632, metres)
    assert grid.left % metres == grid.top % metres == 0
    to_metres = pyproj.Transformer.from_crs(4326, grid.epsg, always_xy=True)
    x, y = to_metres.transform(*shapely.get_coordinates(MONACO).T)
    assert grid.left <= x.min()
    assert x.max() <= grid.left + grid.width * metres
    assert y.max() <= grid.top
    assert grid.top - grid.height * metres <= y.min()
    assert grid.left + metres > x.min()
    assert grid.top - metres < y.max()


def test_a_box_cuts_the_area_and_adds_nothing() -> None:
    whole, part = raster_grid(MONACO, 100), raster_grid(MONACO, 100, Box(7.41, 43.73, 9.0, 43.74))
    assert part.width < whole.width
    assert part.height < whole.height
    assert repr(raster_grid(MONACO, 100, Box(0, 0, 20, 80))) == repr(whole)


@pytest.mark.parametrize(
    ("area", "epsg"),
    [
        (shapely.box(-0.2, 10, -0.1, 10.1), 32630),
        (shapely.box(0.1, -10.1, 0.2, -10), 32731),
        (shapely.box(5.9, 43, 6.3, 43.1), 32632),
        (shapely.box(-180, -1, -179.9, 0.5), 32701),
        (shapely.box(179.9, 83, 180, 83.9), 32660),
        (shapely.box(3, -0.1, 3.1, 0.1), 32631),
    ],
)
def test_the_zone_is_that_of_the_middle(area: shapely.Polygon, epsg: int) -> None:
    assert raster_grid(area, 1_000).epsg == epsg


@pytest.mark.parametrize(
    ("area", "box", "message"),
    [
        (shapely.box(0, 0, 12.1, 1), None, r"lon 0\.0\.\.12\.1, .* is too wide for one raster"),
        (shapely.box(0, -80.1, 1, -79), None, "between 80 south and 84 north"),
        (shapely.box(0, 83, 1, 84.1), None, "between 80 south and 84 north"),
        (MONACO, Box(7.44, 43.72, 7.5, 43.75), "do not meet"),
        (MONACO, Box(7.40, 43.0, 7.44, 43.72), "do not meet"),
        (MONACO, Box(170, 43, -170, 44), "do not meet"),
    ],
)
def test_what_is_too_wide_or_empty_is_refused(
    area: shapely.Polygon, box: Box | None, message: str
) -> None:
    with pytest.raises(GridError, match=message):
        raster_grid(area, 1_000, box)


def test_cells_are_counted_up_to_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    grid = raster_grid(MONACO, 500)
    count = grid.width * grid.height
    monkeypatch.setattr("loc2vec.embed.raster.MAX_PLACES", count)
    assert repr(raster_grid(MONACO, 500)) == repr(grid)
    monkeypatch.setattr("loc2vec.embed.raster.MAX_PLACES", count - 1)
    with pytest.raises(GridError, match=f"a raster of 500 m would have {count} cells"):
        raster_grid(MONACO, 500)


def test_a_raster_holds_the_vectors_of_its_cells(tmp_path: Path) -> None:
    grid = raster_grid(MONACO, 400)
    vectors = numbered(grid)
    write_geotiff(tmp_path / "out" / "v.tif", grid, vectors)
    with rasterio.open(tmp_path / "out" / "v.tif") as raster:
        assert (raster.width, raster.height, raster.count) == (grid.width, grid.height, 3)
        assert (raster.bounds.left, raster.bounds.top) == (grid.left, grid.top)
        assert raster.res == (400, 400)
        assert raster.crs.to_epsg() == grid.epsg
        bands = raster.read()
        assert raster.descriptions == ("embedding 1", "embedding 2", "embedding 3")
        tags = raster.tags()
    assert np.isnan(bands[:, 0, 0]).all()
    flat = np.moveaxis(bands, 0, 2).reshape(-1, 3)
    np.testing.assert_array_equal(flat, vectors.embedding)
    assert (tags["model"], tags["fingerprint"]) == ("small@1", "f" * 16)
    assert "OpenStreetMap" in tags["TIFFTAG_COPYRIGHT"]
    assert [entry.name for entry in (tmp_path / "out").iterdir()] == ["v.tif"]


def test_a_picture_lies_in_web_mercator(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (60, 90, 4)).astype(np.uint8)
    box = Box(7.0, 43.0, 7.5, 43.25)
    write_picture(tmp_path / "p.tif", picture, box, {"title": "a map"})
    with rasterio.open(tmp_path / "p.tif") as raster:
        assert (raster.width, raster.height, raster.crs.to_epsg()) == (90, 60, 3857)
        assert np.array_equal(np.moveaxis(raster.read(), 0, 2), picture)
        kinds = [ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha]
        assert list(raster.colorinterp) == kinds
        to_metres = pyproj.Transformer.from_crs(4326, 3857, always_xy=True)
        left, bottom = to_metres.transform(7.0, 43.0)
        right, top = to_metres.transform(7.5, 43.25)
        assert tuple(raster.bounds) == pytest.approx((left, bottom, right, top), abs=0.01)
        assert raster.tags()["title"] == "a map"
        assert "OpenStreetMap" in raster.tags()["TIFFTAG_COPYRIGHT"]
