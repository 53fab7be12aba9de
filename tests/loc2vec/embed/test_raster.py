"""Vectors as a GeoTIFF, read back with another library (GDAL)."""

import math
from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely
from click.testing import CliRunner
from pyproj import Transformer

from loc2vec.embed.raster import raster_grid
from loc2vec.encoder import LocationEncoder
from service.cli.main import main
from tiling.errors import GridError
from tiling.geo.geodesy import ground_distance_m
from tiling.values import Box

BOX = "7.415,43.730,7.432,43.742"


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["embed", *map(str, arguments)])
    return result.exit_code, result.output


def test_each_pixel_is_the_vector_of_its_middle(
    monaco_store: Path, model_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "monaco.tif"
    status, output = run(
        "--store", monaco_store, "--model", model_folder, "--grid", 200, "--bbox", BOX,
        "--workers", 0, "--out", out,
    )  # fmt: skip
    assert status == 0, output
    with rasterio.open(out) as raster:
        assert (raster.count, raster.crs.to_epsg(), raster.res) == (16, 32632, (200, 200))
        assert raster.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert raster.descriptions[:2] == ("embedding 1", "embedding 2")
        assert raster.tags()["model"].startswith("fresh-0@")
        assert "OpenStreetMap contributors" in raster.tags()["TIFFTAG_COPYRIGHT"]
        pixels = raster.read()
        inside = np.argwhere(np.isfinite(pixels).all(0))
        assert len(inside) > 20
        for row, column in (inside[0], inside[len(inside) // 2]):
            x, y = raster.bounds.left + 200 * (column + 0.5), raster.bounds.top - 200 * (row + 0.5)
            lon, lat = Transformer.from_crs(32632, 4326, always_xy=True).transform(x, y)
            with LocationEncoder.load(model_folder, monaco_store) as encoder:
                expected = encoder.encode((lat, lon))
            np.testing.assert_allclose(pixels[:, row, column], expected, atol=1e-4)
        assert math.isnan(raster.nodata)


@pytest.mark.parametrize(
    ("lon", "lat", "epsg"),
    [(7, 43, 32632), (179.5, -17, 32760), (-179.9, 10, 32601), (0, 0.5, 32631)],
)
def test_cells_are_square_metres_of_the_zone_of_their_middle(
    lon: float, lat: float, epsg: int
) -> None:
    grid = raster_grid(shapely.box(lon, lat, lon + 0.05, lat + 0.03), 100)
    assert grid.epsg == epsg
    places = grid.lon_lat.reshape(grid.height, grid.width, 2)
    middle = places[grid.height // 2, grid.width // 2]
    for other in (
        places[grid.height // 2, grid.width // 2 + 1],
        places[grid.height // 2 + 1, grid.width // 2],
    ):
        assert ground_distance_m(middle[1], middle[0], other[1], other[0]) == pytest.approx(
            100, rel=0.01
        )
    north, west = places[..., 1].max(), places[..., 0].min()
    assert abs(north - (lat + 0.03)) < 0.003
    assert abs(west - lon) < 0.003


@pytest.mark.parametrize(
    ("area", "box", "message"),
    [
        (shapely.box(0, 0, 20, 1), None, "too wide"),
        (shapely.box(0, 0, 1, 1), Box(5, 5, 6, 6), "do not meet"),
        (shapely.box(0, 0, 10, 10), None, "cells"),
    ],
)
def test_what_makes_no_raster_is_refused(
    area: shapely.Polygon, box: Box | None, message: str
) -> None:
    with pytest.raises(GridError, match=message):
        raster_grid(area, 10, box)


def test_geotiff_needs_a_grid_and_its_extra(
    monaco_store: Path, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    common = (
        "--store",
        monaco_store,
        "--model",
        model_folder,
        "--out",
        tmp_path / "x.tif",
    )
    status, output = run(*common, "--points", tmp_path / "places.csv")
    assert status == 2
    assert "a raster (.tif) goes with --grid" in output
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    status, output = run(*common, "--grid", 100)
    assert status == 2
    assert "pip install 'loc2vec[raster]'" in output
