"""Reading an extract for an import with osmium: what is drawn, named or coastline, in batches.

Most objects of an extract matter to nobody, so filters in C++ keep them from Python. Reading tags
is dear as well. So only the keys that the rules name are read. Most areas have no such key but
`building`: they take a short way.
"""

from collections import Counter
from collections.abc import Callable, Iterable, MutableSequence, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial, wraps
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import osmium
from osmium.filter import KeyFilter

from tiling.catalogue.catalogue import Catalogue
from tiling.machine import let_go_of
from tiling.osm.bounded.read import WORDS
from tiling.osm.file import (
    area_wkb,
    lacks_negative,
    line_wkb,
    named,
    negative,
    osm_file,
    point_wkb,
    reading,
    unordered,
)
from tiling.osm.names import KEYS, NAME, NamedObject, is_area

AT_ONCE = 4096  # objects in a batch
NODE, WAY, RELATION, SEA = range(4)  # types of objects, in the order of a store
LETTERS = "NWRS"
USUAL = "building"  # the one key of most areas
# Why an object is lost.
INCOMPLETE = "lack nodes or ways in the extract"
BROKEN = "have rings that do not close, or that cross"
NOWHERE = "have no valid position"
UNREADABLE = "have text that is no UTF-8"

Drawn = tuple[tuple[int, float], ...]
At = MutableSequence[int]  # type and id of the object that was seen last, and how many were


class DrawnObject(NamedTuple):
    """An object that is drawn in some channels: (channel, width in metres) each.

    `type` is NODE, WAY or RELATION. `wkb` is its geometry in EPSG:4326, in hexadecimal.
    """

    type: int
    area: bool
    id: int
    version: int
    drawn: Drawn
    wkb: str


@dataclass
class Batch:
    """Some objects; `coastline` has ids of ways and their lines as hexadecimal WKB."""

    drawn: list[DrawnObject] = field(default_factory=list)
    named: list[NamedObject] = field(default_factory=list)
    coastline: list[tuple[int, str]] = field(default_factory=list)


@dataclass
class Found:
    """What is known when all was read.

    `lost` counts the objects that match the catalogue and have no geometry, by the reason. In a
    file that is not `ordered` an object may come twice.
    """

    lost: Counter[str] = field(default_factory=Counter)
    ordered: bool = True


def sift(
    path: Path, catalogue: Catalogue, index: Path | None, take: Callable[[Batch], object], at: At
) -> Found:
    """Read a .osm.pbf, or any OSM file that osmium knows, and hand batches to `take`.

    Areas are assembled from closed ways and multipolygon relations. The positions of nodes go into
    the file `index`, 16 bytes each; without one, ways hold them. `at` is kept up to date.

    Raises `ExtractError` for a file that is missing or damaged, a history, or not in order.
    """
    with reading(path):
        sieve = _Sieve(path, catalogue, take, at)
        areas = osmium.area.AreaManager()
        with osmium.io.Reader(osm_file(path), osmium.osm.RELATION) as reader:
            osmium.apply(reader, KeyFilter(*sieve.area_keys), areas.first_pass_handler())
        chain: list[object] = [
            areas.second_pass_handler(
                KeyFilter(*sieve.area_keys), _Areas(sieve),
                KeyFilter(*sieve.unusual_keys), _UnusualAreas(sieve),
            ),
            _on(osmium.osm.NODE, sieve.point_keys),
            _on(osmium.osm.WAY, (*sieve.area_keys, *sieve.line_keys)),
            _on(osmium.osm.RELATION, sieve.area_keys),
            _Wanted(sieve),
            _on(osmium.osm.WAY, sieve.line_keys),
            _Others(sieve),
        ]  # fmt: skip
        if index is not None:
            table = osmium.index.create_map(f"sparse_file_array,{index}")
            sieve.held, sieve.let_go = table.used_memory, partial(let_go_of, index)
            locations = osmium.NodeLocationsForWays(table)
            locations.ignore_errors()
            chain.insert(0, locations)
        with osmium.io.Reader(osm_file(path)) as reader:
            osmium.apply(reader, *chain)
        sieve.flush()
        sieve.lose(INCOMPLETE, len(sieve.wanted - sieve.assembled))
        _look_again(path, sieve)
        late = sieve.held_before_ways is not None and sieve.held() != sieve.held_before_ways
        if late and sieve.found.lost[INCOMPLETE]:
            raise unordered(path, _late_node(path))
        return sieve.found


def _late_node(path: Path) -> str:
    """Name the first node that comes after a way."""
    after = False
    objects: Iterable[Any] = osmium.FileProcessor(osm_file(path), osmium.osm.NODE | osmium.osm.WAY)
    for item in objects:
        if after and item.is_node():
            return named(item)
        after = after or item.is_way()
    return "a node"


def _on(kind: Any, keys: Sequence[str]) -> object:
    """Return a filter that objects of one kind pass with any of some keys, all others always."""
    keyed = KeyFilter(*keys)
    keyed.enable_for(kind)
    return keyed


