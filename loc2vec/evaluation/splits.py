"""Which places train a probe and which test it.

towns   train on some towns, test on others
blocks  train on some blocks of 1 km, test on others
random  places mixed: neighbours stand on both sides and flatter every method; a diagnostic only

In towns and blocks, training places are left out whose tiles may share ground with a test tile.
"""

from collections.abc import Iterator
from typing import Literal

import numpy as np
from scipy.spatial import cKDTree
from sklearn.model_selection import GroupKFold

from loc2vec.errors import LabelsError
from loc2vec.evaluation.tasks.task import Rows, Task
from loc2vec.model.arrays import Flags, Floats
from tiling.geo.geodesy import MetresPerDegree
from tiling.geo.globe import on_the_globe

Split = Literal["towns", "blocks", "random"]

FOLDS = 5
BLOCK_M = 1000.0
APART_M = 283.0  # the diagonal of a tile: further apart, no two share ground


def splits_of(task: Task) -> tuple[Split, ...]:
    """Return the splits that this task allows: one town cannot be told from itself."""
    several = len(np.unique(task.place)) >= 2 and not task.geolocation
    return ("towns", "blocks", "random") if several else ("blocks", "random")


def groups(task: Task, split: Split) -> Rows:
    """Return the group of each place, int64 [n]: no group is both in training and in test."""
    if split == "towns":
        return task.place
    if split == "blocks":
        return blocks(task.lat, task.lon)
    return np.arange(len(task))


def blocks(lat: Floats, lon: Floats, side_m: float = BLOCK_M) -> Rows:
    """Return the number of the square block that each place lies in, int64 [n]."""
    row = np.floor(lat * MetresPerDegree.at(0).y / side_m)
    middle = (row + 0.5) * side_m / MetresPerDegree.at(0).y
    scale = np.array([MetresPerDegree.at(value).x for value in middle.tolist()])
    number: Rows = np.unique(
        np.stack([row, np.floor(lon * scale / side_m)]), axis=1, return_inverse=True
    )[1]
    return number


def folds(task: Task, split: Split, seed: int) -> Iterator[tuple[Rows, Rows]]:
    """Yield (training, test) rows of each fold; every place is tested once.

    Raises `LabelsError` when all places lie so near each other that none is left to train on.
    """
    group = groups(task, split)
    count = min(FOLDS, len(np.unique(group)))
    if count < 2:
        raise _too_near(task)
    # Not the stratified kind: with few groups it comes to the same folds for every seed.
    for train, test in GroupKFold(count, shuffle=True, random_state=seed).split(
        group, groups=group
    ):
        if split != "random":
            train = train[_apart(task, train, test)]
        if not len(train):
            raise _too_near(task)
        yield train, test


def require_folds(task: Task, seeds: int) -> None:
    """Raise `LabelsError` when the task has too few labels, or folds without a place to train on.

    It takes no time, and what it looks for would end the evaluation after hours of rendering.
    """
    task.require(FOLDS)
    for split in splits_of(task):
        for seed in range(seeds):
            for _ in folds(task, split, seed):
                pass


def _too_near(task: Task) -> LabelsError:
    return LabelsError(
        f"task {task.name}: no place lies {APART_M:.0f} m from the others: give a wider area"
    )


def _apart(task: Task, train: Rows, test: Rows) -> Flags:
    """Tell which training places are further than `APART_M` from every test place."""
    xyz = on_the_globe(task.lat, task.lon)
    distance, _ = cKDTree(xyz[test]).query(xyz[train], distance_upper_bound=APART_M)
    apart: Flags = np.isinf(distance)
    return apart
