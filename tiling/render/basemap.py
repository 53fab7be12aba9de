"""A map picture for people, in Web Mercator: any box of a feature store, or a numbered tile, drawn by Mapnik.

It shows the twelve channels in colours of their own: areas, then lines from the thin to the wide,
with casings. A road is as wide as on the ground, but no thinner than its class should be at the
zoom.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import mapnik
import numpy as np
import shapely
from numpy.typing import NDArray

from tiling.geo.mercator import MAX_ZOOM, TILE_PX, pixels_per_metre, tile_box, to_world
from tiling.store.base import FeatureSource, halves
from tiling.values import Box, Features

Theme = Literal["light", "dark"]
THEMES: tuple[Theme, ...] = ("light", "dark")
FEATURES_FROM_ZOOM = 7  # below, the area that the store covers is all that is shown
EVERYTHING_FROM_ZOOM = 15  # below, what is smaller than SMALLEST_PX is neither read nor drawn
SMALLEST_PX = 2.0
MARGIN_PX = 24.0  # around the picture: what reaches into it from there
WIDTH_ZOOM = 13  # where the widths of LINES hold; they double in two zooms
THINNEST_PX = 0.6
CASING_PX = 1.4  # both sides together
SEAM_PX = 1.0  # the store cuts large areas into pieces, whose edges must not show
MAX_DOT_PX = 3.5

AREAS = (8, 7, 9, 6, 11, 5, 10, 3, 2)  # channels from below to above; buildings follow
BUILDINGS, BUILDINGS_FROM_ZOOM = 4, 13
DOTS = {6: 17, 3: 17, 11: 17}  # points: the channel, and the zoom from which they show


@dataclass(frozen=True, slots=True)
class _Line:
    """A class of lines: those of `channel` at least `width_m` wide, and how they are drawn."""

    name: str
    channel: int
    width_m: float
    from_zoom: int
    px: float  # at WIDTH_ZOOM, when it is wider than on the ground
    casing: str = ""
    cased_from: int = MAX_ZOOM + 1
    # how much of its width is drawn: the network sees a railway wider than people like it
    of_ground: float = 1.0


# from below to above; of a channel the first that is narrow enough is meant, so wide ones come last
LINES = (
    _Line("stream", 5, 0, 13, 0.6),
    _Line("canal", 5, 10, 11, 1.0),
    _Line("river", 5, 15, 8, 1.4),
    _Line("tree row", 6, 0, 15, 0.8),
    _Line("pier", 10, 0, 13, 0.8),
    _Line("runway", 10, 15, 11, 1.6),
    _Line("sports track", 11, 0, 15, 0.8),
    _Line("path", 2, 0, 15, 0.5, of_ground=0.6),
    _Line("pedestrian", 2, 6, 14, 1.0),
    _Line("rail", 3, 0, 10, 0.9, of_ground=0.4),
    _Line("service", 1, 0, 14, 0.9, "casing 1", 15),
    _Line("street", 1, 7, 12, 1.4, "casing 1", 14),
    _Line("link", 0, 0, 11, 1.7, "casing 0", 13),
    _Line("tertiary", 0, 10, 10, 2.0, "casing 0", 13),
    _Line("primary", 0, 13, 8, 2.6, "casing 0", 12),
    _Line("motorway", 0, 18, 7, 3.2, "casing motorway", 11),
)

COLOURS: Mapping[Theme, Mapping[str | int, str]] = {
    "light": {
        "away": "#e3e6ea", "edge": "#b4bac2", "land": "#f7f5f0",
        8: "#efece7", 7: "#f2efdc", 9: "#ece5ec", 6: "#d6e6c9", 11: "#f4e8d2", 5: "#b7d4e6", 10: "#c3c7d273",
        3: "#dcdde4", 2: "#f1ebe4", 4: "#ddd5cc", "wall": "#c8beb3",
        "stream": "#b7d4e6", "canal": "#b7d4e6", "river": "#b7d4e6", "tree row": "#bcd6aa", "pier": "#d5d7dc",
        "runway": "#cfd1d8", "sports track": "#e6d3b0", "path": "#d9c6b1", "pedestrian": "#e6dccf",
        "rail": "#a3a6b3", "service": "#ffffff", "street": "#ffffff", "link": "#fdebc0", "tertiary": "#fdf3d6",
        "primary": "#fbe2a6", "motorway": "#f4bd84",
        "casing 1": "#d3cdc4", "casing 0": "#d9b978", "casing motorway": "#cf8f50",
        "dot 6": "#b3d09e", "dot 3": "#a3a7b6", "dot 11": "#dcb877",
    },
    "dark": {
        "away": "#14171b", "edge": "#3d444d", "land": "#20242a",
        8: "#252a31", 7: "#2a2b25", 9: "#2c2831", 6: "#22332a", 11: "#322d24", 5: "#17324a", 10: "#4a505c73",
        3: "#30343d", 2: "#302f30", 4: "#363c45", "wall": "#454c57",
        "stream": "#17324a", "canal": "#17324a", "river": "#17324a", "tree row": "#2f4a39", "pier": "#3a3f48",
        "runway": "#424853", "sports track": "#51472f", "path": "#554d44", "pedestrian": "#423e3a",
        "rail": "#686e7d", "service": "#434a54", "street": "#4a525d", "link": "#6b5d3a", "tertiary": "#5f5a48",
        "primary": "#7a6a3f", "motorway": "#93703c",
        "casing 1": "#1a1d22", "casing 0": "#1a1d22", "casing motorway": "#1a1d22",
        "dot 6": "#365641", "dot 3": "#6c7383", "dot 11": "#7d6a44",
    },
}  # fmt: skip


def draw_tile(
    source: FeatureSource, zoom: int, x: int, y: int, theme: Theme = "light", scale: int = 1
) -> NDArray[np.uint8]:
    """Return tile `x`, `y` of a zoom, uint8 [256 * scale, 256 * scale, 3]."""
    return draw_map(source, tile_box(zoom, x, y), TILE_PX * scale, theme, scale)


def draw_map(
    source: FeatureSource, box: Box, width: int, theme: Theme = "light", scale: float = 1.0
) -> NDArray[np.uint8]:
    """Return the map of a box in degrees, uint8 [height, width, 3].

    The height follows from the box.

    `scale`: how many pixels of the picture make one of the screen, or of the page: lines grow with
    it.
    """
    frame = _Frame(box, width, scale)
    land = np.array([shapely.clip_by_rect(source.coverage, *part) for part in halves(frame.reach)])
    layers = [_Layer("land", frame.project(land[~shapely.is_empty(land)]), outline="edge")]
    if frame.zoom >= FEATURES_FROM_ZOOM:
        layers += _layers(frame, source.features(frame.reach, frame.smallest_deg))
    return _render(frame, [layer for layer in layers if len(layer.geometry)], COLOURS[theme])


class _Frame:
    """Where a picture lies: its box, its size in pixels, its zoom and the scale of its middle."""

    def __init__(self, box: Box, width: int, scale: float) -> None:
        (west, east), (south, north) = to_world([box.west, box.east], [box.south, box.north])
        self._west, self._north = float(west), float(north)
        self._crosses = box.crosses_antimeridian
        self._px = width / (float(east - west) + self._crosses)  # a side of the whole world
        self.width, self.height = width, max(1, round(float(south - north) * self._px))
        self.scale = scale
        self.zoom = math.log2(self._px / TILE_PX / scale)
        self.per_metre = scale * pixels_per_metre(self.zoom, (box.south + box.north) / 2)
        self.reach = _wider(box, MARGIN_PX * scale * 360 / self._px)
        everything = self.zoom >= EVERYTHING_FROM_ZOOM
        self.smallest_deg = 0.0 if everything else SMALLEST_PX * scale * 360 / self._px

    def width_of(self, kind: _Line, width_m: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return how wide lines of a kind are drawn, pixels: as on the ground, or as their kind is at this zoom."""
        least = max(kind.px * math.sqrt(2) ** (self.zoom - WIDTH_ZOOM), THINNEST_PX) * self.scale
        width: NDArray[np.float64] = np.maximum(
            width_m.astype(np.float64) * kind.of_ground * self.per_metre, least
        )
        return width

    def project(self, geometry: NDArray[np.object_]) -> NDArray[np.object_]:
        """Return geometries in degrees as they lie in the picture: pixels from its lower left corner."""
        far = self._crosses & (shapely.bounds(geometry)[:, 0] < 0)  # beyond the antimeridian
        projected: NDArray[np.object_] = shapely.transform(geometry, self._pixels)
        world = np.array([self._px, 0.0])
        projected[far] = shapely.transform(projected[far], lambda pixels: pixels + world)
        return projected

    def _pixels(self, degrees: NDArray[np.float64]) -> NDArray[np.float64]:
        x, y = to_world(degrees[:, 0], degrees[:, 1])
        return np.stack(
            [(x - self._west) * self._px, self.height - (y - self._north) * self._px], axis=1
        )


