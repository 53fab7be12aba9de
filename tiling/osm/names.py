"""Names of places: which objects of OSM have one, how names are compared, and which of those found is meant.

A store keeps one row a name of an object (`Name`); its own full-text index finds them. Both stores
are filled and asked through the functions here, so they find the same.
"""

import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from tiling.errors import AmbiguousNameError, UnknownNameError
from tiling.geo.geodesy import ground_distance_m
from tiling.geo.groups import group_places


class Kind(NamedTuple):
    """What may be called by a name: a tag, any of whose `values` will do (None = all), on nodes, ways, relations."""

    key: str
    values: frozenset[str] | None = None
    on: str = "NWR"


# The most likely meant first; of several tags of an object the first counts.
KINDS = (
    Kind("place", frozenset({"city"})),
    Kind("place", frozenset({"town"})),
    Kind("place", frozenset({"village", "suburb", "borough", "municipality"})),
    Kind("place"),
    Kind("aeroway", frozenset({"aerodrome"})),
    Kind("railway", frozenset({"station", "halt"})),
    Kind("boundary", frozenset({"administrative"})),
    Kind("leisure"),
    Kind("highway", on="WR"),
    Kind("natural"),
    Kind("tourism"),
    Kind("historic"),
    Kind("amenity"),
    Kind("waterway"),
    Kind("landuse"),
    Kind("building"),
    Kind("shop"),
    Kind("office"),
    Kind("craft"),
    Kind("aeroway"),
    Kind("railway", frozenset({"tram_stop", "subway_entrance"})),
    Kind("public_transport", frozenset({"station", "platform"})),
    Kind("highway", on="N"),
    Kind("man_made"),
)
NAME = "name"
ALIASES = ("name:en", "int_name", "official_name", "alt_name", "short_name", "loc_name", "old_name")
# the tags that are read
KEYS = tuple(dict.fromkeys((NAME, *ALIASES, *(kind.key for kind in KINDS), "area")))
LONGEST = 255  # letters; longer ones are cut, as OSM does
# objects of one name and kind that are nearer to each other are one place: the parts of a street
NEAR_M = 1000.0
# places nearer than that to each other show much the same tile: it does not matter which is meant
SAME_M = 100.0
MOST = 1000  # rows that a store is asked for, of which places are made

_PLAIN = str.maketrans(
    {"ø": "o", "đ": "d", "ł": "l", "ı": "i", "æ": "ae", "œ": "oe", "þ": "th", "ð": "d"}
)
_APOSTROPHES = str.maketrans(dict.fromkeys("'’ʼ`´"))


class Name(NamedTuple):
    """A row of a store: a name of an object as it is shown and as it is compared, and where the object is."""

    name: str
    folded: str
    kind: str
    rank: int
    lat: float
    lon: float


@dataclass(frozen=True, slots=True)
class NamedObject:
    """An object with a name, as an importer meets it: `tags` are those of `KEYS`, `wkb` is in degrees."""

    osm_type: str  # N, W or R
    osm_id: int
    version: int
    tags: Mapping[str, str]
    wkb: bytes


@dataclass(frozen=True, slots=True)
class NamedPlace:
    """A place that was found by its name: `kind` says what it is, as "town", "street" or "school".

    `exact`: it is called just so, in one of its languages. `rank` is less for what is more likely
    meant.
    """

    name: str
    kind: str
    lat: float
    lon: float
    exact: bool = True
    rank: int = 0


def fold(text: str) -> str:
    """Return words as they are compared: without case, accents and signs, one space between them.

    >>> fold("  L’Hôtel-de-Ville, ŁÓDŹ (Straße)")
    'l hotel de ville lodz strasse'
    """
    bare = "".join(
        c for c in unicodedata.normalize("NFKD", text[:LONGEST]) if not unicodedata.combining(c)
    )
    letters = (
        c if unicodedata.category(c)[0] in "LMN" else " " for c in bare.casefold().translate(_PLAIN)
    )
    return " ".join("".join(letters).split())[:LONGEST].rstrip()


def is_area(tags: Mapping[str, str], closed: bool) -> bool:
    """Tell whether a way has its name for what it encloses: the same is said in osm2pgsql.lua."""
    return (
        closed and tags.get("area") != "no" and ("highway" not in tags or tags.get("area") == "yes")
    )


def names_of(objects: Sequence[NamedObject], area: BaseGeometry) -> list[tuple[NamedObject, Name]]:
    """Return the names of those objects that may be called by them and lie in `area` (degrees)."""
    called = [(item, kind) for item in objects if (kind := _kind(item)) is not None]
    points = _points([item.wkb for item, _ in called])
    inside = shapely.intersects_xy(area, *points.T) if called else []
    return [
        (item, Name(item.tags[NAME], folded, *kind, lat, lon))
        for (item, kind), (lon, lat), within in zip(called, points.tolist(), inside, strict=True)
        if within
        for folded in _spellings(item.tags)
    ]


def newest_names(named: Sequence[tuple[NamedObject, Name]]) -> list[Name]:
    """Keep the names of the newest version of each object, of equal versions those of the first.

    Sorted.
    """
    newest: dict[tuple[str, int], NamedObject] = {}
    for item, _ in named:
        held = newest.setdefault((item.osm_type, item.osm_id), item)
        if item.version > held.version:
            newest[item.osm_type, item.osm_id] = item
    return sorted(name for item, name in named if newest[item.osm_type, item.osm_id] is item)


