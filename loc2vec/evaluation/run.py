"""The evaluation put together: labels from extracts, tiles from a store, vectors of models and baselines."""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from loc2vec.embed.files import read_foreign
from loc2vec.encoder import LocationEncoder
from loc2vec.errors import LabelsError
from loc2vec.evaluation.baselines import (
    histogram,
    pixel_components,
    position,
    tag_counts,
    untrained,
)
from loc2vec.evaluation.intrinsic import Scores, measure_alike
from loc2vec.evaluation.tasks.labels import read_labels, task_of
from loc2vec.evaluation.tasks.osm import KEYS, Town
from loc2vec.evaluation.tasks.task import Task
from loc2vec.model.compute import Encode
from loc2vec.model.dataset import Pixels
from tiling.catalogue import Catalogue
from tiling.dataset.dataset import TileDataset
from tiling.geo.geodesy import MetresPerDegree
from tiling.geo.globe import on_the_globe
from tiling.osm.extract import read_objects
from tiling.render.batch import render_all
from tiling.store.store import Store
from tiling.values import N_CHANNELS, TILE_RADIUS_M, LonLat, TileGeometry, check_fingerprint

Floats = NDArray[np.float32]
NEAREST_M = 250.0  # as far as a vector may lie from the place it stands for
# whose tiles the principal components and the untrained networks' statistics are taken of
FIT_PLACES = 512
SEARCHED = 1000  # places of a tile dataset that are asked for


def read_towns(extracts: Sequence[Path], catalogue: Catalogue) -> list[Town]:
    """Read what tasks are made of; one extract is one town, called as its file."""
    keys = sorted({*KEYS, *catalogue.keys})
    return [
        Town(path.name.split(".")[0], list(read_objects(path, catalogue, keys)), catalogue)
        for path in extracts
    ]


@contextmanager
def store_of(
    extracts: Sequence[Path], store: Store | None, catalogue: Catalogue
) -> Iterator[Store]:
    """Give the store that was named, or else one made of the extracts, by a model's catalogue."""
    if store is not None:
        yield store
        return
    with tempfile.TemporaryDirectory() as folder:
        made = Store.at(Path(folder) / "store.gpkg")
        made.import_extracts(extracts, catalogue)
        yield made


def covered_by(
    store: Store, lookups: Sequence["Lookup"] = (), radius_m: float = TILE_RADIUS_M
) -> Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.bool_]]:
    """Return a function of (lon, lat) that tells where a tile lies in the store as a whole, with all vectors near."""
    with store.open() as source:
        area = source.coverage
    shapely.prepare(area)

    def covered(lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.bool_]:
        scale = np.array([MetresPerDegree.at(value) for value in lat.tolist()]).reshape(-1, 2)
        dx, dy = (radius_m / scale).T
        corners = [
            shapely.intersects_xy(area, lon + i * dx, lat + j * dy)
            for i in (-1, 1)
            for j in (-1, 1)
        ]
        near = [lookup.nearest(lat, lon) >= 0 for lookup in lookups]
        inside: NDArray[np.bool_] = np.logical_and.reduce([*corners, *near])
        return inside

    return covered


