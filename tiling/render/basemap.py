"""A map picture for people, in Web Mercator: any box of a feature store, or a numbered tile.

Mapnik shows the twelve channels in colours of their own: areas, then lines from thin to wide, with
casings. A road is as wide as on the ground, but no thinner than its class should be at the zoom.
How each channel looks stands in the catalogue, or follows from it (`tiling.render.style`).
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import mapnik
import numpy as np
import shapely
from numpy.typing import NDArray

from tiling.catalogue.channel import LineLook, Look, Pair
from tiling.geo.mercator import TILE_PX, pixels_per_metre, tile_box, to_world
from tiling.render.labels import (
    REACH_PX,
    SORTS,
    WIDEST_PX,
    Label,
    add_labels,
    label_of,
    ranks_at,
    with_room,
)
from tiling.render.style import AWAY, EDGE, LAND, THEMES, Theme, looks_of
from tiling.store.source import FeatureSource
from tiling.values import Box, Features, halves

FEATURES_FROM_ZOOM = 7  # below, the area that the store covers is all that is shown
EVERYTHING_FROM_ZOOM = 15  # below, what is smaller than SMALLEST_PX is neither read nor drawn
SMALLEST_PX = 2.0
MARGIN_PX = 24.0  # around the picture: what reaches into it from there
WIDTH_ZOOM = 13  # where the widths of lines hold; they double in two zooms
THINNEST_PX = 0.6
CASING_PX = 1.4  # both sides together
SEAM_PX = 1.0  # the store cuts large areas into pieces, whose edges must not show
SEAM_DEG = 1e-9  # of longitude, at the antimeridian
DOTS_FROM_ZOOM = 17
MAX_DOT_PX = 3.5


def draw_tile(
    source: FeatureSource, zoom: int, x: int, y: int, theme: Theme = "light", scale: int = 1
) -> NDArray[np.uint8]:
    """Return tile `x`, `y` of a zoom with its names, uint8 [256 * scale, 256 * scale, 3]."""
    return draw_map(source, tile_box(zoom, x, y), TILE_PX * scale, theme, scale, names=True)


def draw_map(
    source: FeatureSource, box: Box, width: int, theme: Theme = "light", scale: float = 1.0,
    names: bool = False,
) -> NDArray[np.uint8]:  # fmt: skip
    """Return the map of a box in degrees, uint8 [height, width, 3].

    The height follows from the box.

    `scale`: how many pixels of the picture make one of the screen, or of the page. Lines grow with
    it.
    """
    frame = _Frame(box, width, scale)
    seen = np.array([_open(part) for part in halves(frame.reach)])
    land = shapely.intersection(seen, source.coverage)
    layers = [_Layer(LAND, frame.project(land[~shapely.is_empty(land)]))]
    if frame.zoom >= FEATURES_FROM_ZOOM:
        features = source.features(frame.reach, frame.smallest_deg)
        shown = _Seen(frame, features, looks_of(source.catalogue))
        layers += [*shown.areas(), *shown.lines(), *shown.dots()]
    # Features reach beyond the covered area, the sea most of all: nothing can be asked there.
    away = shapely.difference(seen, land)
    layers.append(_Layer(AWAY, frame.project(away[~shapely.is_empty(away)])))
    edge = shapely.intersection(seen, shapely.boundary(source.coverage))
    edge = frame.project(edge[~shapely.is_empty(edge)])
    layers.append(_Layer(EDGE, edge, width=np.full(len(edge), SEAM_PX * scale)))
    labels = _labels(frame, source) if names else []
    return _render(frame, [layer for layer in layers if len(layer.geometry)], theme, labels)


def _labels(frame: "_Frame", source: FeatureSource) -> list[Label]:
    """Return the names in a picture, and those that reach into it."""
    ranks = ranks_at(frame.zoom)
    names = source.names_in(frame.around, ranks) if ranks else []
    # A name has a row for each of its languages.
    found = {(name.name, name.rank, name.lat, name.lon): name for name in names}
    if not found:
        return []
    points = shapely.points([(lon, lat) for _, _, lat, lon in found])
    at = shapely.get_coordinates(frame.project(points)).tolist()
    labels = [label_of(name, x, y) for name, (x, y) in zip(found.values(), at, strict=True)]
    shown = [label for label in labels if SORTS[label.sort].from_zoom <= frame.zoom]
    near = WIDEST_PX * frame.scale
    return [
        label
        for label in with_room(shown, frame.scale)
        if -near < label.x < frame.width + near and -near < label.y < frame.height + near
    ]


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
        self.around = _wider(box, REACH_PX * scale * 360 / self._px)  # of what names follow from
        everything = self.zoom >= EVERYTHING_FROM_ZOOM
        self.smallest_deg = 0.0 if everything else SMALLEST_PX * scale * 360 / self._px

    def width_of(self, line: LineLook, width_m: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the widths of lines, pixels: as on the ground, at least their class's."""
        least = max(line.px * math.sqrt(2) ** (self.zoom - WIDTH_ZOOM), THINNEST_PX) * self.scale
        width: NDArray[np.float64] = np.maximum(
            width_m.astype(np.float64) * line.of_ground * self.per_metre, least
        )
        return width

    def project(self, geometry: NDArray[np.object_]) -> NDArray[np.object_]:
        """Return geometries, in degrees, in pixels from the picture's lower left corner."""
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


