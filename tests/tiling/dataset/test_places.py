"""Which places are sampled: how many of each kind, from which store, from where in it."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from tests.tiling.handmade import features_of, make_store, open_store
from tiling.dataset.places import DENSE_CELL, Places, _shares, sample_places
from tiling.errors import DatasetError
from tiling.geo.geodesy import MetresPerDegree
from tiling.store.geopackage.source import GeoPackageSource

MIDDLE = (7.0, 50.0)
SCALE = np.array(MetresPerDegree.at(MIDDLE[1]))
BUILDING, CIVIC, STOP, GREEN, ROAD, PATH, RIVER = 4, 11, 3, 6, 0, 2, 5
Feature = tuple[int, float, BaseGeometry]


def at(x_m: float, y_m: float) -> tuple[float, float]:
    """Degrees of a spot so many metres from the middle."""
    lon, lat = np.array([x_m, y_m]) / SCALE + MIDDLE
    return float(lon), float(lat)


def metres(places: Places) -> NDArray[np.float64]:
    """Where places are in metres about the middle, [n, 2]."""
    found: NDArray[np.float64] = (np.stack([places.lon, places.lat], axis=1) - MIDDLE) * SCALE
    return found


def house(x_m: float, y_m: float, channel: int = BUILDING) -> Feature:
    return channel, 0.0, shapely.box(*at(x_m - 5, y_m - 5), *at(x_m + 5, y_m + 5))


def way(*spots: tuple[float, float], channel: int = ROAD) -> Feature:
    return channel, 7.0, shapely.LineString([at(*spot) for spot in spots])


def square(side_m: float) -> BaseGeometry:
    return shapely.box(*at(-side_m / 2, -side_m / 2), *at(side_m / 2, side_m / 2))


class Stores:
    """Makes and opens stores in a folder."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder, self._stack, self._made = folder, stack, 0

    def __call__(self, features: Sequence[Feature], side_m: float = 4_000) -> GeoPackageSource:
        self._made += 1
        path = self._folder / f"store{self._made}.gpkg"
        make_store(path, features_of(*features), square(side_m))
        return self._stack.enter_context(open_store(path))


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[Stores]:
    """Open stores of hand-made features."""
    with ExitStack() as stack:
        yield Stores(tmp_path, stack)


def town(seed: int = 0, houses: int = 300, ways: int = 100) -> list[Feature]:
    """Houses and ways all over a square of 3 km."""
    rng = np.random.default_rng(seed)
    spots = rng.uniform(-1_500, 1_500, (houses + ways, 2)).tolist()
    return [
        *(house(x, y) for x, y in spots[:houses]),
        *(way((x, y), (x + 60, y + 30)) for x, y in spots[houses:]),
    ]


