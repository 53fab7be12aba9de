"""Names on the base map: which are shown at a zoom, and where there is room for them.

A tile must show the part of a name that its neighbour leaves. So what is shown follows from what is
near alone. A name gives way to one that comes before it and would touch it, or says the same.
DejaVu Sans, which Mapnik brings, has Latin, Greek, Cyrillic, Arabic and Hebrew letters. The fonts
here have Devanagari, and the signs of Chinese, Japanese and Korean. HarfBuzz shapes the text.
"""

import unicodedata
import zlib
from collections.abc import Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import quoteattr

import mapnik
import numpy as np
import shapely
from numpy.typing import NDArray

from tiling.catalogue.channel import Pair
from tiling.osm.names import KINDS, Name
from tiling.render.style import LAND

FONTS = Path(__file__).parent / "fonts"
FACES = ("DejaVu Sans Book", "Lohit Devanagari Regular", "Droid Sans Fallback Regular")
NARROW, WIDE = 0.6, 1.0  # of the size of the letters: how wide one is
GAP_PX = 3.0  # around a name
WIDEST_PX, REPEAT_PX = 160.0, 150.0  # of a name; within which it is not said again
# Around a picture, what can change the names in it: half a name reaches into it, one may touch it,
# one may hide that one, and one this one.
REACH_PX = 3.5 * (WIDEST_PX + 2 * GAP_PX)


class Sort(NamedTuple):
    """Names that look alike: their keys, or keys with values; shown from a zoom on."""

    keys: tuple[str, ...]
    from_zoom: float
    size: float
    colour: Pair
    ranks: tuple[int, ...] = ()  # of `KINDS`; all of the keys where it is empty


TEXT, QUIET = ("#33373d", "#dfe3e8"), ("#5c6066", "#b4bac2")
BLUE, LEAF = ("#2c6488", "#8fbfe0"), ("#3d6b33", "#9cc492")
SORTS = (
    Sort(("place",), 5, 16, TEXT, (0,)),
    Sort(("place",), 8, 14, TEXT, (1,)),
    Sort(("place",), 12, 13, TEXT, (2,)),
    Sort(("place",), 14, 12, QUIET, (3,)),
    Sort(("aeroway",), 13, 11, QUIET, (4,)),
    Sort(("railway",), 14, 11, QUIET, (5,)),
    Sort(("natural", "waterway"), 14, 11, BLUE),  # but for what is no water
    Sort(("leisure", "landuse"), 15.5, 11, LEAF),
    Sort(("highway",), 15, 10, QUIET),
    Sort(("tourism", "historic", "amenity"), 17, 10, QUIET),
    Sort(("building", "shop", "office", "craft"), 18, 10, QUIET),
)


def _sorts_of_ranks() -> dict[int, int]:
    """Return the number of the sort of each rank; a rank of none is not shown."""
    found: dict[int, int] = {}
    for number, sort in enumerate(SORTS):
        for rank in sort.ranks or (r for r, kind in enumerate(KINDS) if kind.key in sort.keys):
            found.setdefault(rank, number)
    return found


SORT_OF = _sorts_of_ranks()
NATURAL = next(rank for rank, kind in enumerate(KINDS) if kind.key == "natural")
DRY = SORT_OF[next(rank for rank, kind in enumerate(KINDS) if kind.key == "leisure")]
WET = ("water", "bay", "strait", "spring", "hot spring", "reef", "shoal", "glacier", "wetland")


class Label(NamedTuple):
    """A name to show: its middle in pixels from the lower left corner, and the number of its sort.

    Of two names of one sort, that of the lower `lot` comes before. It is the same in every picture.
    """

    sort: int
    lot: int
    text: str
    x: float
    y: float


def ranks_at(zoom: float) -> tuple[int, ...]:
    """Return the ranks of the names that are shown at a zoom."""
    return tuple(rank for rank, sort in SORT_OF.items() if zoom >= SORTS[sort].from_zoom)


def with_room(labels: Sequence[Label], scale: float) -> list[Label]:
    """Return the labels that have room, whatever else lies far from them."""
    fit = sorted(label for label in set(labels) if _width(label) <= WIDEST_PX)
    if not fit:
        return []
    before, after = _in_the_way(fit, scale)
    first = np.setdiff1d(np.arange(len(fit)), after)  # nothing is in their way
    hidden = after[np.isin(before, first)]
    # What is hidden is in nobody's way.
    beaten = after[~np.isin(before, hidden)]
    return [fit[row] for row in np.setdiff1d(np.arange(len(fit)), beaten).tolist()]


