"""How good a predictor is at places that it did not see, beside what it has to beat."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.metrics import f1_score, r2_score, roc_auc_score
from sklearn.model_selection import GroupKFold

from loc2vec.evaluation.splits import APART_M
from loc2vec.model.arrays import Floats, Places
from loc2vec.predict.estimators import PlaceRegressor
from loc2vec.predict.examples import Examples
from loc2vec.predict.predictor import COVERAGE, fresh
from loc2vec.predict.target import Kind
from tiling.geo.globe import on_the_globe

FOLDS = 5
RESAMPLES = 200
SHARES = (0.1, 0.3, 1.0)  # of the labels, for the learning curve
PROMISES = (0.5, 0.8, COVERAGE, 0.95)
METRICS: dict[Kind, str] = {"classes": "macro-F1", "number": "R2", "alike": "AUC"}

CHANCE = {"AUC": 0.5}  # of the metrics where it is not 0

Fold = tuple[Places, Places]


@dataclass(frozen=True, slots=True)
class Score:
    """A score with its standard error, over resampled blocks, and how far it is ahead.

    `ahead`: the vectors' score less this one, and `ahead_error` its standard error.
    """

    method: str
    value: float
    error: float
    ahead: float = 0.0
    ahead_error: float = 0.0


@dataclass(frozen=True, eq=False)
class Verdict:
    """What was measured on places of blocks that were not seen.

    `scores`: the vectors first, then the baselines. `unseen`: the vectors' answers, float64 [n] or
    [n, K]. `held`: the share of intervals that hold, by promise; `curve`: the score by the number
    of labels.
    """

    metric: str
    scores: list[Score]
    unseen: Floats
    held: dict[float, float]
    curve: dict[int, float]

    @property
    def best_baseline(self) -> Score:
        """The best of what the vectors have to beat."""
        return max(self.scores[1:], key=lambda score: score.value)

    @property
    def better(self) -> bool:
        """Tell whether the vectors beat baselines and chance by more than a standard error."""
        own = self.scores[0]
        ahead = all(score.ahead > score.ahead_error for score in self.scores[1:])
        return ahead and own.value - own.error > CHANCE.get(self.metric, 0.0)

    def as_values(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "metric": self.metric,
            "better": self.better,
            "scores": [asdict(score) for score in self.scores],
            "held": {str(promise): share for promise, share in self.held.items()},
            "curve": {str(count): value for count, value in self.curve.items()},
        }


def judge(examples: Examples, tell: Callable[[int], object] = lambda n: None) -> Verdict:
    """Score the vectors and all baselines on the same unseen blocks; `tell` hears of each fit."""
    folds = _folds(examples)
    answers: dict[str, Floats] = {}
    held: dict[float, list[NDArray[np.bool_]]] = {promise: [] for promise in PROMISES}
    for name, features in examples.features.items():
        answers[name] = _unseen(examples, features, folds, held if name == "vectors" else {})
        tell(1)
    answers["most frequent" if examples.target.classes else "mean"] = _dummy(examples, folds)
    curve = {
        count: value
        for share in SHARES
        for count, value in [_with_share(examples, folds, share, answers["vectors"])]
    }
    tell(1)
    return Verdict(
        METRICS[examples.target.kind],
        _scores(examples, answers),
        answers["vectors"],
        {promise: float(np.concatenate(each).mean()) for promise, each in held.items() if each},
        curve,
    )


def _folds(examples: Examples) -> list[Fold]:
    """Return folds of whole groups; no tile of a training place shares ground with a test tile."""
    count = min(FOLDS, len(np.unique(examples.group)))
    xyz = on_the_globe(examples.lat, examples.lon)
    folds = []
    split = GroupKFold(count, shuffle=True, random_state=0)
    for train, test in split.split(xyz, groups=examples.group):
        distance, _ = cKDTree(xyz[test]).query(xyz[train], distance_upper_bound=APART_M)
        apart = train[np.isinf(distance)]
        if len(np.unique(examples.known[apart])) > 1:
            folds.append((apart, test))
    return folds


def _unseen(
    examples: Examples, features: Floats, folds: list[Fold],
    held: dict[float, list[NDArray[np.bool_]]],
) -> Floats:  # fmt: skip
    """Return answers for every place by an estimator that did not see its block."""
    answers = _blank(examples)
    for train, test in folds:
        model = fresh(examples.target)
        model.fit(features[train], examples.known[train], examples.group[train])
        if isinstance(model, PlaceRegressor):
            answers[test] = model.predict(features[test])
            for promise, each in held.items():
                low, high = model.predict_interval(features[test], promise).T
                known = examples.known[test]
                each.append((low <= known) & (known <= high))
        else:
            answers[np.ix_(test, model.classes_)] = model.predict_proba(features[test])
    return answers


def _blank(examples: Examples) -> Floats:
    count = len(examples.target.classes)
    return np.full((len(examples), count) if count else len(examples), np.nan if not count else 0.0)


def _dummy(examples: Examples, folds: list[Fold]) -> Floats:
    answers = _blank(examples)
    for train, test in folds:
        if not examples.target.classes:
            answers[test] = (
                DummyRegressor().fit(train[:, None], examples.known[train]).predict(test[:, None])
            )
        else:
            model = DummyClassifier().fit(train[:, None], examples.known[train])
            answers[np.ix_(test, model.classes_)] = model.predict_proba(test[:, None])
    return answers


def _with_share(
    examples: Examples, folds: list[Fold], share: float, all_: Floats
) -> tuple[int, float]:
    """Return how many labels a share of a fold's is, and the score that is learned from them."""
    count = round(share * float(np.mean([len(train) for train, _ in folds])))
    if share == 1:
        return count, metric_of(examples, all_, np.arange(len(examples)))
    rng = np.random.default_rng(0)
    few = [(np.sort(rng.permutation(train)[: round(share * len(train))]), test)
           for train, test in folds]  # fmt: skip
    few = [fold for fold in few if len(np.unique(examples.known[fold[0]])) > 1]
    answers = _unseen(examples, examples.features["vectors"], few, {})
    return count, metric_of(examples, answers, np.arange(len(examples)))


