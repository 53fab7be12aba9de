"""Walks, straight ways and sums: where they lead, and what they refuse."""

import io
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from loc2vec.embed.algebra import combine, walk
from loc2vec.errors import ExploreError
from loc2vec.explore.arithmetic import Term, arithmetic, parse
from loc2vec.explore.interpolate import interpolate
from loc2vec.explore.space import Space
from loc2vec.explore.walk import random_walks
from loc2vec.paper.plot import png_of, printable, save
from tests.loc2vec.explore.explored import SOUTH, STEP_DEG, WEST, encode, make_space, tile_at
from tiling.geo.geodesy import ground_distance_m
from tiling.values import LonLat

CORNER = LonLat(WEST, SOUTH)
FAR = LonLat(WEST + 10 * STEP_DEG, SOUTH + 10 * STEP_DEG)


@pytest.fixture(scope="module")
def space() -> Space:
    return make_space()


@pytest.mark.parametrize("apart_m", [250.0, 700.0])
def test_no_two_places_of_a_walk_are_near_on_the_ground(space: Space, apart_m: float) -> None:
    found = random_walks(space, CORNER, steps=5, k=4, apart_m=apart_m, walks=3)
    for way in found.walks:
        lat, lon = (
            np.array([getattr(step.view.place, axis) for step in way]) for axis in ("lat", "lon")
        )
        between = ground_distance_m(lat[:, None], lon[:, None], lat, lon)
        assert between[np.triu_indices(len(way), 1)].min() >= apart_m
        assert len(way) == 6


def test_a_walk_says_how_far_it_went(space: Space) -> None:
    (way,) = random_walks(space, CORNER, steps=2, k=1, apart_m=250.0, walks=1).walks
    assert way[0].distance == way[0].ground_m == 0
    for before, step in pairwise(way):
        ends = before.view.place, step.view.place
        assert step.ground_m == pytest.approx(
            ground_distance_m(ends[0].lat, ends[0].lon, ends[1].lat, ends[1].lon)
        )
        vectors = encode(np.stack([before.view.tile, step.view.tile]))
        assert step.distance == pytest.approx(np.linalg.norm(vectors[1] - vectors[0]), rel=1e-5)


def test_the_same_seed_walks_the_same_way_and_another_does_not(space: Space) -> None:
    def places(seed: int) -> list[LonLat]:
        return [
            s.view.place
            for s in random_walks(
                space, CORNER, steps=6, k=5, apart_m=250, walks=1, seed=seed
            ).walks[0]
        ]

    assert places(0) == places(0)
    assert len({tuple(places(seed)) for seed in range(5)}) > 1


def test_a_walk_takes_one_of_the_k_nearest_new_places(space: Space) -> None:
    """The service walks by the same function, which keeps no distance on the ground there."""
    start = space.vectors.embedding[40]
    way = walk(
        lambda at, k, _: space.nearest(at, k, [], 0.0),
        lambda row: space.vectors.embedding[row],
        start,
        8,
        3,
        0,
    )
    assert len({step.id for step in way}) == 8
    assert way[0].id in {near.id for near in space.nearest(start, 3, [], 0.0)}


def test_a_walk_with_nowhere_to_go_says_so(space: Space) -> None:
    with pytest.raises(ExploreError, match=r"no indexed place lies 900000 m from the start"):
        random_walks(space, CORNER, apart_m=900_000)


def test_a_walk_that_ends_early_says_so(space: Space) -> None:
    found = random_walks(space, CORNER, steps=6, k=2, apart_m=1800, walks=2)
    short = [len(way) - 1 for way in found.walks]
    assert max(short) < 6
    said = [
        f"ends after {gone} of 6 steps: no other indexed place lies 1.8 km from all before"
        for gone in short
    ]
    assert found.ends == [row.title for row in found.strips.rows] == said
    assert said[0] in found.page()
    whole = random_walks(space, CORNER, steps=2, k=2, apart_m=250, walks=1)
    assert whole.ends == [""]


def test_k_may_not_be_more_than_there_are(space: Space) -> None:
    with pytest.raises(ExploreError, match=r"k = 1000: only 144 places are indexed"):
        random_walks(space, CORNER, k=1000)
    with pytest.raises(ExploreError, match=r"k = 145"):
        arithmetic(space, "50.002,8.002 + 50.004,8.004", k=145)


