"""From OSM extracts to a GeoPackage store.

The extracts are read, the newest version of each object is kept, and the sea is added. Then large
polygons are cut, and all is sorted and written.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from tiling.catalogue import Catalogue
from tiling.files.atomic import replacing, sha256_of, sweep
from tiling.osm.coast import sea_polygons
from tiling.osm.coverage import coverage
from tiling.osm.extract import Extract, read_extract
from tiling.osm.names import names_of, newest_names
from tiling.store.geopackage.write import ExtractRecord, write_geopackage
from tiling.store.pieces import MAX_VERTICES, cut
from tiling.store.store import ImportSummary
from tiling.values import Box, Features

# For each kind: the type of the OSM object (node, way, relation), and 1 for an area.
KINDS = {"n": (0, 0), "w": (1, 0), "aw": (1, 1), "ar": (2, 1)}


def import_extracts(
    paths: Sequence[Path],
    store: Path,
    catalogue: Catalogue,
    progress: Callable[[int], object] = lambda n: None,
) -> ImportSummary:
    """Write the extracts to a GeoPackage, as `tiling.store.store.Store.import_extracts` has it.

    Of an object in several extracts the newest version counts.
    """
    sweep(store)
    with replacing(store) as temporary:
        extracts = [read_extract(path, catalogue, progress) for path in paths]
        records = [_record(extract) for extract in extracts]
        features = _clustered(_with_sea(_newest(extracts), extracts, records, catalogue))
        named = [
            names_of(e.named, record.coverage) for e, record in zip(extracts, records, strict=True)
        ]
        names = newest_names([name for part in named for name in part])
        write_geopackage(temporary, features, names, records, catalogue)
    count = np.bincount(features.channel, minlength=len(catalogue.channels))
    return ImportSummary(
        len(features),
        dict(zip(catalogue.channels, count.tolist(), strict=True)),
        sum(extract.skipped for extract in extracts),
        Box(*(float(v) for v in shapely.union_all([record.coverage for record in records]).bounds)),
    )


def _record(extract: Extract) -> ExtractRecord:
    area = coverage(extract.vertices(), extract.header_box)
    return ExtractRecord(extract.path.name.split(".")[0], sha256_of(extract.path), area)


@dataclass(frozen=True, slots=True, eq=False)
class _Gathered:
    """Features before they are cut and sorted: parallel arrays; shapely objects as geometries."""

    channel: NDArray[np.int8]
    width_m: NDArray[np.float32]
    geometry: NDArray[np.object_]


def _newest(extracts: Sequence[Extract]) -> _Gathered:
    """Return each object once, in the order of their ids.

    The newest version counts, of equal versions the first that was read.
    """
    newest: dict[tuple[str, int, int], tuple[int, Extract, int]] = {}
    for extract in extracts:
        for row, (key, version) in enumerate(zip(extract.keys, extract.versions, strict=True)):
            held = newest.get(key)
            if held is None or version > held[0]:
                newest[key] = (version, extract, row)
    ordered = sorted(
        newest, key=lambda key: (*KINDS[key[0]][:1], key[1], *KINDS[key[0]][1:], key[2])
    )
    kept = ((key[2], *newest[key][1:]) for key in ordered)
    rows = [(channel, extract.widths[row], extract.wkb[row]) for channel, extract, row in kept]
    channel, width, wkb = zip(*rows, strict=True)
    return _Gathered(
        np.array(channel, np.int8), np.array(width, np.float32), shapely.from_wkb(list(wkb))
    )


def _with_sea(
    gathered: _Gathered,
    extracts: Sequence[Extract],
    records: Sequence[ExtractRecord],
    catalogue: Catalogue,
) -> _Gathered:
    sea: list[BaseGeometry] = []
    for extract, record in zip(extracts, records, strict=True):
        box = extract.header_box or Box(*record.coverage.bounds)
        sea += sea_polygons(list(extract.coastline.values()), box)
    return _Gathered(
        np.append(gathered.channel, np.full(len(sea), catalogue.sea_channel, np.int8)),
        np.append(gathered.width_m, np.zeros(len(sea), np.float32)),
        np.append(gathered.geometry, np.array(sea, object)),
    )


def _clustered(gathered: _Gathered) -> Features:
    """Cut large polygons, and sort all features along a space-filling curve.

    Rows that follow one another then lie near one another, so a query reads few pages.
    """
    large = (shapely.get_dimensions(gathered.geometry) == 2) & (
        shapely.get_num_coordinates(gathered.geometry) > MAX_VERTICES
    )
    pieces = [cut(polygon) for polygon in shapely.make_valid(gathered.geometry[large])]
    repeat = [len(parts) for parts in pieces]
    channel = np.append(gathered.channel[~large], np.repeat(gathered.channel[large], repeat))
    width = np.append(gathered.width_m[~large], np.repeat(gathered.width_m[large], repeat))
    flat = np.array([part for parts in pieces for part in parts], object)
    geometry = np.append(gathered.geometry[~large], flat)
    order = np.argsort(_morton(geometry), kind="stable")
    return Features(channel[order], width[order], shapely.to_wkb(geometry[order]))


def _morton(geometry: NDArray[np.object_]) -> NDArray[np.uint64]:
    """Return the Morton code (Z-order, Morton 1966) of the middle of each bounding box."""
    bounds = shapely.bounds(geometry)
    middle = np.stack([bounds[:, 0] + bounds[:, 2] + 360, bounds[:, 1] + bounds[:, 3] + 180]) / 720
    x, y = (np.clip(middle, 0, 1) * (2**31 - 1)).astype(np.uint64)
    return _spread(x) | (_spread(y) << np.uint64(1))


def _spread(value: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Put a zero bit between the bits of 32-bit values."""
    for shift, mask in (
        (16, 0x0000FFFF0000FFFF), (8, 0x00FF00FF00FF00FF), (4, 0x0F0F0F0F0F0F0F0F),
        (2, 0x3333333333333333), (1, 0x5555555555555555),
    ):  # fmt: skip
        value = (value | (value << np.uint64(shift))) & np.uint64(mask)
    return value
