"""The measurement: every method, on the same places, folds and seeds."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, pstdev

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from loc2vec.evaluation.probes import PROBES, Probe, confusion, metrics, predict, primary
from loc2vec.evaluation.splits import FOLDS, Split, folds, groups, splits_of
from loc2vec.evaluation.tasks.task import Task

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]

SHOTS = (10, 30, 100)  # labels a class
FEW_SEEDS = 2  # seeds of the few-shot curves: five folds each, so ten draws of labels
FEWEST_IN_TOWN = 20  # places; a town with fewer has no score of its own


@dataclass(frozen=True)
class Score:
    """How well a probe read a task from the vectors of a method: the values of each metric, one a seed."""

    task: str
    method: str
    numbers: int
    split: Split
    probe: Probe
    metrics: dict[str, list[float]]
    # the primary metric, where the split is by towns
    by_town: dict[str, float] = field(default_factory=dict)

    def mean(self, metric: str) -> float:
        """Return the mean over the seeds."""
        return fmean(self.metrics[metric])

    def spread(self, metric: str) -> float:
        """Return the standard deviation over the seeds."""
        return pstdev(self.metrics[metric])


@dataclass(frozen=True, eq=False)
class Outcome:
    """All that was found out about one task.

    `few` holds the primary metric by method and number of labels a class; `predicted` the first
    seed's predictions of the linear probe by method, on the strictest split.
    """

    task: Task
    scores: list[Score]
    few: dict[str, dict[int, float]]
    predicted: dict[str, NDArray[np.float64]]

    @property
    def split(self) -> Split:
        """Return the strictest split: over towns, else over blocks."""
        return splits_of(self.task)[0]

    def confusion(self, method: str) -> NDArray[np.int64]:
        """Return the counts of (true, predicted) classes."""
        return confusion(self.task, self.predicted[method])


def measure(
    task: Task,
    vectors: Mapping[str, Floats],
    seeds: int = 5,
    progress: Callable[[int], object] = lambda n: None,
) -> Outcome:
    """Measure each method's vectors, float32 [n, D], on a task.

    `LabelsError` when it cannot be learned.

    Predictions of all folds are put together before a metric is taken, so each place counts once a
    seed.
    """
    task.require(FOLDS)
    scores: list[Score] = []
    first: dict[str, NDArray[np.float64]] = {}
    few: dict[str, dict[int, float]] = {}
    strictest = splits_of(task)[0]
    with threadpool_limits(1):  # these fits are small: more threads only wait for each other
        for split in splits_of(task):
            diagnostic = split == "random"
            group = groups(task, split)
            plans = [list(folds(task, split, seed)) for seed in range(1 if diagnostic else seeds)]
            for name, values in vectors.items():
                for probe in PROBES[:1] if diagnostic else PROBES:
                    predicted = [_out_of_fold(probe, task, values, plan, group) for plan in plans]
                    scores.append(_score(task, name, values, split, probe, predicted))
                    if split == strictest and probe == PROBES[0]:
                        first[name] = predicted[0]
                if split == strictest and task.classes and not task.geolocation:
                    few[name] = _few_shot(task, values, plans[:FEW_SEEDS])
                progress(1)
    return Outcome(task, scores, few, first)


def _out_of_fold(
    probe: Probe, task: Task, values: Floats, plan: Sequence[tuple[Rows, Rows]], group: Rows
) -> NDArray[np.float64]:
    """Predict every place by the probe that did not see its group."""
    predicted = np.zeros((len(task), len(task.classes)) if task.classes else len(task))
    for train, test in plan:
        predicted[test] = predict(probe, task, values, train, test, group)
    return predicted


def _score(
    task: Task,
    name: str,
    values: Floats,
    split: Split,
    probe: Probe,
    predicted: Sequence[NDArray[np.float64]],
) -> Score:
    found = [metrics(task, one) for one in predicted]
    by_metric = {metric: [one[metric] for one in found] for metric in found[0]}
    by_town: dict[str, float] = {}
    if split == "towns":
        for number in np.unique(task.place).tolist():
            rows = np.flatnonzero(task.place == number)
            if len(rows) >= FEWEST_IN_TOWN and len(np.unique(task.target[rows])) > 1:
                by_town[task.places[number]] = fmean(
                    metrics(task, one, rows)[primary(task)] for one in predicted
                )
    return Score(task.name, name, values.shape[1], split, probe, by_metric, by_town)


def _few_shot(
    task: Task, values: Floats, plans: Sequence[Sequence[tuple[Rows, Rows]]]
) -> dict[int, float]:
    """Return the primary metric when the linear probe gets 10, 30, 100 labels a class.

    Drawn anew for every fold.
    """
    found: dict[int, float] = {}
    for shots in SHOTS:
        scores = []
        for seed, plan in enumerate(plans):
            predicted = np.zeros((len(task), len(task.classes)))
            for number, (train, test) in enumerate(plan):
                few = _draw(task, train, shots, np.random.default_rng([seed, number, shots]))
                predicted[test] = predict(
                    "linear", task, values, few, test, np.zeros(len(task), np.int64)
                )
            scores.append(metrics(task, predicted)[primary(task)])
        found[shots] = fmean(scores)
    return found


def _draw(task: Task, train: Rows, shots: int, rng: np.random.Generator) -> Rows:
    mixed = rng.permutation(train)
    return np.concatenate(
        [mixed[task.target[mixed] == number][:shots] for number in range(len(task.classes))]
    )
