"""Trips as values: points in order, and sequences of vectors of different lengths."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from loc2vec.errors import LabelsError
from loc2vec.evaluation.tasks.labels import numbered
from loc2vec.evaluation.tasks.task import Task

FEWEST_POINTS = 2


@dataclass(frozen=True, eq=False)
class Trips:
    """n trips with a mode and a town each; their points lie one after another.

    `first` int64 [n + 1]: where each trip's points begin; `lon_lat` float64 [points, 2] in degrees;
    `mode` int64 [n] in `modes`, `town` int64 [n] in `towns`.
    """

    first: NDArray[np.int64]
    lon_lat: NDArray[np.float64]
    mode: NDArray[np.int64]
    modes: tuple[str, ...]
    town: NDArray[np.int64]
    towns: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.mode)

    @classmethod
    def of(
        cls, lon_lat: Sequence[NDArray[np.float64]], mode: Sequence[str], town: Sequence[str]
    ) -> "Trips":
        """Put trips together.

        Raises `LabelsError` for a single mode or town, and for a trip of one point.
        """
        modes, number = numbered(mode)
        towns, place = numbered(town)
        short = [row for row, points in enumerate(lon_lat) if len(points) < FEWEST_POINTS]
        if short:
            raise LabelsError(
                f"trip {short[0] + 1} has fewer than {FEWEST_POINTS} points: leave it out"
            )
        if len(modes) < 2:
            raise LabelsError(
                f"every trip is of mode {', '.join(modes) or '-'}: modes cannot be told apart"
            )
        if len(towns) < 2:
            raise LabelsError(
                f"every trip is in {', '.join(towns) or '-'}: give trips of another town to test on"
            )
        first = np.concatenate([[0], np.cumsum([len(points) for points in lon_lat])])
        return cls(
            first,
            np.concatenate(lon_lat),
            number,
            modes,
            place,
            towns,
        )

    @property
    def task(self) -> Task:
        """Return the task of naming each trip's mode, at the middle of its points."""
        lon, lat = self.means(self.lon_lat).T
        return Task(
            "travel mode",
            "mode of a trip",
            lat,
            lon,
            self.mode,
            self.modes,
            self.town,
            self.towns,
            drawn=True,
        )

    def require(self) -> None:
        """Raise `LabelsError` when a mode is not there often enough to be learned and tested."""
        self.task.require(2)

    def means(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the mean of each trip's rows: [points, D] -> float64 [n, D]."""
        sums: NDArray[np.float64] = np.add.reduceat(points.astype(np.float64), self.first[:-1])
        return sums / np.diff(self.first)[:, None]


@dataclass(frozen=True, eq=False)
class Sequences:
    """The vectors of trips: float32 [n, T, D], zero-padded, and their lengths int64 [n]."""

    vectors: NDArray[np.float32]
    lengths: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def dim(self) -> int:
        return int(self.vectors.shape[2])

    @classmethod
    def of(cls, trips: Trips, vectors: NDArray[np.float32]) -> "Sequences":
        """Cut the vectors of all points, float32 [points, D], into trips."""
        lengths = np.diff(trips.first)
        padded = np.zeros((len(trips), int(lengths.max()), vectors.shape[1]), np.float32)
        padded[np.arange(padded.shape[1]) < lengths[:, None]] = vectors
        return cls(padded, lengths)

    def at(self, rows: NDArray[np.int64]) -> "Sequences":
        """Return some of the trips."""
        return Sequences(self.vectors[rows], self.lengths[rows])

    @property
    def present(self) -> NDArray[np.bool_]:
        """Tell which rows are points: bool [n, T]."""
        mask: NDArray[np.bool_] = np.arange(self.vectors.shape[1]) < self.lengths[:, None]
        return mask

    def statistics(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return mean and standard deviation of the points' vectors, float32 [D] each."""
        points = self.vectors[self.present]
        return points.mean(0), np.maximum(points.std(0), 1e-6)

    def standardised(self, mean: NDArray[np.float32], spread: NDArray[np.float32]) -> Tensor:
        """Return the standardised vectors, zero-padded, float32 [n, T, D]."""
        return torch.from_numpy(
            np.where(self.present[..., None], (self.vectors - mean) / spread, np.float32(0))
        )
