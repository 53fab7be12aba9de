"""Travel-mode classification in towns that no classifier has seen, beside baselines."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from statistics import fmean, pstdev

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from loc2vec.evaluation.baselines import position
from loc2vec.evaluation.probes import confusion, metrics, predict
from loc2vec.evaluation.splits import folds
from loc2vec.evaluation.tasks.task import Task
from loc2vec.model.arrays import Vectors
from loc2vec.trips.models import READERS, Reader
from loc2vec.trips.trip import Sequences, Trips
from tiling.geo.geodesy import MetresPerDegree

Rows = NDArray[np.int64]
# training rows, test rows, seed -> [n, K]
Predict = Callable[[Rows, Rows, int], NDArray[np.float64]]
PRIMARY = "macro-F1"


@dataclass(frozen=True)
class TripScore:
    """How well a reader names the modes: one value a seed, and the first seed's confusion."""

    vectors: str
    reader: str
    metrics: dict[str, list[float]]
    by_town: dict[str, float]
    confusion: NDArray[np.int64]

    def mean(self, metric: str = PRIMARY) -> float:
        """Return the mean over the seeds."""
        return fmean(self.metrics[metric])

    def spread(self, metric: str = PRIMARY) -> float:
        """Return the standard deviation over the seeds."""
        return pstdev(self.metrics[metric])


def methods(trips: Trips, vectors: Mapping[str, Vectors]) -> Iterator[tuple[str, str, Predict]]:
    """Yield (vectors, reader, function): baselines, then each reader of each kind of vectors.

    `vectors`: by name, float32 [points, D].
    """
    task = trips.task
    yield "-", "majority", lambda seen, asked, seed: _majority(task, seen, asked)
    yield (
        "position",
        "mean",
        _linear(task, trips.means(position(*trips.lon_lat.T[::-1])).astype(np.float32)),
    )
    yield "shape of the track", "numbers", _linear(task, shapes(trips))
    for name, values in vectors.items():
        yield name, "mean", _linear(task, trips.means(values).astype(np.float32))
        sequences = Sequences.of(trips, values)
        for reader in READERS:
            yield name, reader, _reader(task, reader, sequences)


def _majority(task: Task, seen: Rows, asked: Rows) -> NDArray[np.float64]:
    counts = np.bincount(task.target[seen], minlength=len(task.classes))
    return np.tile(np.eye(len(counts))[counts.argmax()], (len(asked), 1))


def _linear(task: Task, values: Vectors) -> Predict:
    """Logistic regression, as the probes of `loc2vec evaluate`."""

    def run(seen: Rows, asked: Rows, seed: int) -> NDArray[np.float64]:
        with threadpool_limits(1):
            return predict("linear", task, values, seen, asked, task.place)

    return run


def _reader(task: Task, kind: str, sequences: Sequences) -> Predict:
    def run(seen: Rows, asked: Rows, seed: int) -> NDArray[np.float64]:
        target = task.target[seen].astype(np.int64)
        reader = Reader(kind, len(task.classes), seed)
        return reader.fit_predict(sequences.at(seen), target, sequences.at(asked))

    return run


def shapes(trips: Trips) -> Vectors:
    """Return what a track looks like without a map or a clock: float32 [n, 4].

    Mean and greatest turn between steps (degrees), the distance of its ends over its length, and
    the spread of its steps over their mean.
    """
    rows = []
    for start, end in zip(trips.first[:-1], trips.first[1:], strict=True):
        points = trips.lon_lat[start:end]
        steps = np.diff(points * np.array(MetresPerDegree.at(float(points[0, 1]))), axis=0)
        length = np.linalg.norm(steps, axis=1)
        heading = np.arctan2(steps[:, 1], steps[:, 0])
        turn = np.degrees(np.abs((np.diff(heading) + np.pi) % (2 * np.pi) - np.pi))
        total = max(float(length.sum()), 1e-9)
        straight = float(np.linalg.norm(steps.sum(0))) / total
        turns = (float(turn.mean()), float(turn.max())) if len(turn) else (0.0, 0.0)
        rows.append((*turns, straight, float(length.std()) * len(length) / total))
    return np.array(rows, np.float32)


def measure(
    trips: Trips,
    vectors: Mapping[str, Vectors],
    seeds: int = 3,
    progress: Callable[[int], object] = lambda n: None,
) -> list[TripScore]:
    """Let every method name the mode of every trip, fitted on the trips of other towns.

    Folds are of whole towns, drawn anew for each seed, as in `loc2vec evaluate`. Raises
    `LabelsError` when a mode has too few trips.
    """
    trips.require()
    task = trips.task
    plans = [list(folds(task, "towns", seed)) for seed in range(seeds)]
    scores = []
    for name, reader, run in methods(trips, vectors):
        predicted = np.zeros((seeds, len(task), len(task.classes)))
        for seed, plan in enumerate(plans):
            for seen, asked in plan:
                predicted[seed, asked] = run(seen, asked, seed)
        found = [metrics(task, one) for one in predicted]
        by_town = {
            town: fmean(metrics(task, one, rows)[PRIMARY] for one in predicted)
            for number, town in enumerate(task.places)
            if len(rows := np.flatnonzero(task.place == number))
        }
        values = {metric: [one[metric] for one in found] for metric in found[0]}
        scores.append(TripScore(name, reader, values, by_town, confusion(task, predicted[0])))
        progress(1)
    return scores
