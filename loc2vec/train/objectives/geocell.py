"""Naming the cell of a place at three levels (country, town, cell): head, objective and evaluator.

The larger cells are the H3 parents of the smallest. Each level has its own probabilities, and the
loss is their mean cross-entropy. The probability of a smallest cell is the product of its own and
its parents'. This is the hierarchy of Müller-Budack, Pustu-Iren, Ewerth: Geolocation Estimation of
Photos Using a Hierarchical Model and Scene Classification, ECCV 2018.
"""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn

from loc2vec.errors import ModelError, RunError
from loc2vec.evaluation.retrieval import Evaluator, encode_slots
from loc2vec.model.arrays import Floats, Vectors
from loc2vec.model.compute import Encode
from loc2vec.model.dataset import Dataset
from loc2vec.model.folder import save_weights
from loc2vec.train.batches import Batch
from loc2vec.train.objectives.objective import Objective, Outcome
from loc2vec.train.run import Run
from tiling.files.atomic import read_json, write_json
from tiling.geo.cells import cell_of_place, parent_of_cell, place_of_cell
from tiling.geo.geodesy import ground_distance_m
from tiling.values import ATTRIBUTION, LonLat

LEVELS = {"country": 2, "town": 5, "cell": 7}  # H3 resolutions: sides of 160 km, 9 km and 1.2 km
CELLS, HEAD = "geocell.json", "geocell.safetensors"  # files beside the model
NEAR_KM = (1, 25, 200)  # error limits of the metrics "within N km"
TOP = 5
METRICS = (
    *(f"top-{count} {level}" for level in LEVELS for count in (1, TOP)),
    *(f"within {near} km" for near in NEAR_KM),
    "median km",
)

Labels = NDArray[np.int64]  # numbers of cells [n, levels]


@dataclass(frozen=True)
class Cells:
    """The cells of some places: the names of each level, sorted."""

    names: tuple[tuple[str, ...], ...]

    @classmethod
    def of(cls, lat: Floats, lon: Floats) -> Self:
        """Return the cells of places; raises `RunError` when there are fewer than two."""
        rows = _cells(lat, lon)
        names = tuple(tuple(sorted({row[level] for row in rows})) for level in range(len(LEVELS)))
        if len(names[-1]) < 2:
            raise RunError(
                f"--head geocell has nothing to learn: all {len(lat)} places lie in one cell "
                "of 1.2 km"
            )
        return cls(names)

    def labels(self, lat: Floats, lon: Floats) -> Labels:
        """Return the number of each place's cell on each level; -1 for an unknown cell."""
        number = [{name: index for index, name in enumerate(names)} for names in self.names]
        rows = [
            [number[level].get(name, -1) for level, name in enumerate(row)]
            for row in _cells(lat, lon)
        ]
        return np.array(rows, np.int64).reshape(-1, len(LEVELS))

    def parents(self) -> Labels:
        """Return the numbers of each smallest cell and its parents: int64 [cells, levels]."""
        number = [{name: index for index, name in enumerate(names)} for names in self.names]
        levels = list(zip(number, LEVELS.values(), strict=True))
        return np.array(
            [
                [of_level[parent_of_cell(name, resolution)] for of_level, resolution in levels]
                for name in self.names[-1]
            ]
        )


def _cells(lat: Floats, lon: Floats) -> list[list[str]]:
    """Return the names of each place's cells, the largest first."""
    *larger, smallest = LEVELS.values()
    rows = []
    for y, x in zip(lat.tolist(), lon.tolist(), strict=True):
        cell = cell_of_place(LonLat(x, y), smallest)
        rows.append([*(parent_of_cell(cell, resolution) for resolution in larger), cell])
    return rows


class GeoCellHead(nn.Module):
    """One dense layer a level, from a vector to the cells of that level."""

    parents: Tensor  # int64 [cells, levels]

    def __init__(self, dim: int, cells: Cells) -> None:
        super().__init__()
        self.cells = cells
        self.levels = nn.ModuleList(nn.Linear(dim, len(names)) for names in cells.names)
        self.register_buffer("parents", torch.from_numpy(cells.parents()), persistent=False)

    def forward(self, vectors: Tensor) -> list[Tensor]:
        """Return log-probabilities for each level: [n, D] -> float32 [n, cells of the level]."""
        with torch.autocast(vectors.device.type, enabled=False):
            return [F.log_softmax(level(vectors.float()), -1) for level in self.levels]

    def loss(self, vectors: Tensor, labels: Tensor) -> Tensor:
        """Return the mean cross-entropy over the levels; labels int64 [n, levels]."""
        each = zip(self(vectors), labels.T, strict=True)
        return torch.stack([F.nll_loss(found, label) for found, label in each]).mean()

    def smallest(self, vectors: Tensor) -> Tensor:
        """Return log-probabilities of the smallest cells, all levels joined: [n, D] -> [n, cells].

        The product over the levels is a sum of logarithms.
        """
        levels = zip(self(vectors), self.parents.T, strict=True)
        total = torch.stack([found[:, own] for found, own in levels]).sum(0)  # [n, cells]
        return F.log_softmax(total, -1)


