"""Names without a store: what has one, how it is written, and which of several is meant."""

import unicodedata
from collections.abc import Sequence

import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry.base import BaseGeometry

from tiling.errors import AmbiguousNameError, UnknownNameError
from tiling.osm.names import (
    KINDS,
    LONGEST,
    Name,
    NamedObject,
    NamedPlace,
    fold,
    is_area,
    merged,
    names_of,
    resolve,
    words_of,
)

few = settings(max_examples=150, deadline=None, derandomize=True)


def item(
    tags: dict[str, str],
    geometry: BaseGeometry | None = None,
    osm_type: str = "N",
    osm_id: int = 1,
    version: int = 1,
) -> NamedObject:
    wkb = shapely.to_wkb(geometry or shapely.Point(7.4, 43.7))
    return NamedObject(osm_type, osm_id, version, {"name": "It", **tags}, wkb)


def name_of(tags: dict[str, str], osm_type: str = "N") -> tuple[str, int] | None:
    """The kind and the rank of an object, None when it has no name of its own."""
    found = names_of([item(tags, osm_type=osm_type)])
    return (found[0][1].kind, found[0][1].rank) if found else None


LETTERS = st.sampled_from("aB É é ñ \u0301 ß ſ İ ı Ł Œ Þ Σ ς ﬁ Ａ ① ½ 東 가 ي ِ न् 7 - ’ _ \n \0 🏛")


@few
@given(st.text(LETTERS, max_size=300))
def test_a_folded_name_is_plain_and_stays_so(text: str) -> None:
    folded = fold(text)
    assert fold(folded) == folded
    assert len(folded) <= LONGEST
    assert folded == " ".join(folded.split())
    assert all(c == " " or unicodedata.category(c)[0] in "LMN" for c in folded)
    assert fold(text.upper().lower()) == fold(text.lower())


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("Sankt-Gallen/St. Gallen", "sankt gallen st gallen"),
        ("Đorđe Þór Ðað ıI œuvre", "dorde thor dad ii oeuvre"),
        ("A1 ½", "a1 1 2"),
        ("नई दिल्ली", "नई दिलली"),
        ("e\u0301cole École", "ecole ecole"),
        ("under_score", "under score"),
        ("a" * 254 + " b c", "a" * 254),
    ],
)
def test_names_are_written_plainly(text: str, folded: str) -> None:
    assert fold(text) == folded or unicodedata.normalize("NFC", fold(text)) == folded


def test_the_words_to_look_for_come_once_and_in_order() -> None:
    assert words_of("Rue de la Rue, DE") == ["rue", "de", "la"]
    assert words_of(" -- ") == []


@pytest.mark.parametrize(
    ("tags", "closed", "area"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"area": "yes"}, False, False),
        ({"area": "no"}, True, False),
        ({"highway": "residential"}, True, False),
        ({"highway": "pedestrian", "area": "yes"}, True, True),
        ({"highway": "pedestrian", "area": "no"}, True, False),
    ],
)
def test_a_way_is_an_area_when_it_closes_and_is_no_street(
    tags: dict[str, str], closed: bool, area: bool
) -> None:
    assert is_area(tags, closed) is area


@pytest.mark.parametrize(
    ("tags", "osm_type", "kind"),
    [
        ({"place": "city"}, "N", "city"),
        ({"place": "isolated_dwelling"}, "N", "isolated dwelling"),
        ({"shop": "bakery", "building": "yes"}, "W", "building"),
        ({"building": "yes", "amenity": "school"}, "W", "school"),
        ({"highway": "primary"}, "W", "street"),
        ({"highway": "primary"}, "R", "street"),
        ({"highway": "bus_stop"}, "N", "bus stop"),
        ({"highway": "no", "shop": "books"}, "N", "books"),
        ({"boundary": "administrative"}, "R", "administrative"),
        ({"tourism": "yes"}, "N", "tourism"),
        ({"railway": "tram_stop"}, "N", "tram stop"),
        ({"aeroway": "gate"}, "N", "gate"),
        ({"boundary": "postal_code"}, "R", None),
        ({"railway": "rail"}, "W", None),
        ({"public_transport": "stop_position"}, "N", None),
        ({"power": "line"}, "W", None),
        ({"place": "no"}, "N", None),
        ({}, "N", None),
    ],
)
def test_a_tag_says_what_an_object_is(
    tags: dict[str, str], osm_type: str, kind: str | None
) -> None:
    found = name_of(tags, osm_type)
    assert (found and found[0]) == kind


