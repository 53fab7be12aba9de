"""An independent renderer: PROJ for the ground, shapely for shapes, point samples for pixels."""

import numpy as np
import pyproj
import shapely
from numpy.typing import NDArray
from shapely.affinity import rotate, translate
from shapely.geometry.base import BaseGeometry

from tiling.store.source import FeatureSource
from tiling.values import Box, Pose

SAMPLES = 10  # a side of a pixel
SIGHT_M = 300  # the corner of a tile of 100 m, shifted by 80 m along both sides, is 255 m away


def reference_tile(
    source: FeatureSource, pose: Pose, size: int = 128, radius_m: float = 100.0
) -> NDArray[np.float64]:
    """Render the tile of `pose`, float64 [12, size, size]: 1 - product of (1 - cover)."""
    features = source.features(_box(pose))
    to_plane = pyproj.Transformer.from_crs(
        "EPSG:4326", f"+proj=aeqd +lat_0={pose.lat} +lon_0={pose.lon} +ellps=WGS84", always_xy=True
    )
    bare = np.ones((12, size, size))
    for channel, width, wkb in zip(features.channel, features.width_m, features.wkb, strict=True):
        shape = rotate(_shape(wkb, width, to_plane), pose.rotation_deg, origin=(0, 0))
        _cover(translate(shape, pose.shift_x_m, pose.shift_y_m), bare[channel], radius_m)
    return 1 - bare


def _box(pose: Pose) -> Box:
    geod = pyproj.Geod(ellps="WGS84")
    west, south, east, north = (
        geod.fwd(pose.lon, pose.lat, azimuth, SIGHT_M)[:2] for azimuth in (270, 180, 90, 0)
    )
    return Box(west[0], south[1], east[0], north[1])


def _shape(wkb: bytes, width: float, to_plane: pyproj.Transformer) -> BaseGeometry:
    def project(xy: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.stack(to_plane.transform(xy[:, 0], xy[:, 1]), axis=1)

    flat = shapely.transform(shapely.from_wkb(wkb), project)
    if flat.geom_type.endswith("Polygon"):
        return shapely.make_valid(flat)
    return flat.buffer(width if flat.geom_type == "Point" else width / 2, quad_segs=16)


def _cover(shape: BaseGeometry, bare: NDArray[np.float64], radius_m: float) -> None:
    """Multiply `bare` [size, size] by the share of each pixel that `shape` leaves bare."""
    size = len(bare)
    pixel = 2 * radius_m / size
    west, south, east, north = shape.bounds
    columns = np.clip(
        [np.floor((west + radius_m) / pixel), np.ceil((east + radius_m) / pixel)], 0, size
    ).astype(int)
    rows = np.clip(
        [np.floor((radius_m - north) / pixel), np.ceil((radius_m - south) / pixel)], 0, size
    ).astype(int)
    if columns[0] >= columns[1] or rows[0] >= rows[1]:
        return
    left, top = np.meshgrid(
        np.arange(*columns) * pixel - radius_m, radius_m - np.arange(*rows) * pixel
    )
    pixels = shapely.box(left, top - pixel, left + pixel, top)
    near = shapely.clip_by_rect(shape, -radius_m - 1, -radius_m - 1, radius_m + 1, radius_m + 1)
    shapely.prepare(near)
    share = shapely.contains_properly(near, pixels).astype(np.float64)
    rim = shapely.intersects(near, pixels) & (share == 0)
    sample = (np.arange(SAMPLES) + 0.5) * pixel / SAMPLES
    x, y = left[rim][:, None, None] + sample, top[rim][:, None, None] - sample[:, None]
    share[rim] = shapely.contains_xy(near, *np.broadcast_arrays(x, y)).mean(axis=(1, 2))
    bare[rows[0] : rows[1], columns[0] : columns[1]] *= 1 - share


def iou(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Intersection over union of two coverages 0..1: the sum of minima over the sum of maxima."""
    union = np.maximum(a, b).sum()
    return float(np.minimum(a, b).sum() / union) if union else 1.0
