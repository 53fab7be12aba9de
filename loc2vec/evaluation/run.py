"""The evaluation put together: labels of extracts, tiles of a store, vectors of all methods."""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import shapely
from scipy.spatial import cKDTree

from loc2vec.embed.foreign import read_foreign
from loc2vec.encoder import LocationEncoder
from loc2vec.errors import LabelsError
from loc2vec.evaluation.baselines import (
    histogram,
    means_of_scales,
    patch_features,
    pixel_components,
    position,
    tag_counts,
    untrained,
)
from loc2vec.evaluation.intrinsic import Scores, measure_alike
from loc2vec.evaluation.scales import of_first_scales
from loc2vec.evaluation.splits import require_folds
from loc2vec.evaluation.tasks.labels import read_labels, task_of
from loc2vec.evaluation.tasks.osm import KEYS, Town
from loc2vec.evaluation.tasks.task import Task
from loc2vec.model.arrays import Flags, Floats, Pixels, Places, Vectors
from loc2vec.model.compute import Encode
from tiling.catalogue.catalogue import Catalogue
from tiling.dataset.dataset import TileDataset
from tiling.geo.geodesy import MetresPerDegree
from tiling.geo.globe import on_the_globe
from tiling.osm.extract import read_objects
from tiling.osm.file import region_names
from tiling.render.batch import render_all
from tiling.store.source import FeatureSource
from tiling.store.store import Store
from tiling.values import N_CHANNELS, TILE_RADIUS_M, LonLat, TileGeometry

NEAREST_M = 250.0  # as far as a vector may lie from the place it stands for
FIT_PLACES = 512  # whose tiles the baselines that need a sample are fitted on
SEARCHED = 1000  # places of a tile dataset that are searched

Covered = Callable[[Floats, Floats], Flags]  # whether places lie in the store, by lon and lat


def read_towns(extracts: Sequence[Path], catalogue: Catalogue) -> list[Town]:
    """Read what tasks are made of; each extract is a town, named after its file."""
    keys = sorted({*KEYS, *catalogue.keys})
    return [
        Town(name, read_objects(path, catalogue, keys), catalogue)
        for name, path in zip(region_names(extracts), extracts, strict=True)
    ]


@contextmanager
def source_of(
    extracts: Sequence[Path], store: Store | None, catalogue: Catalogue
) -> Iterator[FeatureSource]:
    """Open the store to render from: the named one, or a temporary one made by `catalogue`."""
    with ExitStack() as stack:
        if store is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            store = Store.at(folder / "store.gpkg")
            store.import_extracts(extracts, catalogue)
        yield stack.enter_context(store.open())


@dataclass(frozen=True, eq=False)
class Lookup:
    """Foreign vectors, found by the nearest place, at most `NEAREST_M` away."""

    name: str
    embedding: Vectors
    tree: cKDTree  # of positions on the globe, metres

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file of vectors; raises `VectorsError`, which names the row or column at fault."""
        vectors = read_foreign(path)
        return cls(path.name, vectors.embedding, cKDTree(on_the_globe(vectors.lat, vectors.lon)))

    def nearest(self, lat: Floats, lon: Floats) -> Places:
        """Return the row of each place's vector, int64 [n], -1 where none is near enough."""
        distance, row = self.tree.query(on_the_globe(lat, lon), distance_upper_bound=NEAREST_M)
        return np.where(np.isinf(distance), -1, row)


def covered_by(
    source: FeatureSource, lookups: Sequence[Lookup] = (), radius_m: float = TILE_RADIUS_M
) -> Covered:
    """Return a function that tells which places have a whole tile in the store.

    They also have a vector of each lookup near.
    """
    area = source.coverage

    def covered(lon: Floats, lat: Floats) -> Flags:
        scale = np.array([MetresPerDegree.at(value) for value in lat.tolist()]).reshape(-1, 2)
        dx, dy = (radius_m / scale).T
        corners = [
            shapely.intersects_xy(area, lon + i * dx, lat + j * dy)
            for i in (-1, 1)
            for j in (-1, 1)
        ]
        near = [lookup.nearest(lat, lon) >= 0 for lookup in lookups]
        inside: Flags = np.logical_and.reduce([*corners, *near])
        return inside

    return covered