def _wider(box: Box, margin: float) -> Box:
    """Return a box with a margin of so many degrees, which stops at the ends of the world."""
    south, north = max(box.south - margin, -90.0), min(box.north + margin, 90.0)
    return Box(max(box.west - margin, -180.0), south, min(box.east + margin, 180.0), north)


@dataclass(frozen=True, slots=True, eq=False)
class _Layer:
    """What is drawn in one go in the colour `name`: geometries [n] in pixels.

    Areas have an outline in another colour, or in their own; lines have a width each, float [n],
    pixels.
    """

    name: str | int
    geometry: NDArray[np.object_]
    outline: str | int | None = None
    width: NDArray[np.float64] | None = None


def _layers(frame: _Frame, features: Features) -> Iterator[_Layer]:
    """Yield what is drawn of the features, from below to above."""
    geometry = frame.project(shapely.from_wkb(features.wkb))
    channel, dimension = features.channel, shapely.get_dimensions(geometry)
    for number in AREAS:
        yield _Layer(number, geometry[(channel == number) & (dimension == 2)], outline=number)
    if frame.zoom >= BUILDINGS_FROM_ZOOM:
        yield _Layer(BUILDINGS, geometry[channel == BUILDINGS], outline="wall")
    line = np.where(dimension == 1, _line_of(channel, features.width_m), -1)
    shown = [(number, kind) for number, kind in enumerate(LINES) if frame.zoom >= kind.from_zoom]
    width = {
        number: frame.width_of(kind, features.width_m[line == number]) for number, kind in shown
    }
    for number, kind in shown:
        if frame.zoom >= kind.cased_from:
            yield _Layer(
                kind.casing, geometry[line == number], width=width[number] + CASING_PX * frame.scale
            )
    for number, kind in shown:
        yield _Layer(kind.name, geometry[line == number], width=width[number])
    for number, zoom in DOTS.items():
        if frame.zoom >= zoom:
            dot = (channel == number) & (dimension == 0)
            radius = np.minimum(features.width_m[dot] * frame.per_metre, MAX_DOT_PX * frame.scale)
            yield _Layer(f"dot {number}", shapely.buffer(geometry[dot], radius))