class _Matcher:
    """The channels of objects of one kind, remembered by the values of the keys that count."""

    def __init__(self, catalogue: Catalogue, on: str) -> None:
        self.keys, self.first_keys = catalogue.keys_on(on), catalogue.first_keys_on(on)
        self._on, self._catalogue = on, catalogue
        self.by = lru_cache(maxsize=100_000)(self._by)

    def _by(self, *values: str | None) -> Drawn:
        tags = {k: v for k, v in zip(self.keys, values, strict=True) if v is not None}
        return tuple(self._catalogue.match(self._on, tags))

    def of(self, get: Callable[[str], str | None]) -> Drawn:
        """Return the channels of an object whose tags `get` returns."""
        return self.by(*[get(key) for key in self.keys])


class _Sieve:
    """What the handlers share: the rules, the batch, and what was lost."""

    def __init__(
        self, path: Path, catalogue: Catalogue, take: Callable[[Batch], object], at: At
    ) -> None:
        self.path, self.at = path, at
        self.points, self.lines, self.areas = (
            _Matcher(catalogue, on) for on in ("point", "line", "area")
        )
        self.point_keys = (*self.points.first_keys, NAME)
        self.line_keys = (*self.lines.first_keys, "natural", NAME)  # "natural": for the coastline
        self.area_keys = (*self.areas.first_keys, NAME)
        self.unusual_keys = tuple({*self.areas.keys, NAME} - {USUAL})
        self.usual = lru_cache(self._usual)
        self.found, self.batch = Found(), Batch()
        self.held: Callable[[], int] = lambda: 0  # bytes of the positions of nodes
        self.held_before_ways: int | None = None
        self.let_go: Callable[[], None] = lambda: None  # of the pages with those positions
        self.rings: set[int] = set()  # closed ways that no area was made of, so far
        self.made = 0  # the closed way that an area was made of last
        self.wanted: set[int] = set()  # relations that are drawn
        self.assembled: set[int] = set()  # those that areas were made of
        self.pending: DrawnObject | None = None
        self.node = 0  # that came last
        self._take = take

    def see(self, kind: int, osm_id: int) -> None:
        """Note that an object is looked at; a full batch goes."""
        if osm_id < 0:
            raise negative(self.path, f"{WORDS[kind]} {osm_id}")
        at = self.at
        at[0] = kind
        at[1] = osm_id
        at[2] += 1
        if len(self.batch.drawn) + len(self.batch.named) >= AT_ONCE:
            self.flush()

    def flush(self) -> None:
        """Hand the batch over."""
        self.settle()
        batch, self.batch = self.batch, Batch()
        self._take(batch)
        self.let_go()

    def lose(self, reason: str, objects: int = 1) -> None:
        """Count objects that cannot be drawn."""
        self.found.lost[reason] += objects

    def settle(self) -> None:
        """Keep the area that is pending: no handler will say more of it."""
        area, self.pending = self.pending, None
        if area is not None and area.drawn:
            if area.wkb:
                self.batch.drawn.append(area)
            else:
                self.lose(BROKEN)

    def _usual(self, value: str | None) -> Drawn:
        """Return the channels of an area whose one key is the usual one."""
        return self.areas.by(*[value if key == USUAL else None for key in self.areas.keys])

    def area_channels(self, area: Any) -> Drawn:
        """Return the channels of an area, by all its keys."""
        get = area.tags.get
        if area.from_way():
            return self.areas.of(get)
        # osmium takes the tag of a relation away
        kind = "boundary" if get("boundary") is not None else "multipolygon"
        return self.areas.by(*[kind if key == "type" else get(key) for key in self.areas.keys])

    def name(self, kind: int, osm_id: int, item: Any, wkb: str | None) -> None:
        """Keep the name of an object."""
        if wkb:
            get = item.tags.get
            tags = {key: value for key in KEYS if (value := get(key)) is not None}
            named = NamedObject(LETTERS[kind], osm_id, item.version, tags, bytes.fromhex(wkb))
            self.batch.named.append(named)


Handler = TypeVar("Handler")


def _text(method: Callable[[Handler, Any], None]) -> Callable[[Handler, Any], None]:
    """Count an object as lost when its text is no UTF-8."""

    @wraps(method)
    def careful(self: Any, item: Any) -> None:
        try:
            method(self, item)
        except UnicodeDecodeError:
            self.sieve.lose(UNREADABLE)

    return careful


@dataclass
class _Areas:
    """Takes all areas with a key that counts, and draws ways by the usual key alone."""

    sieve: _Sieve

    @_text
    def area(self, area: Any) -> None:
        """Leave the area pending: `_UnusualAreas` is called next if it has another key."""
        sieve, osm_id = self.sieve, area.orig_id()
        sieve.settle()
        if area.from_way():
            kind, drawn = WAY, sieve.usual(area.tags.get(USUAL))
            sieve.rings.discard(osm_id)
            sieve.made = osm_id
        else:
            kind, drawn = RELATION, sieve.area_channels(area)
            sieve.assembled.add(osm_id)
        sieve.see(kind, osm_id)
        if area.visible:
            sieve.pending = DrawnObject(
                kind, True, osm_id, area.version, drawn, area_wkb(area) or ""
            )


