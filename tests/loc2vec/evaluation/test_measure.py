"""Splits, probes and baselines on places whose answer is known."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import shapely
from numpy.typing import NDArray

from loc2vec.errors import LabelsError
from loc2vec.evaluation.baselines import (
    histogram,
    pixel_components,
    position,
    tag_counts,
    untrained,
)
from loc2vec.evaluation.measure import measure
from loc2vec.evaluation.probes import confusion, metrics, predict
from loc2vec.evaluation.report.table import (
    as_values,
    margins,
    of_town,
    table,
    town_grid,
    views_grid,
)
from loc2vec.evaluation.splits import APART_M, BLOCK_M, Split, blocks, folds, groups, splits_of
from loc2vec.evaluation.tasks.osm import BUILDING_TYPES, POINTS, Town, kind_of, make_task
from loc2vec.evaluation.tasks.task import Task
from tests.catalogues import without
from tiling.catalogue.catalogue import load_catalogue
from tiling.geo.geodesy import ground_distance_m
from tiling.osm.extract import OsmObject
from tiling.values import LonLat

pytestmark = pytest.mark.untraced  # scikit-learn's fits


def make(
    n: int = 300,
    towns: int = 6,
    classes: tuple[str, ...] = ("a", "b", "c"),
    seed: int = 0,
    **more: Any,
) -> Task:
    """Return a task over towns a degree apart, 3 km wide, with labels by chance."""
    rng = np.random.default_rng(seed)
    place = np.arange(n) % towns
    lat = 50 + rng.uniform(0, 0.027, n)
    lon = 7.0 + place + rng.uniform(0, 0.042, n)
    target = rng.integers(0, len(classes), n) if classes else rng.normal(size=n)
    names = tuple(f"town {number}" for number in range(towns))
    return Task("test", "a test", lat, lon, target, classes, place, names, **more)


def telling(task: Task, noise: float = 0.5, seed: int = 0) -> NDArray[np.float32]:
    """Return vectors from which the label can be read."""
    rng = np.random.default_rng(seed)
    columns = np.eye(len(task.classes))[task.target] if task.classes else task.target[:, None]
    return (columns + noise * rng.normal(size=columns.shape)).astype(np.float32)


@pytest.mark.parametrize("split", ["towns", "blocks", "random"])
def test_every_place_is_tested_once_by_a_probe_that_did_not_see_its_group(split: Split) -> None:
    task = make()
    group = groups(task, split)
    plan = list(folds(task, split, seed=0))
    assert np.array_equal(np.sort(np.concatenate([test for _, test in plan])), np.arange(len(task)))
    for train, test in plan:
        assert len(train)
        assert not set(group[train]) & set(group[test])


@pytest.mark.parametrize("split", ["towns", "blocks"])
def test_no_training_tile_shares_ground_with_a_test_tile(split: Split) -> None:
    task = make(n=600)
    for train, test in folds(task, split, seed=0):
        away = ground_distance_m(
            task.lat[train, None], task.lon[train, None], task.lat[test], task.lon[test]
        )
        assert away.min() > APART_M


def test_towns_that_overlap_do_not_help_each_other() -> None:
    task = make(n=60, towns=2)
    same = replace(task, lon=7 + task.lon % 1)  # the second town lies over the first
    with pytest.raises(LabelsError, match="283 m"):
        list(
            folds(
                replace(same, lat=50 + (same.lat - 50) / 100, lon=7 + (same.lon - 7) / 100),
                "towns",
                0,
            )
        )
    for train, test in folds(same, "towns", 0):
        away = ground_distance_m(
            same.lat[train, None], same.lon[train, None], same.lat[test], same.lon[test]
        )
        assert away.min() > APART_M


def test_seeds_give_other_folds_and_repeat() -> None:
    task = make()
    tests = [[test.tolist() for _, test in folds(task, "blocks", seed)] for seed in (0, 1, 0)]
    assert tests[0] == tests[2] != tests[1]


def test_blocks_are_squares_of_their_side() -> None:
    rng = np.random.default_rng(0)
    for middle in (0.0, 51.5, -70.0):
        lat, lon = middle + rng.uniform(0, 0.05, 800), 179.9 + rng.uniform(-0.05, 0.05, 800)
        number = blocks(lat, lon)
        for one in np.unique(number):
            mine = number == one
            away = ground_distance_m(lat[mine, None], lon[mine, None], lat[mine], lon[mine])
            assert away.max() < BLOCK_M * 1.5
        assert len(np.unique(number)) > 20


def test_one_town_has_no_split_over_towns() -> None:
    assert splits_of(make(towns=1)) == ("blocks", "random")
    assert splits_of(make()) == ("towns", "blocks", "random")


def test_vectors_that_tell_beat_vectors_that_do_not() -> None:
    task = make()
    chance = np.random.default_rng(1).normal(size=(len(task), 4)).astype(np.float32)
    outcome = measure(task, {"telling": telling(task), "chance": chance}, seeds=2)
    for split in ("towns", "blocks"):
        for probe in ("linear", "knn"):
            found = {
                s.method: s.mean("macro-F1")
                for s in outcome.scores
                if (s.split, s.probe) == (split, probe)
            }
            assert found["telling"] > 0.75
            assert found["chance"] == pytest.approx(1 / 3, abs=0.1)
    assert set(outcome.few["telling"]) == {10, 30, 100}
    assert outcome.few["telling"][100] > 0.7
    assert outcome.confusion("telling").sum() == len(task)


def test_a_regression_is_measured_by_the_variance_it_explains() -> None:
    task = make(classes=())
    chance = np.random.default_rng(1).normal(size=(len(task), 4)).astype(np.float32)
    outcome = measure(task, {"telling": telling(task, 0.1), "chance": chance}, seeds=2)
    found = {(s.method, s.split, s.probe): s for s in outcome.scores}
    assert found["telling", "towns", "linear"].mean("R2") > 0.95
    assert found["chance", "towns", "linear"].mean("R2") < 0.05
    assert found["telling", "blocks", "linear"].mean("MAE") < 0.12
    assert outcome.few == {}


def test_the_town_is_found_among_all() -> None:
    task = replace(make(classes=()), geolocation=True)
    task = replace(task, target=task.place, classes=task.places)
    outcome = measure(task, {"telling": telling(task, 0.1)}, seeds=1)
    assert {score.split for score in outcome.scores} == {"blocks", "random"}
    first = outcome.scores[0]
    assert first.mean("top-1") == first.mean("top-5") == 1
    assert first.mean("mean km") == 0


def test_metrics_by_hand() -> None:
    task = replace(make(n=4), target=np.array([0, 0, 1, 2]))
    predicted = np.eye(3)[[0, 1, 1, 1]]
    # class a: precision 1, recall 1/2; b: 1/3, 1; c: never found
    assert metrics(task, predicted)["macro-F1"] == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    assert metrics(task, predicted)["accuracy"] == 0.5
    assert confusion(task, predicted).tolist() == [[1, 1, 0], [0, 1, 0], [0, 1, 0]]
    # a town without class c is not judged by it
    assert metrics(task, predicted, np.array([0, 1, 2]))["macro-F1"] == pytest.approx(
        (2 / 3 + 2 / 3) / 2
    )


def test_test_places_do_not_reach_the_fit() -> None:
    task = make()
    values = telling(task)
    train, test = next(folds(task, "towns", 0))
    spoilt = values.copy()
    spoilt[test] = 1e6  # the standardisation would see it
    group = groups(task, "towns")
    kept = np.setdiff1d(np.arange(len(task)), test)
    alone = predict("linear", task, values, train, kept, group)
    assert np.array_equal(predict("linear", task, spoilt, train, kept, group), alone)


def test_a_class_absent_from_training_is_never_predicted() -> None:
    task = make()
    train = np.flatnonzero(task.target != 2)[:100]
    probability = predict(
        "knn", task, telling(task), train, np.arange(len(task)), groups(task, "random")
    )
    assert (probability[:, 2] == 0).all()
    assert probability.sum(1) == pytest.approx(1)


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (make(n=3), "fewer than the 5 folds"),
        (replace(make(), classes=("a",), target=np.zeros(300, int)), "one class"),
        (replace(make(n=40), target=np.array([0, 1] * 19 + [2, 2])), r"c \(2\)"),
    ],
)
def test_what_cannot_be_learned_is_refused(task: Task, message: str) -> None:
    with pytest.raises(LabelsError, match=message):
        measure(task, {"telling": telling(task)})


def test_the_table_names_the_best_of_sixteen_numbers_and_the_diagnostic() -> None:
    task = make()
    large = np.concatenate([telling(task, 0.01)] * 6, axis=1)
    outcome = measure(
        task, {"good": telling(task), "poor": telling(task, 3.0), "large": large}, seeds=2
    )
    text = table(as_values([outcome]))
    across = text.split("Across towns")[1].split("Across blocks")[0]
    lines = {
        line.split("|")[1].strip(): line for line in across.splitlines() if line.startswith("|")
    }
    assert "**" in lines["good"]
    assert "**" not in lines["poor"]
    assert "**" not in lines["large"]  # 18 numbers: it does not compete with those of 16
    assert "Diagnostic only" in text
    assert "OpenStreetMap" in text
    values = as_values([outcome])["tasks"][0]
    assert {score["split"] for score in values["scores"] if score["diagnostic"]} == {"random"}
    assert len(values["scores"][0]["metrics"]["macro-F1"]["seeds"]) == 2
    towns = values["scores"][0]["by_town"]
    assert set(towns) == set(task.places)
    own = town_grid(as_values([outcome]))
    assert own[1][:3] == ["good", "3", f"**{np.mean(list(towns.values())):.3f}**"]
    assert town_grid(as_values([outcome]), "town 3")[1][2] == f"**{towns['town 3']:.3f}**"
    assert town_grid(as_values([outcome]), "nowhere") == []


def test_a_model_is_shown_beside_the_best_small_baseline_and_the_large_one_but_no_peer() -> None:
    task = make()
    vectors = {
        "model": telling(task, 0.4),
        "poor": telling(task, 3.0),
        "fair": telling(task, 1.0, seed=1),
        "means in 4x4 squares": np.concatenate([telling(task, 0.1)] * 6, axis=1),
        "a peer": telling(task, 0.01),
    }
    undrawn, drawn = (
        measure(task, vectors, seeds=2),
        measure(replace(task, name="seen", drawn=True), vectors, seeds=2),
    )
    values = as_values([undrawn, drawn], {"model": "model", "a peer": "peer"})
    head, small, large = margins(values, "towns")
    assert head == ["model", "ahead of", "test", "seen", "undrawn tasks ahead"]
    assert small[:2] == ["model", "best of 16 numbers or fewer"]
    scores = {
        s["method"]: s
        for s in values["tasks"][0]["scores"]
        if (s["split"], s["probe"]) == ("towns", "linear")
    }
    gain = np.subtract(
        *(scores[name]["metrics"]["macro-F1"]["seeds"] for name in ("model", "fair"))
    )
    assert small[2] == f"{gain.mean():+.3f} ± {gain.std():.3f} (fair)"
    assert small[-1] == "1 of 1"  # the drawn task does not count
    assert large[2].startswith("-")
    assert large[-1] == "0 of 1"
    own = margins(values, "towns", of_town("town 3"))
    by_town = [scores[name]["by_town"]["town 3"] for name in ("model", "fair")]
    assert own[1][2] == f"{by_town[0] - by_town[1]:+.3f} (fair)"
    assert margins(as_values([undrawn]), "towns") == []  # no model was measured


def test_what_needs_no_label_is_a_table_with_dashes_where_nothing_was_asked() -> None:
    asked = {
        "recall@1": 0.5,
        "recall@10": 0.75,
        "mrr": 0.6,
        "effective_rank": 7.0,
        "queries": 20,
        "gallery": 30,
    }
    values = as_values([], views={"model": asked | {"equal accuracy": 0.9}})
    assert views_grid(values)[1] == ["model", "0.500", "0.750", "0.600", "-", "0.900", "7.000"]
    assert "20 turned and shifted tiles search their place among 30" in table(values)
    assert "Without labels" not in table(as_values([]))


def test_histograms_are_means_of_squares() -> None:
    tiles = np.zeros((2, 12, 128, 128), np.uint8)
    tiles[1, 3, :64, 64:] = 255  # north-east
    assert histogram(1)(tiles)[1].tolist() == [0, 0, 0, 0.25, 0, 0, 0, 0, 0, 0, 0, 0]
    quarters = histogram(2)(tiles)[1].reshape(12, 2, 2)
    assert quarters[3].tolist() == [[0, 1], [0, 0]]
    assert histogram(4)(tiles).shape == (2, 192)


def test_components_are_centred_and_of_falling_variance() -> None:
    tiles = np.random.default_rng(0).integers(0, 256, (60, 12, 32, 32), np.uint8)
    values = pixel_components(tiles, 5)(tiles)
    assert values.shape == (60, 5)
    assert values.mean(0) == pytest.approx(0, abs=1e-4)
    assert (np.diff(values.var(0)) <= 0).all()


def test_the_untrained_network_repeats_and_leaves_the_seed_alone() -> None:
    import torch

    tiles = np.random.default_rng(0).integers(0, 256, (8, 12, 128, 128), np.uint8)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    encoders = untrained(["loc2vec", "inception"], tiles)
    assert list(encoders) == ["untrained loc2vec", "untrained inception"]
    first, other = (encode(tiles) for encode in encoders.values())
    again = untrained(["loc2vec"], tiles)["untrained loc2vec"](tiles)
    assert not np.array_equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(first, again)
    assert first.shape == (8, 16)
    assert first.std(0).min() > 0


def test_position_is_sixteen_numbers_that_differ_from_street_to_street() -> None:
    values = position(np.array([50.0, 50.0, 50.001]), np.array([7.0, 7.001, 7.0]))
    assert values.shape == (3, 16)
    assert abs(values[0] - values[1]).max() > 0.1
    assert abs(values[0] - values[2]).max() > 0.1


def area(
    lon: float,
    lat: float,
    tags: dict[str, str],
    drawn: tuple[tuple[int, str], ...] = ((4, "building"),),
    side: float = 1e-4,
) -> OsmObject:
    return OsmObject("area", tags, drawn, shapely.box(lon, lat, lon + side, lat + side).wkb)


def test_tag_counts_count_what_is_drawn_near() -> None:
    here, far = LonLat(7.0, 50.0), LonLat(7.1, 50.0)
    objects = [
        area(7.0, 50.0, {"building": "house"}),
        area(7.0005, 50.0, {"building": "church"}),
        area(7.0, 50.0, {"amenity": "school"}, ((11, "amenity=school"),)),
        area(7.01, 50.0, {"building": "house"}),
        OsmObject("point", {"shop": "bakery"}, (), shapely.Point(7, 50).wkb),
    ]
    counts = np.expm1(tag_counts(objects, [here, far]))
    np.testing.assert_allclose(counts, [[1, 2], [0, 0]], rtol=1e-6)  # amenity=school, building
    np.testing.assert_allclose(np.expm1(tag_counts(objects, [here], blank=(11,))), [[2]], rtol=1e-6)


def test_kinds() -> None:
    names = list(BUILDING_TYPES)
    semidetached = {"building": "semidetached_house"}
    assert kind_of(semidetached, BUILDING_TYPES) == names.index("house")
    assert kind_of({"building": "yes"}, BUILDING_TYPES) is None
    assert kind_of({"building": "residential"}, BUILDING_TYPES) is None
    assert kind_of({"shop": "bakery"}, POINTS) == list(POINTS).index("shop")
    assert kind_of({"shop": "bakery", "amenity": "cafe"}, POINTS) is None  # both: neither


def everywhere(lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.ones(len(lon), bool)


def towns_of_buildings(counts: Sequence[int]) -> list[Town]:
    return [
        Town(
            f"town {t}",
            [
                area(7 + t, 50 + 0.001 * i, {"building": kind})
                for i in range(n)
                for kind in ("house", "shed")
            ],
            load_catalogue(),
        )
        for t, n in enumerate(counts)
    ]


def test_places_are_spread_over_towns() -> None:
    task = make_task("building type", towns_of_buildings([200, 20, 20]), everywhere, per_class=60)
    assert task.counts == {"house": 60, "garage": 60}
    assert np.bincount(task.place[task.target == 0]).tolist() == [20, 20, 20]
    again = make_task("building type", towns_of_buildings([200, 20, 20]), everywhere, per_class=60)
    assert np.array_equal(task.lat, again.lat)


def test_what_is_drawn_as_its_label_is_no_label() -> None:
    church = area(
        7, 50, {"building": "church"}, ((4, "building"), (11, "amenity=place_of_worship"))
    )
    plain = [area(7, 50 + 0.001 * i, {"building": "church"}) for i in range(12)]
    houses = [area(7, 50 + 0.001 * i, {"building": "house"}) for i in range(12)]
    town = Town("a", [church] * 5 + plain + houses, load_catalogue())
    task = make_task("building type", [town], everywhere, 100)
    assert task.counts == {"house": 12, "civic": 12}


def test_places_outside_the_store_are_left_out() -> None:
    def west(lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.bool_]:
        return lon < 7.5

    task = make_task("building type", towns_of_buildings([30, 30]), west, 100)
    assert set(task.place) == {0}
    with pytest.raises(LabelsError, match="none of its 120 places"):
        make_task(
            "building type",
            towns_of_buildings([30, 30]),
            lambda lon, lat: np.zeros(len(lon), bool),
            100,
        )


def test_extracts_without_labels_are_refused() -> None:
    with pytest.raises(LabelsError, match="point of interest"):
        make_task("point of interest", towns_of_buildings([30]), everywhere, 100)


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("building type", "building"),
        ("point of interest", "civic"),
        ("land use", "land use"),
        ("way", "way"),
    ],
)
def test_a_catalogue_without_a_role_that_a_task_needs_is_refused(name: str, role: str) -> None:
    town = Town("a", [], without(role))
    with pytest.raises(LabelsError, match=f"task {name}: .* no channel with the role '{role}'"):
        make_task(name, [town], everywhere, 100)
