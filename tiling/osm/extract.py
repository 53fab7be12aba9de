"""Reading an OSM extract with osmium: the objects that the catalogue matches, and the coastline."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import osmium
import shapely
from numpy.typing import NDArray

from tiling.catalogue import Catalogue
from tiling.errors import ExtractError
from tiling.files.atomic import require_file
from tiling.osm.names import KEYS, NAME, NamedObject, is_area
from tiling.osm.values import OsmObject, OsmWay
from tiling.values import Box


@dataclass
class Extract:
    """What one extract holds for a catalogue: parallel lists, one entry a feature.

    `keys` are (kind, OSM id, channel), `versions` the OSM versions, `widths` metres on the ground,
    `wkb` geometries in EPSG:4326. `coastline` maps way ids to WKB lines with land on their left.
    `named` are all objects with a name. `skipped` counts objects without a usable geometry.
    """

    path: Path
    header_box: Box | None = None
    keys: list[tuple[str, int, int]] = field(default_factory=list)
    versions: list[int] = field(default_factory=list)
    widths: list[float] = field(default_factory=list)
    wkb: list[bytes] = field(default_factory=list)
    coastline: dict[int, bytes] = field(default_factory=dict)
    named: list[NamedObject] = field(default_factory=list)
    skipped: int = 0

    def __len__(self) -> int:
        return len(self.keys)

    def vertices(self) -> NDArray[np.float64]:
        """Return the coordinates of all features, float64 [n, 2] of (lon, lat)."""
        coordinates: NDArray[np.float64] = shapely.get_coordinates(shapely.from_wkb(self.wkb))
        return coordinates


def read_extract(
    path: Path, catalogue: Catalogue, progress: Callable[[int], object] = lambda n: None
) -> Extract:
    """Read a .osm.pbf, or any OSM file that osmium knows.

    Areas are assembled from closed ways and multipolygon relations. `progress` is told how many
    objects were read since it was told last.

    Raises `ExtractError` when the file is missing, no OSM file, truncated, or matches no rule.
    """
    require_file(path, ExtractError, "give the path of an .osm.pbf extract")
    extract = Extract(path)
    try:
        extract.header_box = header_box(path)
        for count, item in enumerate(_objects(path, catalogue)):
            _take(item, catalogue, extract)
            if count % 4096 == 0:
                progress(4096)
    except RuntimeError as error:  # osmium raises nothing narrower
        raise _unreadable(path, error) from error
    if not len(extract):
        raise ExtractError(
            f"{path} holds nothing that the channel catalogue draws: is it the right extract?"
        )
    return extract


def read_objects(path: Path, catalogue: Catalogue, keys: Sequence[str]) -> Iterator[OsmObject]:
    """Yield every object with one of `keys` and a usable geometry, and its tags of these keys.

    A closed way comes twice, as a line and as an area. Raises `ExtractError` as `read_extract`
    does.
    """
    require_file(path, ExtractError, "give the path of an .osm.pbf extract")
    wanted = osmium.filter.KeyFilter(*keys)
    try:
        for item in osmium.FileProcessor(str(path)).with_areas(wanted).with_filter(wanted):
            kind, wkb = _kind_and_geometry(item)
            if wkb is not None:
                tags = dict(item.tags)
                # Interned, because the same few thousand words occur millions of times.
                kept = {sys.intern(key): sys.intern(tags[key]) for key in keys if key in tags}
                yield OsmObject(kind, kept, catalogue.reasons(kind, tags), wkb)
    except RuntimeError as error:  # osmium raises nothing narrower
        raise _unreadable(path, error) from error


def read_ways(path: Path, keys: Sequence[str]) -> Iterator[OsmWay]:
    """Yield every way that has one of `keys` and is no area, with its tags of these keys.

    A way with missing nodes comes in runs. Raises `ExtractError` as `read_extract` does.
    """
    require_file(path, ExtractError, "give the path of an .osm.pbf extract")
    processor = osmium.FileProcessor(str(path), osmium.osm.NODE | osmium.osm.WAY).with_locations()
    try:
        for way in processor.with_filter(osmium.filter.EntityFilter(osmium.osm.WAY)).with_filter(
            osmium.filter.KeyFilter(*keys)
        ):
            if way.tags.get("area") != "yes":
                tags = {key: way.tags[key] for key in keys if key in way.tags}
                yield from (OsmWay(tags, *zip(*run, strict=True)) for run in _runs_with_ids(way))
    except RuntimeError as error:  # osmium raises nothing narrower
        raise _unreadable(path, error) from error


def _runs_with_ids(way: Any) -> Iterator[list[tuple[int, float, float]]]:
    known = [
        (node.ref, node.lon, node.lat) if node.location.valid() else None for node in way.nodes
    ]
    for whole, run in groupby(known, key=lambda node: node is not None):
        nodes = [node for node in run if node is not None]
        if whole and len(nodes) > 1:
            yield nodes


def _kind_and_geometry(item: Any) -> tuple[str, bytes | None]:
    if item.is_node():
        return "point", _point(item)
    if item.is_way():
        return "line", _line(item)
    # A relation that makes an area comes again as that area.
    return "area", None if item.is_relation() else _area(item)


def _unreadable(path: Path, error: RuntimeError) -> ExtractError:
    return ExtractError(
        f"cannot read {path} ({str(error).rstrip('.')}): is it a complete .osm.pbf extract?"
    )


def header_box(path: Path) -> Box | None:
    """Return the box that the file declares; raises osmium's `RuntimeError` for no OSM file."""
    reader = osmium.io.Reader(str(path))
    box = reader.header().box()
    reader.close()
    if not box.valid():
        return None
    return Box(box.bottom_left.lon, box.bottom_left.lat, box.top_right.lon, box.top_right.lat)


