"""The Mapnik renderer: from the features around a place to 12-channel tiles.

How a tile comes about, in the order of the code:

1. `_Window`: the rectangle of ground that a tile shows, in metres about its place. A positive is
   shifted and turned, so its window is, too.
2. `_Scene`: one query fetches the features of all windows of a place. Each window then gets only
   the features whose box meets it, because what Mapnik does not see costs nothing.
3. `_Canvas`: a Mapnik map with three layers, painted red, green and blue. One picture renders three
   channels at once, so twelve channels take four pictures.

Features stay in degrees, as the store holds them. Over the few hundred metres of a tile, degrees
and metres differ by a factor along each axis only. The factor goes into the box of degrees that
Mapnik renders, which is cheaper than projecting every corner. Mapnik turns the map in pixels, after
that scaling, so angles are true.
"""

import math
import struct
from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple, Self

import mapnik
import numpy as np
import shapely
from numpy.typing import NDArray

from tiling.geo.geodesy import MetresPerDegree, box_around
from tiling.render.wide import WideTiles
from tiling.store.source import FeatureSource, reading
from tiling.values import N_CHANNELS, Features, LonLat, Pose, Tile, TileGeometry, check_fingerprint

PRIMARIES = ("#f00", "#0f0", "#00f")  # three channels share a picture, a primary each
DEFAULT_GEOMETRY = TileGeometry()
# Points are rendered as discs of radius 1, which are polygons of 32 corners: closed, [33, 2].
DISC = np.exp(2j * math.pi * (np.arange(33) % 32) / 32).view(np.float64).reshape(-1, 2)
EDGE_PX = 1.0  # an antialiased edge may reach this far beyond its geometry
ROW_PX = 2048  # longest picture that tiles share
SAME_PX = 1e-6  # far below 1/256 pixel, to which AGG, Mapnik's rasterizer, rounds corners


class Renderer:
    """Renders tiles from a feature source. It belongs to one thread, as its source does."""

    def __init__(
        self,
        source: FeatureSource,
        geometry: TileGeometry = DEFAULT_GEOMETRY,
    ) -> None:
        """Build the Mapnik maps; `FingerprintError` when the source has another catalogue."""
        catalogue = source.catalogue
        check_fingerprint(
            source.location, source.fingerprint, catalogue.fingerprint(TileGeometry())
        )
        self.source = source
        self.geometry = geometry
        self.palette = catalogue.palette
        self.channels = catalogue.channels_of(geometry)
        self.fingerprint = catalogue.fingerprint(geometry)
        self._reach_m = catalogue.reach_m
        self._canvases = [
            self._new_canvas(scale, geometry.size, geometry.size) for scale in geometry.each
        ]
        self._wide = [
            WideTiles(scale, partial(self._rectangle, scale, canvas))
            for scale, canvas in zip(geometry.each[1:], self._canvases[1:], strict=True)
        ]

    def tile(self, pose: Pose) -> Tile:
        """Render one tile."""
        pixels = self.tiles(LonLat(pose.lon, pose.lat), [pose])[0]
        scale = self.geometry.metres_per_pixel
        return Tile(pixels, pose, self.channels, scale, self.palette)

    def tiles(self, place: LonLat, poses: Sequence[Pose]) -> NDArray[np.uint8]:
        """Render the tiles of one place with a single query.

        Returns uint8 [len(poses), channels, size, size]. Raises `ValueError` for a pose about
        another place. A place outside the store gives empty tiles: ask the source first.
        """
        if any((pose.lon, pose.lat) != place for pose in poses):
            raise ValueError(f"every pose must be about {place}")
        if not poses:
            return np.empty(
                (0, len(self.channels), self.geometry.size, self.geometry.size), np.uint8
            )
        windows = [
            [_Window.of(pose, scale.radius_m) for pose in poses] for scale in self.geometry.each
        ]
        scene = self._scene(place, [window for each in windows for window in each])
        scales = [
            self._render(scene, each, canvas)
            for each, canvas in zip(windows, self._canvases, strict=True)
        ]
        return scales[0] if len(scales) == 1 else np.concatenate(scales, axis=1)

    def north_up(self, places: Sequence[LonLat]) -> NDArray[np.uint8]:
        """Render one tile of each place, neither turned nor shifted.

        Returns uint8 [len(places), channels, size, size]. Neighbours on one row of a grid share a
        long picture, which is cut between pixels: a dense grid renders faster. The wider scales
        are at most half a pixel off (`wide.py`), so that near places share pictures of them.
        """
        size = self.geometry.size
        pixels = np.empty((len(places), self.geometry.scales, N_CHANNELS, size, size), np.uint8)
        self._render_rows(places, self.geometry.each[0], self._canvases[0], pixels[:, 0])
        for number, wide in enumerate(self._wide, 1):
            wide.tiles(places, pixels[:, number])
        return pixels.reshape(len(places), len(self.channels), size, size)

    def _rectangle(  # noqa: PLR0913 - the last five are those of `Draw`
        self,
        scale: TileGeometry,
        canvas: "_Canvas",
        middle: LonLat,
        x: float,
        y: float,
        width: int,
        height: int,
    ) -> NDArray[np.uint8]:
        """Render width x height pixels, the middle of them x metres east and y north of another."""
        halves = width / 2 / scale.pixels_per_metre, height / 2 / scale.pixels_per_metre
        window = _Window(x, y, *halves, 0.0)
        if (width, height) != (scale.size, scale.size):
            canvas = self._new_canvas(scale, width, height)
        return self._render(self._scene(middle, [window]), [window], canvas).squeeze(0)

    def _render_rows(
        self,
        places: Sequence[LonLat],
        scale: TileGeometry,
        canvas: "_Canvas",
        out: NDArray[np.uint8],
    ) -> None:
        """Render one scale of the tiles into `out`, uint8 [len(places), 12, size, size]."""
        for first, columns in _rows(places, scale):
            # The row is one window about its first place, `half` metres east of it in the middle.
            place, half = places[first], columns[-1] / 2 / scale.pixels_per_metre
            width = scale.size + columns[-1]
            wide = canvas if len(columns) == 1 else self._new_canvas(scale, width, scale.size)
            windows = [_Window(half, 0.0, half + scale.radius_m, scale.radius_m, 0.0)]
            (row,) = self._render(self._scene(place, windows), windows, wide)
            for number, column in enumerate(columns, first):
                out[number] = row[:, :, column : column + scale.size]

    def _new_canvas(self, scale: TileGeometry, width: int, height: int) -> "_Canvas":
        return _Canvas(width, height, scale.pixels_per_metre, self._reach_m)

    def _scene(self, place: LonLat, windows: Sequence["_Window"]) -> "_Scene":
        """Ask the source once for all that the windows may show."""
        reach = np.max([window.extent for window in windows], axis=0) + self._reach_m
        features = self.source.features(box_around(place, *reach.tolist()))
        with reading(self.source.location):
            return _Scene(place, features, EDGE_PX * self.geometry.widest.metres_per_pixel)

    def _render(
        self, scene: "_Scene", windows: Sequence["_Window"], canvas: "_Canvas"
    ) -> NDArray[np.uint8]:
        """Render what each window shows, uint8 [len(windows), 12, height, width]."""
        pixels = np.zeros((len(windows), N_CHANNELS, canvas.height, canvas.width), np.uint8)
        for out, window, shown in zip(pixels, windows, scene.shown(windows), strict=True):
            canvas.render(scene.place, window, scene.channels(shown, N_CHANNELS), out)
        return pixels