def test_what_is_more_likely_meant_ranks_before() -> None:
    order = [
        {"place": "city"}, {"place": "town"}, {"place": "suburb"}, {"place": "hamlet"},
        {"aeroway": "aerodrome"}, {"railway": "station"}, {"leisure": "park"}, {"amenity": "bar"},
        {"building": "yes"}, {"shop": "books"}, {"man_made": "tower"},
    ]  # fmt: skip
    ranks = [found[1] for tags in order if (found := name_of(tags)) is not None]
    assert ranks == sorted(set(ranks))
    assert len(ranks) == len(order)
    assert name_of({"shop": "books", "place": "city"}) == ("city", 0)
    assert name_of({"highway": "crossing"}) == ("crossing", len(KINDS) - 2)


def test_a_kind_is_no_longer_than_a_value_of_osm() -> None:
    assert name_of({"shop": "x" * 300}) == ("x" * LONGEST, 16)


def test_an_object_has_a_row_for_each_way_to_call_it() -> None:
    tags = {
        "name": "L'Été",
        "name:en": "Summer",
        "alt_name": "Estate;L’Été; Sommer ",
        "old_name": "🏛",
        "name:de": "Sommer DE",
        "place": "town",
    }
    rows = [row for _, row in names_of([item(tags)])]
    assert [row.folded for row in rows] == ["l ete", "lete", "summer", "estate", "sommer"]
    assert {row.name for row in rows} == {"L'Été"}
    assert {(row.lat, row.lon) for row in rows} == {(43.7, 7.4)}


RING = [(7.1, 43.1), (7.3, 43.1), (7.3, 43.3), (7.1, 43.3)]


@pytest.mark.parametrize(
    ("geometry", "lon", "lat"),
    [
        (shapely.Point(7.25, 43.5), 7.25, 43.5),
        (shapely.LineString([(7.1, 43.5), (7.2, 43.5), (7.5, 43.5)]), 7.3, 43.5),
        (shapely.MultiLineString([[(7.1, 43), (7.3, 43)], [(7.5, 43.9), (7.6, 43.9)]]), 7.2, 43),
        (shapely.Polygon(RING), 7.2, 43.2),
    ],
)
def test_a_name_stands_in_the_middle_of_its_object(
    geometry: BaseGeometry, lon: float, lat: float
) -> None:
    ((_, row),) = names_of([item({"leisure": "park"}, geometry)])
    assert (row.lon, row.lat) == pytest.approx((lon, lat))


def test_the_name_of_an_area_with_a_hole_stands_inside_it() -> None:
    hole = [(7.15, 43.12), (7.28, 43.12), (7.28, 43.28), (7.15, 43.28)]
    area = shapely.Polygon(RING, [hole])
    ((_, row),) = names_of([item({"leisure": "park"}, area)])
    assert area.contains(shapely.Point(row.lon, row.lat))


def test_only_objects_of_a_known_kind_have_names() -> None:
    here = shapely.Point(7.5, 43.5)
    items = [item({"power": "pole"}, here, osm_id=2), item({"shop": "b"}, here, osm_id=3)]
    assert [found.osm_id for found, _ in names_of(items)] == [3]
    assert names_of([]) == []


def row(
    name: str = "It", lat: float = 43.7, lon: float = 7.4, kind: str = "town", rank: int = 1
) -> Name:
    return Name(name, fold(name), kind, rank, lat, lon)


def test_the_parts_of_a_street_are_one_place_and_a_street_elsewhere_is_another() -> None:
    parts = [row("Rue", lat, 7.4, "street") for lat in (43.700, 43.701, 43.702, 43.703, 43.704)]
    elsewhere = row("Rue", 43.9, 7.4, "street")
    shop = row("Rue", 43.702, 7.4, "shop", 5)
    found = merged([*parts, elsewhere, shop], "rue", 10)
    assert [(place.kind, place.lat) for place in found] == [
        ("street", 43.702), ("street", 43.9), ("shop", 43.702)
    ]  # fmt: skip
    assert merged([*parts, elsewhere, shop], "rue", 2) == found[:2]