@pytest.mark.parametrize("count", [3, 30, 100])
def test_two_thirds_are_visited_and_one_third_lie_along_ways(stores: Stores, count: int) -> None:
    places = sample_places([stores(town())], count, 100, seed=1)
    kinds = places.kind.tolist()
    assert len(places) == count
    assert (kinds.count("visited"), kinds.count("way")) == (round(count * 2 / 3), count // 3)
    assert len(np.unique(metres(places), axis=0)) == count, "no place comes twice"


def test_visited_places_are_the_middles_of_what_people_visit(stores: Stores) -> None:
    visited = [house(-200, 0), house(0, 0, CIVIC), house(200, 0, STOP)]
    others = [house(0, 500, GREEN), house(0, -500, RIVER), house(300, 300, ROAD)]
    places = sample_places([stores([*visited, *others])], 50, 100, seed=0)
    assert set(places.kind.tolist()) == {"visited"}
    assert sorted(metres(places).round().tolist()) == [[-200, 0], [0, 0], [200, 0]]


def test_places_along_ways_lie_on_roads_and_paths_and_rails(stores: Stores) -> None:
    lines = [(ROAD, -300.0), (1, -100.0), (PATH, 100.0), (STOP, 300.0)]
    ways = [way((x, -800), (x, 800), channel=channel) for channel, x in lines]
    river = way((0, -800), (0, 800), channel=RIVER)
    houses = [house(x, 900) for x in range(-900, 900, 20)]
    places = sample_places([stores([*ways, river, *houses])], 90, 100, seed=3)
    along = metres(places)[places.kind == "way"]
    assert set(along[:, 0].round().tolist()) == {-300, -100, 100, 300}
    assert np.abs(along[:, 1]).max() < 800
    assert len(along) == 4, "one of each way"


def test_a_place_along_a_way_may_be_anywhere_on_it(stores: Stores) -> None:
    rows = [way((-1_000, y), (1_000, y)) for y in range(-600, 600, 2)]
    places = sample_places([stores([*rows, *town(houses=1500, ways=0)])], 900, 100, seed=0)
    x = metres(places)[places.kind == "way"][:, 0]
    assert len(x) == 300
    quarters = np.histogram(x, [-1_000, -500, 0, 500, 1_000])[0]
    assert quarters.sum() == 300
    assert quarters.min() > 50


@pytest.mark.parametrize("margin_m", [100.0, 255.0, 900.0])
def test_every_place_keeps_its_margin(stores: Stores, margin_m: float) -> None:
    edge = [house(x, y) for x in (-1_990, 0, 1_990) for y in (-1_990, 0, 1_990)]
    roads = [way((-1_999, y), (1_999, y)) for y in range(-900, 901, 50)]
    places = sample_places([stores([*edge, *roads, *town()])], 120, margin_m, seed=2)
    assert len(places) == 120
    assert np.abs(metres(places)).max() <= 2_000 - margin_m + 1


def test_a_store_with_too_little_gives_all_it_has(stores: Stores) -> None:
    few = [house(x, 0) for x in range(-100, 101, 50)]
    places = sample_places([stores([*few, way((0, -50), (0, 50))])], 300, 100, seed=0)
    kinds = places.kind.tolist()
    assert (kinds.count("visited"), kinds.count("way")) == (5, 1)


def test_without_ways_all_are_visited_and_without_houses_there_are_none(stores: Stores) -> None:
    places = sample_places([stores(town(ways=0))], 60, 100, seed=0)
    assert places.kind.tolist() == ["visited"] * 60
    with pytest.raises(DatasetError, match="no place lies 100 m inside the data of the stores"):
        sample_places([stores(town(houses=0))], 60, 100, seed=0)


def test_stores_share_in_proportion_to_their_built_ground(stores: Stores) -> None:
    small = [house(x, y) for x in (10, 30) for y in range(-900, 900, 6)]
    large = [house(x, y) for x in range(-1_500, 1_500, 60) for y in range(-1_500, 1_500, 60)]
    both = [stores(small), stores(large)]
    places = sample_places(both, 120, 100, seed=0)
    count = np.bincount(places.store, minlength=2)
    assert count.sum() == 120
    cells = [10, 256]  # of 200 m, the strip and the square, give or take their edges
    assert count[0] / 120 == pytest.approx(cells[0] / sum(cells), abs=0.02)


def test_any_run_of_places_is_a_sample_of_all_stores(stores: Stores) -> None:
    places = sample_places([stores(town(0)), stores(town(1))], 120, 100, seed=0)
    for first in range(0, 120, 30):
        assert 5 < (places.store[first : first + 30] == 0).sum() < 25
        assert 2 < (places.kind[first : first + 30] == "way").sum() < 18


def test_dense_ground_is_thinned(stores: Stores) -> None:
    block = [house(x, y) for x in range(-890, -710, 6) for y in range(10, 190, 6)]
    sparse = [
        house(x + dx, y) for x in range(-1_500, 1_500, 200) for y in (-500, -700) for dx in (7, 90)
    ]
    places = sample_places([stores([*block, *sparse])], 30, 100, seed=5)
    dense = (metres(places)[:, 1] > 0).mean()
    expected = DENSE_CELL / (DENSE_CELL + len(sparse))
    assert dense < 0.55, f"about {expected:.2f} if all cells of ten or more weigh the same"
    assert len(block) / (len(block) + len(sparse)) > 0.9


def test_the_same_seed_gives_the_same_places(stores: Stores) -> None:
    source = stores(town())
    first, again, other = (sample_places([source], 90, 100, seed) for seed in (4, 4, 5))
    assert np.array_equal(metres(first), metres(again))
    assert first.kind.tolist() == again.kind.tolist()
    assert not np.array_equal(metres(first), metres(other))


def test_a_store_gives_the_same_places_beside_another_of_no_ground(stores: Stores) -> None:
    source, empty = stores(town()), stores(town(houses=0, ways=5))
    alone, beside = (sample_places(each, 60, 100, 1) for each in ([source], [source, empty]))
    assert set(beside.store.tolist()) == {0}
    assert sorted(metres(alone).tolist()) == sorted(metres(beside).tolist())


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    st.integers(0, 10_000), st.lists(st.integers(0, 1_000), min_size=1, max_size=8).filter(any)
)  # fmt: skip
def test_shares_are_whole_and_as_large_as_their_weight(count: int, weight: list[int]) -> None:
    shares = _shares(count, np.array(weight, np.float64))
    assert sum(shares) == count
    for share, each in zip(shares, weight, strict=True):
        assert share >= 0
        assert abs(share - count * each / sum(weight)) <= 1
        assert share == 0 or each
