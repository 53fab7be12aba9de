"""Kinds of place: which places they hold, how they are named, coloured, mapped and written."""

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import shapely
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from loc2vec.errors import ExploreError
from loc2vec.explore.clusters import (
    FEWEST_SHARE,
    NAMED_BY,
    NOTHING,
    OTHER,
    TYPICAL,
    Kind,
    Kinds,
    _name,
    kinds_of,
)
from loc2vec.explore.space import Space
from loc2vec.paper.colours import CLASSES, from_hex
from tests.loc2vec.explore.explored import SIDE, make_space
from tiling.osm.extract import OsmObject
from tiling.values import LonLat

COUNT = SIDE * SIDE
SOME = [
    ("amenity", "school", "schools"),
    ("shop", "bakery", "shops"),
    ("tourism", "hotel", "hotels"),
    ("leisure", "park", "parks"),
    ("railway", "rail", "railways"),
]


def space_in(groups: NDArray[np.int64]) -> Space:
    """The town, with vectors in groups far apart."""
    space = make_space()
    rng = np.random.default_rng(0)
    middles = np.array([(0, 0, 0, 0), (9, 0, 0, 0), (0, 9, 0, 0), (0, 0, 9, 0)], np.float32)
    vectors = middles[groups] + rng.normal(0, 0.05, (COUNT, 4))
    return replace(space, vectors=replace(space.vectors, embedding=vectors.astype(np.float32)))


def groups_of(*sizes: int) -> NDArray[np.int64]:
    """Numbers of groups of such sizes, mixed; the rest of the town is of the last group."""
    numbers = np.full(COUNT, len(sizes))
    numbers[: sum(sizes)] = np.repeat(np.arange(len(sizes)), sizes)
    return np.random.default_rng(1).permutation(numbers)


def tagged(space: Space, rows: NDArray[np.int64], **tags: str) -> list[OsmObject]:
    lat, lon = space.vectors.lat[rows], space.vectors.lon[rows]
    return [
        OsmObject("point", tags, (), shapely.Point(*at).wkb) for at in zip(lon, lat, strict=True)
    ]