@dataclass
class _UnusualAreas:
    """Takes the areas that have other keys: draws them by all keys, and keeps their names."""

    sieve: _Sieve

    @_text
    def area(self, area: Any) -> None:
        """Amend the pending area."""
        held, self.sieve.pending = self.sieve.pending, None
        if held is None:  # it was lost
            return
        drawn = self.sieve.area_channels(area)
        self.sieve.pending = DrawnObject(held.type, True, held.id, held.version, drawn, held.wkb)
        if NAME in area.tags and (held.type == RELATION or _is_area(area, True)):
            self.sieve.name(held.type, held.id, area, held.wkb)


def _is_area(way: Any, closed: bool) -> bool:
    """Tell whether the name of a way is that of the area it encloses."""
    get = way.tags.get
    held = {key: value for key in ("area", "highway") if (value := get(key)) is not None}
    return is_area(held, closed)


@dataclass
class _Wanted:
    """Takes the ways and relations with a key of areas, to find those that become none."""

    sieve: _Sieve

    @_text
    def way(self, way: Any) -> None:
        """Note a closed way; `_Areas` strikes it off later, or has just been given its area."""
        sieve, osm_id = self.sieve, way.id
        if sieve.held_before_ways is None:
            sieve.held_before_ways = sieve.held()
        if way.is_closed() and osm_id != sieve.made:
            sieve.rings.add(osm_id)

    @_text
    def relation(self, relation: Any) -> None:
        """Note a relation that is drawn; no area comes of it when members are missing."""
        get, sieve = relation.tags.get, self.sieve
        sieve.see(RELATION, relation.id)
        is_area = get("type") in ("multipolygon", "boundary")
        if is_area and relation.visible and sieve.areas.of(get):
            sieve.wanted.add(relation.id)


@dataclass
class _Others:
    """Takes points and lines."""

    sieve: _Sieve

    @_text
    def node(self, node: Any) -> None:
        """Keep a point that is drawn or has a name."""
        sieve, osm_id = self.sieve, node.id
        sieve.see(NODE, osm_id)
        if osm_id <= sieve.node:  # ways in such an order are refused by osmium
            sieve.found.ordered = False
        sieve.node = osm_id
        if not node.visible:
            return
        if sieve.held_before_ways is not None:
            raise unordered(sieve.path, named(node))
        drawn, has_name = sieve.points.of(node.tags.get), NAME in node.tags
        if drawn or has_name:
            wkb = point_wkb(node)
            if wkb is None:
                sieve.lose(NOWHERE)
                return
            if drawn:
                made = DrawnObject(NODE, False, node.id, node.version, drawn, wkb)
                sieve.batch.drawn.append(made)
            if has_name:
                sieve.name(NODE, node.id, node, wkb)

    @_text
    def way(self, way: Any) -> None:
        """Keep a line that is drawn or has a name, and the coastline."""
        sieve, get = self.sieve, way.tags.get
        sieve.see(WAY, way.id)
        if not way.visible:
            return
        drawn, has_name = (
            sieve.lines.of(get),
            NAME in way.tags and not _is_area(way, way.is_closed()),
        )
        if drawn and get("area") == "yes" and way.is_closed():
            drawn = ()
        coast = get("natural") == "coastline"
        if not (drawn or has_name or coast):
            return
        wkb = line_wkb(way)
        if wkb is None:
            if lacks_negative(way):
                raise negative(sieve.path, named(way))
            if drawn:
                sieve.lose(INCOMPLETE)
            return
        if drawn:
            sieve.batch.drawn.append(DrawnObject(WAY, False, way.id, way.version, drawn, wkb))
        if coast:
            sieve.batch.coastline.append((way.id, wkb))
        if has_name:
            sieve.name(WAY, way.id, way, wkb)


def _look_again(path: Path, sieve: _Sieve) -> None:
    """Read the closed ways that no area was made of, and count those that are lost."""
    if not sieve.rings:
        return
    processor = osmium.FileProcessor(osm_file(path), osmium.osm.WAY)
    # A filter by ids would take 4 MB for every 33 million ids between the lowest and the highest.
    ways: Iterable[Any] = processor.with_filter(KeyFilter(*sieve.area_keys))
    for way in ways:
        if way.id not in sieve.rings:
            continue
        if lacks_negative(way):
            raise negative(path, named(way))
        get = way.tags.get
        if way.visible and get("area") != "no" and sieve.areas.of(get):
            sieve.lose(INCOMPLETE if len(way.nodes) > 3 else BROKEN)
