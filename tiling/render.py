"""The Mapnik renderer: from the features around a place to 12-channel tiles. The only module that knows Mapnik.

One query a place; its features are moved to metres about the place and kept in memory, and each
tile is four RGB pictures of three channels each, with the map turned by `geometry_transform`.
"""

import math
from collections.abc import Sequence

import mapnik
import numpy as np
import shapely
from numpy.typing import NDArray

from tiling.catalogue import Catalogue, load_catalogue
from tiling.geodesy import MetresPerDegree, box_around
from tiling.sources.base import FeatureSource
from tiling.values import Features, LonLat, Pose, Tile, TileGeometry, check_fingerprint

PRIMARIES = ("#f00", "#0f0", "#00f")  # three channels share a picture, one colour each
DEFAULT_GEOMETRY = TileGeometry()
QUARTER_CIRCLE_SEGMENTS = 8  # of a point drawn as a disc


class Renderer:
    """Draws tiles from a feature source. A renderer belongs to one thread, as its source does."""

    def __init__(
        self,
        source: FeatureSource,
        geometry: TileGeometry = DEFAULT_GEOMETRY,
        catalogue: Catalogue | None = None,
    ) -> None:
        catalogue = catalogue or load_catalogue()
        check_fingerprint(source.location, source.fingerprint, catalogue.fingerprint(TileGeometry()))
        self.source = source
        self.geometry = geometry
        self.channels = catalogue.channels
        self.fingerprint = catalogue.fingerprint(geometry)
        self._reach_m = catalogue.reach_m
        self._pictures = [_Picture(geometry, self._reach_m) for _ in range(len(self.channels) // len(PRIMARIES))]

    def tile(self, pose: Pose) -> Tile:
        """Draw one tile."""
        pixels = self.tiles(LonLat(pose.lon, pose.lat), [pose])[0]
        return Tile(pixels, pose, self.channels, self.geometry.metres_per_pixel)

    def tiles(self, place: LonLat, poses: Sequence[Pose]) -> NDArray[np.uint8]:
        """Draw the tiles of one place, uint8 [len(poses), 12, size, size], with a single query.

        The poses must be about `place`. Places outside the store give empty tiles: ask the source first.
        """
        if any((pose.lon, pose.lat) != place for pose in poses):
            raise ValueError(f"every pose must be about {place}")
        self._load(place, max((self._extent_m(pose) for pose in poses), default=0.0))
        size = self.geometry.size
        pixels = np.zeros((len(poses), len(self._pictures), size, size, 3), np.uint8)
        for out, pose in zip(pixels, poses, strict=True):
            for layer, picture in zip(out, self._pictures, strict=True):
                picture.draw(pose, layer)
        return np.ascontiguousarray(pixels.transpose(0, 1, 4, 2, 3)).reshape(len(poses), -1, size, size)

    def _extent_m(self, pose: Pose) -> float:
        """Return how far from the place, along an axis, something may lie that the tile shows."""
        radius, x, y = self.geometry.radius_m, abs(pose.shift_x_m), abs(pose.shift_y_m)
        if pose.rotation_deg == 0:
            return radius + max(x, y) + self._reach_m
        return radius * math.sqrt(2) + math.hypot(x, y) + self._reach_m

    def _load(self, place: LonLat, extent_m: float) -> None:
        features = self.source.features(box_around(place, extent_m))
        wkb = _local_wkb(features, place)
        for number, picture in enumerate(self._pictures):
            mine = np.flatnonzero(features.channel // len(PRIMARIES) == number)
            picture.load(features.channel[mine] % len(PRIMARIES), features.width_m[mine], wkb[mine])


def _local_wkb(features: Features, place: LonLat) -> NDArray[np.object_]:
    """Return the geometries in metres about `place`; points become discs of their radius."""
    geometry = shapely.from_wkb(features.wkb)
    scale = np.array(MetresPerDegree.at(place.lat))

    def to_metres(degrees: NDArray[np.float64]) -> NDArray[np.float64]:
        offset = degrees - np.array(place)
        offset[:, 0] = (offset[:, 0] + 180) % 360 - 180  # across the antimeridian
        metres: NDArray[np.float64] = offset * scale
        return metres

    local = shapely.transform(geometry, to_metres)
    points = shapely.get_dimensions(local) == 0
    local[points] = shapely.buffer(local[points], features.width_m[points], quad_segs=QUARTER_CIRCLE_SEGMENTS)
    wkb: NDArray[np.object_] = shapely.to_wkb(local)
    return wkb


class _Picture:
    """One RGB picture of three channels: a Mapnik map whose datasource is swapped for each place."""

    def __init__(self, geometry: TileGeometry, reach_m: float) -> None:
        self._geometry = geometry
        self._map = _map(geometry, reach_m)
        self._image = mapnik.Image(geometry.size, geometry.size)
        self._context = mapnik.Context()
        for name in ("c", "w"):
            self._context.push(name)
        self._empty = True

    def load(self, colour: NDArray[np.int8], width_m: NDArray[np.float32], wkb: NDArray[np.object_]) -> None:
        """Take the features of one place: colour 0..2, width in metres, WKB in metres about the place."""
        self._empty = not len(wkb)
        datasource = mapnik.MemoryDatasource()
        for number, (c, w, geometry) in enumerate(zip(colour.tolist(), width_m.tolist(), wkb, strict=True)):
            feature = mapnik.Feature(self._context, number)
            feature["c"], feature["w"] = c, w
            feature.geometry = mapnik.Geometry.from_wkb(geometry)
            datasource.add_feature(feature)
        self._map.layers[0].datasource = datasource

    def draw(self, pose: Pose, out: NDArray[np.uint8]) -> None:
        """Draw the map under `pose` into `out`, uint8 [size, size, 3]."""
        if self._empty:
            return
        # The window is the tile's square, taken back through the shift and the turn.
        angle = math.radians(pose.rotation_deg)
        cos, sin = math.cos(angle), math.sin(angle)
        x = -(cos * pose.shift_x_m + sin * pose.shift_y_m)
        y = -(-sin * pose.shift_x_m + cos * pose.shift_y_m)
        radius = self._geometry.radius_m
        self._map.zoom_to_box(mapnik.Box2d(x - radius, y - radius, x + radius, y + radius))
        self._image.clear()
        mapnik.render_with_vars(self._map, self._image, {"rot": -pose.rotation_deg})
        size = self._geometry.size
        out[:] = np.frombuffer(self._image.to_string(), np.uint8).reshape(size, size, 4)[:, :, :3]


def _map(geometry: TileGeometry, reach_m: float) -> mapnik.Map:
    """Build a map of one layer: lines and areas of colour [c], `screen`ed so that channels do not mix."""
    srs = "+proj=merc +a=6378137 +b=6378137 +units=m +no_defs"  # any plane: map and layer share it
    built = mapnik.Map(geometry.size, geometry.size, srs)
    built.background = mapnik.Color("black")
    built.aspect_fix_mode = mapnik.aspect_fix_mode.RESPECT
    corner_px = geometry.size * (math.sqrt(2) - 1) / 2
    built.buffer_size = math.ceil(corner_px + reach_m * geometry.pixels_per_metre)
    built.append_style("channels", _style(geometry))
    layer = mapnik.Layer("features", srs)
    layer.styles.append("channels")
    built.layers.append(layer)
    return built


def _style(geometry: TileGeometry) -> mapnik.Style:
    style = mapnik.Style()
    middle = geometry.size / 2
    for colour, primary in enumerate(PRIMARIES):
        area, line = mapnik.PolygonSymbolizer(), mapnik.LineSymbolizer()
        area.fill = line.stroke = mapnik.Color(primary)
        line.stroke_width = mapnik.Expression(f"[w]*{geometry.pixels_per_metre}")
        line.stroke_linejoin, line.stroke_linecap = (
            mapnik.stroke_linejoin.ROUND_JOIN,
            mapnik.stroke_linecap.ROUND_CAP,
        )
        for symbolizer, test in (
            (area, "[mapnik::geometry_type]=polygon"),
            (line, "[mapnik::geometry_type]=linestring"),
        ):
            symbolizer.comp_op = mapnik.CompositeOp.screen
            symbolizer.geometry_transform = f"rotate(@rot,{middle},{middle})"
            rule = mapnik.Rule()
            rule.filter = mapnik.Expression(f"[c]={colour} and {test}")
            rule.symbolizers.append(symbolizer)
            style.rules.append(rule)
    return style
