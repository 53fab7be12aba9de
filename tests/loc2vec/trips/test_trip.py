"""Trips as values: how points lie one after another, are averaged, padded and standardised."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from loc2vec.errors import LabelsError
from loc2vec.trips.classify import TripScore, measure, methods, shapes
from loc2vec.trips.models import READERS
from loc2vec.trips.trip import Sequences, Trips
from tiling.geo.geodesy import MetresPerDegree

few = settings(max_examples=40, deadline=None, derandomize=True)
LENGTHS = st.lists(st.integers(2, 9), min_size=2, max_size=8)
SCALE = np.array(MetresPerDegree.at(43.0))


def trips_of(lengths: Sequence[int], seed: int = 0) -> Trips:
    rng = np.random.default_rng(seed)
    return Trips.of(
        [rng.normal((7, 43), 0.01, (length, 2)) for length in lengths],
        [("rail", "foot")[number % 2] for number in range(len(lengths))],
        [("Ulm", "Nice")[number % 2] for number in range(len(lengths))],
    )


def track(*xy: tuple[float, float]) -> NDArray[np.float64]:
    return np.asarray(np.array(xy, np.float64) / SCALE + (7.0, 43.0))


def shape(*xy: tuple[float, float]) -> NDArray[np.float32]:
    trips = Trips.of([track(*xy), track((0, 0), (1, 1))], ["a", "b"], ["x", "y"])
    return np.asarray(shapes(trips)[0])


def test_modes_and_towns_are_numbered_by_their_names() -> None:
    trips = Trips.of([np.zeros((2, 2))] * 3, ["tram", "bus", "tram"], ["Ulm", "Ulm", "Köln"])
    assert trips.modes == ("bus", "tram")
    assert trips.towns == ("Köln", "Ulm")
    assert trips.mode.tolist() == [1, 0, 1]
    assert trips.town.tolist() == [1, 1, 0]
    assert trips.first.tolist() == [0, 2, 4, 6]
    assert trips.lon_lat.shape == (6, 2)
    assert len(trips) == 3


@few
@given(LENGTHS)
def test_means_and_sequences_are_those_of_each_trip(lengths: list[int]) -> None:
    trips = trips_of(lengths)
    values = np.random.default_rng(1).normal(size=(sum(lengths), 3)).astype(np.float32)
    sequences = Sequences.of(trips, values)
    start = 0
    for row, length in enumerate(lengths):
        own = values[start : start + length]
        np.testing.assert_allclose(trips.means(values)[row], own.mean(0), atol=1e-6)
        assert np.array_equal(sequences.vectors[row, :length], own)
        assert not sequences.vectors[row, length:].any()
        present = [at < length for at in range(max(lengths))]
        assert sequences.present[row].tolist() == present
        start += length
    assert sequences.lengths.tolist() == lengths
    assert (len(sequences), sequences.dim) == (len(lengths), 3)
    assert sequences.vectors.shape == (len(lengths), max(lengths), 3)


@few
@given(LENGTHS)
def test_statistics_are_of_the_points_and_not_of_the_padding(lengths: list[int]) -> None:
    trips = trips_of(lengths)
    values = np.random.default_rng(2).normal(5, 3, (sum(lengths), 2)).astype(np.float32)
    sequences = Sequences.of(trips, values)
    mean, spread = sequences.statistics()
    np.testing.assert_allclose(mean, values.mean(0), rtol=1e-4)
    np.testing.assert_allclose(spread, values.std(0), rtol=1e-3)
    even = sequences.standardised(mean, spread).numpy()
    assert even.dtype == np.float32
    assert not even[~sequences.present].any(), "padding stays zero"
    points = even[sequences.present]
    np.testing.assert_allclose(points.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(points.std(0), 1, atol=1e-3)


def test_what_never_differs_is_standardised_to_zero() -> None:
    sequences = Sequences.of(trips_of([2, 3]), np.full((5, 1), 4, np.float32))
    mean, spread = sequences.statistics()
    assert spread > 0
    assert not sequences.standardised(mean, spread).any()


def test_some_trips_of_sequences_are_those() -> None:
    values = np.arange(9, dtype=np.float32)[:, None]
    some = Sequences.of(trips_of([2, 3, 4]), values).at(np.array([2, 0]))
    assert some.lengths.tolist() == [4, 2]
    assert some.vectors[0, :, 0].tolist() == [5, 6, 7, 8]
    assert some.vectors[1, :, 0].tolist() == [0, 1, 0, 0]


def test_the_task_lies_at_the_middle_of_each_trip() -> None:
    trips = Trips.of(
        [track((0, 0), (100, 0)), track((0, 0), (0, 60), (0, 120))], ["a", "b"], ["x", "y"]
    )
    task = trips.task
    assert len(task) == 2
    at = (np.stack([task.lon, task.lat], 1) - (7.0, 43.0)) * SCALE
    np.testing.assert_allclose(at, [(50, 0), (0, 60)], atol=1e-3)
    assert task.classes == ("a", "b")
    assert task.places == ("x", "y")
    assert (task.target.tolist(), task.place.tolist()) == ([0, 1], [0, 1])


@pytest.mark.parametrize(
    ("lengths", "modes", "towns", "message"),
    [
        ([], [], [], "every trip is of mode -: modes cannot be told apart"),
        ([2, 0], ["a", "b"], ["A", "B"], "trip 2 has fewer than 2 points: leave it out"),
        ([2, 1], ["a", "b"], ["A", "B"], "trip 2 has fewer than 2 points: leave it out"),
        ([1, 0], ["a", "b"], ["A", "B"], "trip 1 has fewer than 2 points"),
        ([0, 2], ["a", "b"], ["A", "B"], "trip 1 has fewer than 2 points"),
        ([2, 2], ["a", "a"], ["A", "B"], "every trip is of mode a: modes cannot be told apart"),
        ([2, 2], ["a", "b"], ["A", "A"], "every trip is in A: give trips of another town"),
    ],
)
def test_trips_that_are_none_are_refused(
    lengths: list[int], modes: list[str], towns: list[str], message: str
) -> None:
    with pytest.raises(LabelsError, match=message):
        Trips.of([np.zeros((n, 2)) for n in lengths], modes, towns)


@pytest.mark.parametrize(
    ("xy", "expected"),
    [
        (((0, 0), (100, 0), (200, 100)), (45, 45, None, None)),
        (((0, 0), (100, 0), (200, 0), (200, 100)), (45, 90, np.sqrt(5) / 3, 0)),
        (((0, 0), (100, 0), (0, 0)), (180, 180, 0, 0)),
        (((0, 0), (100, 0)), (0, 0, 1, 0)),
        (((0, 0), (100, 0), (400, 0)), (0, 0, 1, 0.5)),
        (((0, 0), (-100, 1), (-200, 0)), (1.146, 1.146, 1, 0)),
        (((0, 0), (100, 0), (100, 100)), (90, 90, np.sqrt(2) / 2, 0)),
        (((0, 0), (0, 50), (0, 200)), (0, 0, 1, 0.5)),
        (((0, 0), (-30, 40)), (0, 0, 1, 0)),
        (((5, 5), (5, 5), (5, 5)), (0, 0, 0, 0)),
    ],
)
def test_shapes_of_tracks(
    xy: tuple[tuple[float, float], ...], expected: tuple[float | None, ...]
) -> None:
    assert shape(*xy).dtype == np.float32
    for found, value in zip(shape(*xy).tolist(), expected, strict=True):
        if value is not None:
            assert found == pytest.approx(value, abs=0.01)


def test_turns_are_the_short_way_round() -> None:
    zigzag = shape((0, 0), (-100, 1), (-200, -1), (-300, 1))
    assert zigzag[0] < 3, "from 179 to -179 degrees are two"


def test_where_and_which_way_a_track_lies_is_no_shape() -> None:
    rng = np.random.default_rng(0)
    xy = np.cumsum(rng.normal(60, 40, (9, 2)), axis=0)
    turn = np.radians(50)
    turned = xy @ np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    variants = [xy, xy + 500, turned, 2 * xy, xy[::-1]]
    tracks = [each / SCALE + (7, 43) for each in variants]
    found = shapes(Trips.of(tracks, ["a", "b"] * 2 + ["a"], ["x", "y"] * 2 + ["x"]))
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], rtol=2e-3, atol=0.05)


def test_scores_have_a_mean_and_a_spread() -> None:
    score = TripScore(
        "v", "r", {"macro-F1": [0.5, 0.75], "accuracy": [1.0, 1.0]}, {}, np.eye(2, dtype=np.int64)
    )
    assert score.mean() == 0.625
    assert score.spread() == 0.125
    assert (score.mean("accuracy"), score.spread("accuracy")) == (1, 0)


def test_every_method_gives_a_share_of_each_mode_to_each_trip(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("loc2vec.trips.models.EPOCHS", 1)
    trips = trips_of([3, 4, 3, 5] * 3)
    values = {"ours": np.random.default_rng(0).normal(size=(len(trips.lon_lat), 3))}
    seen, asked = np.arange(8), np.arange(8, 12)
    names = []
    for vectors, reader, run in methods(
        trips, {k: v.astype(np.float32) for k, v in values.items()}
    ):
        names.append((vectors, reader))
        share = run(seen, asked, 0)
        assert share.shape == (4, 2)
        np.testing.assert_allclose(share.sum(1), 1, atol=1e-5)
    expected = [("-", "majority"), ("position", "mean"), ("shape of the track", "numbers")]
    assert names == [*expected, ("ours", "mean"), *(("ours", reader) for reader in READERS)]


def test_the_majority_is_that_of_the_trips_seen() -> None:
    trips = trips_of([2] * 6)
    _, _, run = next(methods(trips, {}))
    foot, rail = trips.modes.index("foot"), trips.modes.index("rail")
    one = run(np.array([0, 2, 1]), np.array([3, 4]), 0)
    assert one.argmax(1).tolist() == [rail, rail]
    assert run(np.array([0, 3, 1]), np.array([4]), 0).argmax(1).tolist() == [foot]


def test_measuring_tells_how_far_it_is_and_scores_every_trip() -> None:
    rng = np.random.default_rng(0)
    lengths = [3 + number % 2 for number in range(24)]
    trips = Trips.of(
        [rng.normal((7, 43), 0.01, (length, 2)) for length in lengths],
        [("rail", "foot")[number % 2] for number in range(24)],
        [("Ulm", "Nice", "Köln")[number // 2 % 3] for number in range(24)],
    )
    told: list[int] = []
    scores = measure(trips, {}, seeds=2, progress=told.append)
    assert len(told) == len(scores) == 3
    for score in scores:
        assert score.confusion.sum() == 24
        assert score.confusion.sum(1).tolist() == [12, 12]
        assert len(score.metrics["macro-F1"]) == 2
        assert set(score.by_town) == {"Ulm", "Nice", "Köln"}