def _open(box: Box) -> shapely.Polygon:
    """Return a box without the antimeridian, which is a seam of the plane and no border of data."""
    west, east = max(box.west, SEAM_DEG - 180.0), min(box.east, 180.0 - SEAM_DEG)
    return shapely.box(west, box.south, east, box.north)


@dataclass(frozen=True, slots=True, eq=False)
class _Layer:
    """What is drawn in one go in one colour: geometries [n] in pixels.

    Areas have an outline in another colour, or in their own. Lines have a width each, float [n],
    pixels.
    """

    colour: Pair
    geometry: NDArray[np.object_]
    outline: Pair | None = None
    width: NDArray[np.float64] | None = None


class _Seen:
    """The features in a picture, which give its layers, each kind from below to above."""

    def __init__(self, frame: _Frame, features: Features, looks: Sequence[Look]) -> None:
        self._frame, self._looks = frame, list(enumerate(looks))
        self._channel, self._width_m = features.channel, features.width_m
        self._geometry = frame.project(shapely.from_wkb(features.wkb))
        self._dimension = shapely.get_dimensions(self._geometry)

    def areas(self) -> Iterator[_Layer]:
        """Yield the areas of each channel that has a colour at this zoom."""
        for channel, look in sorted(self._looks, key=lambda each: each[1].area_order):
            if look.colour is not None and self._frame.zoom >= look.area_from:
                shown = (self._channel == channel) & (self._dimension == 2)
                yield _Layer(look.colour, self._geometry[shown], look.outline or look.colour)

    def lines(self) -> Iterator[_Layer]:
        """Yield all casings, and then all lines, class by class."""
        classes = [
            (line, self._geometry[which], self._frame.width_of(line, self._width_m[which]))
            for channel, look in sorted(self._looks, key=lambda each: each[1].line_order)
            for line, which in self._classes(channel, look.lines)
            if self._frame.zoom >= line.from_zoom
        ]
        for line, geometry, width in classes:
            if line.casing is not None and self._frame.zoom >= line.cased_from:
                yield _Layer(line.casing, geometry, width=width + CASING_PX * self._frame.scale)
        for line, geometry, width in classes:
            yield _Layer(line.colour, geometry, width=width)

    def _classes(
        self, channel: int, lines: Sequence[LineLook]
    ) -> Iterator[tuple[LineLook, NDArray[np.int64]]]:
        """Yield each class of a channel's lines with its rows, those of the narrow ones first."""
        rows = np.flatnonzero((self._channel == channel) & (self._dimension == 1))
        narrow_first = sorted(lines, key=lambda line: line.width_m)
        least = np.array([line.width_m for line in narrow_first], np.float32)
        number = np.searchsorted(least, self._width_m[rows], side="right") - 1
        for this, line in enumerate(narrow_first):
            yield line, rows[number == this]

    def dots(self) -> Iterator[_Layer]:
        """Yield the points of each channel that has a colour for them."""
        if self._frame.zoom < DOTS_FROM_ZOOM:
            return
        for channel, look in sorted(self._looks, key=lambda each: each[1].dot_order):
            if look.dot is not None:
                which = (self._channel == channel) & (self._dimension == 0)
                radius_m, most = self._width_m[which], MAX_DOT_PX * self._frame.scale
                radius = np.minimum(radius_m * self._frame.per_metre, most)
                yield _Layer(look.dot, shapely.buffer(self._geometry[which], radius))


def _render(
    frame: _Frame, layers: Sequence[_Layer], theme: Theme, labels: Sequence[Label]
) -> NDArray[np.uint8]:
    """Draw the layers, and above them the labels, in the colours of a theme."""
    # Mapnik knows this plane by name; map and layers share it, which spares Mapnik asking PROJ.
    srs, number_of_theme = "epsg:3857", THEMES.index(theme)
    built = mapnik.Map(frame.width, frame.height, srs)
    built.background = mapnik.Color(AWAY[number_of_theme])
    built.aspect_fix_mode = mapnik.aspect_fix_mode.RESPECT
    built.buffer_size = math.ceil((WIDEST_PX if labels else MARGIN_PX) * frame.scale)
    for number, layer in enumerate(layers):
        built.append_style(str(number), _style(layer, number_of_theme, frame.scale))
        drawn = mapnik.Layer(str(number), srs)
        drawn.datasource = _datasource(layer)
        drawn.styles.append(str(number))
        built.layers.append(drawn)
    if labels:
        add_labels(built, labels, number_of_theme, frame.scale)
    built.zoom_to_box(mapnik.Box2d(0, 0, frame.width, frame.height))
    image = mapnik.Image(frame.width, frame.height)
    mapnik.render(built, image)
    rgba = np.frombuffer(image.to_string(), np.uint8).reshape(frame.height, frame.width, 4)
    return np.ascontiguousarray(rgba[:, :, :3])


def _style(layer: _Layer, theme: int, scale: float) -> mapnik.Style:
    rule = mapnik.Rule()
    if layer.width is None:
        area = mapnik.PolygonSymbolizer()
        area.fill = mapnik.Color(layer.colour[theme])
        rule.symbolizers.append(area)
    if layer.outline is not None or layer.width is not None:
        line = mapnik.LineSymbolizer()
        line.stroke = mapnik.Color((layer.outline or layer.colour)[theme])
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
