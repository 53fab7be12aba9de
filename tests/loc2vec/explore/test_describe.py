"""Sentences on places: those of 50 real places, each judged by a look at its tile."""

import json
from pathlib import Path
from typing import Any

import pytest

from loc2vec.explore.describe import describe
from tiling.catalogue.catalogue import load_catalogue

PLACES = json.loads(Path(__file__).with_name("described.json").read_text(encoding="utf-8"))
CHANNELS = load_catalogue().channels


@pytest.mark.parametrize("place", PLACES, ids=lambda p: f"{p['extract']} {p['lat']} {p['lon']}")
def test_a_place_that_somebody_looked_at(place: dict[str, Any]) -> None:
    cover = dict(zip(CHANNELS, place["cover"], strict=True))
    assert describe(cover, place["near"]) == place["says"]


def test_there_are_fifty_of_them_from_many_towns() -> None:
    assert len(PLACES) == 50
    assert len({place["extract"] for place in PLACES}) >= 15
    assert len({place["says"] for place in PLACES}) >= 35


@pytest.mark.parametrize(
    ("alike", "said"),
    [(0.03, "like 3 % of"), (0.004, "like less than 1 % of"), (1.0, "like 100 % of")],
)
def test_how_common_it_is(alike: float, said: str) -> None:
    nothing = dict.fromkeys(CHANNELS, 0.0)
    told = describe(nothing, {}, alike)
    assert told == f"ground with little on the map; {said} the region"


def test_a_harbour_is_named_as_such() -> None:
    cover = dict.fromkeys(CHANNELS, 0.0) | {"water": 0.6, "major roads": 0.05}
    assert describe(cover, {"marinas": 1, "restaurants": 2}) == (
        "a harbour by a main street, with restaurants"
    )
    assert describe(cover, {}) == "water by a main street"


def test_channels_of_another_catalogue_are_told_by_their_names() -> None:
    cover = {"snow": 0.7, "ice": 0.2, "rock": 0.05}
    assert describe(cover, {"hotels": 1}) == "snow and ice, with a hotel"
    assert describe({"snow": 0.0}, {}) == "ground with little on the map"
