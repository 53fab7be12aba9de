"""An OSM file: what it declares, the errors of reading it, and the geometries of its objects."""

import bz2
import gzip
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import osmium
import shapely

from tiling.errors import ExtractError, WriteError
from tiling.files.atomic import require_file
from tiling.values import Box

LOCATED = "LocationsOnWays"  # the feature of a PBF file whose ways hold positions
FEATURES = 10  # of a PBF file that are looked at
# What osmium raises about a file; it has nothing narrower.
FAULTS = (RuntimeError, ValueError, osmium.InvalidLocationError)
HEAD_BYTES = 64
PACKED: dict[bytes, tuple[str, Callable[..., Any]]] = {
    b"\x1f\x8b": (".gz", gzip.open),
    b"BZh": (".bz2", bz2.open),
}


_SUFFIX = re.compile(r"(\.os[mhc])?(\.(pbf|xml|opl|o5m|o5c))?(\.(gz|bz2))?$", re.IGNORECASE)


def region_name(path: Path) -> str:
    """Return the name of the region that a file is named after.

    >>> region_name(Path("towns/planet_10.0,50.0.osm.pbf"))
    'planet_10.0,50.0'
    """
    return _SUFFIX.sub("", path.name) or path.name


def region_names(paths: Sequence[Path]) -> list[str]:
    """Return the names of regions; of equal ones the second is called NAME-2, and so on.

    >>> region_names([Path("a.b.osm.pbf"), Path("a.c.osm.pbf"), Path("old/a.c.osm")])
    ['a.b', 'a.c', 'a.c-2']
    """
    names: list[str] = []
    for path in paths:
        name, number = region_name(path), 1
        while name in names:
            number += 1
            name = f"{region_name(path)}-{number}"
        names.append(name)
    return names


def is_named_as_osm(path: Path) -> bool:
    """Tell whether a name ends as those of OSM files do.

    >>> is_named_as_osm(Path("monaco.osm.pbf")), is_named_as_osm(Path("europe/monaco"))
    (True, False)
    """
    return region_name(path) != path.name


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a file before its objects are read.

    `box`: the box that it declares, which need not be right. `located`: its ways hold the positions
    of their nodes.
    """

    box: Box | None
    located: bool


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Translate the errors of osmium about a file; `ExtractError` when it is missing."""
    require_file(path, ExtractError, "give the path of an .osm.pbf extract")
    try:
        yield
    except FAULTS as error:
        told = str(error).rstrip(".")
        if "No space left" in told:
            raise WriteError(
                f"cannot keep the positions of nodes of {path.name}: is the disk full? ({told})"
            ) from error
        raise ExtractError(
            f"cannot read {path} ({told}): is it a complete .osm.pbf extract?"
        ) from error


def osm_file(path: Path) -> osmium.io.File:
    """Return a file as osmium opens it, in the format of its content."""
    return osmium.io.File(str(path), osm_format(path))


def osm_format(path: Path) -> str:
    """Return the format of an OSM file in osmium's words, "" where only its name can tell it.

    The content decides. That it is a history or a file of changes stands in the name alone.
    """
    kind = next((kind for kind in ("osh", "osc") if f".{kind}" in path.name.lower()), "osm")
    head, packed = _head(path, Path.open), ""
    for beginning, (ending, opened) in PACKED.items():
        if head.startswith(beginning):
            head, packed = _head(path, opened), ending
    if b"OSMHeader" in head:
        return f"{kind}.pbf"
    if head.startswith(b"\xff\xe0\x04o5"):
        return "o5c" if kind == "osc" else "o5m"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip(b" \t\r\n")
    return f"{kind}{packed}" if text.startswith(b"<") else ""


def _head(path: Path, opened: Callable[..., Any]) -> bytes:
    try:
        with opened(path, "rb") as file:
            return bytes(file.read(HEAD_BYTES))
    except (OSError, EOFError, zlib.error):
        return b""  # whoever reads the file finds what is wrong


