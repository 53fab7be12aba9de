"""Naming the cell where a place lies, country, town and cell: a head on an encoder, its loss and its measures.

A place has a cell on each of three levels, of which the larger ones are the H3 parents of the
smallest; each level has its probabilities, and the loss is their mean cross-entropy. That of a cell
is the product of its own and its parents', which is the hierarchy of Müller-Budack, Pustu-Iren,
Ewerth: Geolocation Estimation of Photos Using a Hierarchical Model and Scene Classification, ECCV
2018.
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
from loc2vec.evaluation.retrieval import encode_slots
from loc2vec.model.compute import Encode
from loc2vec.model.dataset import Dataset
from loc2vec.model.folder import save_weights
from tiling.files.atomic import read_json, write_json
from tiling.geo.cells import cell_of_place, parent_of_cell, place_of_cell
from tiling.geo.geodesy import ground_distance_m
from tiling.values import ATTRIBUTION, LonLat

LEVELS = {"country": 2, "town": 5, "cell": 7}  # H3 resolutions, of 160 km, 9 km and 1.2 km a side
CELLS, HEAD = "geocell.json", "geocell.safetensors"
NEAR_KM = (1, 25, 200)  # as far as a guess may be off, in the measures
TOP = 5
METRICS = (
    *(f"top-{count} {level}" for level in LEVELS for count in (1, TOP)),
    *(f"within {near} km" for near in NEAR_KM),
    "median km",
)

Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Cells:
    """The cells of some places: the names of each level, sorted."""

    names: tuple[tuple[str, ...], ...]

    @classmethod
    def of(cls, lat: NDArray[np.float64], lon: NDArray[np.float64]) -> Self:
        """Return the cells that hold a place; `RunError` when there are not two to tell apart."""
        rows = _cells(lat, lon)
        names = tuple(tuple(sorted({row[level] for row in rows})) for level in range(len(LEVELS)))
        if len(names[-1]) < 2:
            raise RunError(
                f"--head geocell has nothing to learn: all {len(lat)} places lie in one cell of 1.2 km"
            )
        return cls(names)

    def labels(self, lat: NDArray[np.float64], lon: NDArray[np.float64]) -> Labels:
        """Return the number of each place's cell on each level, int64 [n, levels], -1 for a cell that is not here."""
        number = [{name: index for index, name in enumerate(names)} for names in self.names]
        rows = [
            [number[level].get(name, -1) for level, name in enumerate(row)]
            for row in _cells(lat, lon)
        ]
        return np.array(rows, np.int64).reshape(-1, len(LEVELS))

    def parents(self) -> Labels:
        """Return the number of each smallest cell on every level, its own the last: int64 [cells, levels]."""
        number = [{name: index for index, name in enumerate(names)} for names in self.names]
        resolutions = LEVELS.values()
        return np.array(
            [
                [
                    of_level[parent_of_cell(name, at)]
                    for of_level, at in zip(number, resolutions, strict=True)
                ]
                for name in self.names[-1]
            ]
        )


def _cells(lat: NDArray[np.float64], lon: NDArray[np.float64]) -> list[list[str]]:
    """Return the names of each place's cells, the largest first."""
    *larger, smallest = LEVELS.values()
    rows = []
    for y, x in zip(lat.tolist(), lon.tolist(), strict=True):
        cell = cell_of_place(LonLat(x, y), smallest)
        rows.append([*(parent_of_cell(cell, resolution) for resolution in larger), cell])
    return rows