def _scores(examples: Examples, answers: dict[str, Floats]) -> list[Score]:
    every = np.arange(len(examples))
    own = {name: metric_of(examples, given, every) for name, given in answers.items()}
    resampled = {name: [] for name in answers}  # type: dict[str, list[float]]
    for rows in _resampled(examples.group):
        for name, given in answers.items():
            resampled[name].append(metric_of(examples, given, rows))
    spread = {name: np.array(values) for name, values in resampled.items()}
    first = next(iter(answers))
    return [
        Score(
            name, own[name], float(np.nanstd(spread[name])), own[first] - own[name],
            float(np.nanstd(spread[first] - spread[name])),
        )
        for name in answers
    ]  # fmt: skip


def _resampled(group: Places) -> list[Places]:
    """Return rows of blocks that are drawn with replacement, again and again (the bootstrap)."""
    rng = np.random.default_rng(0)
    members = [np.flatnonzero(group == number) for number in np.unique(group)]
    return [
        np.concatenate([members[n] for n in rng.integers(0, len(members), len(members))])
        for _ in range(RESAMPLES)
    ]


def metric_of(examples: Examples, answers: Floats, rows: Places) -> float:
    """Return the metric at some rows: macro-F1, R2, or the area under the ROC curve."""
    truth, given = examples.known[rows], answers[rows]
    if examples.target.kind == "number":
        known = np.isfinite(given)
        return float(r2_score(truth[known], given[known]))
    if examples.target.kind == "alike":
        both = len(np.unique(truth)) > 1
        return float(roc_auc_score(truth, given[:, 1])) if both else float("nan")
    return float(
        f1_score(truth, given.argmax(1), labels=np.unique(truth), average="macro", zero_division=0)
    )
