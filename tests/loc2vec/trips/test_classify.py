"""Trips: how they are walked, what classifiers can learn, and that no town leaks."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from loc2vec.errors import LabelsError
from loc2vec.trips.classify import measure, shapes
from loc2vec.trips.models import READERS, Reader
from loc2vec.trips.trip import Sequences, Trips
from loc2vec.trips.walk import Roads, along, make_trips, received, walk
from tiling.geo.geodesy import MetresPerDegree
from tiling.osm.ways import WayGraph

SCALE = np.array(MetresPerDegree.at(43.0))


def graph(
    xy: Sequence[tuple[float, float]],
    edges: Sequence[tuple[int, int]] | NDArray[np.int64],
    own: Sequence[bool],
    widest_turn_deg: float = 180.0,
) -> WayGraph:
    places = np.array(xy, np.float64)
    return WayGraph(
        places / SCALE + (7.0, 43.0), places, np.array(edges), np.array(own, bool), widest_turn_deg
    )


def line(count: int = 30, step_m: float = 100.0, own: bool = True) -> WayGraph:
    xy = [(number * step_m, 0.0) for number in range(count)]
    return graph(xy, [(n, n + 1) for n in range(count - 1)], [own] * (count - 1))


def square_streets(side: int = 12, step_m: float = 80.0) -> WayGraph:
    """Streets on a grid; those to the east are own, those to the north shared."""
    number = np.arange(side * side).reshape(side, side)
    xy = [(x * step_m, y * step_m) for y in range(side) for x in range(side)]
    east = np.stack([number[:, :-1].ravel(), number[:, 1:].ravel()], 1)
    north = np.stack([number[:-1].ravel(), number[1:].ravel()], 1)
    return graph(xy, np.concatenate([east, north]), [True] * len(east) + [False] * len(north))


def everywhere(trip: NDArray[np.float64]) -> bool:
    return True


def test_a_walk_follows_edges_once_and_stays_on_its_own_ways_for_half_of_it() -> None:
    roads = Roads.of(square_streets())
    place = {tuple(at): number for number, at in enumerate(roads.graph.lon_lat.tolist())}
    known = {
        frozenset(pair): own
        for pair, own in zip(roads.graph.edges.tolist(), roads.graph.own.tolist(), strict=True)
    }
    shares = []
    for seed in range(30):
        path = walk(roads, 700.0, np.random.default_rng(seed))
        if path is not None:
            nodes = [place[tuple(at)] for at in path.tolist()]
            used = [frozenset(pair) for pair in pairwise(nodes)]
            assert set(used) <= set(known)
            assert len(set(used)) == len(used) >= 9
            shares.append(np.mean([known[one] for one in used]))
    assert len(shares) > 10
    assert min(shares) >= 0.5
    assert np.mean(shares) > 0.75  # own ways are taken rather


def test_no_walk_turns_back_or_more_sharply_than_its_mode_can() -> None:
    corner = graph(
        [(0, 0), (500, 0), (500, 500)], [(0, 1), (1, 2)], [True, True], widest_turn_deg=45
    )
    assert all(
        walk(Roads.of(corner), 800.0, np.random.default_rng(seed)) is None for seed in range(10)
    )
    bend = graph([(0, 0), (500, 0), (900, 300)], [(0, 1), (1, 2)], [True, True], widest_turn_deg=45)
    assert any(
        walk(Roads.of(bend), 800.0, np.random.default_rng(seed)) is not None for seed in range(10)
    )


def test_points_lie_so_far_apart_along_the_way_and_near_it() -> None:
    path = np.array([(0.0, 0.0), (300.0, 0.0), (300.0, 400.0)]) / SCALE + (7.0, 43.0)
    at = (along(path, np.array([0.0, 150.0, 300.0, 500.0])) - (7.0, 43.0)) * SCALE
    assert at == pytest.approx(np.array([(0, 0), (150, 0), (300, 0), (300, 200)]), abs=0.1)
    errors = np.concatenate(
        [
            (received(np.tile(path[:1], (50, 1)), np.random.default_rng(seed)) - path[0]) * SCALE
            for seed in range(200)
        ]
    )
    assert errors.mean(0) == pytest.approx([0, 0], abs=2)
    assert 6 < np.median(np.abs(errors)) * 1.48 < 10  # of 3 to 12 m
    assert (np.abs(errors) > 60).any()  # and a few far off


def test_the_same_seed_makes_the_same_trips_and_trips_that_are_not_whole_are_left_out() -> None:
    first, again = (
        make_trips(line(), 5, 8, np.random.default_rng(3), everywhere) for _ in range(2)
    )
    assert len(first) == 5
    assert all(trip.shape == (8, 2) for trip in first)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, make_trips(line(), 5, 8, np.random.default_rng(4), everywhere))
    east = make_trips(
        line(), 5, 8, np.random.default_rng(3), lambda trip: bool((trip[:, 0] > 7.012).all())
    )
    assert east
    assert all((trip[:, 0] > 7.012).all() for trip in east)
    assert make_trips(line(count=3), 5, 8, np.random.default_rng(3), everywhere) == []  # too short


@pytest.mark.parametrize("reader", READERS)
class TestReaders:
    def test_what_lies_behind_the_end_of_a_trip_does_not_count(self, reader: str) -> None:
        torch.manual_seed(0)
        model = READERS[reader](4, 3).eval()
        vectors, lengths = torch.randn(5, 7, 4), torch.tensor([7, 3, 5, 2, 7])
        other = torch.where(torch.arange(7)[:, None] < lengths[:, None, None], vectors, 100.0)
        with torch.inference_mode():
            assert torch.allclose(model(vectors, lengths), model(other, lengths), atol=1e-5)
            assert torch.allclose(
                model(vectors, lengths)[1], model(vectors[1:2, :3], lengths[1:2])[0], atol=1e-5
            )

    def test_gradients_reach_every_parameter(self, reader: str) -> None:
        model = READERS[reader](4, 3)
        model(torch.randn(5, 7, 4), torch.tensor([7, 3, 5, 2, 7])).square().sum().backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())

    def test_order_is_read_where_the_mean_says_nothing(self, reader: str) -> None:
        """Two classes of one mean: the same points, forwards and backwards."""
        rng = np.random.default_rng(0)
        ramp = np.linspace(-1, 1, 8)[:, None]
        target = np.arange(120) % 2
        vectors = np.where(target[:, None, None] == 0, ramp, -ramp) + rng.normal(
            0, 0.3, (120, 8, 3)
        )
        sequences = Sequences(vectors.astype(np.float32), np.full(120, 8))
        first, last = np.arange(80), np.arange(80, 120)
        fresh = Reader(reader, classes=2, seed=0)
        answer = fresh.fit_predict(sequences.at(first), target[first], sequences.at(last))
        assert (answer.argmax(1) == target[last]).mean() > 0.9
        alone = fresh.fit_predict(sequences.at(first), target[first], sequences.at(last[:1]))
        # the same again, and whatever else is asked
        np.testing.assert_allclose(alone, answer[:1], atol=1e-6)
        assert answer.sum(1) == pytest.approx(1)


def some_trips(towns: int = 5, each: int = 8, points: int = 6) -> Trips:
    rng = np.random.default_rng(0)
    found, mode, town = [], [], []
    for number in range(towns):
        for one in range(each):
            start = np.array([7.0 + number, 43.0])
            found.append(start + rng.normal(0, 0.001, (points + one % 3, 2)))
            mode.append(("foot", "rail")[one % 2])
            town.append(f"town {number}")
    return Trips.of(found, mode, town)


def test_vectors_of_a_town_that_betray_its_modes_help_in_no_other_town() -> None:
    """Each town encodes its modes in its own way: what one town teaches fails in another."""
    trips = some_trips(towns=3)
    code = np.random.default_rng(1).normal(0, 5, (len(trips.towns), 2, 4))
    told = np.repeat(code[trips.town, trips.mode], np.diff(trips.first), axis=0).astype(np.float32)
    honest = np.repeat(np.eye(2)[trips.mode], np.diff(trips.first), axis=0).astype(np.float32)
    scores = {
        (s.vectors, s.reader): s
        for s in measure(trips, {"betrayed": told, "honest": honest}, seeds=1)
    }
    for reader in ("mean", *READERS):
        assert scores["honest", reader].mean() == 1
        assert scores["betrayed", reader].mean() < 0.9
    assert scores["-", "majority"].mean() < 0.5
    assert scores["honest", "LSTM"].confusion.tolist() == [[12, 0], [0, 12]]
    assert set(scores["honest", "mean"].by_town) == set(trips.towns)


def test_the_mean_of_a_trip_is_of_its_own_points() -> None:
    trips = some_trips()
    numbers = np.repeat(np.arange(len(trips)), np.diff(trips.first))[:, None].astype(np.float32)
    assert trips.means(numbers).ravel().tolist() == list(range(len(trips)))
    sequences = Sequences.of(trips, numbers)
    assert [
        set(row[:n].tolist())
        for row, n in zip(sequences.vectors[..., 0], sequences.lengths, strict=True)
    ] == [{float(n)} for n in range(len(trips))]


def test_the_shape_of_a_track() -> None:
    straight = np.array([(0, 0), (100, 0), (200, 0), (300, 0)]) / SCALE + (7, 43)
    around = np.array([(0, 0), (100, 0), (100, 100), (0, 100)]) / SCALE + (7, 43)
    found = shapes(Trips.of([straight, around], ["a", "b"], ["x", "y"]))
    assert found[0] == pytest.approx([0, 0, 1, 0], abs=1e-3)
    assert found[1] == pytest.approx([90, 90, 1 / 3, 0], abs=0.1)


@pytest.mark.parametrize(
    ("trips", "modes", "towns", "message"),
    [
        ([3, 3], ["rail", "rail"], ["a", "b"], "every trip is of mode rail"),
        ([3, 3], ["rail", "foot"], ["a", "a"], "every trip is in a"),
        ([3, 1], ["rail", "foot"], ["a", "b"], "trip 2 has fewer than 2 points"),
    ],
)
def test_trips_that_teach_nothing_are_refused(
    trips: list[int], modes: list[str], towns: list[str], message: str
) -> None:
    with pytest.raises(LabelsError, match=message):
        Trips.of([np.full((n, 2), 43.0) for n in trips], modes, towns)


def test_a_mode_with_one_trip_cannot_be_tested() -> None:
    trips = Trips.of([np.full((3, 2), 43.0)] * 3, ["foot", "foot", "rail"], ["a", "b", "a"])
    with pytest.raises(LabelsError, match="fewer places than the 2 folds in rail"):
        measure(trips, {})
