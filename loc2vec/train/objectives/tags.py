"""Counts of OSM tags around a place: what the map around it is used for, mostly not drawn.

A dense layer reads them from the vector; it is thrown away. The loss is the mean square error of
log(1 + count), each divided by its standard deviation: a count then weighs by its ratio.
"""

from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from loc2vec.errors import RunError
from loc2vec.model.arrays import Vectors
from loc2vec.model.dataset import Dataset
from loc2vec.train.batches import Batch
from loc2vec.train.objectives.objective import Objective, Outcome
from loc2vec.train.run import Run

FARTHEST = 5.0  # standard deviations from the mean


class TagsObjective(Objective):
    """The error of reading the tags around a place from each of its views."""

    name = "tags"
    targets: Tensor  # float32 [places of the dataset, T], standardised
    known: Tensor  # float32 [places of the dataset, T], 0 or 1

    def __init__(self, head: nn.Linear, targets: Vectors) -> None:
        """Take the head [D] -> [T] and the targets [n, T], NaN where one is not known."""
        super().__init__()
        self.head = head
        mean, deviation = np.nanmean(targets, 0), np.nanstd(targets, 0)
        scaled = np.clip((targets - mean) / deviation, -FARTHEST, FARTHEST)
        self.register_buffer("targets", torch.from_numpy(np.nan_to_num(scaled)), persistent=False)
        self.register_buffer(
            "known", torch.from_numpy(np.isfinite(scaled).astype(np.float32)), persistent=False
        )

    @classmethod
    def of(cls, run: Run, size: int) -> Self:
        """Return the objective with a fresh head; `RunError` when the tiles have no targets."""
        targets = known_targets(run.tiles)
        return cls(nn.Linear(size, targets.shape[1]), targets)

    def forward(self, vectors: Tensor, batch: Batch) -> Outcome:
        """Return the mean square error over all views and known targets."""
        error = (self.head(vectors) - self.targets[batch.places][:, None]).square()  # [P, V, T]
        known = self.known[batch.places][:, None].expand_as(error)
        return Outcome((error * known).sum() / known.sum().clamp(min=1), {})


def known_targets(tiles: Dataset) -> Vectors:
    """Return the targets of a dataset that vary, float32 [n, T].

    NaN where a town has none of a tag: its mappers may have left it out. Raises `RunError` when
    the dataset has no targets.
    """
    if tiles.targets is None:
        raise RunError(
            "--head tags needs counts of tags beside the tiles: "
            "run the `loc2vec tile` that made them again with --targets EXTRACT"
        )
    targets = np.stack([column.to_numpy() for column in tiles.targets.columns], 1)
    targets = targets.astype(np.float32)
    towns = np.unique(np.array(tiles.store), return_inverse=True)[1]
    for town in range(towns.max() + 1):
        rows = np.flatnonzero(towns == town)
        none = ~(np.nan_to_num(targets[rows]) > 0).any(0)
        targets[np.ix_(rows, np.flatnonzero(none))] = np.nan
    varies = (np.isfinite(targets).sum(0) > 1) & (_deviation(targets) > 0)
    if not varies.any():
        raise RunError("--head tags has nothing to learn: no tag is counted near these places")
    return targets[:, varies]


def _deviation(targets: Vectors) -> Vectors:
    """Return the standard deviation of what is known of each target: [T]."""
    return np.array(
        [
            np.std(column[np.isfinite(column)]) if np.isfinite(column).any() else 0
            for column in targets.T
        ],
        np.float32,
    )