def test_the_whole_name_comes_before_its_beginning_and_that_before_its_words() -> None:
    rows = [row("New Upton", rank=0), row("Upton Magna", rank=2), row("Upton", rank=9)]
    rows.append(row("Upton Bay", rank=2))
    found = merged(rows, "UPTON", 10)
    assert [place.name for place in found] == ["Upton", "Upton Bay", "Upton Magna", "New Upton"]
    assert [place.exact for place in found] == [True, False, False, False]


def test_a_place_is_exact_when_one_of_its_names_is() -> None:
    rows = [row("København"), row("København")._replace(folded="copenhagen")]
    (place,) = merged(rows, "copenhagen", 10)
    assert (place.name, place.exact) == ("København", True)


def found_by(places: dict[str, Sequence[NamedPlace]], asked: list[str], name: str) -> NamedPlace:
    def find(text: str, limit: int) -> Sequence[NamedPlace]:
        asked.append(text)
        return places.get(text, ())[:limit]

    return resolve(name, find, candidates=3)


CITY = NamedPlace("Upton", "city", 50.0, 7.0, True, 0)
PUB = NamedPlace("The Upton", "pub", 51.0, 8.0, False, 9)
SHOP = NamedPlace("Upton", "shop", 52.0, 8.0, True, 9)
BESIDE = NamedPlace("Upton", "city", 50.0005, 7.0, True, 0)
AWAY = NamedPlace("Upton", "city", 50.002, 7.0, True, 0)


@pytest.mark.parametrize(
    ("places", "meant"),
    [
        ([CITY], CITY),
        ([CITY, PUB, SHOP], CITY),
        ([PUB], PUB),
        ([CITY, BESIDE], CITY),
        ([SHOP, PUB], SHOP),
    ],
)
def test_one_place_is_meant(places: list[NamedPlace], meant: NamedPlace) -> None:
    assert found_by({"upton": places}, [], "upton") == meant


@pytest.mark.parametrize("places", [[CITY, AWAY], [PUB, PUB.__class__("Upton Inn", "pub", 1, 1)]])
def test_several_places_may_be_meant(places: list[NamedPlace]) -> None:
    places = [
        place if place is CITY or place is AWAY else NamedPlace(
            place.name, place.kind, place.lat, place.lon, False, place.rank
        )
        for place in places
    ]  # fmt: skip
    with pytest.raises(AmbiguousNameError, match=r"'upton' may be .*, or .*: give the whole") as e:
        found_by({"upton": places}, [], "upton")
    assert e.value.candidates == places
    assert f"({places[0].kind}, lat {places[0].lat:.5f}, lon " in str(e.value)


def test_an_unknown_name_is_tried_by_shorter_beginnings() -> None:
    asked: list[str] = []
    with pytest.raises(UnknownNameError, match=r"'Grimaldo': did you mean The Upton") as e:
        found_by({"gri": [], "grim": [PUB, SHOP]}, asked, "Grimaldo")
    assert asked == ["Grimaldo", "grimal", "grim"]
    assert e.value.candidates == [PUB, SHOP]
    del asked[:]
    with pytest.raises(UnknownNameError, match=r"is called 'abcd'$") as e:
        found_by({"ab": [PUB]}, asked, "abcd")
    assert asked == ["abcd", "abc"], "two letters are no beginning"
    assert e.value.candidates == []


def test_so_many_candidates_are_asked_for() -> None:
    asked: list[int] = []

    def find(text: str, limit: int) -> Sequence[NamedPlace]:
        asked.append(limit)
        return [CITY]

    assert resolve("upton", find) == CITY
    assert resolve("upton", find, 3) == CITY
    assert asked == [10, 3]


def test_a_long_name_is_cut_where_it_is_shown() -> None:
    with pytest.raises(UnknownNameError) as unknown:
        found_by({}, [], "x" * 5_000)
    assert len(str(unknown.value)) < 200
