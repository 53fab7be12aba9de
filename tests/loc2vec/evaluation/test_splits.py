"""Which places train a probe and which test it: nothing leaks."""

import numpy as np
import pytest
from numpy.typing import NDArray

from loc2vec.errors import LabelsError
from loc2vec.evaluation.splits import APART_M, blocks, folds, groups, require_folds, splits_of
from loc2vec.evaluation.tasks.task import Task
from tiling.geo.geodesy import MetresPerDegree, ground_distance_m


def task_of(
    lat: NDArray[np.float64],
    lon: NDArray[np.float64],
    place: NDArray[np.int64],
    geolocation: bool = False,
) -> Task:
    target = np.arange(len(lat)) % 2
    towns = tuple(f"town {number}" for number in range(int(place.max()) + 1))
    return Task(
        "kind", "of place", lat, lon, target, ("a", "b"), place, towns, geolocation=geolocation
    )


def towns(count: int, places: int = 40, seed: int = 0) -> Task:
    """Towns 1 degree apart, each 4 km wide."""
    rng = np.random.default_rng(seed)
    place = np.repeat(np.arange(count), places)
    lat = 50 + place + rng.uniform(0, 0.036, len(place))
    return task_of(lat, 8 + rng.uniform(0, 0.056, len(place)), place)


def test_a_single_town_cannot_be_told_from_itself() -> None:
    assert splits_of(towns(1)) == ("blocks", "random")
    assert splits_of(towns(2)) == ("towns", "blocks", "random")
    lat, lon, place = np.zeros(4), np.arange(4.0), np.arange(4)
    assert splits_of(task_of(lat, lon, place, geolocation=True)) == ("blocks", "random")


def test_groups_are_towns_blocks_or_single_places() -> None:
    task = towns(3)
    assert (groups(task, "towns") == task.place).all()
    assert (groups(task, "random") == np.arange(len(task))).all()
    block = groups(task, "blocks")
    assert all(len(set(task.place[block == number])) == 1 for number in set(block.tolist()))


@pytest.mark.parametrize("lat", [0.01, 47.3, -70.2])
def test_a_block_is_a_square_on_the_ground(lat: float) -> None:
    rng = np.random.default_rng(3)
    scale = MetresPerDegree.at(lat)
    y, x = rng.uniform(0, 5000, (2, 600))
    number = blocks(lat + y / scale.y, 9 + x / scale.x)
    assert 25 <= len(set(number.tolist())) <= 49, "5 km by 5 km, in any position of the squares"
    for one in set(number.tolist()):
        here = number == one
        assert np.ptp(y[here]) <= 1015, "rows are those of the equator"
        assert np.ptp(x[here]) <= 1015


def test_a_larger_block_holds_more() -> None:
    task = towns(1, 200)
    counts = [len(set(blocks(task.lat, task.lon, side).tolist())) for side in (500.0, 1e3, 1e4)]
    assert counts[0] > counts[1] > counts[2]


@pytest.mark.parametrize("split", ["towns", "blocks", "random"])
def test_every_place_is_tested_once_and_never_trained_on(split: str) -> None:
    task = towns(5, 30)
    group = groups(task, split)  # type: ignore[arg-type]
    tested = []
    for train, test in folds(task, split, seed=1):  # type: ignore[arg-type]
        tested += test.tolist()
        assert not set(group[train]) & set(group[test])
    assert sorted(tested) == list(range(len(task)))


@pytest.mark.parametrize("split", ["towns", "blocks"])
def test_no_training_place_shares_ground_with_a_test_place(split: str) -> None:
    task = towns(2, 150, seed=2)
    left_out = 0
    for train, test in folds(task, split, seed=0):  # type: ignore[arg-type]
        away = ground_distance_m(
            task.lat[train][:, None], task.lon[train][:, None], task.lat[test], task.lon[test]
        )
        assert away.min() > APART_M * 0.99
        left_out += len(task) - len(train) - len(test)
    assert (left_out > 0) == (split == "blocks"), "only blocks have neighbours"


def test_another_seed_gives_other_folds_and_the_same_one_the_same() -> None:
    task = towns(1, 200)
    first, again, other = (
        [test.tolist() for _, test in folds(task, "blocks", seed)] for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


@pytest.mark.parametrize("middle", [8.0, 8.003])
def test_places_that_all_touch_leave_nothing_to_train_on(middle: float) -> None:
    scale = MetresPerDegree.at(50.0)
    lon = middle + np.array([-60, -30, 30, 60]) / scale.x
    lat = 50.003 + np.array([-20, 20, -20, 20]) / scale.y
    task = task_of(lat, lon, np.zeros(4, np.int64))
    with pytest.raises(LabelsError, match="283 m from the others: give a wider area"):
        list(folds(task, "blocks", 0))
    places = np.zeros(10, np.int64)
    small = task_of(lat[places], lon[places], places)  # enough labels, all at one place
    small.require(5)
    with pytest.raises(LabelsError, match="283 m from the others: give a wider area"):
        require_folds(small, 1)


def test_a_task_whose_folds_can_all_be_trained_on_is_taken() -> None:
    require_folds(towns(3), 2)