def _line_of(channel: NDArray[np.int8], width_m: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return which of LINES each feature is if it is a line, -1 for none."""
    kind = np.full(len(channel), -1)
    for number, line in enumerate(LINES):
        kind[(channel == line.channel) & (width_m >= line.width_m)] = number
    return kind


def _render(
    frame: _Frame, layers: Sequence[_Layer], colours: Mapping[str | int, str]
) -> NDArray[np.uint8]:
    """Draw the layers. A plane that Mapnik knows by name, shared by the map and its layers, spares it PROJ."""
    srs = "epsg:3857"
    built = mapnik.Map(frame.width, frame.height, srs)
    built.background = mapnik.Color(colours["away"])
    built.aspect_fix_mode = mapnik.aspect_fix_mode.RESPECT
    built.buffer_size = math.ceil(MARGIN_PX * frame.scale)
    for number, layer in enumerate(layers):
        built.append_style(str(number), _style(layer, colours, frame.scale))
        drawn = mapnik.Layer(str(number), srs)
        drawn.datasource = _datasource(layer)
        drawn.styles.append(str(number))
        built.layers.append(drawn)
    built.zoom_to_box(mapnik.Box2d(0, 0, frame.width, frame.height))
    image = mapnik.Image(frame.width, frame.height)
    mapnik.render(built, image)
    rgba = np.frombuffer(image.to_string(), np.uint8).reshape(frame.height, frame.width, 4)
    return np.ascontiguousarray(rgba[:, :, :3])


def _style(layer: _Layer, colours: Mapping[str | int, str], scale: float) -> mapnik.Style:
    rule = mapnik.Rule()
    if layer.width is None:
        area = mapnik.PolygonSymbolizer()
        area.fill = mapnik.Color(colours[layer.name])
        rule.symbolizers.append(area)
    if layer.outline is not None or layer.width is not None:
        line = mapnik.LineSymbolizer()
        line.stroke = mapnik.Color(colours[layer.name if layer.outline is None else layer.outline])
        line.stroke_width = SEAM_PX * scale if layer.width is None else mapnik.Expression("[w]")
        line.stroke_linejoin, line.stroke_linecap = (
            mapnik.stroke_linejoin.ROUND_JOIN,
            mapnik.stroke_linecap.ROUND_CAP,
        )
        rule.symbolizers.append(line)
    style = mapnik.Style()
    style.rules.append(rule)
    return style


def _datasource(layer: _Layer) -> mapnik.MemoryDatasource:
    context = mapnik.Context()
    context.push("w")
    datasource = mapnik.MemoryDatasource()
    widths = [None] * len(layer.geometry) if layer.width is None else layer.width.tolist()
    for number, (wkb, width) in enumerate(zip(shapely.to_wkb(layer.geometry), widths, strict=True)):
        feature = mapnik.Feature(context, number)
        if width is not None:
            feature["w"] = width
        feature.geometry = mapnik.Geometry.from_wkb(wkb)
        datasource.add_feature(feature)
    return datasource
