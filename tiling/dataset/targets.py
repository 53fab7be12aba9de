"""Targets of training: counts of OSM tags around the places of a dataset, most of them undrawn.

`targets.toml` says what is counted. The file `targets.parquet` of a dataset has a row for each
place. Its metadata name the extracts and the definition that it was made from.
"""

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from importlib import resources
from multiprocessing import active_children
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from tiling.catalogue.catalogue import Catalogue, carried_catalogue
from tiling.dataset.dataset import MANIFEST, PLACES, TARGETS, decode_table, unfinished
from tiling.errors import DatasetError
from tiling.files.atomic import parse_json, sha256_of
from tiling.files.folders import open_folder
from tiling.files.geoparquet import parquet_bytes
from tiling.geo.globe import on_the_globe
from tiling.osm.bounded.read import Board, read_bounded
from tiling.osm.extract import objects
from tiling.values import ATTRIBUTION

DEFINITION = "targets.toml"
RADII_M = (100.0, 250.0)
FEWEST = 2  # numbers that a mean is taken of


class Tagged(NamedTuple):
    """Objects that are counted: where they are, float64 [n] degrees each, and their numbers."""

    lat: list[float]
    lon: list[float]
    number: list[float]


@dataclass(frozen=True)
class Count:
    """What is counted: objects with one of the tags, within each of some radii in metres."""

    name: str
    tags: Mapping[str, frozenset[str] | None]  # key -> values, None = any
    radii_m: tuple[float, ...]

    def matches(self, tags: Mapping[str, str]) -> bool:
        """Tell whether an object has one of the tags."""
        return any(
            key in tags and (values is None or tags[key] in values)
            for key, values in self.tags.items()
        )


@dataclass(frozen=True)
class Mean:
    """A mean of numbers: the logarithm of a key's value, from 1 to `most`, within a radius."""

    name: str
    key: str
    radius_m: float
    most: float

    def number(self, tags: Mapping[str, str]) -> float | None:
        """Return the number of an object, if it has one in range."""
        try:
            number = float(tags[self.key])
        except (KeyError, ValueError):
            return None
        return float(np.log(number)) if 1 <= number <= self.most else None


@dataclass(frozen=True)
class Definition:
    """All that is counted around a place."""

    counts: tuple[Count, ...]
    means: tuple[Mean, ...]
    sha256: str

    @classmethod
    def shipped(cls) -> "Definition":
        """Read the definition in the package."""
        text = (resources.files("tiling.dataset") / DEFINITION).read_text()
        values = tomllib.loads(text)
        counts = tuple(
            Count(each["name"], _values(each["tags"]), tuple(each.get("radii_m", RADII_M)))
            for each in values["count"]
        )
        means = tuple(Mean(**each) for each in values["mean"])
        return cls(counts, means, sha256(text.encode()).hexdigest())

    @property
    def keys(self) -> list[str]:
        """Return the keys of the tags that matter."""
        return sorted(
            {key for count in self.counts for key in count.tags} | {mean.key for mean in self.means}
        )


def _values(tags: Mapping[str, str]) -> dict[str, frozenset[str] | None]:
    return {
        key: None if values == "*" else frozenset(values.split()) for key, values in tags.items()
    }


def make_targets(
    extracts: Sequence[Path],
    catalogue: Catalogue,
    at: NDArray[np.float64],
    definition: Definition,
    workers: int = 0,
) -> pa.Table:
    """Return the targets of places `at` latitudes and longitudes [2, n], in their order.

    Columns are float32. A count has log(1 + count) for each radius, called "NAME within 100 m". A
    mean is NaN where fewer than two numbers are near. Several `workers` read an extract each.
    Raises `ExtractError` as reading does.
    """
    found = _found(extracts, catalogue, definition, workers)
    places = cKDTree(on_the_globe(*at))
    columns: dict[str, NDArray[np.float32]] = {}
    for count in definition.counts:
        near = found[count.name]
        for radius_m in count.radii_m:
            counted = _counts(places, near, radius_m)
            columns[f"{count.name} within {radius_m:g} m"] = np.log1p(counted).astype(np.float32)
    for mean in definition.means:
        columns[mean.name] = _mean(places, found[mean.name], mean.radius_m)
    about = {
        "definition": definition.sha256,
        "extracts": ", ".join(f"{path.name} {sha256_of(path)}" for path in extracts),
        "attribution": ATTRIBUTION,
    }
    return pa.table(columns).replace_schema_metadata(about)


