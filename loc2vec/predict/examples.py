"""Labelled places with their vectors, and with what the vectors have to beat."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from loc2vec.encoder import LocationEncoder
from loc2vec.errors import LabelsError
from loc2vec.evaluation.baselines import channel_means, position
from loc2vec.evaluation.splits import blocks
from loc2vec.evaluation.tasks.labels import Labels, read_labels, values_of
from loc2vec.model.arrays import Floats, Pixels, Places
from loc2vec.predict.columns import Column, Wanted
from loc2vec.predict.target import Target
from tiling.files.points import read_points
from tiling.geo.grid import grid
from tiling.render.batch import render_all
from tiling.store.source import FeatureSource
from tiling.words import counted

FEWEST = 10  # labelled places, or of a class
FEWEST_BLOCKS = 3
LOOKED_AT = 48  # tiles that are kept to see what a predictor looks at
SPACING_M = 100.0  # of the places that stand for the region where examples have no value
MOST_OTHERS = 3000

Say = Callable[[str], object]


@dataclass(frozen=True, eq=False)
class Region:
    """Where places are rendered from, what encodes them, and how many processes render."""

    source: FeatureSource
    encoder: LocationEncoder
    workers: int


@dataclass(frozen=True, eq=False)
class Labelled:
    """Labelled places [n] in the store, before their tiles are rendered.

    `known`: what a model learns. `group` int64 [n]: towns where the store holds several, else
    blocks of 1 km (`split` says which). `columns`: of the user's, as `further` features [n, F].
    """

    target: Target
    lat: Floats
    lon: Floats
    known: NDArray[Any]
    group: Places
    split: str
    columns: tuple[Column, ...]
    further: Floats


@dataclass(frozen=True, eq=False)
class Examples(Labelled):
    """Labelled places with what a model may learn from.

    `features`: by name, float [n, D]: those of the map, and behind them the further ones; `tiles`:
    those of the rows `kept`.
    """

    features: dict[str, Floats]
    tiles: Pixels
    kept: Places

    def __len__(self) -> int:
        return len(self.lat)


def read_labelled(
    path: Path,
    column: str | None,
    source: FeatureSource,
    wanted: Sequence[Wanted],
    say: Say,
) -> Labelled:
    """Read labelled places; `say` hears what is left out, `wanted` columns are further features.

    Raises `LabelsError` where they are too few to learn from.
    """
    labels = _inside(path, _read(path, column), source, say)
    labels = _once(labels, say)
    if column is None:
        target, labels, known = _with_others(path, labels, source)
    else:
        target, known = Target.of(column, labels.values)
        labels, known, target = _frequent(path, labels, known, target, say)
    columns, further = _further(path, labels, wanted)
    group, split = _groups(labels, source)
    _require(path, target, known, group)
    return Labelled(target, labels.lat, labels.lon, known, group, split, columns, further)


def examples_of(
    labelled: Labelled, region: Region, tell: Callable[[int], object] = lambda n: None
) -> Examples:
    """Render and encode the tiles of labelled places; `tell` hears how many are done."""
    vectors, means, kept, tiles = _encode(labelled, region, tell)
    of_map = {
        "vectors": vectors,
        "channel means": means,
        "position": position(labelled.lat, labelled.lon).astype(np.float64),
    }
    features = {name: np.hstack([each, labelled.further]) for name, each in of_map.items()}
    if labelled.columns:
        features["columns alone"] = labelled.further
    return Examples(**vars(labelled), features=features, tiles=tiles, kept=kept)


def _further(
    path: Path, labels: Labels, wanted: Sequence[Wanted]
) -> tuple[tuple[Column, ...], Floats]:
    """Return the columns that are further features, and the features of each place: [n, F]."""
    columns, parts = [], [np.empty((len(labels.lat), 0))]
    for one in wanted:
        assert labels.table is not None  # noqa: S101 - a target has a table
        values = values_of(path, labels.table, one.name, labels.where, "--with")
        columns.append(Column.of(one.name, values))
        parts.append(columns[-1].features(values))
    return tuple(columns), np.hstack(parts)


def _read(path: Path, column: str | None) -> Labels:
    if column is not None:
        return read_labels(path, column)
    points = read_points(path)
    where = [f"row {row}" for row in range(1, len(points) + 1)]
    return Labels(points.lat, points.lon, [True] * len(points), where)


def _at(labels: Labels, rows: Places) -> Labels:
    return Labels(
        labels.lat[rows],
        labels.lon[rows],
        [labels.values[row] for row in rows.tolist()],
        [labels.where[row] for row in rows.tolist()],
        None if labels.table is None else labels.table.take(rows),
    )


def _inside(path: Path, labels: Labels, source: FeatureSource, say: Say) -> Labels:
    inside = shapely.intersects_xy(source.coverage, labels.lon, labels.lat)
    if not inside.any():
        lat, lon = labels.lat[0], labels.lon[0]
        raise LabelsError(
            f"{path}: no place lies in the store, the first is lat {lat}, lon {lon}: "
            "give the store of that area"
        )
    if not inside.all():
        say(f"{(~inside).sum():,} of {len(inside):,} places lie outside the store and are left out")
    return _at(labels, np.flatnonzero(inside))


def _once(labels: Labels, say: Say) -> Labels:
    """Leave out rows that repeat a place and its value: they would be counted as known twice."""
    rows = list(zip(labels.lat.tolist(), labels.lon.tolist(), map(str, labels.values), strict=True))
    first = {row: number for number, row in reversed(list(enumerate(rows)))}
    if len(first) < len(rows):
        say(f"{len(rows) - len(first):,} rows repeat a place and its value: each counts once")
    return _at(labels, np.array(sorted(first.values())))


def _frequent(
    path: Path, labels: Labels, known: NDArray[Any], target: Target, say: Say
) -> tuple[Labels, NDArray[Any], Target]:
    """Leave out classes with fewer than `FEWEST` places."""
    if target.kind != "classes":
        return labels, known, target
    counts = np.bincount(known)
    rare = [f"{name} ({counts[n]})" for n, name in enumerate(target.classes) if counts[n] < FEWEST]
    if not rare:
        return labels, known, target
    if len(target.classes) - len(rare) < 2:
        raise LabelsError(
            f"{path}: fewer than two classes of {target.name!r} have {FEWEST} places in the "
            f"store: {', '.join(rare)}: give more"
        )
    say(f"classes with fewer than {FEWEST} places are left out: {', '.join(rare)}")
    labels = _at(labels, np.flatnonzero(counts[known] >= FEWEST))
    target, known = Target.of(target.name, [str(value) for value in labels.values])
    return labels, known, target


def _with_others(
    path: Path, labels: Labels, source: FeatureSource
) -> tuple[Target, Labels, NDArray[Any]]:
    """Add places of the region, of which nobody says whether they are like the examples."""
    others = grid(source.coverage, SPACING_M, None)
    some = np.random.default_rng(0).permutation(len(others))[:MOST_OTHERS]
    lon, lat = others[np.sort(some)].T
    known = np.repeat([1, 0], [len(labels.lat), len(lat)])
    both = Labels(
        np.concatenate([labels.lat, lat]),
        np.concatenate([labels.lon, lon]),
        [*labels.values, *[False] * len(lat)],
        [*labels.where, *[""] * len(lat)],
    )
    return Target.alike(path.stem), both, known


def _groups(labels: Labels, source: FeatureSource) -> tuple[Places, str]:
    """Return the town of each place, or with one town its block, and which of both it is."""
    parts = shapely.get_parts(source.coverage)
    town = np.full(len(labels.lat), -1)
    row, part = shapely.STRtree(parts).query(
        shapely.points(labels.lon, labels.lat), predicate="intersects"
    )
    town[row] = part
    if len(np.unique(town)) >= 3:
        return town, "towns"
    return blocks(labels.lat, labels.lon), "blocks of 1 km"


def _require(path: Path, target: Target, known: NDArray[Any], group: Places) -> None:
    count = int((known == 1).sum()) if target.kind == "alike" else len(known)
    if count < FEWEST:
        raise LabelsError(
            f"{path}: {count} labelled places lie in the store, at least {FEWEST} are needed: "
            "give more"
        )
    mine = group[known == 1] if target.kind == "alike" else group
    if len(np.unique(mine)) < FEWEST_BLOCKS:
        raise LabelsError(
            f"{path}: all places lie in {counted(len(np.unique(mine)), 'block')} of 1 km, at least "
            f"{FEWEST_BLOCKS} are needed to score places that were not seen: give a wider area"
        )


def _encode(
    labels: Labelled, region: Region, tell: Callable[[int], object]
) -> tuple[Floats, Floats, Places, Pixels]:
    """Return vectors and channel means float64 [n, D], and some rows with their tiles."""
    source, encoder = region.source, region.encoder
    source.catalogue.check(f"model {encoder.model_id}", encoder.fingerprint, encoder.geometry)
    count = len(labels.lat)
    kept = np.sort(np.random.default_rng(0).permutation(count)[:LOOKED_AT])
    vectors, means, some, done = [], [], [], 0
    lon_lat = np.stack([labels.lon, labels.lat], axis=1)
    for tiles in render_all(source, lon_lat, region.workers, encoder.geometry):
        vectors.append(encoder.encode(tiles))
        means.append(channel_means(tiles))
        some.append(tiles[kept[(kept >= done) & (kept < done + len(tiles))] - done])
        done += len(tiles)
        tell(len(tiles))
    return (
        np.concatenate(vectors).astype(np.float64),
        np.concatenate(means).astype(np.float64),
        kept,
        np.concatenate(some),
    )
