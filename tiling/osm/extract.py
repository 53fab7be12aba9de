"""Reading the objects or the ways of an OSM extract, in a bounded process."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import osmium

from tiling.catalogue.catalogue import Catalogue
from tiling.osm.bounded.read import HELD_A_BYTE, Board, note, read_bounded
from tiling.osm.file import (
    area_wkb,
    facts_of,
    line_wkb,
    osm_file,
    point_wkb,
    reading,
    runs_with_ids,
)


class OsmObject(NamedTuple):
    """One OSM object of an extract.

    `kind` is "point", "line" or "area". `drawn` are the channels that it matches, each with the tag
    that matched. `wkb` is its geometry in EPSG:4326.
    """

    kind: str
    tags: dict[str, str]
    drawn: tuple[tuple[int, str], ...]
    wkb: bytes


class OsmWay(NamedTuple):
    """A run of an OSM way whose nodes are all known: their ids and degrees, in order."""

    tags: dict[str, str]
    nodes: tuple[int, ...]
    lon: tuple[float, ...]
    lat: tuple[float, ...]


def read_objects(path: Path, catalogue: Catalogue, keys: Sequence[str]) -> list[OsmObject]:
    """Return every object with one of `keys` and a usable geometry, and its tags of these keys.

    A closed way comes twice, as a line and as an area.

    Raises `ExtractError` when the file is missing, no OSM file, damaged, or a history.
    """
    return read_bounded(
        path, partial(_all_objects, path, catalogue, keys), memory_a_byte=HELD_A_BYTE
    )


def require_extract(path: Path) -> None:
    """Raise `ExtractError` for what begins like no OSM extract, or is a history."""
    read_bounded(path, partial(_facts, path))


def _facts(path: Path, _board: Board) -> None:
    facts_of(path)


def read_ways(path: Path, keys: Sequence[str]) -> list[OsmWay]:
    """Return every way that has one of `keys` and is no area, with its tags of these keys.

    A way with missing nodes comes in runs. Raises `ExtractError` as `read_objects` does.
    """
    return read_bounded(path, partial(_all_ways, path, keys), memory_a_byte=HELD_A_BYTE)


def _all_objects(
    path: Path, catalogue: Catalogue, keys: Sequence[str], board: Board
) -> list[OsmObject]:
    return list(objects(path, catalogue, keys, board))


def objects(
    path: Path, catalogue: Catalogue, keys: Sequence[str], board: Board
) -> Iterator[OsmObject]:
    """Yield what `read_objects` returns, in the process that reads; `board`: where it is."""
    wanted = osmium.filter.KeyFilter(*keys)
    with reading(path):
        processor = osmium.FileProcessor(osm_file(path)).with_areas(wanted)
        items: Iterable[Any] = _located(processor, path).with_filter(wanted)
        for item in items:
            note(board, item)
            kind, wkb = _kind_and_geometry(item)
            tags = _tags(item)
            if wkb is not None and item.visible and tags is not None:
                # Interned, because the same few thousand words occur millions of times.
                kept = {sys.intern(key): sys.intern(tags[key]) for key in keys if key in tags}
                yield OsmObject(kind, kept, catalogue.reasons(kind, tags), bytes.fromhex(wkb))


def _all_ways(path: Path, keys: Sequence[str], board: Board) -> list[OsmWay]:
    return list(_ways(path, keys, board))


def _ways(path: Path, keys: Sequence[str], board: Board) -> Iterator[OsmWay]:
    with reading(path):
        processor = osmium.FileProcessor(osm_file(path), osmium.osm.NODE | osmium.osm.WAY)
        ways = _located(processor, path).with_filter(osmium.filter.EntityFilter(osmium.osm.WAY))
        keyed: Iterable[Any] = ways.with_filter(osmium.filter.KeyFilter(*keys))
        for way in keyed:
            note(board, way)
            tags = _tags(way)
            if way.visible and tags is not None and tags.get("area") != "yes":
                kept = {key: tags[key] for key in keys if key in tags}
                yield from (OsmWay(kept, *zip(*run, strict=True)) for run in runs_with_ids(way))


def _located(processor: osmium.FileProcessor, path: Path) -> osmium.FileProcessor:
    """Let ways have the positions of their nodes: those that they hold, or those of the nodes."""
    return processor.with_locations(None if facts_of(path).located else "flex_mem")  # type: ignore[arg-type]


def _tags(item: Any) -> dict[str, str] | None:
    """Return the tags of an object; None when they are no UTF-8."""
    try:
        return {tag.k: tag.v for tag in item.tags}
    except UnicodeDecodeError:
        return None


def _kind_and_geometry(item: Any) -> tuple[str, str | None]:
    if item.is_node():
        return "point", point_wkb(item)
    if item.is_way():
        return "line", line_wkb(item)
    # A relation that makes an area comes again as that area.
    return "area", None if item.is_relation() else area_wkb(item)