def add_targets(location: str | Path, extracts: Sequence[Path], workers: int = 0) -> int:
    """Write the targets of a complete dataset beside its tiles; return how many there are.

    Raises `DatasetError` for an incomplete dataset, `ExtractError` as reading does.
    """
    folder = open_folder(location)
    sizes = folder.sizes()
    if MANIFEST not in sizes:
        raise DatasetError(unfinished(folder, sizes))
    manifest = parse_json(folder.read(MANIFEST), f"{location}/{MANIFEST}")
    catalogue = carried_catalogue(manifest.get("catalogue"), str(location))
    places = decode_table(folder.read(PLACES), f"{location}/{PLACES}")
    at = np.array([places["lat"], places["lon"]])
    table = make_targets(extracts, catalogue, at, Definition.shipped(), workers)
    folder.put(TARGETS, parquet_bytes(table))
    return len(table.column_names)


def _found(
    extracts: Sequence[Path], catalogue: Catalogue, definition: Definition, workers: int
) -> dict[str, Tagged]:
    """Return the objects of each count and mean, by its name."""
    found = _nothing(definition)
    with ThreadPoolExecutor(max(workers, 1)) as readers:  # each waits for a process that reads
        try:
            for part in readers.map(partial(_read, catalogue, definition), extracts):
                for name, tagged in part.items():
                    for column, more in zip(found[name], tagged, strict=True):
                        column.extend(more)
        except BaseException:
            readers.shutdown(wait=False, cancel_futures=True)
            for child in active_children():
                child.kill()
            raise
    return found


def _read(catalogue: Catalogue, definition: Definition, path: Path) -> dict[str, Tagged]:
    """Return what is counted of one extract, which is read in a bounded process."""
    return read_bounded(path, partial(_tagged, path, catalogue, definition))


def _tagged(
    path: Path, catalogue: Catalogue, definition: Definition, board: Board
) -> dict[str, Tagged]:
    found = _nothing(definition)
    for item in objects(path, catalogue, definition.keys, board):
        hits: list[tuple[str, float]] = [
            (count.name, 0.0) for count in definition.counts if count.matches(item.tags)
        ]
        hits += [
            (mean.name, number)
            for mean in definition.means
            if (number := mean.number(item.tags)) is not None
        ]
        if hits:
            _add(found, hits, item.wkb)
    return found


def _nothing(definition: Definition) -> dict[str, Tagged]:
    names = [count.name for count in definition.counts] + [mean.name for mean in definition.means]
    return {name: Tagged([], [], []) for name in names}


def _add(found: Mapping[str, Tagged], hits: Iterable[tuple[str, float]], wkb: bytes) -> None:
    shape = shapely.from_wkb(wkb)
    if shapely.is_closed(shape):
        return  # a closed way comes as an area, too
    middle: Any = shapely.centroid(shape)
    for name, number in hits:
        near = found[name]
        near.lat.append(middle.y)
        near.lon.append(middle.x)
        near.number.append(number)


def _counts(places: cKDTree, near: Tagged, radius_m: float) -> NDArray[np.int64]:
    """Return how many objects lie within the radius of each place: [n]."""
    if not near.lat:
        return np.zeros(places.n, np.int64)
    counts: NDArray[np.int64] = _tree(near).query_ball_point(
        places.data, radius_m, return_length=True
    )
    return counts


def _mean(places: cKDTree, near: Tagged, radius_m: float) -> NDArray[np.float32]:
    """Return the mean number within the radius of each place: [n], NaN where there are too few."""
    means = np.full(places.n, np.nan, np.float32)
    if near.lat:
        number = np.array(near.number)
        for place, rows in enumerate(_tree(near).query_ball_point(places.data, radius_m)):
            if len(rows) >= FEWEST:
                means[place] = number[rows].mean()
    return means


def _tree(near: Tagged) -> cKDTree:
    return cKDTree(on_the_globe(np.array(near.lat), np.array(near.lon)))