@dataclass(frozen=True, eq=False)
class Lookup:
    """Vectors of somebody else, found by the place that is nearest, at most `NEAREST_M` away."""

    name: str
    embedding: Floats  # [n, D]
    tree: cKDTree  # of positions on the globe, metres

    @classmethod
    def read(cls, path: Path) -> "Lookup":
        """Read a file of vectors; `VectorsError` names the row or column at fault."""
        vectors = read_foreign(path)
        return cls(path.name, vectors.embedding, cKDTree(on_the_globe(vectors.lat, vectors.lon)))

    def nearest(self, lat: NDArray[np.float64], lon: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the row of each place's vector, int64 [n], -1 where none is near enough."""
        distance, row = self.tree.query(on_the_globe(lat, lon), distance_upper_bound=NEAREST_M)
        return np.where(np.isinf(distance), -1, row)


def labels_task(path: Path, target: str, store: Store, warn: Callable[[str], object]) -> Task:
    """Make a task of a user's labels.

    Those that the store does not cover are left out, and told to `warn`.

    Each connected part of what the store covers is a town.
    """
    labels = read_labels(path, target)
    with store.open() as source:
        parts = shapely.get_parts(source.coverage)
    place = np.full(len(labels.lat), -1)
    row, part = shapely.STRtree(parts).query(
        shapely.points(labels.lon, labels.lat), predicate="intersects"
    )
    place[row] = part
    outside = np.flatnonzero(place < 0)
    if len(outside):
        first = f"{labels.where[outside[0]]} (lat {labels.lat[outside[0]]}, lon {labels.lon[outside[0]]})"
        if len(outside) == len(place):
            raise LabelsError(
                f"{path}: no place lies in the store {store}, the first is {first}: give the store of that area"
            )
        warn(
            f"{path}: {len(outside)} of {len(place)} places lie outside the store, left out; the first is {first}"
        )
    names = tuple(f"part {number}" for number in range(1, len(parts) + 1))
    return task_of(labels, target, place, names).at(np.flatnonzero(place >= 0))


def where_vectors_are(task: Task, lookups: Sequence[Lookup], warn: Callable[[str], object]) -> Task:
    """Return the task at the places that have a vector in every file, so that all methods have the same ones."""
    kept = np.ones(len(task), bool)
    for lookup in lookups:
        found = lookup.nearest(task.lat, task.lon) >= 0
        if not found.any():
            raise LabelsError(
                f"task {task.name}: none of its places has a vector of {lookup.name} within {NEAREST_M:.0f} m"
            )
        kept &= found
    if not kept.all():
        warn(
            f"task {task.name}: {(~kept).sum()} of {len(task)} places have no vector and are left out, for every method"
        )
    return task.at(np.flatnonzero(kept))


def encode_tasks(
    store: Store,
    tasks: Sequence[Task],
    encoders: Mapping[str, LocationEncoder],
    lookups: Sequence[Lookup] = (),
    towns: Sequence[Town] = (),
    workers: int = 1,
    progress: Callable[[int], object] = lambda n: None,
) -> list[dict[str, Floats]]:
    """Return the vectors of each task's places, float32 [n, D] by method: models, files of vectors, baselines.

    Each tile is drawn once a geometry, has the channels of its task blanked, and goes through every
    method; the baselines read the tiles of the first model. `progress` is told how many tiles are
    done since it was told last.
    """
    lon_lat = np.concatenate([np.stack([task.lon, task.lat], axis=1) for task in tasks])
    methods = by_geometry(encoders, store.catalogue)
    first = next(iter(methods), TileGeometry())
    chosen = np.sort(np.random.default_rng(0).permutation(len(lon_lat))[:FIT_PLACES])
    sample = np.concatenate(list(render_all(store, lon_lat[chosen], workers, first)))
    families = [encoder.family for encoder in encoders.values() if encoder.geometry == first]
    methods.setdefault(first, {}).update(_of_tiles(families, sample))
    owner = np.repeat(np.arange(len(tasks)), [len(task) for task in tasks])
    order = np.lexsort((lon_lat[:, 1], lon_lat[:, 0]))  # near places one after another
    parts: dict[str, list[Floats]] = {name: [] for each in methods.values() for name in each}
    for geometry, of_geometry in methods.items():
        done = 0
        for tiles in render_all(store, lon_lat[order], workers, geometry):
            for tile, task in zip(tiles, owner[order[done : done + len(tiles)]], strict=True):
                empty_channels(tile, tasks[task].blank)
            for name, encode in of_geometry.items():
                parts[name].append(encode(tiles))
            done += len(tiles)
            progress(len(tiles))
    back = np.argsort(order)
    every = {name: np.concatenate(values)[back] for name, values in parts.items()}
    objects = [item for town in towns for item in town.objects]
    return [
        {name: values[owner == number] for name, values in every.items()}
        | {lookup.name: lookup.embedding[lookup.nearest(task.lat, task.lon)] for lookup in lookups}
        | {"position": position(task.lat, task.lon)}
        | ({"tag counts": tag_counts(objects, _places(task), task.blank)} if objects else {})
        for number, task in enumerate(tasks)
    ]


def by_geometry(
    encoders: Mapping[str, LocationEncoder], catalogue: Catalogue
) -> dict[TileGeometry, dict[str, Encode]]:
    """Group models by the tiles that they read; `FingerprintError` for one of another catalogue."""
    methods: dict[TileGeometry, dict[str, Encode]] = {}
    for name, encoder in encoders.items():
        catalogue.check(f"model {encoder.model_id}", encoder.fingerprint, encoder.geometry)
        methods.setdefault(encoder.geometry, {})[name] = encoder.encode
    return methods


def empty_channels(tiles: Pixels, channels: Sequence[int]) -> None:
    """Empty channels of tiles, uint8 [..., C, H, W], in every scale: answers could be read from them."""
    tiles.reshape(*tiles.shape[:-3], -1, N_CHANNELS, *tiles.shape[-2:])[
        ..., list(channels), :, :
    ] = 0


def measure_views(
    dataset: TileDataset,
    encoders: Mapping[str, LocationEncoder],
    progress: Callable[[Iterable[str]], Iterable[str]] = lambda each: each,
) -> Scores:
    """Measure models and the baselines that read tiles by what needs no label: retrieval, triplets, rank.

    `progress` is given the names of the methods to go through. Raises `FingerprintError` for a
    model that reads other tiles than these.
    """
    for encoder in encoders.values():
        check_fingerprint(f"model {encoder.model_id}", encoder.fingerprint, dataset.fingerprint)
    chosen = np.sort(np.random.default_rng(1).permutation(dataset.n_places)[:FIT_PLACES])
    methods: dict[str, Encode] = {name: encoder.encode for name, encoder in encoders.items()}
    families = [encoder.family for encoder in encoders.values()]
    methods |= _of_tiles(families, dataset.tiles(chosen, np.zeros_like(chosen)))
    return measure_alike(methods, dataset, SEARCHED, progress)


def _of_tiles(families: Iterable[str], sample: Pixels) -> dict[str, Encode]:
    """Return the baselines that read tiles, the models' families without training among them.

    Those that need a sample take this one.
    """
    return {
        "channel means": histogram(1),
        "means in 2x2 squares": histogram(2),
        "means in 4x4 squares": histogram(4),
        "pixel components": pixel_components(sample),
        **untrained(families, sample[:: max(len(sample) // 128, 1)]),
    }


def _places(task: Task) -> list[LonLat]:
    return [LonLat(*row) for row in zip(task.lon.tolist(), task.lat.tolist(), strict=True)]
