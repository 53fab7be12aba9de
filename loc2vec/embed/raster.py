"""Vectors as a Cloud-Optimised GeoTIFF, one band a number; no other module knows rasterio."""

import importlib.util
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from loc2vec.embed.files import Vectors
from loc2vec.errors import ExtraError
from tiling.errors import GridError
from tiling.files.atomic import replacing
from tiling.geo.grid import MAX_PLACES
from tiling.geo.mercator import EQUATOR_M, to_world
from tiling.values import ATTRIBUTION, Box

MAPNIK_SETS = ("GDAL_DATA", "PROJ_LIB")
ZONE_DEG = 6.0  # of a UTM zone
WIDEST_DEG = 12.0  # over two zones its metres are still true to half a percent


@dataclass(frozen=True, slots=True, eq=False)
class RasterGrid:
    """Square cells of a UTM zone, row by row from the north-west corner (`left`, `top`).

    All lengths are in metres: `metres` is the side of a cell.
    """

    epsg: int
    left: float
    top: float
    metres: float
    width: int
    height: int

    @property
    def lon_lat(self) -> NDArray[np.float64]:
        """Return the middles of the cells in degrees, float64 [height * width, 2]."""
        from rasterio.warp import transform

        x = self.left + (np.arange(self.width) + 0.5) * self.metres
        y = self.top - (np.arange(self.height) + 0.5) * self.metres
        xs, ys = np.meshgrid(x, y)
        with _gdal():
            lon, lat = transform(f"EPSG:{self.epsg}", "EPSG:4326", xs.ravel(), ys.ravel())
        return np.stack([np.array(lon), np.array(lat)], axis=1)


@contextmanager
def _gdal() -> Iterator[None]:
    """Let rasterio find its own data: importing Mapnik names other ones for the whole process."""
    import rasterio

    theirs = {name: os.environ.pop(name) for name in MAPNIK_SETS if name in os.environ}
    try:
        with rasterio.Env():
            yield
    finally:
        os.environ.update(theirs)


def require_extra() -> None:
    """Raise `ExtraError` unless rasterio is installed."""
    if importlib.util.find_spec("rasterio") is None:
        raise ExtraError("GeoTIFF needs rasterio: pip install 'loc2vec[raster]'")


def raster_grid(coverage: BaseGeometry, metres: float, box: Box | None = None) -> RasterGrid:
    """Return the cells over `coverage` (degrees) within `box`, in the UTM zone of its middle.

    Raises `GridError` where that is too wide for one zone, holds too many cells, or none.
    """
    from rasterio.warp import transform_bounds

    west, south, east, north = coverage.bounds if box is None else box
    if box is not None:
        west, south = max(west, coverage.bounds[0]), max(south, coverage.bounds[1])
        east, north = min(east, coverage.bounds[2]), min(north, coverage.bounds[3])
    if not (west < east and south < north):
        raise GridError("the box and the store do not meet: take another box")
    if east - west > WIDEST_DEG or south < -80 or north > 84:
        raise GridError(
            f"lon {west:.1f}..{east:.1f}, lat {south:.1f}..{north:.1f} is too wide for one raster "
            "in metres: take a --bbox of at most 12 degrees, between 80 south and 84 north"
        )
    epsg = (
        (32600 if south + north >= 0 else 32700)
        + int((west + east) / 2 % 360 / ZONE_DEG + 30) % 60
        + 1
    )
    with _gdal():
        left, bottom, right, top = transform_bounds(
            "EPSG:4326", f"EPSG:{epsg}", west, south, east, north
        )
    left, top = math.floor(left / metres) * metres, math.ceil(top / metres) * metres
    width, height = math.ceil((right - left) / metres), math.ceil((top - bottom) / metres)
    if width * height > MAX_PLACES:
        raise GridError(
            f"a raster of {metres} m would have {width * height} cells: "
            "take wider cells or a --bbox"
        )
    return RasterGrid(epsg, left, top, metres, width, height)


def write_geotiff(path: Path, grid: RasterGrid, vectors: Vectors) -> None:
    """Write the vectors of the grid's cells, row by row, atomically; NaN where there is none."""
    names = [f"embedding {number}" for number in range(1, vectors.embedding.shape[1] + 1)]
    about = {"model": vectors.model, "fingerprint": vectors.fingerprint}
    write_bands(path, grid, dict(zip(names, vectors.embedding.T, strict=True)), about)


def write_bands(
    path: Path,
    grid: RasterGrid,
    named: Mapping[str, NDArray[np.floating]],
    about: Mapping[str, str],
) -> None:
    """Write a band a name, one number a cell [height * width], row by row, atomically."""
    import rasterio

    bands = np.stack(list(named.values())).astype(np.float32).reshape(-1, grid.height, grid.width)
    profile: dict[str, Any] = {
        "driver": "COG",
        "dtype": "float32",
        "count": len(bands),
        "height": grid.height,
        "width": grid.width,
        "crs": f"EPSG:{grid.epsg}",
        "transform": rasterio.Affine(grid.metres, 0, grid.left, 0, -grid.metres, grid.top),
        "nodata": math.nan,
        "compress": "ZSTD",
        "predictor": "FLOATING_POINT",
        "blocksize": 256,
    }
    with _gdal(), replacing(path) as temporary, rasterio.open(temporary, "w", **profile) as raster:
        raster.write(bands)
        raster.update_tags(**about, TIFFTAG_COPYRIGHT=ATTRIBUTION)
        for number, name in enumerate(named, 1):
            raster.set_band_description(number, name)


def write_picture(
    path: Path, picture: NDArray[np.uint8], box: Box, about: Mapping[str, str]
) -> None:
    """Write a picture of a box in Web Mercator, RGBA uint8 [H, W, 4], as a COG."""
    import rasterio

    (left, right), (top, bottom) = (
        np.array(world) * EQUATOR_M
        for world in to_world([box.west, box.east], [box.north, box.south])
    )
    height, width = picture.shape[:2]
    across, down = (right - left) / width, (top - bottom) / height  # metres a pixel
    transform = rasterio.Affine(across, 0, left - EQUATOR_M / 2, 0, down, EQUATOR_M / 2 - top)
    profile: dict[str, Any] = {
        "driver": "COG", "dtype": "uint8", "count": 4, "height": height, "width": width,
        "crs": "EPSG:3857", "transform": transform, "compress": "DEFLATE", "blocksize": 256,
    }  # fmt: skip
    with _gdal(), replacing(path) as temporary, rasterio.open(temporary, "w", **profile) as raster:
        raster.write(np.moveaxis(picture, 2, 0))
        raster.colorinterp = [
            rasterio.enums.ColorInterp[name] for name in ("red", "green", "blue", "alpha")
        ]
        raster.update_tags(**about, TIFFTAG_COPYRIGHT=ATTRIBUTION)