def _kind(item: NamedObject) -> tuple[str, int] | None:
    """Return what an object is, and its rank."""
    for rank, (key, values, on) in enumerate(KINDS):
        value = item.tags.get(key, "no")
        if value != "no" and (values is None or value in values) and item.osm_type in on:
            if key == "highway" and item.osm_type != "N":
                return "street", rank
            return (key if value == "yes" else value.replace("_", " "))[:LONGEST], rank
    return None


def _spellings(tags: Mapping[str, str]) -> list[str]:
    """Return what an object is called, folded, each once; an apostrophe may be left out."""
    texts = [tags[NAME], *(alias for key in ALIASES for alias in tags.get(key, "").split(";"))]
    both = (spelling for text in texts for spelling in (text, text.translate(_APOSTROPHES)))
    return [folded for folded in dict.fromkeys(map(fold, both)) if folded]


def _points(wkb: Sequence[bytes]) -> NDArray[np.float64]:
    """Return a point on each geometry, float64 [n, 2] of (lon, lat): the middle of a line, one inside an area."""
    geometry = shapely.from_wkb(list(wkb))
    points = np.full(len(geometry), None, object)
    dimension = shapely.get_dimensions(geometry)
    points[dimension == 0] = geometry[dimension == 0]
    lines = shapely.get_geometry(geometry[dimension == 1], 0)  # the first run of a way with gaps
    points[dimension == 1] = shapely.line_interpolate_point(lines, 0.5, normalized=True)
    points[dimension == 2] = shapely.point_on_surface(geometry[dimension == 2])
    return np.stack([shapely.get_x(points), shapely.get_y(points)], axis=1)


WHOLE, BEGINNING, WORDS = range(3)  # how much of a name was asked for
_Order = tuple[int, int, int, str, float, float]


def words_of(name: str) -> list[str]:
    """Return the words to look for.

    A store has to find all of them, the last one perhaps unfinished.
    """
    return list(dict.fromkeys(fold(name).split()))


def merged(rows: Iterable[Name], name: str, limit: int) -> list[NamedPlace]:
    """Return the places that rows of a store, best first, are about: what is called alike and lies together is one."""
    folded = fold(name)
    alike: dict[tuple[str, str], list[Name]] = defaultdict(list)
    for row in rows:
        alike[row.name, row.kind].append(row)
    places = [place for group in alike.values() for place in _places(group, folded)]
    places.sort(key=lambda found: found[0])
    return [place for _, place in places[:limit]]


def _places(rows: Sequence[Name], folded: str) -> Iterator[tuple[_Order, NamedPlace]]:
    """Yield the places among rows of one name and kind, each with what it is sorted by."""
    lat, lon = np.array([row.lat for row in rows]), np.array([row.lon for row in rows])
    group = group_places(lat, lon, NEAR_M) if len(rows) > 1 else np.zeros(1, np.int64)
    for number in range(int(group.max()) + 1):
        members = np.flatnonzero(group == number)
        distance = ground_distance_m(
            lat[members].mean(), lon[members].mean(), lat[members], lon[members]
        )
        middle = rows[int(members[np.argmin(distance)])]
        order = min(_order(rows[member], folded) for member in members.tolist())
        yield (
            order,
            NamedPlace(
                middle.name, middle.kind, middle.lat, middle.lon, order[0] == WHOLE, middle.rank
            ),
        )


def _order(row: Name, folded: str) -> _Order:
    """Sort the whole name before its beginning before words of it, then by what it is."""
    match = WHOLE if row.folded == folded else BEGINNING if row.folded.startswith(folded) else WORDS
    return match, row.rank, len(row.folded), row.name, row.lat, row.lon


def resolve(
    name: str, find: Callable[[str, int], Sequence[NamedPlace]], candidates: int = 10
) -> NamedPlace:
    """Return the one place that is meant by `name`.

    It is called just so and is the only one of its rank, or it is the only one whose name has these
    words; others at the same spot do not count. Else `AmbiguousNameError`, or `UnknownNameError`
    with what begins like it.
    """
    found = find(name, candidates)
    if not found:
        similar = _similar(name, find, candidates)
        near = f": did you mean {_listed(similar)}?" if similar else ""
        raise UnknownNameError(f"no place of this store is called {name[:100]!r}{near}", similar)
    best = [place for place in found if place.exact and place.rank == found[0].rank]
    meant = best or found
    first = meant[0]
    away = ground_distance_m(
        first.lat, first.lon, [place.lat for place in meant], [place.lon for place in meant]
    )
    if away.max() > SAME_M:
        raise AmbiguousNameError(
            f"{name[:100]!r} may be {_listed(meant)}: give the whole name, or lat and lon", meant
        )
    return first


def _listed(places: Sequence[NamedPlace]) -> str:
    return ", or ".join(
        f"{p.name} ({p.kind}, lat {p.lat:.5f}, lon {p.lon:.5f})" for p in places[:5]
    )


def _similar(
    name: str, find: Callable[[str, int], Sequence[NamedPlace]], limit: int
) -> Sequence[NamedPlace]:
    """Return what begins as `name` does: with three quarters, half, a quarter of its letters, three at least."""
    folded = fold(name)
    for length in (len(folded) * quarters // 4 for quarters in (3, 2, 1)):
        if length >= 3 and (found := find(folded[:length], limit)):
            return found
    return []
