"""The measurement: every method, on the same places, folds and seeds."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, pstdev

import numpy as np

from loc2vec.evaluation.probes import (
    PROBES,
    Probe,
    confusion,
    metrics,
    predict,
    primary,
    small_fits,
)
from loc2vec.evaluation.ruler import MANY_GROUPS, drawn_scores, draws
from loc2vec.evaluation.splits import FOLDS, Split, blocks, folds, groups, splits_of
from loc2vec.evaluation.tasks.task import Rows, Task
from loc2vec.model.arrays import Floats, Places, Vectors

SHOTS = (10, 30, 100)  # labels a class
FEW_SEEDS = 2  # seeds of the few-shot curves, five folds each: ten samples of labels
FEWEST_IN_TOWN = 20  # places; a town with fewer has no score of its own

Fold = tuple[Rows, Rows]  # the rows of training, and of the test


@dataclass(frozen=True)
class Score:
    """How well a probe read a task from the vectors of a method: each metric, one value a seed.

    `by_town`: the primary metric, where the split is by towns. `drawn`: the primary metric in each
    draw of places (`ruler.py`), on splits over groups.
    """

    task: str
    method: str
    numbers: int
    split: Split
    probe: Probe
    metrics: dict[str, list[float]]
    by_town: dict[str, float] = field(default_factory=dict)
    drawn: list[float] = field(default_factory=list)

    def mean(self, metric: str) -> float:
        """Return the mean over the seeds."""
        return fmean(self.metrics[metric])

    def spread(self, metric: str) -> float:
        """Return the standard deviation over the seeds."""
        return pstdev(self.metrics[metric])


@dataclass(frozen=True, eq=False)
class Outcome:
    """All that was measured about one task.

    `few`: the primary metric by method and number of labels a class. `predicted`: the linear
    probe's predictions with the first seed, by method, on the strictest split.
    """

    task: Task
    scores: list[Score]
    few: dict[str, dict[int, float]]
    predicted: dict[str, Floats]

    @property
    def split(self) -> Split:
        """Return the strictest split: over towns, else over blocks."""
        return splits_of(self.task)[0]

    def confusion(self, method: str) -> Places:
        """Return the counts of (true, predicted) classes."""
        return confusion(self.task, self.predicted[method])


@dataclass(frozen=True, eq=False)
class _Plan:
    """The folds of a split, a list a seed, and the group of each place, int64 [n]."""

    split: Split
    group: Rows
    folds: list[list[Fold]]

    @classmethod
    def of(cls, task: Task, split: Split, seeds: int) -> "_Plan":
        seeds = 1 if split == "random" else seeds  # a diagnostic
        plans = [list(folds(task, split, seed)) for seed in range(seeds)]
        return cls(split, groups(task, split), plans)

    @property
    def probes(self) -> Sequence[Probe]:
        """The probes that are fitted: a diagnostic has the first alone."""
        return PROBES[:1] if self.split == "random" else PROBES

    def predict(self, probe: Probe, task: Task, vectors: Vectors) -> list[Floats]:
        """Predict every place, once a seed, by the probe that did not see its group."""
        return [_out_of_fold(probe, task, vectors, plan, self.group) for plan in self.folds]


def measure(
    task: Task,
    vectors: Mapping[str, Vectors],
    seeds: int = 5,
    progress: Callable[[int], object] = lambda n: None,
) -> Outcome:
    """Measure each method's vectors, float32 [n, D], on a task.

    Predictions of all folds are put together before a metric is taken: each place counts once a
    seed. Raises `LabelsError` when the task cannot be learned.
    """
    task.require(FOLDS)
    outcome = Outcome(task, [], {}, {})
    with small_fits():
        for split in splits_of(task):
            plan = _Plan.of(task, split, seeds)
            for name, values in vectors.items():
                _measure_method(outcome, plan, name, values)
                progress(1)
    return outcome


def quick_scores(task: Task, values: Vectors, split: Split) -> dict[Probe, float]:
    """Return the primary metric of each probe on one split with one seed: a quick look."""
    plan = _Plan.of(task, split, 1)
    with small_fits():
        predicted = {probe: plan.predict(probe, task, values)[0] for probe in PROBES}
    return {probe: metrics(task, one)[primary(task)] for probe, one in predicted.items()}


def _measure_method(outcome: Outcome, plan: _Plan, name: str, values: Vectors) -> None:
    """Add what the probes read from the vectors of a method to the outcome."""
    task, strictest = outcome.task, plan.split == outcome.split
    for probe in plan.probes:
        predicted = plan.predict(probe, task, values)
        by_metric, by_town = _scores(task, plan.split, predicted)
        size = values.shape[1]
        drawn = [] if plan.split == "random" else _drawn(task, plan, predicted)
        outcome.scores.append(
            Score(task.name, name, size, plan.split, probe, by_metric, by_town, drawn)
        )
        if strictest and probe == PROBES[0]:
            outcome.predicted[name] = predicted[0]
    if strictest and task.classes and not task.geolocation:
        outcome.few[name] = _few_shot(task, values, plan.folds[:FEW_SEEDS])


def _drawn(task: Task, plan: _Plan, predicted: Sequence[Floats]) -> list[float]:
    """Return the primary metric in each draw of towns; of blocks, where the towns are few."""
    towns = len(np.unique(plan.group)) >= MANY_GROUPS
    group = plan.group if towns else blocks(task.lat, task.lon)
    return [round(value, 4) for value in drawn_scores(task, predicted, draws(group)).tolist()]


def _out_of_fold(
    probe: Probe, task: Task, values: Vectors, plan: Sequence[Fold], group: Rows
) -> Floats:
    predicted = np.zeros((len(task), len(task.classes)) if task.classes else len(task))
    for train, test in plan:
        predicted[test] = predict(probe, task, values, train, test, group)
    return predicted


def _scores(
    task: Task, split: Split, predicted: Sequence[Floats]
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Return each metric, one value a seed, and the primary one by town."""
    found = [metrics(task, one) for one in predicted]
    by_metric = {metric: [one[metric] for one in found] for metric in found[0]}
    by_town: dict[str, float] = {}
    for number in np.unique(task.place).tolist() if split == "towns" else ():
        rows = np.flatnonzero(task.place == number)
        if len(rows) >= FEWEST_IN_TOWN and len(np.unique(task.target[rows])) > 1:
            of_town = [metrics(task, one, rows)[primary(task)] for one in predicted]
            by_town[task.places[number]] = fmean(of_town)
    return by_metric, by_town


def _few_shot(task: Task, values: Vectors, plans: Sequence[Sequence[Fold]]) -> dict[int, float]:
    """Return the primary metric when the linear probe gets 10, 30, 100 labels a class.

    The labels are sampled anew for every fold.
    """
    found: dict[int, float] = {}
    no_groups = np.zeros(len(task), np.int64)
    for shots in SHOTS:
        scores = []
        for seed, plan in enumerate(plans):
            few = [
                (_sample(task, train, shots, np.random.default_rng([seed, number, shots])), test)
                for number, (train, test) in enumerate(plan)
            ]
            predicted = _out_of_fold("linear", task, values, few, no_groups)
            scores.append(metrics(task, predicted)[primary(task)])
        found[shots] = fmean(scores)
    return found


def _sample(task: Task, train: Rows, shots: int, rng: np.random.Generator) -> Rows:
    """Choose so many rows of each class at random."""
    mixed = rng.permutation(train)
    return np.concatenate(
        [mixed[task.target[mixed] == number][:shots] for number in range(len(task.classes))]
    )
