"""Arithmetic on vectors, straight ways between them, and random walks over indexed places."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from loc2vec.embed.algebra import between, combine, walk
from tiling.values import LonLat

Vector = NDArray[np.float32]
NUMBERS = st.floats(-100, 100, width=32)
few = settings(max_examples=40, deadline=None, derandomize=True)


@dataclass(frozen=True)
class Place:
    """An indexed place on a line."""

    id: int
    lat: float
    lon: float
    distance: float


class Line:
    """Places 0..n-1 whose vectors are their numbers; it remembers what it was asked."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.asked: list[tuple[float, int, list[LonLat]]] = []

    def vector_of(self, number: int) -> Vector:
        return np.array([number], np.float32)

    def nearest(self, vector: Vector, most: int, away_from: Sequence[LonLat]) -> list[Place]:
        at = float(vector[0])
        self.asked.append((at, most, list(away_from)))
        order = sorted(range(self.count), key=lambda number: (abs(number - at), number))
        return [Place(n, n / 10, n / 5, abs(n - at)) for n in order[:most]]

    def walk(self, start: float, steps: int, k: int, seed: int = 0) -> list[int]:
        first = np.array([start], np.float32)
        found = walk(self.nearest, self.vector_of, first, steps, k, seed)
        return [place.id for place in found]


@few
@given(st.lists(NUMBERS, min_size=0, max_size=5), st.lists(NUMBERS, min_size=0, max_size=5))
def test_a_combination_is_what_is_added_less_what_is_taken(
    plus: list[float], minus: list[float]
) -> None:
    first, second = (np.array(values, np.float32).reshape(-1, 1) for values in (plus, minus))
    total = combine(first, second)
    assert total.shape == (1,)
    assert total.dtype == np.float32
    assert float(total[0]) == pytest.approx(sum(plus) - sum(minus), abs=1e-3)


def test_a_combination_adds_each_number_for_itself() -> None:
    plus, minus = np.array([[1, 2, 3], [4, 5, 6]], np.float32), np.array([[10, 0, 1]], np.float32)
    assert combine(plus, minus).tolist() == [-5, 7, 8]


@pytest.mark.parametrize("steps", [2, 3, 11])
def test_a_way_goes_evenly_from_its_start_to_its_end(steps: int) -> None:
    start, end = np.array([0, 10], np.float32), np.array([4, -10], np.float32)
    shares, way = between(start, end, steps)
    assert (shares[0], shares[-1], len(shares)) == (0.0, 1.0, steps)
    np.testing.assert_allclose(np.diff(shares), 1 / (steps - 1))
    assert np.array_equal(way[0], start)
    assert np.array_equal(way[-1], end)
    np.testing.assert_allclose(way, start + shares[:, None] * (end - start), atol=1e-5)
    assert (way.dtype, way.shape) == (np.dtype(np.float32), (steps, 2))


def test_a_walk_of_one_neighbour_goes_to_the_nearest_new_place() -> None:
    assert Line(9).walk(0, 5, k=1) == [0, 1, 2, 3, 4]
    assert Line(9).walk(8, 3, k=1) == [8, 7, 6]
    assert Line(9).walk(3.9, 4, k=1) == [4, 3, 2, 1]


def test_a_walk_ends_when_no_new_place_is_left() -> None:
    assert sorted(Line(4).walk(0, 100, k=2)) == [0, 1, 2, 3]
    assert Line(0).walk(0, 5, k=3) == []
    assert Line(5).walk(0, 0, k=3) == []


@few
@given(st.integers(1, 30), st.integers(1, 6), st.integers(0, 1_000))
def test_each_step_is_one_of_the_nearest_new_places_to_the_last(
    steps: int, k: int, seed: int
) -> None:
    line = Line(40)
    path = line.walk(20, steps, k, seed)
    assert len(path) == len(set(path)) == steps
    at, seen = 20.0, set[int]()
    for number in path:
        new = sorted((n for n in range(40) if n not in seen), key=lambda n: (abs(n - at), n))
        assert number in new[:k]
        at, seen = float(number), seen | {number}


def test_a_walk_tells_the_index_where_it_has_been() -> None:
    line = Line(9)
    path = line.walk(0, 4, k=2)
    assert [most for _, most, _ in line.asked] == [2, 3, 4, 5], "so many that some are new"
    assert [at for at, _, _ in line.asked] == [0, *path[:-1]]
    for number, (_, _, away_from) in enumerate(line.asked):
        assert away_from == [LonLat(n / 5, n / 10) for n in path[:number]]


def test_a_walk_follows_its_seed() -> None:
    paths = [tuple(Line(99).walk(50, 12, k=5, seed=seed)) for seed in (1, 1, 2, 3)]
    assert paths[0] == paths[1]
    assert len(set(paths)) == 3
