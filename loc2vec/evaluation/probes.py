"""Probes: small models that read a label from vectors."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from sklearn import config_context
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.metrics import confusion_matrix, f1_score, mean_absolute_error, r2_score
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from loc2vec.evaluation.tasks.task import Rows, Task
from loc2vec.model.arrays import Floats, Vectors
from tiling.geo.geodesy import ground_distance_m

Probe = Literal["linear", "knn"]

PROBES: tuple[Probe, ...] = ("linear", "knn")
# C of the logistic regression and alpha of the ridge regression: chosen within the training places
STRENGTHS = (0.01, 0.1, 1.0)
PENALTIES = tuple(10.0**power for power in range(-2, 6))
NEIGHBOURS = 15
INNER_FOLDS = 2
TOP = 5


@contextmanager
def small_fits() -> Iterator[None]:
    """Fit in one thread and without checks, which take a third of the time of a small fit."""
    with threadpool_limits(1), config_context(assume_finite=True, skip_parameter_validation=True):
        yield


def predict(
    probe: Probe, task: Task, vectors: Vectors, train: Rows, test: Rows, group: Rows
) -> Floats:
    """Fit on the training rows and predict the test rows.

    `vectors` float32 [N, D] of all places, `group` int64 [N]. Returns the probability of each class
    [n, K], or the number itself [n]. Vectors are standardised by the training rows; the strength of
    the logistic regression is chosen by two inner folds of whole groups.
    """
    if not task.classes:
        number: Floats = (
            _regressor(probe, len(train))
            .fit(vectors[train], task.target[train])
            .predict(vectors[test])
        )
        return number
    present = np.unique(task.target[train])
    probability = np.zeros((len(test), len(task.classes)))
    if len(present) == 1:
        probability[:, present[0]] = 1
        return probability
    model = _classifier(probe, task, train, group)
    probability[:, present] = model.fit(vectors[train], task.target[train]).predict_proba(
        vectors[test]
    )
    return probability


def _regressor(probe: Probe, n: int) -> Pipeline:
    model = (
        RidgeCV(PENALTIES)
        if probe == "linear"
        else KNeighborsRegressor(min(NEIGHBOURS, n), weights="distance")
    )
    return make_pipeline(StandardScaler(), model)


def _classifier(probe: Probe, task: Task, train: Rows, group: Rows) -> Pipeline | GridSearchCV:
    if probe == "knn":
        return make_pipeline(
            StandardScaler(), KNeighborsClassifier(min(NEIGHBOURS, len(train)), weights="distance")
        )
    logistic = Pipeline(
        [
            ("scale", StandardScaler()),
            ("fit", LogisticRegression(class_weight="balanced", max_iter=2000)),
        ]
    )
    inner = min(INNER_FOLDS, len(np.unique(group[train])))
    splits = list(GroupKFold(inner).split(train, groups=group[train])) if inner > 1 else []
    splits = [split for split in splits if len(np.unique(task.target[train[split[0]]])) > 1]
    if not splits:
        return logistic
    return GridSearchCV(logistic, {"fit__C": STRENGTHS}, scoring="f1_macro", cv=splits)


def primary(task: Task) -> str:
    """Return the name of the metric that a task is judged by; more is better."""
    if task.geolocation:
        return "top-1"
    return "macro-F1" if task.classes else "R2"


def metrics(task: Task, predicted: Floats, rows: Rows | None = None) -> dict[str, float]:
    """Compare predictions [N, K] or [N] with the labels, at all places or at some `rows`."""
    rows = np.arange(len(task)) if rows is None else rows
    truth, predicted = task.target[rows], predicted[rows]
    if not task.classes:
        return {
            "R2": float(r2_score(truth, predicted)),
            "MAE": float(mean_absolute_error(truth, predicted)),
        }
    best = predicted.argmax(1)
    result = {
        "macro-F1": float(
            f1_score(truth, best, labels=np.unique(truth), average="macro", zero_division=0)
        ),
        "accuracy": float((best == truth).mean()),
    }
    if not task.geolocation:
        return result
    first = np.argsort(-predicted, axis=1, kind="stable")[:, :TOP]
    middle = np.array(
        [
            (task.lat[task.target == k].mean(), task.lon[task.target == k].mean())
            for k in range(len(task.classes))
        ]
    )
    away_m = ground_distance_m(*middle[best].T, *middle[truth].T)
    top = (first == truth[:, None]).any(1)
    return {
        "top-1": result["accuracy"],
        f"top-{TOP}": float(top.mean()),
        "mean km": float(away_m.mean() / 1000),
    }


def confusion(task: Task, predicted: Floats) -> NDArray[np.int64]:
    """Count (true class, predicted class): int64 [K, K]."""
    counts: NDArray[np.int64] = confusion_matrix(
        task.target, predicted.argmax(1), labels=range(len(task.classes))
    )
    return counts
