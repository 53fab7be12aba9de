"""Names of places: which OSM objects have one, how names compare, and which match is meant.

A store keeps one row for each name of an object (`Name`), which its full-text index finds. All
kinds of stores are filled and queried through the functions here, so they find the same.
"""

import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray

from tiling.errors import AmbiguousNameError, UnknownNameError
from tiling.geo.geodesy import ground_distance_m
from tiling.geo.groups import group_places


class Kind(NamedTuple):
    """A kind of named object: it has the tag `key` with one of `values` (None: any).

    `on`: the types of OSM objects that count, of node, way and relation.
    """

    key: str
    values: frozenset[str] | None = None
    on: str = "NWR"


# Sorted by how likely they are meant. The first match is the kind of an object.
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
# The tags that are read.
KEYS = tuple(dict.fromkeys((NAME, *ALIASES, *(kind.key for kind in KINDS), "area")))
LONGEST = 255  # letters; OSM cuts longer names, too
# Objects of one name and kind that are nearer are one place, such as the parts of a street.
NEAR_M = 1000.0
# Places that are nearer have nearly the same tile, so it does not matter which one is meant.
SAME_M = 100.0
MOST = 1000  # rows that a query returns at most, before they are merged to places

_PLAIN = str.maketrans(
    {"ø": "o", "đ": "d", "ł": "l", "ı": "i", "æ": "ae", "œ": "oe", "þ": "th", "ð": "d"}
)
_APOSTROPHES = str.maketrans(dict.fromkeys("'’ʼ`´"))
# Most names are ASCII, of which only letters and digits are words.
_ASCII = str.maketrans({chr(c): " " for c in range(128) if not chr(c).isalnum()})


class Name(NamedTuple):
    """A row of a store: the name of an object as shown and as compared, its kind and position."""

    name: str
    folded: str
    kind: str
    rank: int
    lat: float
    lon: float


@dataclass(frozen=True, slots=True)
class NamedObject:
    """An object with a name, as an importer reads it.

    `tags` are those of `KEYS`; `wkb` is the geometry in degrees.
    """

    osm_type: str  # N, W or R
    osm_id: int
    version: int
    tags: Mapping[str, str]
    wkb: bytes


@dataclass(frozen=True, slots=True)
class NamedPlace:
    """A place that was found by its name; `kind` is a word such as "town", "street" or "school".

    `exact`: the whole name matches, in one of its languages. A lower `rank` is more likely meant.
    """

    name: str
    kind: str
    lat: float
    lon: float
    exact: bool = True
    rank: int = 0


def fold(text: str) -> str:
    """Return words as they compare: without case, accents and signs, separated by one space.

    >>> fold("  L’Hôtel-de-Ville, ŁÓDŹ (Straße)")
    'l hotel de ville lodz strasse'
    """
    if text.isascii():
        return " ".join(text[:LONGEST].casefold().translate(_ASCII).split())
    bare = "".join(
        c for c in unicodedata.normalize("NFKD", text[:LONGEST]) if not unicodedata.combining(c)
    )
    letters = (
        c if unicodedata.category(c)[0] in "LMN" else " " for c in bare.casefold().translate(_PLAIN)
    )
    return " ".join("".join(letters).split())[:LONGEST].rstrip()


def is_area(tags: Mapping[str, str], closed: bool) -> bool:
    """Tell whether the name of a way is that of the area it encloses, as osm2pgsql.lua does."""
    return (
        closed and tags.get("area") != "no" and ("highway" not in tags or tags.get("area") == "yes")
    )


def names_of(objects: Sequence[NamedObject]) -> list[tuple[NamedObject, Name]]:
    """Return the names of the objects that are of a known kind."""
    called = [(item, kind) for item in objects if (kind := _kind(item)) is not None]
    points = _points([item.wkb for item, _ in called])
    return [
        (item, Name(item.tags[NAME], folded, *kind, lat, lon))
        for (item, kind), (lon, lat) in zip(called, points.tolist(), strict=True)
        for folded in _spellings(item.tags)
    ]


def _kind(item: NamedObject) -> tuple[str, int] | None:
    """Return the kind of an object as a word, and its rank; None for no kind."""
    for rank, (key, values, on) in enumerate(KINDS):
        value = item.tags.get(key, "no")
        if value != "no" and (values is None or value in values) and item.osm_type in on:
            if key == "highway" and item.osm_type != "N":
                return "street", rank
            return (key if value == "yes" else value.replace("_", " "))[:LONGEST], rank
    return None


def _spellings(tags: Mapping[str, str]) -> list[str]:
    """Return the folded names of an object, each once, with and without apostrophes."""
    texts = [tags[NAME], *(alias for key in ALIASES for alias in tags.get(key, "").split(";"))]
    both = (spelling for text in texts for spelling in (text, text.translate(_APOSTROPHES)))
    return [folded for folded in dict.fromkeys(map(fold, dict.fromkeys(both))) if folded]


def _points(wkb: Sequence[bytes]) -> NDArray[np.float64]:
    """Return a point on each geometry, float64 [n, 2] of (lon, lat).

    It is the middle of a line, and some point inside an area.
    """
    geometry = shapely.from_wkb(list(wkb))
    points = np.full(len(geometry), None, object)
    dimension = shapely.get_dimensions(geometry)
    points[dimension == 0] = geometry[dimension == 0]
    lines = shapely.get_geometry(geometry[dimension == 1], 0)  # the first run of a way with gaps
    points[dimension == 1] = shapely.line_interpolate_point(lines, 0.5, normalized=True)
    points[dimension == 2] = shapely.point_on_surface(geometry[dimension == 2])
    return np.stack([shapely.get_x(points), shapely.get_y(points)], axis=1)


WHOLE, BEGINNING, WORDS = range(3)  # how much of a name matches
_Order = tuple[int, int, int, str, float, float]


def words_of(name: str) -> list[str]:
    """Return the words to search for; a match has all of them, and may continue the last one."""
    return list(dict.fromkeys(fold(name).split()))


def merged(rows: Iterable[Name], name: str, limit: int) -> list[NamedPlace]:
    """Return the places of some rows, the best first.

    Rows of one name and kind that lie together are one place.
    """
    folded = fold(name)
    alike: dict[tuple[str, str], list[Name]] = defaultdict(list)
    for row in rows:
        alike[row.name, row.kind].append(row)
    places = [place for group in alike.values() for place in _places(group, folded)]
    places.sort(key=lambda found: found[0])
    return [place for _, place in places[:limit]]


def _places(rows: Sequence[Name], folded: str) -> Iterator[tuple[_Order, NamedPlace]]:
    """Yield the places of rows of one name and kind, each with its sort key."""
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
    """Return the sort key: a whole match, then a prefix, then words; then the rank."""
    match = WHOLE if row.folded == folded else BEGINNING if row.folded.startswith(folded) else WORDS
    return match, row.rank, len(row.folded), row.name, row.lat, row.lon


def resolve(
    name: str, find: Callable[[str, int], Sequence[NamedPlace]], candidates: int = 10
) -> NamedPlace:
    """Return the one place that `name` means.

    It is the only exact match of the best rank, or else the only match. Others within `SAME_M` of
    it do not count.

    Raises `AmbiguousNameError` with the matches, or `UnknownNameError` with similar names.
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
    """Return places whose names begin as `name` does.

    First 3/4 of its letters are tried, then 1/2, then 1/4, but never fewer than three letters.
    """
    folded = fold(name)
    for length in (len(folded) * quarters // 4 for quarters in (3, 2, 1)):
        if length >= 3 and (found := find(folded[:length], limit)):
            return found
    return []