def _in_the_way(
    labels: Sequence[Label], scale: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return pairs of rows that cannot both be shown: the one that comes before, the other."""
    boxes = _boxes(labels, scale)
    middles = shapely.points([(label.x, label.y) for label in labels])
    texts = np.array([label.text for label in labels])
    touching = shapely.STRtree(boxes).query(boxes, predicate="intersects")
    _, number, count = np.unique(texts, return_inverse=True, return_counts=True)
    again = np.flatnonzero(count[number] > 1)
    near = again[
        shapely.STRtree(middles[again]).query(middles[again], "dwithin", REPEAT_PX * scale)
    ]
    same = near[:, number[near[0]] == number[near[1]]]
    before, after = np.concatenate([touching, same], axis=1)
    return before[before < after], after[before < after]


def _boxes(labels: Sequence[Label], scale: float) -> NDArray[np.object_]:
    x, y = np.array([(label.x, label.y) for label in labels]).reshape(-1, 2).T
    half = np.array([_width(label) / 2 + GAP_PX for label in labels]) * scale
    high = np.array([SORTS[label.sort].size / 2 + GAP_PX for label in labels]) * scale
    boxes: NDArray[np.object_] = shapely.box(x - half, y - high, x + half, y + high)
    return np.atleast_1d(boxes)


def _width(label: Label) -> float:
    """Return about how wide a name is shown, pixels of the screen."""
    return SORTS[label.sort].size * _letters(label.text)


@lru_cache(10_000)
def _letters(text: str) -> float:
    """Return how wide a text is, as a share of the size of its letters."""
    if text.isascii():
        return NARROW * len(text)
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    return WIDE * wide + NARROW * (len(text) - wide)


def label_of(name: Name, x: float, y: float) -> Label:
    """Return the label of a name at `x`, `y` pixels; its rank is one of `ranks_at`."""
    dry = name.rank == NATURAL and name.kind not in WET
    sort = DRY if dry else SORT_OF[name.rank]
    lot = zlib.crc32(f"{name.name} {name.lat} {name.lon}".encode())
    # Rounded: two pictures of one place must agree which names touch.
    return Label(sort, lot, " ".join(name.name.split()), round(x, 3), round(y, 3))


def add_labels(built: mapnik.Map, labels: Sequence[Label], theme: int, scale: float) -> None:
    """Add the labels to a map, as its uppermost layer."""
    _register_fonts()
    mapnik.load_map_from_string(built, _style(theme, scale))
    context = mapnik.Context()
    for name in ("text", "sort"):
        context.push(name)
    datasource = mapnik.MemoryDatasource()
    for number, label in enumerate(labels):
        feature = mapnik.Feature(context, number)
        feature["text"], feature["sort"] = label.text, label.sort
        feature.geometry = mapnik.Geometry.from_wkb(shapely.to_wkb(shapely.Point(label.x, label.y)))
        datasource.add_feature(feature)
    layer = mapnik.Layer("names", "epsg:3857")
    layer.datasource = datasource
    layer.styles.append("names")
    built.layers.append(layer)


@cache
def _register_fonts() -> None:
    for file in sorted(FONTS.glob("*.ttf")):
        mapnik.FontEngine.register_font(str(file))


@cache
def _style(theme: int, scale: float) -> str:
    """Return the style in Mapnik's XML: of a text its other interfaces set only a part."""
    fonts = "".join(f"<Font face-name={quoteattr(face)}/>" for face in FACES)
    rules = "".join(
        f"<Rule><Filter>[sort] = {number}</Filter><TextSymbolizer fontset-name='names' "
        f"size='{sort.size * scale}' fill='{sort.colour[theme]}' halo-fill='{LAND[theme]}' "
        f"halo-radius='{1.4 * scale}' allow-overlap='true'>[text]</TextSymbolizer></Rule>"
        for number, sort in enumerate(SORTS)
    )
    return f"<Map><FontSet name='names'>{fonts}</FontSet><Style name='names'>{rules}</Style></Map>"
