"""The summary of an evaluation: one line a method."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np

from loc2vec.evaluation.probes import PROBES
from loc2vec.evaluation.splits import Split

Values = Mapping[str, Any]  # JSON objects
Grid = list[list[str]]  # the cells of a table, its head first
SPLIT: Split = "blocks"  # a probe for other continents extrapolates: its R2 has no bound
COMPACT = 16  # numbers; methods of so few or fewer compete with each other
ERRORS = 2  # standard errors that a difference must pass to count
SUMMARY = (
    "One line a method: means over the tasks, across blocks of 1 km. A score below 0 counts as 0. "
    "Ahead and behind count tasks where the linear probe differs from the best baseline of "
    f"{COMPACT} numbers or fewer by {ERRORS} standard errors"
)


@dataclass(frozen=True)
class Difference:
    """How far a method is ahead of its rival at a task, and the standard error."""

    task: str
    rival: str
    gain: float
    error: float

    @property
    def ahead(self) -> bool:
        """Tell whether the gain passes its error."""
        return self.gain > ERRORS * self.error

    @property
    def behind(self) -> bool:
        """Tell whether the loss passes its error."""
        return self.gain < -ERRORS * self.error


def summary(values: Values) -> Grid:
    """Return a row for each method: numbers, mean score of each probe, tasks ahead and behind.

    Only tasks whose labels the tiles do not show count, and that do not ask for the town.
    """
    tasks = _undrawn(values)
    head = ["method", "numbers", *PROBES, "ahead", "behind"]
    return [head, *(_row(name, tasks, values) for name in values["methods"])] if tasks else []


def _row(method: str, tasks: Sequence[Values], values: Values) -> list[str]:
    found = [_scores(task)[method] for task in tasks]
    pairs = list(zip(found, tasks, strict=True))
    means = [
        f"{fmean(max(0, _mean(each[probe], task)) for each, task in pairs):.3f}" for probe in PROBES
    ]
    numbers = {each[PROBES[0]]["numbers"] for each in found}
    size = f"{min(numbers)}-{max(numbers)}" if len(numbers) > 1 else str(*numbers)
    if values["methods"][method] == "baseline":
        return [method, size, *means, "", ""]
    gains = differences(method, values)
    return [
        method,
        size,
        *means,
        f"{sum(each.ahead for each in gains)} of {len(gains)}",
        str(sum(each.behind for each in gains)),
    ]


def differences(method: str, values: Values) -> list[Difference]:
    """Return how a method does beside the best small baseline of each undrawn task."""
    return [_difference(method, task, values["methods"]) for task in _undrawn(values)]


def _undrawn(values: Values) -> list[Values]:
    """Return the tasks whose labels the tiles do not show, and that do not ask for the town."""
    return [task for task in values["tasks"] if not task["drawn"] and task["primary"] != "top-1"]


def _difference(method: str, task: Values, kinds: Mapping[str, str]) -> Difference:
    found = {name: scores[PROBES[0]] for name, scores in _scores(task).items()}
    rivals = [
        name
        for name, score in found.items()
        if kinds[name] == "baseline" and score["numbers"] <= COMPACT and name != method
    ]
    mean = {name: _mean(score, task) for name, score in found.items()}
    rival = max(rivals, key=lambda name: mean[name])
    apart = np.subtract(found[method]["drawn"], found[rival]["drawn"])
    return Difference(task["task"], rival, mean[method] - mean[rival], float(apart.std()))


def _mean(score: Values, task: Values) -> float:
    """Return the mean of the task's primary metric over the seeds."""
    return float(score["metrics"][task["primary"]]["mean"])


def _scores(task: Values) -> dict[str, dict[str, Any]]:
    """Return the scores across blocks, by method and probe."""
    found: dict[str, dict[str, Any]] = {}
    for score in task["scores"]:
        if score["split"] == SPLIT:
            found.setdefault(score["method"], {})[score["probe"]] = score
    return found
