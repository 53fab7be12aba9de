"""Scores over draws of groups, beside scikit-learn and beside a bootstrap written out."""

import numpy as np
import pytest
from sklearn.metrics import f1_score, r2_score

from loc2vec.evaluation.ruler import DRAWS, drawn_scores, draws
from loc2vec.evaluation.tasks.task import Task
from loc2vec.model.arrays import Floats

N = 400
RNG = np.random.default_rng(0)
GROUP = RNG.integers(0, 40, N)


def task(classes: tuple[str, ...] = (), geolocation: bool = False) -> Task:
    target = RNG.integers(0, len(classes), N) if classes else RNG.normal(size=N)
    where = np.zeros(N)
    return Task(
        "task", "about", where, where, target, classes, np.zeros(N, np.int64), ("town",),
        geolocation=geolocation,
    )  # fmt: skip


def predictions(asked: Task) -> list[Floats]:
    if asked.classes:
        return [RNG.random((N, len(asked.classes))) for _ in range(2)]
    return [asked.target + RNG.normal(size=N) for _ in range(2)]


def test_a_draw_takes_whole_groups_as_many_as_there_are() -> None:
    times = draws(GROUP)
    assert times.shape == (DRAWS, N)
    for number in np.unique(GROUP):
        own = times[:, number == GROUP]
        assert (own == own[:, :1]).all()
    first = [np.flatnonzero(number == GROUP)[0] for number in np.unique(GROUP)]
    assert (times[:, first].sum(1) == len(first)).all()
    assert np.array_equal(times, draws(GROUP))
    assert times.mean() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("asked", [task(), task(("a", "b", "c")), task(("a", "b"), True)])
def test_scores_are_those_of_the_places_drawn(asked: Task) -> None:
    times, predicted = draws(GROUP), predictions(asked)
    scores = drawn_scores(asked, predicted, times)
    for draw in (0, 7, DRAWS - 1):
        rows = np.repeat(np.arange(N), times[draw].astype(int))
        truth = asked.target[rows]
        if not asked.classes:
            expected = [r2_score(truth, each[rows]) for each in predicted]
        elif asked.geolocation:
            expected = [(each[rows].argmax(1) == truth).mean() for each in predicted]
        else:
            expected = [
                f1_score(truth, each[rows].argmax(1), average="macro") for each in predicted
            ]
        assert scores[draw] == pytest.approx(np.mean(expected))


def test_a_class_that_a_draw_lacks_does_not_count() -> None:
    asked = task(("a", "b", "c"))
    asked.target[:] = np.where(GROUP == 3, 2, 0)
    times = np.ones((1, N))
    times[:, GROUP == 3] = 0
    perfect = [np.eye(3)[asked.target]]
    assert drawn_scores(asked, perfect, times).tolist() == [1.0]


def test_the_spread_over_draws_is_the_standard_error_of_a_mean() -> None:
    asked = task(("a", "b"), geolocation=True)
    right = RNG.random(N) < 0.7
    said = np.where(right, asked.target, 1 - asked.target)
    error = drawn_scores(asked, [np.eye(2)[said]], draws(np.arange(N))).std()
    assert error == pytest.approx(np.sqrt(0.7 * 0.3 / N), rel=0.25)