def labels_task(
    path: Path, target: str, source: FeatureSource, warn: Callable[[str], object]
) -> Task:
    """Make a task of a user's labels; each connected part of the store's area is a town.

    Labels outside the store are left out, which `warn` is told. Raises `LabelsError` when all are.
    """
    labels = read_labels(path, target)
    parts = shapely.get_parts(source.coverage)
    place = np.full(len(labels.lat), -1)
    row, part = shapely.STRtree(parts).query(
        shapely.points(labels.lon, labels.lat), predicate="intersects"
    )
    place[row] = part
    outside = np.flatnonzero(place < 0)
    if len(outside):
        row = outside[0]
        first = f"the first is {labels.where[row]} (lat {labels.lat[row]}, lon {labels.lon[row]})"
        if len(outside) == len(place):
            raise LabelsError(
                f"{path}: no place lies in the store {source.location}, {first}: "
                "give the store of that area"
            )
        warn(
            f"{path}: {len(outside)} of {len(place)} places lie outside the store, left out; "
            f"{first}"
        )
    names = tuple(f"part {number}" for number in range(1, len(parts) + 1))
    return task_of(labels, target, place, names).at(np.flatnonzero(place >= 0))


def askable(
    names: Iterable[str],
    make: Callable[[str], Task],
    seeds: int,
    left_out: Callable[[LabelsError], object],
) -> list[Task]:
    """Make the tasks that can be learned in folds; `left_out` is told why another one cannot."""
    tasks = []
    for name in names:
        try:
            task = make(name)
            require_folds(task, seeds)
            tasks.append(task)
        except LabelsError as error:
            left_out(error)
    return tasks


def where_vectors_are(task: Task, lookups: Sequence[Lookup], warn: Callable[[str], object]) -> Task:
    """Return the task at the places that have a vector in every file: the same for all methods."""
    kept = np.ones(len(task), bool)
    for lookup in lookups:
        found = lookup.nearest(task.lat, task.lon) >= 0
        if not found.any():
            raise LabelsError(
                f"task {task.name}: none of its places has a vector of {lookup.name} "
                f"within {NEAREST_M:.0f} m"
            )
        kept &= found
    if not kept.all():
        warn(
            f"task {task.name}: {(~kept).sum()} of {len(task)} places have no vector "
            "and are left out, for every method"
        )
    return task.at(np.flatnonzero(kept))


@dataclass(frozen=True, eq=False)
class Methods:
    """What is measured: models by name, foreign vectors, and baselines.

    `towns`: what the baseline "tag counts" counts; without any it is left out.
    """

    encoders: Mapping[str, LocationEncoder]
    lookups: Sequence[Lookup] = ()
    towns: Sequence[Town] = ()

    @property
    def catalogue(self) -> Catalogue:
        """Return the catalogue that the first model was trained with."""
        return next(iter(self.encoders.values())).catalogue


def encode_tasks(
    source: FeatureSource,
    tasks: Sequence[Task],
    methods: Methods,
    workers: int = 1,
    progress: Callable[[int], object] = lambda n: None,
) -> list[dict[str, Vectors]]:
    """Return the vectors of each task's places by method, float32 [n, D] each.

    A tile is rendered once a geometry, has the channels of its task emptied, and goes through every
    method. `progress` is told how many more tiles are done.
    """
    readers = _readers(source, tasks, methods.encoders, workers)
    every: dict[str, Vectors] = {}
    for geometry, encoders in readers.items():
        parts: dict[str, list[Vectors]] = {name: [] for name in encoders}
        for tiles in rendered(source, tasks, geometry, workers):
            for name, encode in encoders.items():
                parts[name].append(encode(tiles))
            progress(len(tiles))
        back = np.argsort(order_of(tasks))
        every |= {name: np.concatenate(values)[back] for name, values in parts.items()}
    owner = _owner(tasks)
    return [
        {name: values[owner == number] for name, values in every.items()} | _beside(task, methods)
        for number, task in enumerate(tasks)
    ]


def _lon_lat(tasks: Sequence[Task]) -> Floats:
    """Return the places of all tasks, one task after another: [n, 2]."""
    return np.concatenate([np.stack([task.lon, task.lat], axis=1) for task in tasks])


def _owner(tasks: Sequence[Task]) -> Places:
    """Return the number of the task of each place: [n]."""
    return np.repeat(np.arange(len(tasks)), [len(task) for task in tasks])


def order_of(tasks: Sequence[Task]) -> Places:
    """Return the order in which places are rendered: near ones one after another."""
    lon, lat = _lon_lat(tasks).T
    return np.lexsort((lat, lon))


