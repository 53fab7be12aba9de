"""Probes: they read what is there, and nothing where nothing is."""

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import f1_score, r2_score

from loc2vec.evaluation.probes import PROBES, Probe, confusion, metrics, predict, primary
from loc2vec.evaluation.tasks.task import Task

KINDS = ("house", "shop", "farm")


def classes(n: int = 300, seed: int = 0, geolocation: bool = False) -> Task:
    rng = np.random.default_rng(seed)
    target = rng.integers(0, len(KINDS), n)
    lat, lon = 10 * target + rng.normal(0, 0.01, n), np.zeros(n)
    place = target if geolocation else np.zeros(n, np.int64)
    names = KINDS if geolocation else ("town",)
    return Task("kind", "", lat, lon, target, KINDS, place, names, geolocation=geolocation)


def numbers(n: int = 300, seed: int = 0) -> Task:
    target = np.random.default_rng(seed).normal(5, 2, n)
    return Task("levels", "", np.zeros(n), np.zeros(n), target, (), np.zeros(n, int), ("town",))


def telling(task: Task, noise: float, seed: int = 1) -> NDArray[np.float32]:
    """Vectors from which the label can be read, as well as the noise allows."""
    rng = np.random.default_rng(seed)
    told = np.eye(3)[task.target] if task.classes else task.target[:, None] * [1.0, -2.0, 0.5]
    return (told + rng.normal(0, noise, told.shape)).astype(np.float32)


def halves(task: Task) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    rows = np.random.default_rng(5).permutation(len(task))
    return np.sort(rows[::2]), np.sort(rows[1::2])


@pytest.mark.parametrize("probe", PROBES)
def test_a_class_that_is_in_the_vectors_is_read(probe: Probe) -> None:
    task, (train, test) = classes(), halves(classes())
    found = predict(probe, task, telling(task, 0.1), train, test, np.arange(len(task)))
    assert found.shape == (len(test), 3)
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-6)
    assert (found.argmax(1) == task.target[test]).mean() > 0.98


@pytest.mark.parametrize("probe", PROBES)
def test_a_class_that_is_not_in_the_vectors_is_guessed(probe: Probe) -> None:
    task, (train, test) = classes(600), halves(classes(600))
    noise = np.random.default_rng(9).normal(size=(600, 4)).astype(np.float32)
    found = predict(probe, task, noise, train, test, np.arange(600))
    assert 0.2 < (found.argmax(1) == task.target[test]).mean() < 0.47


@pytest.mark.parametrize("probe", PROBES)
def test_a_number_that_is_in_the_vectors_is_read(probe: Probe) -> None:
    task, (train, test) = numbers(), halves(numbers())
    found = predict(probe, task, telling(task, 0.05), train, test, np.arange(len(task)))
    assert found.shape == (len(test),)
    assert r2_score(task.target[test], found) > 0.97


@pytest.mark.parametrize("probe", PROBES)
def test_units_of_the_vectors_do_not_matter(probe: Probe) -> None:
    task, (train, test) = classes(), halves(classes())
    vectors = telling(task, 0.6)
    scaled = vectors * np.array([1e-3, 1.0, 1e4], np.float32)
    first, second = (
        predict(probe, task, v, train, test, np.arange(len(task))) for v in (vectors, scaled)
    )
    np.testing.assert_allclose(first, second, atol=2e-3)


def test_one_class_in_training_is_all_that_is_said() -> None:
    task = classes()
    train, test = np.flatnonzero(task.target == 1), np.flatnonzero(task.target != 1)
    found = predict("linear", task, telling(task, 0.1), train, test, np.arange(len(task)))
    assert (found == [0, 1, 0]).all()


def test_a_class_without_training_places_has_no_probability() -> None:
    task = classes()
    train, test = np.flatnonzero(task.target != 2)[::2], np.flatnonzero(task.target == 2)
    found = predict("linear", task, telling(task, 0.1), train, test, np.arange(len(task)))
    assert (found[:, 2] == 0).all()
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-6)


def test_a_single_group_has_no_inner_folds_and_still_is_read() -> None:
    task, (train, test) = classes(), halves(classes())
    found = predict("linear", task, telling(task, 0.1), train, test, np.zeros(len(task), int))
    assert (found.argmax(1) == task.target[test]).mean() > 0.98


def test_fewer_training_places_than_neighbours_are_no_fault() -> None:
    task = classes()
    found = predict("knn", task, telling(task, 0.1), np.arange(4), np.arange(4, 300), task.place)
    assert found.shape == (296, 3)


def test_the_primary_metric_suits_the_task() -> None:
    assert primary(classes()) == "macro-F1"
    assert primary(numbers()) == "R2"
    assert primary(classes(geolocation=True)) == "top-1"


def test_metrics_of_classes_are_those_of_scikit_learn() -> None:
    task = classes(90, seed=4)
    predicted = np.random.default_rng(0).dirichlet(np.ones(3), 90)
    found = metrics(task, predicted)
    best = predicted.argmax(1)
    assert found["accuracy"] == pytest.approx((best == task.target).mean())
    assert found["macro-F1"] == pytest.approx(f1_score(task.target, best, average="macro"))


def test_metrics_of_some_rows_look_at_no_others() -> None:
    task, rows = classes(90, seed=4), np.arange(10, 40)
    predicted = np.random.default_rng(0).dirichlet(np.ones(3), 90)
    spoilt = predicted.copy()
    spoilt[~np.isin(np.arange(90), rows)] = 0
    assert metrics(task, predicted, rows) == metrics(task, spoilt, rows)


def test_metrics_of_numbers() -> None:
    task = numbers(50)
    target = task.target.astype(np.float64)
    assert metrics(task, target) == {"R2": 1.0, "MAE": 0.0}
    found = metrics(task, target + 1)
    assert found["MAE"] == pytest.approx(1)
    assert found["R2"] < 1


def test_metrics_of_geolocation_say_how_far_off_a_guess_is() -> None:
    task = classes(90, geolocation=True)
    right = np.eye(3)[task.target]
    assert metrics(task, right)["mean km"] == pytest.approx(0)
    wrong = np.eye(3)[np.where(task.target == 0, 1, task.target)]
    found = metrics(task, wrong)
    share = (task.target == 0).mean()
    assert found["top-1"] == pytest.approx(1 - share)
    assert found["top-5"] == 1.0
    assert found["mean km"] == pytest.approx(share * 1112, rel=0.01), "10 degrees of latitude"


def test_the_confusion_counts_each_place_once() -> None:
    task = classes(90)
    predicted = np.eye(3)[(task.target + 1) % 3]
    counts = confusion(task, predicted)
    assert counts.sum() == 90
    assert [counts[k, (k + 1) % 3] for k in range(3)] == np.bincount(task.target).tolist()
    assert np.trace(counts) == 0