def _rows(places: Sequence[LonLat], geometry: TileGeometry) -> Iterator[tuple[int, list[int]]]:
    """Cut places into runs that share a picture.

    Yields the number of the first place of a run, and how many pixels east of it each place lies:
    [0] for a place alone. Places share a picture on three conditions. They lie on one latitude,
    because the scale of degrees depends on it. They are whole pixels apart, so that each tile is
    what it would be alone. Each tile touches or overlaps the one before.
    """
    first, columns = 0, [0]
    for number, place in enumerate(places[1:], 1):
        east_deg = (place.lon - places[first].lon + 540) % 360 - 180  # across the antimeridian, too
        x_m = east_deg * MetresPerDegree.at(place.lat).x
        column = round(x_m * geometry.pixels_per_metre)
        if (
            place.lat == places[first].lat
            and abs(x_m * geometry.pixels_per_metre - column) < SAME_PX
            and 0 < column - columns[-1] <= geometry.size <= ROW_PX - column
        ):
            columns.append(column)
            continue
        yield first, columns
        first, columns = number, [0]
    if places:
        yield first, columns


class _Window(NamedTuple):
    """A rectangle of ground, in metres about a place: its middle, half its sides, its turn."""

    x: float  # east of the place
    y: float  # north of it
    half_width: float
    half_height: float
    rotation_deg: float  # of the map in the window, counter-clockwise

    @classmethod
    def of(cls, pose: Pose, radius_m: float) -> Self:
        """Return the square of ground that a tile shows, half a side `radius_m`.

        A pose turns the map, then shifts it. The window moves the other way: the shift is undone
        first, then the turn.
        """
        angle = math.radians(pose.rotation_deg)
        cos, sin = math.cos(angle), math.sin(angle)
        x = -(cos * pose.shift_x_m + sin * pose.shift_y_m)
        y = -(-sin * pose.shift_x_m + cos * pose.shift_y_m)
        return cls(x, y, radius_m, radius_m, pose.rotation_deg)

    @property
    def extent(self) -> tuple[float, float]:
        """Return the farthest that it reaches from the place, (east or west, north or south)."""
        angle = math.radians(self.rotation_deg)
        cos, sin = abs(math.cos(angle)), abs(math.sin(angle))
        east = cos * self.half_width + sin * self.half_height
        north = sin * self.half_width + cos * self.half_height
        return abs(self.x) + east, abs(self.y) + north