def rendered(
    source: FeatureSource, tasks: Sequence[Task], geometry: TileGeometry, workers: int
) -> Iterator[Pixels]:
    """Yield the tiles of all places in `order_of`, without the channels that their tasks blank."""
    order, owner = order_of(tasks), _owner(tasks)
    done = 0
    for tiles in render_all(source, _lon_lat(tasks)[order], workers, geometry):
        for tile, task in zip(tiles, owner[order[done : done + len(tiles)]], strict=True):
            empty_channels(tile, tasks[task].blank)
        done += len(tiles)
        yield tiles


def _readers(
    source: FeatureSource,
    tasks: Sequence[Task],
    encoders: Mapping[str, LocationEncoder],
    workers: int,
) -> dict[TileGeometry, dict[str, Encode]]:
    """Return the methods that read tiles; the baselines read those of the first model."""
    methods = by_geometry(encoders, source.catalogue)
    near = next((each for each in methods if each.scales == 1), TileGeometry())
    lon_lat = _lon_lat(tasks)
    chosen = np.sort(np.random.default_rng(0).permutation(len(lon_lat))[:FIT_PLACES])
    for geometry in dict.fromkeys([near, *methods]):
        sample = np.concatenate(list(render_all(source, lon_lat[chosen], workers, geometry)))
        families = [each.family for each in encoders.values() if each.geometry == geometry]
        found = methods.setdefault(geometry, {})
        found |= _of_tiles(sample) if geometry == near else {}
        found |= untrained(families, sample[:: max(len(sample) // 128, 1)])
        found |= {"means of scales and middle": means_of_scales} if geometry.scales > 1 else {}
    return methods


def _beside(task: Task, methods: Methods) -> dict[str, Vectors]:
    """Return the vectors of the methods that read no tiles."""
    found = {
        lookup.name: lookup.embedding[lookup.nearest(task.lat, task.lon)]
        for lookup in methods.lookups
    }
    found["position"] = position(task.lat, task.lon)
    objects = [item for town in methods.towns for item in town.objects]
    if objects:
        places = [LonLat(*row) for row in zip(task.lon.tolist(), task.lat.tolist(), strict=True)]
        found["tag counts"] = tag_counts(objects, places, task.blank)
    return found


def by_geometry(
    encoders: Mapping[str, LocationEncoder], catalogue: Catalogue
) -> dict[TileGeometry, dict[str, Encode]]:
    """Group models by the tiles that they read; raises `FingerprintError` for another catalogue."""
    methods: dict[TileGeometry, dict[str, Encode]] = {}
    for name, encoder in encoders.items():
        catalogue.check(f"model {encoder.model_id}", encoder.fingerprint, encoder.geometry)
        methods.setdefault(encoder.geometry, {})[name] = encoder.encode
    return methods


def empty_channels(tiles: Pixels, channels: Sequence[int]) -> None:
    """Empty channels of tiles, uint8 [..., C, H, W], in every scale."""
    tiles.reshape(*tiles.shape[:-3], -1, N_CHANNELS, *tiles.shape[-2:])[
        ..., list(channels), :, :
    ] = 0


def measure_views(
    dataset: TileDataset,
    encoders: Mapping[str, LocationEncoder],
    progress: Callable[[Iterable[str]], Iterable[str]] = lambda each: each,
) -> Scores:
    """Measure all methods that read tiles by retrieval, triplets and rank, without labels.

    `progress` wraps the names of the methods, as tqdm does. Raises `FingerprintError` for a model
    that reads other tiles than these; one of fewer scales reads the first ones.
    """
    methods = {name: of_first_scales(encoder, dataset) for name, encoder in encoders.items()}
    chosen = np.sort(np.random.default_rng(1).permutation(dataset.n_places)[:FIT_PLACES])
    families = [encoder.family for encoder in encoders.values()]
    sample = dataset.tiles(chosen, np.zeros_like(chosen))
    methods |= _of_tiles(sample) | untrained(families, sample[:: max(len(sample) // 128, 1)])
    return measure_alike(methods, dataset, SEARCHED, progress)


def _of_tiles(sample: Pixels) -> dict[str, Encode]:
    """Return the baselines that read tiles of one scale, fitted on a sample."""
    return {
        "channel means": histogram(1),
        "means in 2x2 squares": histogram(2),
        "means in 4x4 squares": histogram(4),
        "pixel components": pixel_components(sample),
        "patch features": patch_features(sample),
    }