class GeoCell(nn.Module):
    """A dense layer for each level, from a vector to the cells of that level."""

    parents: Tensor

    def __init__(self, dim: int, cells: Cells) -> None:
        super().__init__()
        self.cells = cells
        self.levels = nn.ModuleList(nn.Linear(dim, len(names)) for names in cells.names)
        self.register_buffer("parents", torch.from_numpy(cells.parents()), persistent=False)

    def forward(self, vectors: Tensor) -> list[Tensor]:
        """Return the log-probabilities of each level's cells: float32 [n, D] -> [n, cells of the level] each."""
        with torch.autocast(vectors.device.type, enabled=False):
            return [F.log_softmax(level(vectors.float()), -1) for level in self.levels]

    def loss(self, vectors: Tensor, labels: Tensor) -> Tensor:
        """Return the mean cross-entropy of the levels; labels int64 [n, levels]."""
        each = zip(self(vectors), labels.T, strict=True)
        return torch.stack([F.nll_loss(found, label) for found, label in each]).mean()

    def smallest(self, vectors: Tensor) -> Tensor:
        """Return the log-probabilities of the smallest cells, as products over the levels: [n, D] -> [n, cells]."""
        total = torch.stack(
            [found[:, own] for found, own in zip(self(vectors), self.parents.T, strict=True)]
        ).sum(0)
        return F.log_softmax(total, -1)


class Headed(nn.Module):
    """An encoder in training with a head.

    It encodes as the encoder alone. `labels` int64 [places, levels].
    """

    labels: Tensor

    def __init__(self, encoder: nn.Module, head: GeoCell, labels: Labels) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head
        self.register_buffer("labels", torch.from_numpy(labels), persistent=False)

    def forward(self, tiles: Tensor) -> Tensor:
        """Encode tiles as float32 [n, D]."""
        vectors: Tensor = self.encoder(tiles)
        return vectors

    def loss(self, views: Tensor, places: Tensor) -> Tensor:
        """Return the loss of the head for all views [P, V, D] of places int64 [P]."""
        return self.head.loss(
            views.flatten(0, 1), self.labels[places].repeat_interleave(views.shape[1], 0)
        )


@dataclass(frozen=True, eq=False)
class GeoCells:
    """Measures the head on places that are not trained on, by their unturned tiles."""

    head: GeoCell
    dataset: Dataset
    primary: ClassVar[str] = "top-1 cell"

    def __post_init__(self) -> None:
        if not (self._labels() >= 0).any():
            raise RunError(
                "--head geocell cannot be measured: no place of --validation lies in a cell of the training tiles; "
                "give other places of the same towns"
            )

    def _labels(self) -> Labels:
        return self.head.cells.labels(self.dataset.lat, self.dataset.lon)

    def __call__(self, encode: Encode) -> dict[str, float]:
        """Return the shares of places whose cell is the first, or among the first five, and how far off the guess is.

        A place in a cell that was not trained on counts as wrong.
        """
        places = np.arange(self.dataset.n_places)
        vectors = torch.from_numpy(
            encode_slots(encode, self.dataset, places, np.zeros_like(places))
        )
        with torch.inference_mode():
            head = copy.deepcopy(self.head).cpu()
            by_level, smallest = (
                [found.numpy() for found in head(vectors)],
                head.smallest(vectors).numpy(),
            )
        by_level[-1] = smallest
        values = []
        for found, label in zip(by_level, self._labels().T, strict=True):
            right = np.argsort(-found, axis=1)[:, :TOP] == label[:, None]
            values += [right[:, 0].mean(), right.any(1).mean()]
        middles = np.array([place_of_cell(name) for name in head.cells.names[-1]])[
            smallest.argmax(1)
        ]
        off_km = (
            ground_distance_m(self.dataset.lat, self.dataset.lon, middles[:, 1], middles[:, 0])
            / 1000
        )
        values += [*((off_km <= near).mean() for near in NEAR_KM), np.median(off_km)]
        return dict(zip(METRICS, map(float, values), strict=True))


def save_head(folder: Path, head: GeoCell) -> None:
    """Write a head into a model folder."""
    write_json(
        folder / CELLS, {"levels": LEVELS, "cells": head.cells.names, "attribution": ATTRIBUTION}
    )
    save_weights(head, folder / HEAD)


def load_head(folder: Path) -> GeoCell:
    """Read the head of a model folder, on the CPU; `ModelError` when it has none."""
    if not (folder / CELLS).exists():
        raise ModelError(f"{folder} has no head: it was trained without --head geocell")
    weights = load_file(folder / HEAD)
    cells = Cells(tuple(tuple(names) for names in read_json(folder / CELLS)["cells"]))
    head = GeoCell(weights["levels.0.weight"].shape[1], cells)
    head.load_state_dict(weights)
    return head.eval()
