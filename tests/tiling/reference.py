"""An independent drawing of a tile: PROJ for the ground, shapely for the shapes, point samples for the pixels."""

import numpy as np
import pyproj
import shapely
from numpy.typing import NDArray
from shapely.affinity import rotate, translate

from tiling.sources.base import FeatureSource
from tiling.values import Box, Pose

SAMPLES = 10  # a side of a pixel


def reference_tile(source: FeatureSource, pose: Pose, size: int = 128, radius_m: float = 100.0) -> NDArray[np.float64]:
    """Draw the tile of `pose`, float64 [12, size, size] of coverage 0..1."""
    features = source.features(_box(pose))
    to_plane = pyproj.Transformer.from_crs(
        "EPSG:4326", f"+proj=aeqd +lat_0={pose.lat} +lon_0={pose.lon} +ellps=WGS84", always_xy=True
    )
    pixels = np.zeros((12, size, size))
    for channel in np.unique(features.channel):
        shapes = [
            _shape(wkb, width, to_plane)
            for wkb, width, c in zip(features.wkb, features.width_m, features.channel, strict=True)
            if c == channel
        ]
        placed = translate(
            rotate(shapely.union_all(shapes), pose.rotation_deg, origin=(0, 0)), pose.shift_x_m, pose.shift_y_m
        )
        pixels[channel] = _sample(placed, size, radius_m)
    return pixels


def _box(pose: Pose) -> Box:
    half = pyproj.Geod(ellps="WGS84")
    edges = [half.fwd(pose.lon, pose.lat, azimuth, 400)[:2] for azimuth in (270, 180, 90, 0)]
    return Box(edges[0][0], edges[1][1], edges[2][0], edges[3][1])


def _shape(wkb: bytes, width: float, to_plane: pyproj.Transformer) -> shapely.Geometry:
    def project(xy: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.stack(to_plane.transform(xy[:, 0], xy[:, 1]), axis=1)

    flat = shapely.transform(shapely.from_wkb(wkb), project)
    if flat.geom_type.endswith("Polygon"):
        return shapely.make_valid(flat)
    return flat.buffer(width if flat.geom_type == "Point" else width / 2, quad_segs=16)


def _sample(shape: shapely.Geometry, size: int, radius_m: float) -> NDArray[np.float64]:
    ticks = (np.arange(size * SAMPLES) + 0.5) / (size * SAMPLES) * 2 * radius_m - radius_m
    x, y = np.meshgrid(ticks, -ticks)
    clipped = shapely.clip_by_rect(shape, -radius_m - 1, -radius_m - 1, radius_m + 1, radius_m + 1)
    shapely.prepare(clipped)
    inside = shapely.contains_xy(clipped, x, y)
    return inside.reshape(size, SAMPLES, size, SAMPLES).mean(axis=(1, 3))


def iou(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Intersection over union of two coverages 0..1 (soft: minimum over maximum)."""
    union = np.maximum(a, b).sum()
    return float(np.minimum(a, b).sum() / union) if union else 1.0
