"""Probes: small models that read a label from vectors. What they find was there for all to see."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.metrics import confusion_matrix, f1_score, mean_absolute_error, r2_score
from sklearn.model_selection import GroupKFold
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from loc2vec.evaluation.task import Task
from tiling.geodesy import ground_distance_m

Probe = Literal["linear", "knn"]
Floats = NDArray[np.float32]
Rows = NDArray[np.int64]

PROBES: tuple[Probe, ...] = ("linear", "knn")
STRENGTHS = (0.01, 0.1, 1.0)  # C of the logistic regression, chosen within the training places
PENALTIES = tuple(10.0**power for power in range(-2, 6))  # alpha of the ridge regression, chosen likewise
NEIGHBOURS = 15
INNER_FOLDS = 2
TOP = 5


def predict(probe: Probe, task: Task, vectors: Floats, train: Rows, test: Rows, group: Rows) -> NDArray[np.float64]:
    """Fit on the training rows and predict the test rows.

    `vectors` float32 [N, D] of all places, `group` int64 [N]. Returns the probability of each class [n, K], or
    the number itself [n]. Vectors are standardised by the training rows; the strength of the logistic
    regression is chosen by two inner folds of whole groups.
    """
    if not task.classes:
        number: NDArray[np.float64] = (
            _regressor(probe, len(train)).fit(vectors[train], task.target[train]).predict(vectors[test])
        )
        return number
    present = np.unique(task.target[train])
    probability = np.zeros((len(test), len(task.classes)))
    if len(present) == 1:
        probability[:, present[0]] = 1
        return probability
    labels = task.target[train].astype(np.int64)
    if probe == "knn":
        model = KNeighborsClassifier(min(NEIGHBOURS, len(train)), weights="distance")
    else:
        model = _logistic(_strength(vectors[train], labels, group[train]))
    fitted = make_pipeline(StandardScaler(), model).fit(vectors[train], labels)
    probability[:, present] = fitted.predict_proba(vectors[test])
    return probability


def _regressor(probe: Probe, n: int) -> Pipeline:
    model = RidgeCV(PENALTIES) if probe == "linear" else KNeighborsRegressor(min(NEIGHBOURS, n), weights="distance")
    return make_pipeline(StandardScaler(), model)


def _logistic(strength: float) -> LogisticRegression:
    return LogisticRegression(C=strength, class_weight="balanced", max_iter=2000)


def _strength(vectors: Floats, labels: Rows, group: Rows) -> float:
    """Return the strength that gives the best macro-F1 over inner folds of whole groups, 1 where there are none.

    By hand: scikit-learn's grid search scales anew for each strength, and takes half of the time for its own affairs.
    """
    inner = min(INNER_FOLDS, len(np.unique(group)))
    splits = list(GroupKFold(inner).split(group, groups=group)) if inner > 1 else []
    splits = [split for split in splits if len(np.unique(labels[split[0]])) > 1]
    if not splits:
        return 1.0
    scores = np.zeros(len(STRENGTHS))
    for fit, held in splits:
        scale = StandardScaler().fit(vectors[fit])
        seen, unseen = scale.transform(vectors[fit]), scale.transform(vectors[held])
        for number, strength in enumerate(STRENGTHS):
            found = _logistic(strength).fit(seen, labels[fit]).predict(unseen)
            scores[number] += f1_score(labels[held], found, average="macro", zero_division=0)
    return STRENGTHS[scores.argmax()]


def primary(task: Task) -> str:
    """Return the name of the metric that a task is judged by; more is better."""
    if task.geolocation:
        return "top-1"
    return "macro-F1" if task.classes else "R2"


def metrics(task: Task, predicted: NDArray[np.float64], rows: Rows | None = None) -> dict[str, float]:
    """Compare predictions [N, K] or [N] with the labels, at all places or at some `rows`."""
    rows = np.arange(len(task)) if rows is None else rows
    truth, predicted = task.target[rows], predicted[rows]
    if not task.classes:
        return {"R2": float(r2_score(truth, predicted)), "MAE": float(mean_absolute_error(truth, predicted))}
    best = predicted.argmax(1)
    result = {
        "macro-F1": float(f1_score(truth, best, labels=np.unique(truth), average="macro", zero_division=0)),
        "accuracy": float((best == truth).mean()),
    }
    if not task.geolocation:
        return result
    first = np.argsort(-predicted, axis=1, kind="stable")[:, :TOP]
    middle = np.array(
        [(task.lat[task.target == k].mean(), task.lon[task.target == k].mean()) for k in range(len(task.classes))]
    )
    away_m = ground_distance_m(*middle[best].T, *middle[truth].T)
    top = (first == truth[:, None]).any(1)
    return {"top-1": result["accuracy"], f"top-{TOP}": float(top.mean()), "mean km": float(away_m.mean() / 1000)}


def confusion(task: Task, predicted: NDArray[np.float64]) -> NDArray[np.int64]:
    """Count (true class, predicted class): int64 [K, K]."""
    counts: NDArray[np.int64] = confusion_matrix(task.target, predicted.argmax(1), labels=range(len(task.classes)))
    return counts