class _Scene:
    """The features around a place, ready for Mapnik, each with its box in metres about the place.

    `edge_m`: how far antialiasing reaches. Mapnik's features are made when a window first shows
    them, and shared by all windows.
    """

    def __init__(self, place: LonLat, features: Features, edge_m: float) -> None:
        self.place = place
        scale = MetresPerDegree.at(place.lat)
        boxes, dimensions, self._wkb = _shapes(place, scale, features)
        # Boxes [n, 2 corners, 2 axes] in metres. Lines reach half their width beyond their corners.
        corners = (boxes - place) * scale
        beyond = np.where(dimensions == 1, features.width_m / 2, 0) + edge_m
        self._middle = corners.mean(axis=1)
        self._half = (corners[:, 1] - corners[:, 0]) / 2 + beyond[:, None]
        self._channel, self._width_m = features.channel.tolist(), features.width_m.tolist()
        if not set(self._channel) <= set(range(N_CHANNELS)):
            raise ValueError(f"a channel is none of 0 to {N_CHANNELS - 1}")
        self._context = mapnik.Context()
        self._context.push("w")  # the only attribute: the width in metres, which the style reads
        self._made: dict[int, mapnik.Feature] = {}

    def shown(self, windows: Sequence[_Window]) -> NDArray[np.bool_]:
        """Tell which features each window may show: those whose box meets it, [windows, features].

        Separating axis theorem: two rectangles are apart if and only if their projections are apart
        on an axis along a side of one of them. The axes are those of the box (east, north) and
        those of the window (turned by `rotation`), one comparison each.
        """
        x, y, half_width, half_height, rotation = (
            column[:, None] for column in np.array(windows).T
        )
        cos, sin = np.cos(np.radians(rotation)), np.sin(np.radians(rotation))
        right, up = np.abs(cos), np.abs(sin)
        dx, dy = self._middle[:, 0] - x, self._middle[:, 1] - y
        a, b = self._half.T
        meets: NDArray[np.bool_] = (
            (np.abs(dx) <= a + right * half_width + up * half_height)
            & (np.abs(dy) <= b + up * half_width + right * half_height)
            & (np.abs(cos * dx - sin * dy) <= right * a + up * b + half_width)
            & (np.abs(sin * dx + cos * dy) <= up * a + right * b + half_height)
        )
        return meets

    def channels(self, shown: NDArray[np.bool_], count: int) -> list[mapnik.MemoryDatasource]:
        """Return a datasource for each channel, with what is `shown`, bool [features].

        The order of the store is kept, so that tiles are the same from every store.
        """
        channels = [mapnik.MemoryDatasource() for _ in range(count)]
        for number in np.flatnonzero(shown).tolist():
            channels[self._channel[number]].add_feature(
                self._made.get(number) or self._make(number)
            )
        return channels

    def _make(self, number: int) -> mapnik.Feature:
        feature = self._made[number] = mapnik.Feature(self._context, number)
        feature["w"] = self._width_m[number]
        feature.geometry = mapnik.Geometry.from_wkb(self._wkb[number])
        return feature


def _shapes(
    place: LonLat, scale: MetresPerDegree, features: Features
) -> tuple[NDArray[np.float64], NDArray[np.int32], NDArray[np.object_]]:
    """Return what is rendered, in degrees: boxes [n, 2 corners, 2 axes], dimensions [n], WKB [n].

    Points become discs, `width_m` their radius. Beyond the antimeridian, 360 degrees are added or
    taken, so that all lie on the side of the place. WKB is written anew for these alone.
    """
    geometry, wkb = shapely.from_wkb(features.wkb), features.wkb.copy()
    dimensions = shapely.get_dimensions(geometry)
    boxes = shapely.bounds(geometry).reshape(-1, 2, 2)
    far = np.abs(boxes[:, 0, 0] - place.lon) > 180  # across the antimeridian
    round_the_earth = np.array([math.copysign(360, place.lon), 0])
    boxes[far] += round_the_earth
    point = dimensions == 0
    wkb[far & ~point] = shapely.to_wkb(
        shapely.transform(geometry[far & ~point], lambda degrees: degrees + round_the_earth)
    )
    discs = boxes[point, :1] + DISC / scale * features.width_m[point, None, None]
    boxes[point] = np.stack([discs.min(1), discs.max(1)], axis=1)
    wkb[point] = _rings_wkb(discs)
    return boxes, dimensions, wkb