class GeoCellObjective(Objective):
    """The cross-entropy of naming the cells of a place, from each of its views."""

    name = "geocell"
    labels: Tensor  # int64 [places of the dataset, levels]

    def __init__(self, head: GeoCellHead, labels: Labels) -> None:
        super().__init__()
        self.head = head
        self.register_buffer("labels", torch.from_numpy(labels), persistent=False)

    @classmethod
    def of(cls, run: Run, size: int) -> Self:
        """Return the objective with a fresh head for the cells of the run's tiles."""
        lat, lon = run.tiles.lat, run.tiles.lon
        head = GeoCellHead(size, Cells.of(lat, lon))
        return cls(head, head.cells.labels(lat, lon))

    def forward(self, vectors: Tensor, batch: Batch) -> Outcome:
        """Return the mean cross-entropy over all views and levels."""
        labels = self.labels[batch.places].repeat_interleave(vectors.shape[1], 0)  # [P * V, levels]
        return Outcome(self.head.loss(vectors.flatten(0, 1), labels), {})

    def evaluator(self, validation: Dataset) -> Evaluator:
        """Return what measures the head; raises `RunError` when it knows no validation place."""
        return GeoCellEvaluator(self.head, validation)

    def save(self, folder: Path) -> None:
        """Write the head."""
        save_head(folder, self.head)


@dataclass(frozen=True, eq=False)
class GeoCellEvaluator:
    """Measures a head on the anchors of places that it is not trained on."""

    head: GeoCellHead
    dataset: Dataset
    primary: ClassVar[str] = "top-1 cell"

    def __post_init__(self) -> None:
        if not (self._labels() >= 0).any():
            raise RunError(
                "--head geocell cannot be measured: no place of --validation lies in a cell "
                "of the training tiles; give other places of the same towns"
            )

    def _labels(self) -> Labels:
        return self.head.cells.labels(self.dataset.lat, self.dataset.lon)

    def __call__(self, encode: Encode) -> dict[str, float]:
        """Return `METRICS`: shares of places named right (first, or in five), and distances.

        A place in a cell that was not trained on counts as wrong.
        """
        places = np.arange(self.dataset.n_places)
        vectors = encode_slots(encode, self.dataset, places, np.zeros_like(places))
        *larger, smallest = self._log_probabilities(vectors)
        values = []
        for found, label in zip([*larger, smallest], self._labels().T, strict=True):
            right = np.argsort(-found, axis=1)[:, :TOP] == label[:, None]  # [n, 5]
            values += [right[:, 0].mean(), right.any(1).mean()]
        off_km = self._distances_km(smallest.argmax(1))
        values += [*((off_km <= near).mean() for near in NEAR_KM), np.median(off_km)]
        return dict(zip(METRICS, map(float, values), strict=True))

    def _log_probabilities(self, vectors: Vectors) -> list[Vectors]:
        """Return log-probabilities for each level [n, cells]; the smallest cells include all."""
        with torch.inference_mode():
            head, seen = copy.deepcopy(self.head).cpu(), torch.from_numpy(vectors)
            return [found.numpy() for found in (*head(seen)[:-1], head.smallest(seen))]

    def _distances_km(self, guesses: Labels) -> Floats:
        """Return how far the middles of the guessed cells [n] are from the places, km [n]."""
        middles = np.array([place_of_cell(name) for name in self.head.cells.names[-1]])[guesses]
        lon, lat = middles.T
        return ground_distance_m(self.dataset.lat, self.dataset.lon, lat, lon) / 1000


def save_head(folder: Path, head: GeoCellHead) -> None:
    """Write a head into a model folder."""
    write_json(
        folder / CELLS, {"levels": LEVELS, "cells": head.cells.names, "attribution": ATTRIBUTION}
    )
    save_weights(head, folder / HEAD)


def load_head(folder: Path) -> GeoCellHead:
    """Read the head of a model folder, on the CPU; `ModelError` when it has none."""
    if not (folder / CELLS).exists():
        raise ModelError(f"{folder} has no head: it was trained without --head geocell")
    weights = load_file(folder / HEAD)
    cells = Cells(tuple(tuple(names) for names in read_json(folder / CELLS)["cells"]))
    head = GeoCellHead(weights["levels.0.weight"].shape[1], cells)
    head.load_state_dict(weights)
    return head.eval()
