"""Which method is ahead: paired differences with standard errors.

All methods predict the same places. Whole groups of places (towns, or blocks of 1 km) are drawn
with replacement, and every method is scored on the same draws. The standard deviation of the
difference over the draws is its standard error: the bootstrap of Efron (1979) over groups.
"""

from collections.abc import Sequence

import numpy as np

from loc2vec.evaluation.tasks.task import Rows, Task
from loc2vec.model.arrays import Floats

DRAWS = 200
MANY_GROUPS = 10  # with fewer towns, blocks are drawn: a few towns say little about their spread


def draws(group: Rows, seed: int = 0) -> Floats:
    """Return how often each place comes in each draw of groups: [DRAWS, n]."""
    number, own = np.unique(group, return_inverse=True)
    rng = np.random.default_rng(seed)
    times = rng.multinomial(len(number), np.full(len(number), 1 / len(number)), DRAWS)
    return times[:, own].astype(np.float64)


def drawn_scores(task: Task, predicted: Sequence[Floats], times: Floats) -> Floats:
    """Return the primary metric in each draw, the mean over the seeds: [DRAWS].

    `predicted`: for each seed, probabilities [n, K] or numbers [n]; `times` from `draws`.
    """
    score = _macro_f1 if task.classes and not task.geolocation else _accuracy
    score = score if task.classes else _r2
    scores: Floats = np.mean([score(task, each, times) for each in predicted], axis=0)
    return scores


def _r2(task: Task, predicted: Floats, times: Floats) -> Floats:
    truth = task.target
    mean = (times @ truth) / times.sum(1)
    spread = times @ truth**2 - times.sum(1) * mean**2
    scores: Floats = 1 - times @ (truth - predicted) ** 2 / np.maximum(spread, 1e-12)
    return scores


def _accuracy(task: Task, predicted: Floats, times: Floats) -> Floats:
    right: Floats = times @ (predicted.argmax(1) == task.target) / times.sum(1)
    return right


def _macro_f1(task: Task, predicted: Floats, times: Floats) -> Floats:
    """Return the mean F1 over the classes that occur in a draw."""
    classes = np.arange(len(task.classes))
    true, said = task.target[:, None] == classes, predicted.argmax(1)[:, None] == classes
    both, of_truth, of_said = (times @ each for each in (true & said, true, said))
    f1 = 2 * both / np.maximum(of_truth + of_said, 1e-12)
    occurs = of_truth > 0
    means: Floats = (f1 * occurs).sum(1) / occurs.sum(1)
    return means