def _rings_wkb(rings: NDArray[np.float64]) -> list[bytes]:
    """Return closed rings [n, corners, 2] as polygons in WKB: many times as fast as shapely."""
    head = struct.pack("<BIII", 1, 3, 1, rings.shape[1])  # little-endian, polygon, one ring
    corners = rings.astype("<f8")
    return [head + ring.tobytes() for ring in corners]


class _Canvas:
    """A Mapnik map of three layers that renders three channels as one RGB picture.

    The map is built once, and only its datasources change from picture to picture.
    """

    def __init__(self, width: int, height: int, pixels_per_metre: float, reach_m: float) -> None:
        self.width, self.height = width, height
        self._map = _map(width, height, pixels_per_metre)
        # Mapnik must not leave out what the scene chose: no turn and no width reaches beyond this.
        self._map.buffer_size = math.ceil(max(width, height) + reach_m * pixels_per_metre)
        self._layers = [self._map.layers[number] for number in range(len(PRIMARIES))]
        self._image = mapnik.Image(width, height)

    def render(
        self,
        place: LonLat,
        window: _Window,
        channels: Sequence[mapnik.MemoryDatasource],
        out: NDArray[np.uint8],
    ) -> None:
        """Render the channels through `window` into `out`, uint8 [channels, height, width].

        `out` holds zeros: pictures without a feature, which are many, are not rendered at all.
        """
        self._map.zoom_to_box(_degrees(place, window))
        for first in range(0, len(channels), len(PRIMARIES)):
            three = channels[first : first + len(PRIMARIES)]
            if not any(channel.num_features() for channel in three):
                continue
            for layer, channel in zip(self._layers, three, strict=True):
                layer.datasource = channel
            # Pixels count downwards, so a turn has the other sign.
            mapnik.render_with_vars(self._map, self._image, {"rot": -window.rotation_deg})
            # A pixel is one little-endian number, red lowest: shifted, its low byte is a channel.
            rgba = np.frombuffer(self._image.to_string(), "<u4").reshape(self.height, self.width)
            for number, channel in enumerate(out[first : first + len(PRIMARIES)]):
                np.right_shift(rgba, 8 * number, out=channel, casting="unsafe")


def _degrees(place: LonLat, window: _Window) -> mapnik.Box2d:
    """Return the window in degrees, not turned: the style turns the map about its middle."""
    scale = MetresPerDegree.at(place.lat)
    x, y = place.lon + window.x / scale.x, place.lat + window.y / scale.y
    half_x, half_y = window.half_width / scale.x, window.half_height / scale.y
    return mapnik.Box2d(x - half_x, y - half_y, x + half_x, y + half_y)


def _map(width: int, height: int, pixels_per_metre: float) -> mapnik.Map:
    """Build the map: a layer for each primary, composed by `screen` so that channels do not mix.

    Coordinates are degrees, but the map claims a plane. Mapnik knows that one by name, and neither
    asks PROJ nor reprojects, because the layers claim the same.
    """
    srs = "epsg:3857"
    built = mapnik.Map(width, height, srs)
    built.background = mapnik.Color("black")
    built.aspect_fix_mode = mapnik.aspect_fix_mode.RESPECT
    for primary in PRIMARIES:
        built.append_style(primary, _style(primary, pixels_per_metre, f"{width / 2},{height / 2}"))
        layer = mapnik.Layer(primary, srs)
        # Else Mapnik measures every feature for the extent of the layer.
        layer.maximum_extent = mapnik.Box2d(-540, -540, 540, 540)
        layer.styles.append(primary)
        built.layers.append(layer)
    return built


def _style(primary: str, pixels_per_metre: float, middle: str) -> mapnik.Style:
    """Paint areas and lines in one colour, turned by `@rot` degrees about `middle`, "x,y" pixels.

    Lines are `[w]` metres wide on the ground. They have rules of their own, because a polygon must
    not get a stroke as well.
    """
    area, line = mapnik.PolygonSymbolizer(), mapnik.LineSymbolizer()
    area.fill = line.stroke = mapnik.Color(primary)
    line.stroke_width = mapnik.Expression(f"[w]*{pixels_per_metre}")
    line.stroke_linejoin, line.stroke_linecap = (
        mapnik.stroke_linejoin.ROUND_JOIN,
        mapnik.stroke_linecap.ROUND_CAP,
    )
    style = mapnik.Style()
    for symbolizer, kind in ((area, "polygon"), (line, "linestring")):
        symbolizer.comp_op = mapnik.CompositeOp.screen
        symbolizer.geometry_transform = f"rotate(@rot,{middle})"
        rule = mapnik.Rule()
        rule.filter = mapnik.Expression(f"[mapnik::geometry_type]={kind}")
        rule.symbolizers.append(symbolizer)
        style.rules.append(rule)
    return style
