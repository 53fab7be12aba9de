"""The estimators: scikit-learn's own checks, choice of a family, intervals, extrapolation."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from loc2vec.predict.estimators import (
    CLASSIFIERS,
    REGRESSORS,
    PlaceClassifier,
    PlaceRegressor,
)

QUICK = ("linear", "neighbours")
FEW: dict[str, Any] = {"max_iter": 20, "early_stopping": False, "random_state": 0}


def noise(n: int, seed: int = 0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(size=(n, 4))


@pytest.mark.untraced  # the checks are not our code
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "estimator",
    [
        PlaceRegressor(QUICK), PlaceClassifier(QUICK),
        PlaceRegressor(("boosting",)), PlaceClassifier(("boosting",)),
    ],
)  # fmt: skip
def test_they_are_estimators_of_scikit_learn(
    estimator: PlaceRegressor | PlaceClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With fewer trees: the checks ask for the interface."""
    monkeypatch.setitem(REGRESSORS, "boosting", lambda n: HistGradientBoostingRegressor(**FEW))
    monkeypatch.setitem(CLASSIFIERS, "boosting", lambda n: HistGradientBoostingClassifier(**FEW))
    results = check_estimator(estimator, on_fail=None)
    assert [each["check_name"] for each in results if each["status"] == "failed"] == []


def test_they_work_in_pipelines_and_cross_validation() -> None:
    x = noise(200)
    scores = cross_val_score(make_pipeline(StandardScaler(), PlaceRegressor(QUICK)), x, x[:, 0])
    assert scores.mean() > 0.95


@pytest.mark.parametrize(
    ("family", "number"),
    [
        ("linear", lambda x: x[:, 0] - 2 * x[:, 1]),
        ("boosting", lambda x: np.sign(x[:, 0]) * np.sign(x[:, 1])),
    ],
)
def test_the_family_fits_the_matter(family: str, number: object) -> None:
    x = noise(600)
    assert callable(number)
    model = PlaceRegressor().fit(x, number(x))
    assert model.family_ == family
    assert set(model.losses_) == {"linear", "neighbours", "boosting"}


@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.9, 0.95])
def test_intervals_hold_what_they_promise(coverage: float) -> None:
    """Also where errors are skewed, and where what is told is of groups that were not seen."""
    held = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        x = noise(400, seed)
        y = x[:, 0] + rng.exponential(1.0, 400)
        group = np.arange(400) // 20
        model = PlaceRegressor(("linear",)).fit(x[:200], y[:200], group[:200])
        low, high = model.predict_interval(x[200:], coverage).T
        held.append(((low <= y[200:]) & (y[200:] <= high)).mean())
    assert np.mean(held) == pytest.approx(coverage, abs=0.03)


def test_intervals_follow_the_skew_of_the_errors() -> None:
    x = noise(400)
    y = x[:, 0] + np.random.default_rng(1).exponential(1.0, 400)
    model = PlaceRegressor(("linear",)).fit(x, y)
    low, high = model.predict_interval(x, 0.9).T
    middle = model.predict(x)
    assert (high - middle > 1.5 * (middle - low)).all()


def test_too_few_errors_promise_nothing() -> None:
    x = noise(12)
    model = PlaceRegressor(("linear",)).fit(x, x[:, 0])
    assert np.isinf(model.predict_interval(x, 0.95)).all()
    assert np.isfinite(model.predict_interval(x, 0.5)).all()


def test_errors_are_those_of_groups_that_were_not_seen() -> None:
    """Rows of a group share a number of their own, which another group says nothing of."""
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(20), 20)
    x = rng.normal(size=(20, 4))[group] + rng.normal(0, 0.01, (400, 4))
    y = rng.normal(size=20)[group]
    apart, mixed = (PlaceRegressor(("neighbours",)).fit(x, y, g) for g in (group, None))
    assert np.abs(apart.errors_).mean() > 5 * np.abs(mixed.errors_).mean()


def test_classes_have_probabilities_that_are_right() -> None:
    rng = np.random.default_rng(0)
    x = noise(2000)
    share = 1 / (1 + np.exp(-2 * x[:, 0]))
    y = np.where(rng.random(2000) < share, "cafe", "bar")
    model = PlaceClassifier(QUICK).fit(x[:1000], y[:1000])
    assert model.classes_.tolist() == ["bar", "cafe"]
    told = model.predict_proba(x[1000:])
    assert told.sum(1) == pytest.approx(1)
    assert np.abs(told[:, 1] - share[1000:]).mean() < 0.06
    assert (model.predict(x[1000:]) == y[1000:]).mean() > 0.7


def test_one_class_is_refused() -> None:
    with pytest.raises(ValueError, match="one class, 'a', cannot be told from another"):
        PlaceClassifier().fit(noise(20), ["a"] * 20)


def test_what_lies_far_from_all_that_is_known_is_an_extrapolation() -> None:
    x = noise(300)
    model = PlaceRegressor(("linear",)).fit(x, x[:, 0], np.arange(300) // 10)
    assert model.far(x + 20).all()
    assert not model.far(x).any()
    new = noise(300, 1)
    assert 0.0 < model.far(new).mean() < 0.15