def facts_of(path: Path) -> Facts:
    """Return the facts of an OSM file; `ExtractError` for a history."""
    with reading(path), osmium.io.Reader(osm_file(path), osmium.osm.NOTHING) as reader:
        header, file = reader.header(), osm_file(path)
        if header.has_multiple_object_versions or file.has_multiple_object_versions:
            raise ExtractError(
                f"cannot read {path}: it is a history, with deleted objects: "
                "take one state of it with `osmium time-filter`"
            )
        box = header.box()
        declared = None
        if box.valid():
            low, high = box.bottom_left, box.top_right
            declared = Box(low.lon, low.lat, high.lon, high.lat)
        return Facts(declared, _is_located(path, header))


def _is_located(path: Path, header: osmium.io.Header) -> bool:
    if header.get("pbf_dense_nodes"):  # a PBF file, which declares it
        return LOCATED in (header.get(f"pbf_optional_feature_{n}") for n in range(FEATURES))
    ways: Iterable[Any] = osmium.FileProcessor(osm_file(path), osmium.osm.WAY)
    for way in ways:
        return any(node.location.valid() for node in way.nodes)
    return False


def unordered(path: Path, late: str = "") -> ExtractError:
    """Return the error of a file whose nodes do not all come before its ways, but `late` after."""
    why = f"{late} comes after a way" if late else "its nodes do not all come before its ways"
    return ExtractError(f"cannot read {path}: {why}: put it in order with `osmium sort`")


def negative(path: Path, what: str) -> ExtractError:
    """Return the error of an object with a negative id, or with a node that has one."""
    return ExtractError(
        f"cannot read {path}: {what} has a negative id, as editors give to new objects: "
        "give it another with `osmium renumber`"
    )


def named(item: Any) -> str:
    """Return the kind and the id of an object, as people write them."""
    return f"{type(item).__name__.lower()} {item.id}"


_GEOMETRY = osmium.geom.WKBFactory()


def point_wkb(node: Any) -> str | None:
    """Return a node as hexadecimal WKB, as all functions here; None without a valid position."""
    try:
        wkb: str = _GEOMETRY.create_point(node)
    except osmium.InvalidLocationError:
        return None
    return wkb


def area_wkb(area: Any) -> str | None:
    """Return an area; None when its rings do not close, or cross."""
    try:
        wkb: str = _GEOMETRY.create_multipolygon(area)
    except RuntimeError:
        return None
    return wkb


def line_wkb(way: Any) -> str | None:
    """Return a way as a line, or as runs between gaps where nodes are missing; None without any."""
    try:
        wkb: str = _GEOMETRY.create_linestring(way)
    except (osmium.InvalidLocationError, RuntimeError):
        runs = _runs(way)
        return shapely.to_wkb(shapely.MultiLineString(runs), hex=True) if runs else None
    return wkb


def _runs(way: Any) -> list[list[tuple[float, float]]]:
    runs: list[list[tuple[float, float]]] = [[]]
    for node in way.nodes:
        if not node.location.valid():
            runs.append([])
        elif not runs[-1] or runs[-1][-1] != (node.lon, node.lat):
            runs[-1].append((node.lon, node.lat))
    return [run for run in runs if len(run) > 1]


def runs_with_ids(way: Any) -> Iterator[list[tuple[int, float, float]]]:
    """Yield the runs of a way between missing nodes: (id, lon, lat) of each node."""
    known = [
        (node.ref, node.lon, node.lat) if node.location.valid() else None for node in way.nodes
    ]
    for whole, run in groupby(known, key=lambda node: node is not None):
        nodes = [node for node in run if node is not None]
        if whole and len(nodes) > 1:
            yield nodes


def lacks_negative(way: Any) -> bool:
    """Tell whether a way has nodes with negative ids, whose positions osmium does not keep."""
    return any(node.ref < 0 for node in way.nodes)