def _objects(path: Path, catalogue: Catalogue) -> Iterator[Any]:
    # "natural" is for the coastline.
    wanted = osmium.filter.KeyFilter(*catalogue.keys, "natural", NAME)
    processor = osmium.FileProcessor(str(path)).with_areas(wanted).with_filter(wanted)
    yield from processor


_GEOMETRY = osmium.geom.WKBFactory()
Geometry = Callable[[Any], bytes | None]


def _take(item: Any, catalogue: Catalogue, extract: Extract) -> None:
    if item.is_relation():
        return
    tags = dict(item.tags)
    if item.is_node():
        _add(extract, "n", item.id, item, catalogue.match("point", tags), _point)
        _name(extract, "N", item.id, item, tags, _point)
    elif item.is_way():
        if tags.get("natural") == "coastline" and (line := _line(item)):
            extract.coastline[item.id] = line
        if not (tags.get("area") == "yes" and item.is_closed()):
            _add(extract, "w", item.id, item, catalogue.match("line", tags), _line)
        if not is_area(tags, item.is_closed()):
            _name(extract, "W", item.id, item, tags, _line)
    else:
        kind = "aw" if item.from_way() else "ar"
        if kind == "ar":  # osmium takes the tag of the relation away
            tags["type"] = "boundary" if "boundary" in tags else "multipolygon"
        _add(extract, kind, item.orig_id(), item, catalogue.match("area", tags), _area)
        if kind == "ar" or is_area(tags, closed=True):
            _name(extract, kind[1].upper(), item.orig_id(), item, tags, _area)


def _name(
    extract: Extract,
    osm_type: str,
    osm_id: int,
    item: Any,
    tags: Mapping[str, str],
    geometry: Geometry,
) -> None:
    if NAME in tags and (wkb := geometry(item)) is not None:
        kept = {key: tags[key] for key in KEYS if key in tags}
        extract.named.append(NamedObject(osm_type, osm_id, item.version, kept, wkb))


def _add(
    extract: Extract,
    kind: str,
    osm_id: int,
    item: Any,
    drawn: list[tuple[int, float]],
    geometry: Geometry,
) -> None:
    if not drawn:
        return
    wkb = geometry(item)
    if wkb is None:
        extract.skipped += 1
        return
    for channel, width in drawn:
        extract.keys.append((kind, osm_id, channel))
        extract.versions.append(item.version)
        extract.widths.append(width)
        extract.wkb.append(wkb)


def _point(node: osmium.osm.Node) -> bytes:
    return bytes.fromhex(_GEOMETRY.create_point(node))


def _area(area: osmium.osm.Area) -> bytes | None:
    try:
        return bytes.fromhex(_GEOMETRY.create_multipolygon(area))
    except RuntimeError:  # a ring could not be closed
        return None


def _line(way: osmium.osm.Way) -> bytes | None:
    """Return the way as a line, or as runs between the gaps where the extract lacks nodes."""
    try:
        return bytes.fromhex(_GEOMETRY.create_linestring(way))
    except (osmium.InvalidLocationError, RuntimeError):
        runs = _runs(way)
        wkb: bytes | None = shapely.MultiLineString(runs).wkb if runs else None
        return wkb


def _runs(way: osmium.osm.Way) -> list[list[tuple[float, float]]]:
    runs: list[list[tuple[float, float]]] = [[]]
    for node in way.nodes:
        if not node.location.valid():
            runs.append([])
        elif not runs[-1] or runs[-1][-1] != (node.lon, node.lat):
            runs[-1].append((node.lon, node.lat))
    return [run for run in runs if len(run) > 1]
