"""Estimators that choose their own family: linear, neighbours or gradient boosting.

They are scikit-learn estimators. `groups` in `fit` keeps rows together. Groups that a
model did not see choose the family, and give the errors that intervals rest on.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.model_selection import GroupKFold
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from threadpoolctl import threadpool_limits

from loc2vec.model.arrays import Flags, Floats, Places

INNER_FOLDS = 3
NEIGHBOURS = 25
PENALTIES = tuple(10.0**power for power in range(-2, 6))
FAMILIES = ("linear", "neighbours", "boosting")
FAR = 0.95  # of the labelled places lie nearer to one of another group than what is called far

Family = Callable[[int], Any]  # from the number of rows to a fresh model

REGRESSORS: Mapping[str, Family] = {
    "linear": lambda n: make_pipeline(StandardScaler(), RidgeCV(PENALTIES)),
    "neighbours": lambda n: make_pipeline(
        StandardScaler(), KNeighborsRegressor(min(NEIGHBOURS, n), weights="distance")
    ),
    "boosting": lambda n: HistGradientBoostingRegressor(
        max_iter=80, learning_rate=0.07, early_stopping=False, random_state=0
    ),
}
CLASSIFIERS: Mapping[str, Family] = {
    "linear": lambda n: make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000)),
    "neighbours": lambda n: make_pipeline(
        StandardScaler(), KNeighborsClassifier(min(NEIGHBOURS, n), weights="distance")
    ),
    "boosting": lambda n: HistGradientBoostingClassifier(
        max_iter=60, learning_rate=0.07, early_stopping=False, random_state=0
    ),
}


class _Reach:
    """How far a vector may lie from the labelled ones before an answer is an extrapolation.

    Distances are taken in standardised vectors. The limit is the `FAR` quantile of the distances
    from each labelled place to the nearest one of another group.
    """

    def __init__(self, vectors: Floats, group: Places) -> None:
        self.mean, self.scale = vectors.mean(0), np.maximum(vectors.std(0), 1e-9)
        self.known = (vectors - self.mean) / self.scale
        away = self._to_others(group)
        # Of one group alone nothing is known of the distances between groups.
        self.limit = float(np.quantile(away, FAR)) if np.isfinite(away).all() else np.inf

    def _to_others(self, group: Places) -> Floats:
        away = np.full(len(group), np.inf)
        for number in np.unique(group):
            mine = group == number
            if not mine.all():
                away[mine] = cKDTree(self.known[~mine]).query(self.known[mine])[0]
        return away

    def beyond(self, vectors: Floats) -> Flags:
        """Tell which vectors [n, D] lie farther away than the limit: bool [n]."""
        distance, _ = cKDTree(self.known).query((vectors - self.mean) / self.scale)
        far: Flags = distance > self.limit
        return far


class _Chosen(BaseEstimator):  # type: ignore[misc]
    """What both kinds share: the choice of a family by rows that it did not see."""

    def _choose(self, x: Floats, y: NDArray[Any], groups: ArrayLike | None) -> Floats:
        """Fit each family on inner folds, keep the best; return its answers for unseen rows.

        Rows of a fold have no answer (NaN) where too little was left to train on.
        """
        group = np.arange(len(x)) if groups is None else np.unique(groups, return_inverse=True)[1]
        known: Mapping[str, Family] = self._families()
        with threadpool_limits(1):  # these fits are small: more threads only wait for each other
            unseen: dict[str, Floats] = {
                name: self._unseen(known[name], x, y, group) for name in self.families
            }
            self.losses_ = {name: self._loss(y, answers) for name, answers in unseen.items()}
            self.family_ = min(self.losses_, key=lambda name: self.losses_[name])
            self.model_ = known[self.family_](len(x)).fit(x, y)
        self.reach_ = _Reach(x, group)
        return unseen[self.family_]

    def _unseen(self, make: Family, x: Floats, y: NDArray[Any], group: Places) -> Floats:
        answers: Floats = self._blank(y)
        count = min(INNER_FOLDS, len(np.unique(group)))
        if count < 2:
            return answers
        folds = GroupKFold(count, shuffle=True, random_state=self.seed).split(x, groups=group)
        for train, test in folds:
            if len(np.unique(y[train])) > 1:
                answers[test] = self._answer(make(len(train)).fit(x[train], y[train]), x[test])
        return answers

    def far(self, X: ArrayLike) -> Flags:
        """Tell where an answer is an extrapolation: bool [n]."""
        check_is_fitted(self)
        reach: _Reach = self.reach_
        return reach.beyond(validate_data(self, X, reset=False, dtype=np.float64))


class PlaceRegressor(RegressorMixin, _Chosen):  # type: ignore[misc]
    """Numbers with intervals.

    An interval takes the errors on unseen groups as they are (split conformal prediction, Vovk et
    al. 2005, with the folds of cross-conformal prediction): below and above apart, so a skewed
    number has a skewed interval.
    """

    def __init__(self, families: Sequence[str] = FAMILIES, seed: int = 0) -> None:
        self.families = families
        self.seed = seed

    def fit(self, X: ArrayLike, y: ArrayLike, groups: ArrayLike | None = None) -> Self:
        """Fit to vectors [n, D] and numbers [n]."""
        x, target = validate_data(self, X, y, y_numeric=True, dtype=np.float64)
        unseen = self._choose(x, target, groups)
        errors = target - unseen
        self.errors_ = np.sort(errors[np.isfinite(errors)])
        return self

    def predict(self, X: ArrayLike) -> Floats:
        """Return numbers [n]."""
        check_is_fitted(self)
        return self._answer(self.model_, validate_data(self, X, reset=False, dtype=np.float64))

    def predict_interval(self, X: ArrayLike, coverage: float = 0.9) -> Floats:
        """Return the ends of intervals that hold a share of `coverage`: float64 [n, 2].

        The ends are infinite where there are too few errors for the promise.
        """
        n, tail = len(self.errors_), (1 - coverage) / 2
        rank = int(np.floor((n + 1) * tail)) - 1
        ends = (-np.inf, np.inf) if rank < 0 else (self.errors_[rank], self.errors_[n - 1 - rank])
        interval: Floats = self.predict(X)[:, None] + np.array(ends)
        return interval

    def _families(self) -> Mapping[str, Family]:
        return REGRESSORS

    def _blank(self, y: NDArray[Any]) -> Floats:
        return np.full(len(y), np.nan)

    def _answer(self, model: Any, x: Floats) -> Floats:
        answer: Floats = np.asarray(model.predict(x), np.float64)
        return answer

    def _loss(self, y: NDArray[Any], answers: Floats) -> float:
        known = np.isfinite(answers)
        return float(np.square(y - answers)[known].mean()) if known.any() else np.inf


class PlaceClassifier(ClassifierMixin, _Chosen):  # type: ignore[misc]
    """Classes with probabilities."""

    def __init__(self, families: Sequence[str] = FAMILIES, seed: int = 0) -> None:
        self.families = families
        self.seed = seed

    def fit(self, X: ArrayLike, y: ArrayLike, groups: ArrayLike | None = None) -> Self:
        """Fit to vectors [n, D] and classes [n]."""
        x, target = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(target)
        self.classes_, number = np.unique(target, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"one class, {str(self.classes_[0])!r}, cannot be told from another")
        self.unseen_ = self._choose(x, number, groups)
        return self

    def predict_proba(self, X: ArrayLike) -> Floats:
        """Return the probability of each class of `classes_`: float64 [n, K]."""
        check_is_fitted(self)
        x = validate_data(self, X, reset=False, dtype=np.float64)
        return self._answer(self.model_, x)

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Return the likeliest class of each [n]."""
        check_is_fitted(self)
        likeliest: NDArray[Any] = self.classes_[self.predict_proba(X).argmax(1)]
        return likeliest

    def _families(self) -> Mapping[str, Family]:
        return CLASSIFIERS

    def _blank(self, y: NDArray[Any]) -> Floats:
        return np.full((len(y), len(self.classes_)), np.nan)

    def _answer(self, model: Any, x: Floats) -> Floats:
        """Return the probabilities of all classes; those that a fold did not see have none."""
        found = model.predict_proba(x)
        answer = np.zeros((len(x), len(self.classes_)))
        answer[:, np.asarray(model.classes_, int)] = found
        return answer

    def _loss(self, y: NDArray[Any], answers: Floats) -> float:
        known = np.isfinite(answers[:, 0])
        given = np.clip(answers[known, y[known]], 1e-6, 1)
        return float(-np.log(given).mean()) if known.any() else np.inf
