"""Trips and sequences as values, and what they refuse."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from loc2vec.errors import LabelsError
from loc2vec.trips.classify import shapes
from loc2vec.trips.trip import Sequences, Trips
from tiling.geo.geodesy import MetresPerDegree

SCALE = np.array(MetresPerDegree.at(43.0))
MODES, TOWNS = ["rail", "foot", "foot"], ["B", "A", "B"]


def points(*metres: tuple[float, float]) -> NDArray[np.float64]:
    """Positions so many metres from one in the south of France."""
    places: NDArray[np.float64] = np.array(metres, np.float64) / SCALE + (7.0, 43.0)
    return places


def trips(lengths: list[int] | None = None) -> Trips:
    counts = lengths or [2, 3, 4]
    found = [points(*((x, row) for x in range(count))) for row, count in enumerate(counts)]
    return Trips.of(found, MODES, TOWNS)


def test_trips_lie_one_after_another_and_names_become_numbers() -> None:
    found = trips()
    assert len(found) == 3
    assert found.first.tolist() == [0, 2, 5, 9]
    assert (found.modes, found.mode.tolist()) == (("foot", "rail"), [1, 0, 0])
    assert (found.towns, found.town.tolist()) == (("A", "B"), [1, 0, 1])
    assert found.lon_lat.shape == (9, 2)


@pytest.mark.parametrize(
    ("counts", "modes", "towns", "message"),
    [
        ([2, 1], ["a", "b"], ["A", "B"], "trip 2 has fewer than 2 points: leave it out"),
        ([0, 2], ["a", "b"], ["A", "B"], "trip 1 has fewer than 2 points"),
        ([2, 2], ["a", "a"], ["A", "B"], "every trip is of mode a: modes cannot be told apart"),
        ([2, 2], ["a", "b"], ["A", "A"], "every trip is in A: give trips of another town"),
        ([], [], [], "every trip is of mode -: modes cannot be told apart"),
    ],
)
def test_trips_that_tell_nothing_are_refused(
    counts: list[int], modes: list[str], towns: list[str], message: str
) -> None:
    with pytest.raises(LabelsError, match=message):
        Trips.of([np.zeros((count, 2)) for count in counts], modes, towns)


def test_the_task_is_at_the_middle_of_each_trip() -> None:
    task = trips().task
    metres = (np.stack([task.lon, task.lat], axis=1) - (7.0, 43.0)) * SCALE
    assert metres == pytest.approx(np.array([[0.5, 0], [1, 1], [1.5, 2]]), abs=1e-6)
    assert task.target.tolist() == [1, 0, 0]
    assert task.classes == ("foot", "rail")
    assert task.place.tolist() == [1, 0, 1]


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.lists(st.integers(2, 9), min_size=3, max_size=3), st.integers(1, 4))
def test_sequences_hold_each_trip_and_zeros_behind_it(lengths: list[int], dim: int) -> None:
    found = trips(lengths)
    values = np.arange(1, sum(lengths) * dim + 1, dtype=np.float32).reshape(-1, dim)
    sequences = Sequences.of(found, values)
    assert (len(sequences), sequences.dim) == (3, dim)
    assert sequences.lengths.tolist() == lengths
    assert sequences.vectors.shape == (3, max(lengths), dim)
    for number, (start, end) in enumerate(zip(found.first[:-1], found.first[1:], strict=True)):
        row = sequences.vectors[number]
        assert np.array_equal(row[: end - start], values[start:end])
        assert not row[end - start :].any()
        assert sequences.present[number].tolist() == [
            at < end - start for at in range(max(lengths))
        ]
        np.testing.assert_allclose(found.means(values)[number], values[start:end].mean(0))


def test_some_of_the_trips_are_sequences_too() -> None:
    sequences = Sequences.of(trips(), np.arange(9, dtype=np.float32)[:, None])
    some = sequences.at(np.array([2, 0]))
    assert some.lengths.tolist() == [4, 2]
    assert some.vectors[1, :, 0].tolist() == [0, 1, 0, 0]


def test_standardised_points_have_mean_nothing_and_deviation_one() -> None:
    values = np.random.default_rng(0).normal(5, 3, (9, 2)).astype(np.float32)
    sequences = Sequences.of(trips(), values)
    mean, spread = sequences.statistics()
    np.testing.assert_allclose(mean, values.mean(0), rtol=1e-5)
    np.testing.assert_allclose(spread, values.std(0), rtol=1e-5)
    standard = sequences.standardised(mean, spread).numpy()
    inside = standard[sequences.present]
    np.testing.assert_allclose(inside.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(inside.std(0), 1, atol=1e-5)
    assert not standard[~sequences.present].any()
    same = Sequences.of(trips(), np.ones((9, 1), np.float32))
    assert not same.standardised(*same.statistics()).numpy().any(), "no division by nothing"


def test_the_shape_of_a_track_is_its_turns_its_stretch_and_its_steps() -> None:
    straight = points((0, 0), (100, 0), (200, 0), (300, 0))
    corner = points((0, 0), (100, 0), (100, 100))
    back = points((0, 0), (100, 0), (0, 0))
    uneven = points((0, 0), (0, 50), (0, 200))
    two = points((0, 0), (-30, 40))
    still = points((5, 5), (5, 5), (5, 5))
    every = [straight, corner, back, uneven, two, still]
    found = Trips.of(every, ["a", "b"] * 3, ["A", "B"] * 3)
    expected: list[list[float]] = [
        [0, 0, 1, 0],
        [90, 90, np.sqrt(2) / 2, 0],
        [180, 180, 0, 0],
        [0, 0, 1, 0.5],
        [0, 0, 1, 0],
        [0, 0, 0, 0],
    ]
    np.testing.assert_allclose(shapes(found), expected, atol=0.02)
    assert shapes(found).dtype == np.float32


def test_turns_are_the_short_way_round() -> None:
    zigzag = points((0, 0), (-100, 1), (-200, -1), (-300, 1))
    found = Trips.of([zigzag, zigzag], ["a", "b"], ["A", "B"])
    assert shapes(found)[0, 0] < 3, "from 179 to -179 degrees are two"