def test_the_straight_way_passes_through_the_middle(space: Space) -> None:
    found = interpolate(space, CORNER, FAR, steps=5)
    assert found.shares.tolist() == [0.25, 0.5, 0.75]
    middle = encode(np.stack([view.tile for view in found.nearest]))
    ends = encode(np.stack([tile_at(CORNER), tile_at(FAR)]))
    for share, vector, distance in zip(found.shares, middle, found.distances, strict=True):
        on_the_way = (1 - share) * ends[0] + share * ends[1]
        assert distance == pytest.approx(np.linalg.norm(vector - on_the_way), abs=1e-6)
        assert distance <= np.linalg.norm(space.vectors.embedding - on_the_way, axis=1).min() + 1e-6
    with pytest.raises(ExploreError, match="at least 3"):
        interpolate(space, CORNER, FAR, steps=2)


def test_arithmetic_is_what_a_hand_reckons(space: Space) -> None:
    a, b, c = "50.016,8.004", "50.010,8.002", "50.004,8.012"
    found = arithmetic(space, f"{a} - {b} + {c}", k=3, apart_m=100.0)
    places = [LonLat(float(t.split(",")[1]), float(t.split(",")[0])) for t in (a, b, c)]
    vectors = encode(np.stack([tile_at(place) for place in places]))
    expected = vectors[0] - vectors[1] + vectors[2]
    np.testing.assert_allclose(found.vector, expected, atol=1e-6)
    distances = np.linalg.norm(space.vectors.embedding - expected, axis=1)
    assert found.distances == pytest.approx(np.sort(distances)[:3].tolist())
    assert (found.nearest[0].place.lat, found.nearest[0].place.lon) == pytest.approx(
        (50.010, 8.014), abs=1e-9
    )
    np.testing.assert_allclose(combine(vectors[[0, 2]], vectors[[1]]), found.vector)


def test_no_result_lies_near_an_operand(space: Space) -> None:
    found = arithmetic(space, "50.016,8.004 + 50.010,8.002", k=5, apart_m=600.0)
    for view in found.nearest:
        for operand in found.operands:
            assert ground_distance_m(*view.place[::-1], *operand.place[::-1]) >= 600.0


@pytest.mark.parametrize(
    ("expression", "terms"),
    [
        ("A", [Term(1, "A")]),
        ("A - B", [Term(1, "A"), Term(-1, "B")]),
        ("Saint-Roman + Rue de la Poste", [Term(1, "Saint-Roman"), Term(1, "Rue de la Poste")]),
        ("-33.9,18.4 - -34.0,18.5", [Term(1, "-33.9,18.4"), Term(-1, "-34.0,18.5")]),
        ('"A - B" − C', [Term(1, "A - B"), Term(-1, "C")]),
        ("50.1, 8.2 + X", [Term(1, "50.1, 8.2"), Term(1, "X")]),
    ],
)  # fmt: skip
def test_expressions(expression: str, terms: list[Term]) -> None:
    assert parse(expression) == terms


@pytest.mark.parametrize(
    ("expression", "position", "message"),
    [
        ("", 1, "a place is expected"),
        ("A -", 4, "a place is expected"),
        ("A - + B", 5, r"a place is expected before '\+'"),
        ('A "B"', 3, "between two places"),
        ('A + "B', 5, "a quote is opened and not closed"),
        ("+ A", 1, r"a place is expected before '\+'"),
    ],
)
def test_an_expression_that_does_not_parse_says_where(
    expression: str, position: int, message: str
) -> None:
    with pytest.raises(ExploreError, match=rf"position {position} .*{message}"):
        parse(expression)


def test_names_that_the_font_lacks_are_left_out_of_pictures_alone() -> None:
    assert printable("Höllentalstraße, Garmisch DE") == "Höllentalstraße, Garmisch DE"
    assert printable("交大路, Hsinchu TW") == "Hsinchu TW"
    assert printable("交大路") == "?"
    far_east = replace(make_space(), name=lambda place: "交大路, Hsinchu TW")
    found = random_walks(far_east, CORNER, steps=1, k=1, apart_m=250, walks=1)
    assert png_of(found.figure())  # a missing letter would be a warning, and so an error
    assert "交大路" in found.page()


def test_figures_and_pages_are_whole(space: Space, tmp_path: Path) -> None:
    found = random_walks(space, CORNER, steps=3, k=3, apart_m=250, walks=2)
    png, html = save(found, tmp_path / "walk.v1")
    assert [png.name, html.name] == ["walk.v1.png", "walk.v1.html"]
    picture = Image.open(png)
    assert picture.width > 700
    assert "OpenStreetMap" in picture.info["Copyright"]
    colours = picture.convert("RGB").getcolors(picture.width * picture.height)
    assert len(colours or ()) > 20
    text = html.read_text(encoding="utf-8")
    assert text.count("data:image/webp;base64,") >= 8
    assert "Place 50.000 &amp; 8.000" in text
    assert "http" not in text.replace("https://www.openstreetmap.org", "")
    assert png_of(found.figure()) == png.read_bytes() == io.BytesIO(png.read_bytes()).getvalue()