def embedded(html: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json">(.*?)</script>', html, re.DOTALL)
    assert found is not None
    return dict(json.loads(found[1]))


@pytest.fixture(scope="module")
def groups() -> NDArray[np.int64]:
    return groups_of(30, 14)  # and 100


@pytest.fixture(scope="module")
def three(groups: NDArray[np.int64]) -> Kinds:
    return kinds_of(space_in(groups), "Höhe & Tal", 3)


def test_kinds_are_the_groups_and_the_largest_comes_first(
    three: Kinds, groups: NDArray[np.int64]
) -> None:
    assert [len(kind.rows) for kind in three.kinds] == [100, 30, 14]
    for number, (kind, group) in enumerate(zip(three.kinds, (2, 0, 1), strict=True)):
        assert np.array_equal(kind.rows, np.flatnonzero(groups == group))
        assert (three.label[kind.rows] == number).all()
        assert kind.colour == CLASSES[number]


def test_typical_places_are_those_nearest_to_the_middle_of_their_kind(three: Kinds) -> None:
    vectors = three.space.vectors
    for kind in three.kinds:
        own = vectors.embedding[kind.rows].astype(np.float64)
        away = np.linalg.norm(own - own.mean(0), axis=1)
        nearest = kind.rows[np.argsort(away)[:TYPICAL]]
        assert [view.place.lat for view in kind.typical] == vectors.lat[nearest].tolist()
        assert [view.place.lon for view in kind.typical] == vectors.lon[nearest].tolist()


def test_the_columns_name_the_kind_of_each_place(three: Kinds) -> None:
    columns = three.columns
    assert columns["kind"] == three.label.tolist()
    names = [kind.name for kind in three.kinds]
    assert columns["kind_name"] == [names[number] for number in three.label]


def test_the_painting_has_the_colours_of_the_kinds(three: Kinds) -> None:
    painting = three.painting
    for kind in three.kinds:
        assert (painting.colours[kind.rows] == from_hex([kind.colour])).all()
    assert np.array_equal(painting.lat, three.space.vectors.lat)


def test_places_of_no_kind_are_grey_and_null() -> None:
    groups = groups_of(60, 60, 1, 1, 1)
    vectors = space_in(np.minimum(groups, 1)).vectors.embedding
    lonely = np.flatnonzero(groups >= 2)
    vectors[lonely] += 50 * np.random.default_rng(2).normal(size=(len(lonely), 4))
    space = make_space()
    space = replace(space, vectors=replace(space.vectors, embedding=vectors))
    found = kinds_of(space, "Town", 2, "hdbscan")
    none = np.flatnonzero(found.label < 0)
    assert len(found.kinds) == 2
    assert set(none) <= set(lonely)
    assert len(none) >= len(lonely) - 3
    assert all(found.columns["kind"][row] is None for row in none)
    assert all(found.columns["kind_name"][row] is None for row in none)
    assert (found.painting.colours[none] == from_hex([OTHER])).all()
    assert f"{len(none) / COUNT:.0%} of the places are of no kind (grey)." in found.lead
    notes = embedded(found.page())["notes"]
    assert notes.count("no kind") == len(none)


def test_only_the_largest_clusters_are_kinds() -> None:
    found = kinds_of(space_in(groups_of(20, 30, 40)), "Town", 2, "hdbscan")
    assert sorted(len(kind.rows) for kind in found.kinds) == [40, 54]
    assert (found.label < 0).sum() == 50


def test_a_kind_is_named_by_words_for_the_tags_that_are_more_frequent_near_it(
    groups: NDArray[np.int64],
) -> None:
    space = space_in(groups)
    few, all_ = np.flatnonzero(groups == 1), np.arange(COUNT)
    objects = [
        *tagged(space, few, shop="bakery", amenity="cafe"),
        *tagged(space, all_, highway="residential"),
        *tagged(space, few[:1], tourism="hotel"),
        *tagged(space, few, building="yes", operator="somebody", railway="abandoned"),
        *tagged(space, few, highway="street_lamp", amenity="bench"),
    ]
    found = kinds_of(space, "Town", 3, objects=objects)
    assert 1 / len(few) < FEWEST_SHARE
    names = {len(kind.rows): kind.name.split("; ") for kind in found.kinds}
    gain = COUNT / len(few)
    assert set(names[14]) == {f"shops ×{gain:.1f}", f"cafés ×{gain:.1f}"}
    assert names[100] == ["nothing in particular"]


def test_names_are_few_and_the_strongest_come_first(groups: NDArray[np.int64]) -> None:
    space = space_in(groups)
    few, others = np.flatnonzero(groups == 1), np.flatnonzero(groups != 1)
    objects: list[OsmObject] = []
    for number in range(5):
        rows = np.concatenate([few, others[: 20 * number]])
        objects += tagged(space, rows, **{SOME[number][0]: SOME[number][1]})
    found = kinds_of(space, "Town", 3, objects=objects)
    (name,) = (kind.name for kind in found.kinds if len(kind.rows) == 14)
    shares = [COUNT / (14 + 20 * number) for number in range(NAMED_BY)]
    assert name == "; ".join(
        f"{word} ×{share:.1f}" for (_, _, word), share in zip(SOME, shares, strict=False)
    )


def test_a_channel_names_a_kind_once_whatever_its_scale() -> None:
    names = ["water", "water, 400 m", NOTHING, "piers"]
    near = np.array([[0.8, 0.9, 0, 0.3], [0.0, 0.3, 0, 0.1]])
    assert _name(names, near, np.array([True, False])) == "water ×2.0; piers ×1.5"


def test_without_tags_channels_name_a_kind() -> None:
    space = make_space()
    east = (space.vectors.lon > np.median(space.vectors.lon)).astype(np.int64)
    middles = np.array([(0, 0, 0, 0), (9, 0, 0, 0)], np.float32)[east]
    space = replace(space, vectors=replace(space.vectors, embedding=middles))
    found = kinds_of(space, "Town", 2)
    names = {int(east[kind.rows[0]]): kind.name for kind in found.kinds}
    assert names[1].startswith("channel 4 ×1.")
    assert "channel 4" not in names[0]


def test_a_kind_of_empty_tiles_says_so() -> None:
    """What is near an empty tile by chance does not name it."""
    space = make_space()
    north = (space.vectors.lat > np.median(space.vectors.lat)).astype(np.int64)
    middles = np.array([(0, 0, 0, 0), (9, 0, 0, 0)], np.float32)[north]

    def render(places: Sequence[LonLat]) -> NDArray[np.uint8]:
        tiles = make_space().render(places)
        tiles[[place.lat < np.median(space.vectors.lat) + 1e-9 for place in places]] = 0
        return tiles

    vectors = replace(space.vectors, embedding=middles)
    space = replace(space, vectors=vectors, render=render)
    objects = tagged(space, np.flatnonzero(north == 0), railway="rail")
    found = kinds_of(space, "Town", 2, objects=objects)
    names = {int(north[kind.rows[0]]): kind.name for kind in found.kinds}
    assert names[0] == NOTHING
    assert names[1] != NOTHING


@pytest.mark.parametrize("count", [-1, 0, 1, len(CLASSES), 50])
def test_kinds_that_colours_cannot_tell_apart_are_refused(count: int) -> None:
    with pytest.raises(ExploreError, match=f"kinds = {count}: give 2 to 7, which colours"):
        kinds_of(make_space(), "Town", count)


def test_more_kinds_than_places_are_refused() -> None:
    with pytest.raises(ExploreError, match="kinds = 145: only 144 places are indexed"):
        kinds_of(make_space(), "Town", 145)


def test_where_density_finds_nothing_the_other_method_is_named() -> None:
    space = make_space()
    alone = np.eye(COUNT, dtype=np.float32)  # each as far from every other
    space = replace(space, vectors=replace(space.vectors, embedding=alone))
    with pytest.raises(ExploreError, match="hdbscan finds no kind among 144 places: give more"):
        kinds_of(space, "Town", 2, "hdbscan")


def test_the_page_has_each_place_with_its_kind_and_its_tiles(three: Kinds) -> None:
    html = three.page()
    points = embedded(html)
    names = [kind.name for kind in three.kinds]
    assert points["notes"] == [names[label] for label in three.label[three.rows]]
    assert points["groups"] == [[kind.name, kind.colour] for kind in three.kinds]
    assert len(points["at"]) == COUNT
    assert points["radius"] == 0
    assert points["below"].startswith("data:image/webp")
    assert points["colours"][0] == three.kinds[three.label[three.rows[0]]].colour.lower()
    assert "3 kinds of place in Höhe &amp; Tal" in html
    for kind in three.kinds:
        assert f"{len(kind.rows):,} places" in html


def test_a_large_page_has_some_places_with_their_own_colours(
    monkeypatch: pytest.MonkeyPatch, groups: NDArray[np.int64]
) -> None:
    monkeypatch.setattr("loc2vec.explore.clusters.MOST_POINTS", 40)
    found = kinds_of(space_in(groups), "Town", 3)
    points = embedded(found.page())
    vectors, label = found.space.vectors, found.label
    places = [f"{vectors.lat[row]:.5f},{vectors.lon[row]:.5f}" for row in found.rows]
    assert points["places"] == places
    assert len(places) == 40
    expected = [found.kinds[label[row]].colour.lower() for row in found.rows]
    assert points["colours"] == expected


def test_the_figure_has_the_map_and_the_tiles_of_each_kind(three: Kinds) -> None:
    figure = three.figure()
    assert len(figure.axes) == 1 + TYPICAL * 3
    said = [text.get_text() for text in figure.texts]
    assert {"69%", "21%", "10%"} <= set(said)
    bars = {to_hex(each.get_facecolor()) for each in figure.artists if isinstance(each, Rectangle)}
    assert {kind.colour.lower() for kind in three.kinds} <= bars
    shown = np.asarray(figure.axes[1].images[0].get_array())
    assert np.array_equal(shown, three.kinds[0].typical[0].picture)


def test_the_same_seed_finds_the_same_kinds(groups: NDArray[np.int64]) -> None:
    one, other = (kinds_of(make_space(), "Town", 4, seed=3) for _ in range(2))
    assert np.array_equal(one.label, other.label)
    assert [kind.name for kind in one.kinds] == [kind.name for kind in other.kinds]
    assert isinstance(one.kinds[0], Kind)
