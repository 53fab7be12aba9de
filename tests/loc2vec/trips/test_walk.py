"""Synthetic walks on ways made by hand: where they may go, how long they are, what is received."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from loc2vec.trips.walk import (
    ERROR_M,
    JITTER,
    MEMORY,
    OUTLIER_M,
    OUTLIERS,
    OWN_SHARE,
    PREFERENCE,
    SPACING_M,
    STRAIGHT_DEG,
    Roads,
    along,
    make_trips,
    received,
    walk,
)
from tiling.geo.geodesy import MetresPerDegree, ground_distance_m
from tiling.osm.ways import WayGraph

Points = NDArray[np.float64]
SCALE = np.array(MetresPerDegree.at(43.0))
ORIGIN = np.array([7.0, 43.0])


def graph(
    xy: Sequence[tuple[float, float]],
    edges: Sequence[tuple[int, int]],
    shared: Sequence[int] = (),
    widest_turn_deg: float = 180.0,
) -> WayGraph:
    places = np.array(xy, np.float64)
    own = np.array([number not in shared for number in range(len(edges))])
    return WayGraph(places / SCALE + ORIGIN, places, np.array(edges), own, widest_turn_deg)


def row_of(count: int, step_m: float = 100.0, shared: Sequence[int] = ()) -> WayGraph:
    return graph(
        [(n * step_m, 0.0) for n in range(count)], [(n, n + 1) for n in range(count - 1)], shared
    )


def nodes_of(roads: Roads, path: Points) -> list[int]:
    number = {tuple(at): node for node, at in enumerate(roads.graph.lon_lat.tolist())}
    return [number[tuple(at)] for at in path.tolist()]


def walks(ways: WayGraph, length_m: float, seeds: int) -> list[list[int]]:
    roads = Roads.of(ways)
    found = [walk(roads, length_m, np.random.default_rng(seed)) for seed in range(seeds)]
    return [nodes_of(roads, path) for path in found if path is not None]


def cross(widest_turn_deg: float = 180.0) -> WayGraph:
    """A long way from the west to a crossing (1), from where others lead east, north and south."""
    xy = [(-9000.0, 0.0), (0.0, 0.0), (900.0, 0.0), (0.0, 900.0), (0.0, -900.0)]
    return graph(xy, [(0, 1), (1, 2), (1, 3), (1, 4)], (), widest_turn_deg)


def taken_at_the_crossing(ways: WayGraph, seeds: int) -> Counter[int]:
    """Count where walks that come from the west go on at node 1."""
    roads, taken = Roads.of(ways), Counter[int]()
    for seed in range(seeds):
        path = walk(roads, 9100.0, np.random.default_rng(seed))
        if path is not None and (nodes := nodes_of(roads, path))[:2] == [0, 1]:
            taken[nodes[2]] += 1
    return taken


def test_roads_know_the_edges_at_each_node_and_their_lengths() -> None:
    roads = Roads.of(cross())
    assert [sorted(edges) for edges in roads.at_node] == [[0], [0, 1, 2, 3], [1], [2], [3]]
    assert roads.length.tolist() == [9000, 900, 900, 900]


def test_a_walk_is_as_long_as_asked_and_ends_with_the_edge_that_makes_it_so() -> None:
    for nodes in walks(row_of(40), 650.0, 30):
        assert len(nodes) == 8, "seven edges of 100 m"
        steps = {b - a for a, b in pairwise(nodes)}
        assert steps in ({1}, {-1}), "a row leads one way only"


def test_a_walk_that_is_too_long_for_its_way_is_none() -> None:
    assert walks(row_of(5), 401.0, 40) == []
    assert {tuple(sorted(nodes)) for nodes in walks(row_of(5), 400.0, 60)} == {(0, 1, 2, 3, 4)}


def test_walks_begin_on_own_ways_in_both_directions_as_often_as_these_are_long() -> None:
    xy = [(0.0, 0.0), (300.0, 0.0), (400.0, 0.0), (2400.0, 0.0)]
    ways = graph(xy, [(0, 1), (1, 2), (2, 3)], shared=[2])
    roads = Roads.of(ways)
    begun: Counter[tuple[int, int]] = Counter()
    for seed in range(600):
        path = walk(roads, 50.0, np.random.default_rng(seed))
        assert path is not None
        a, b = nodes_of(roads, path)
        begun[a, b] += 1
    assert set(begun) == {(0, 1), (1, 0), (1, 2), (2, 1)}
    assert (begun[0, 1] + begun[1, 0]) / 600 == pytest.approx(0.75, abs=0.05)
    assert begun[0, 1] / (begun[0, 1] + begun[1, 0]) == pytest.approx(0.5, abs=0.06)


def test_a_ring_is_walked_once_around_at_most() -> None:
    corners = [(0.0, 0.0), (100.0, 0.0), (100.0, 100.0), (0.0, 100.0)]
    ring = graph(corners, [(0, 1), (1, 2), (2, 3), (3, 0)])
    rounds = walks(ring, 400.0, 20)
    assert rounds
    assert all(nodes[0] == nodes[-1] and len(set(nodes)) == 4 for nodes in rounds)
    assert walks(ring, 401.0, 20) == [], "no edge is taken twice"


def test_a_figure_of_eight_passes_its_crossing_twice() -> None:
    xy = [(0, 0), (100, 100), (100, -100), (-100, 100), (-100, -100)]
    eight = graph(
        [(float(x), float(y)) for x, y in xy],
        [(0, 1), (1, 2), (2, 0), (0, 3), (3, 4), (4, 0)],
    )
    found = walks(eight, 960.0, 200)
    assert found
    for nodes in found:
        edges = [frozenset(pair) for pair in pairwise(nodes)]
        assert len(edges) == len(set(edges)) == 6


def test_at_a_crossing_straight_on_is_likelier_by_the_turn() -> None:
    taken = taken_at_the_crossing(cross(), 800)
    total = sum(taken.values())
    assert total > 250
    expected = 1 / (1 + 2 * np.exp(-90 / STRAIGHT_DEG))
    spread = np.sqrt(expected * (1 - expected) / total)
    assert taken[2] / total == pytest.approx(expected, abs=3 * spread)


def test_own_ways_are_preferred_by_a_factor() -> None:
    xy = [(-5000.0, 0.0), (0.0, 0.0), (3000.0, 3000.0), (3000.0, -3000.0)]
    roads = Roads.of(graph(xy, [(0, 1), (1, 2), (1, 3)], shared=[2]))
    taken: Counter[int] = Counter()
    for seed in range(1200):
        path = walk(roads, 6000.0, np.random.default_rng(seed))
        if path is not None and (nodes := nodes_of(roads, path))[0] == 0:
            taken[nodes[2]] += 1
    share = taken[2] / (taken[2] + taken[3])
    assert share == pytest.approx(PREFERENCE / (PREFERENCE + 1), abs=0.07)


@pytest.mark.parametrize(
    ("widest", "reached"), [(180.0, {2, 3, 4}), (91.0, {2, 3, 4}), (89.0, {2})]
)
def test_no_turn_is_sharper_than_the_mode_allows(widest: float, reached: set[int]) -> None:
    assert set(taken_at_the_crossing(cross(widest), 300)) == reached


def test_a_small_turn_is_small_in_every_direction() -> None:
    """Headings jump from 180 to -180 degrees on the way to the west."""
    zigzag = [(100.0 * number, 10.0 * (number % 2)) for number in range(30)]
    ways = graph(zigzag, [(n, n + 1) for n in range(29)], widest_turn_deg=15)
    steps = {nodes[1] - nodes[0] for nodes in walks(ways, 400.0, 60)}
    assert steps == {-1, 1}


@pytest.mark.parametrize(("shared_m", "allowed"), [(90.0, True), (110.0, False)])
def test_half_of_a_walk_lies_on_ways_of_its_own(shared_m: float, allowed: bool) -> None:
    assert OWN_SHARE == 0.5
    ways = graph([(0.0, 0.0), (100.0, 0.0), (100.0 + shared_m, 0.0)], [(0, 1), (1, 2)], shared=[1])
    assert bool(walks(ways, 100.0 + shared_m, 40)) == allowed


def test_positions_along_a_path_are_so_many_metres_from_its_start() -> None:
    path = np.array([(0.0, 0.0), (100.0, 0.0), (100.0, 50.0), (100.0, 80.0)]) / SCALE + ORIGIN
    asked = np.array([0.0, 20.0, 100.0, 130.0, 180.0])
    found = (along(path, asked) - ORIGIN) * SCALE
    expected = [(0, 0), (20, 0), (100, 0), (100, 30), (100, 80)]
    np.testing.assert_allclose(found, expected, atol=0.01)
    beyond = (along(path, np.array([500.0])) - ORIGIN) * SCALE
    np.testing.assert_allclose(beyond, [(100, 80)], atol=0.01)


@pytest.mark.parametrize("lat", [0.0, 43.0, -65.0])
def test_distances_along_a_straight_path_are_those_on_the_ground(lat: float) -> None:
    scale = np.array(MetresPerDegree.at(lat))
    path = np.array([(0.0, 0.0), (400.0, 300.0)]) / scale + (7.0, lat)
    places = along(path, np.arange(0, 501, 100.0))
    ground = ground_distance_m(places[:-1, 1], places[:-1, 0], places[1:, 1], places[1:, 0])
    np.testing.assert_allclose(ground, 100, rtol=0.006)


def errors(points: int, seed: int) -> Points:
    places = np.tile(ORIGIN, (points, 1))
    found: Points = (received(places, np.random.default_rng(seed)) - places) * SCALE
    return found


def test_errors_have_no_direction_and_deviations_within_the_bounds_of_a_receiver() -> None:
    many = [errors(2000, seed) for seed in range(20)]
    spreads = np.array([1.4826 * np.median(np.abs(each)) for each in many])
    assert (spreads > 0.85 * ERROR_M[0]).all()
    assert (spreads < 1.2 * ERROR_M[1]).all()
    assert np.ptp(spreads) > 4, "each trip has a receiver of its own"
    assert np.concatenate(many).mean(0) == pytest.approx([0, 0], abs=0.5)


def test_errors_drift_and_jump_seldom() -> None:
    each = errors(20_000, 3)
    near = np.abs(each).max(1) < 3.5 * 1.4826 * np.median(np.abs(each))
    both = near[1:] & near[:-1]
    correlation = np.corrcoef(each[:-1][both, 0], each[1:][both, 0])[0, 1]
    assert correlation == pytest.approx(MEMORY, abs=0.03)
    across = np.corrcoef(each[near].T)[0, 1]
    assert across == pytest.approx(0, abs=0.05)
    far = np.linalg.norm(each, axis=1) > 1.5 * OUTLIER_M
    assert 0.2 * OUTLIERS < far.mean() < OUTLIERS


def test_the_first_error_is_as_large_as_the_others() -> None:
    first = np.concatenate([errors(2, seed) for seed in range(1200)])
    spread = 1.4826 * np.median(np.abs(first.reshape(-1, 2, 2)), axis=(0, 2))
    assert spread[0] == pytest.approx(spread[1], rel=0.12)


def test_errors_leave_the_places_as_they_are() -> None:
    places = np.tile(ORIGIN, (5, 1))
    seen = received(places, np.random.default_rng(0))
    assert np.array_equal(places, np.tile(ORIGIN, (5, 1)))
    assert not np.array_equal(seen, places)


def test_trips_have_their_spacing_in_its_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loc2vec.trips.walk.received", lambda places, rng: places)
    trips = make_trips(row_of(200), 60, 12, np.random.default_rng(0), lambda trip: True)
    assert len(trips) == 60
    steps = np.array([np.linalg.norm(np.diff(trip, axis=0) * SCALE, axis=1) for trip in trips])
    assert steps.min() >= SPACING_M[0] * (1 - JITTER) - 0.1
    assert steps.max() <= SPACING_M[1] * (1 + JITTER) + 0.1
    assert (steps.max(1) / steps.min(1)).max() <= (1 + JITTER) / (1 - JITTER) + 0.01
    assert steps.mean(1).min() < 50 < 80 < steps.mean(1).max(), "each trip has its spacing"


def test_as_many_trips_as_asked_and_only_whole_ones() -> None:
    asked: list[int] = []

    def every_other(trip: Points) -> bool:
        asked.append(len(trip))
        return len(asked) % 2 == 0

    trips = make_trips(row_of(60), 4, 6, np.random.default_rng(0), every_other)
    assert len(trips) == 4
    assert asked == [6] * 8
    assert make_trips(row_of(60), 3, 6, np.random.default_rng(0), lambda trip: False) == []
    assert make_trips(row_of(60), 0, 6, np.random.default_rng(0), lambda trip: True) == []


def test_the_seed_alone_decides_and_edges_may_be_written_either_way() -> None:
    ways = row_of(80)
    turned = replace(ways, edges=ways.edges[:, ::-1].copy())
    first, again = (
        make_trips(ways, 3, 5, np.random.default_rng(9), lambda trip: True) for _ in range(2)
    )
    assert np.array_equal(first, again)
    other = make_trips(turned, 3, 5, np.random.default_rng(9), lambda trip: True)
    assert len(other) == 3
    for trip in other:
        off = np.abs((trip - ORIGIN) * SCALE)[:, 1]
        assert np.median(off) < 3 * ERROR_M[1]
