"""Places by their names: what has one, and which is found first, in both stores."""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import osmium
import pyogrio
import pytest

from tests.postgres import Server
from tiling.catalogue.catalogue import load_catalogue
from tiling.errors import AmbiguousNameError, StoreError, UnknownNameError
from tiling.geo.geodesy import ground_distance_m
from tiling.osm.names import NamedPlace, fold, resolve
from tiling.store.source import FeatureSource
from tiling.store.store import ImportOptions, Store
from tiling.values import Box, LonLat

Both = Callable[..., Sequence[FeatureSource]]

NODES = [f"n{1 + n} v1 x{10 + n % 10 / 500:.4f} y{n // 10 / 500:.4f}" for n in range(100)]
# Buildings all over it, so that all of it is covered.
GROUND = [
    f"w{9000 + n} v1 Tbuilding=yes Nn{n},n{n + 1},n{n + 11},n{n + 10},n{n}"
    for n in range(1, 90)
    if n % 10
]


@pytest.fixture
def both(tmp_path: Path, server: Server, database: str) -> Iterator[Both]:
    """Import hand-written extracts into a file and into a database, and open both."""
    opened: list[FeatureSource] = []

    def build(*extracts: str) -> Sequence[FeatureSource]:
        paths = []
        for number, lines in enumerate(extracts):
            path = tmp_path / f"hand{number}.osm.opl"
            objects = [*NODES, *GROUND, *lines.splitlines()]
            objects.sort(key=lambda line: ("nwr".index(line[0]), int(line[1:].partition(" ")[0])))
            path.write_text("\n".join(objects) + "\n", encoding="utf-8")
            paths.append(path)
        Store.at(tmp_path / "hand.gpkg").import_extracts(paths, load_catalogue())
        Store.at(server.url(database)).import_extracts(
            paths, load_catalogue(), options=ImportOptions(reader="loc2vec_api")
        )
        locations = (tmp_path / "hand.gpkg", server.url(database, "loc2vec_api"))
        opened.extend(Store.at(location).open() for location in locations)
        return opened

    yield build
    for source in opened:
        source.close()


def found(source: FeatureSource, name: str) -> list[tuple[str, str]]:
    return [(place.name, place.kind) for place in source.find(name)]


def escaped(text: str) -> str:
    """Return a value of OPL."""
    return "".join(c if c.isascii() and c.isalnum() else f"%{ord(c):x}%" for c in text)


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("Łódź", "lodz"),
        ("STRASSE", "strasse"),
        ("Straße", "strasse"),
        ("Ærøskøbing", "aeroskobing"),
        ("  Rue  de l’Hôtel-de-Ville (Nord)", "rue de l hotel de ville nord"),
        ("東京駅", "東京駅"),
        ("Ａｂｃ①", "abc1"),
        ("' OR 1=1 --", "or 1 1"),
        ("🏛", ""),
        ("\0\n\t", ""),
        ("x" * 999, "x" * 255),
        ("ﷺ" * 999, None),
    ],
)
def test_names_are_compared_without_case_accents_and_signs(text: str, folded: str | None) -> None:
    assert fold(fold(text)) == fold(text)
    assert len(fold(text)) <= 255
    assert folded is None or fold(text) == folded


def test_monaco_is_found_by_its_names(monaco: FeatureSource) -> None:
    assert found(monaco, "monaco")[:2] == [("Monaco", "city"), ("Monaco", "country")]
    assert found(monaco, "MONTE CARLO")[0] == ("Monte-Carlo", "suburb")
    assert found(monaco, "rue grimaldi")[0] == ("Rue Grimaldi", "street")
    assert found(monaco, "rainier stade")[0] == found(monaco, "stade rainier")[0]
    assert ("Port Hercule de Monaco", "marina") in found(monaco, "port herc")
    assert found(monaco, "no such place at all") == found(monaco, " -- ") == []
    assert len(monaco.find("rue", 3)) == 3
    moulins = [place for place in monaco.find("boulevard des moulins") if place.kind == "street"]
    assert len(moulins) == 1, "the ways of a street are one place"
    assert ground_distance_m(moulins[0].lat, moulins[0].lon, 43.7415, 7.4283) < 300
    for name in ("monaco", "rue", "a", "1"):
        assert all(monaco.covers(LonLat(place.lon, place.lat)) for place in monaco.find(name, 100))


def test_the_names_in_a_box_are_those_of_both_stores(
    monaco: FeatureSource, monaco_database: str
) -> None:
    box = Box(7.418, 43.734, 7.424, 43.738)
    ours = monaco.names_in(box)
    assert "Rue Grimaldi" in {name.name for name in ours}
    assert all(box.contains(LonLat(name.lon, name.lat)) for name in ours)
    assert len(ours) < len(monaco.names_in(Box(-180, -90, 180, 90)))
    with Store.at(monaco_database).open() as source:
        theirs = source.names_in(box)
    assert {name.name for name in theirs} == {name.name for name in ours}


def test_both_stores_find_the_same(monaco: FeatureSource, monaco_database: str) -> None:
    with sqlite3.connect(monaco.location) as connection:
        columns = "name, folded, kind, rank, round(lat, 9), round(lon, 9)"
        ours = set(connection.execute(f"SELECT {columns} FROM names"))  # noqa: S608
    connection.close()
    assert len(ours) > 2000
    with Store.at(monaco_database).open() as source:
        query = columns.replace("lat", "lat::numeric").replace("lon", "lon::numeric")
        theirs = {
            (*row[:4], float(row[4]), float(row[5]))
            for row in source._ask(f"SELECT {query} FROM loc2vec.names")  # type: ignore[attr-defined]  # noqa: S608
        }
        assert len(ours ^ theirs) <= len(ours) // 200, "only ways that lack nodes may differ"
        for name in (
            "monaco",
            "monte carlo",
            "rue gri",
            "gare",
            "stade louis",
            "ecole",
            "12",
            "café",
        ):
            assert [p.name for p in source.find(name)] == [p.name for p in monaco.find(name)]
        for name in HOSTILE:
            source.find(name)
            monaco.find(name)


def test_a_town_comes_before_the_shop_of_its_name_and_the_whole_name_before_a_longer_one(
    both: Both,
) -> None:
    lines = (
        "n500 v1 x10.003 y0.003 Tshop=bakery,name=Upton\n"
        "n501 v1 x10.006 y0.006 Tplace=town,name=Upton\n"
        "n502 v1 x10.005 y0.001 Tplace=city,name=Upton%20%Magna\n"
        "n503 v1 x10.001 y0.005 Tamenity=pub,name=The%20%Upton\n"
        "w1 v1 Thighway=residential,name=Upton Nn34,n35\nn504 v1 x10.004 y0.004 Tname=Upton\n"
        "n505 v1 x10.002 y0.002 Tplace=village,name=K%f8%benhavn,name:en=Copenhagen,"
        "alt_name=Hafn;Kjob\n"
        "n506 v1 x30.0 y30.0 Tplace=town,name=Far%20%Upton\n"
    )  # the last but one has no kind, the last lies outside
    for source in both(lines):
        assert found(source, "upton") == [
            ("Upton", "town"),
            ("Upton", "street"),
            ("Upton", "bakery"),
            ("Upton Magna", "city"),
            ("The Upton", "pub"),
        ]
        for name in ("copenhagen", "KOBENHAVN", "København", "kjob"):
            assert [(p.name, p.exact) for p in source.find(name)] == [("København", True)]
        assert [(p.name, p.exact) for p in source.find("copen")] == [("København", False)]
        assert resolve("upton", source.find).kind == "town"
        assert resolve("upton m", source.find).kind == "city"


def test_an_area_is_found_inside_and_a_street_on_itself(both: Both) -> None:
    lines = (
        "w1 v1 Tleisure=park,name=Park Nn1,n10,n100,n91,n1\n"
        "w2 v1 Thighway=residential,name=Ring Nn34,n37,n67,n64,n34\n"  # closed, and still a street
        "w3 v1 T Nn23,n28,n78,n73,n23\nr1 v1 Ttype=multipolygon,natural=wood,name=Wood Mw3@outer\n"
    )
    for source in both(lines):
        (park,), (ring,), (wood,) = (source.find(name) for name in ("park", "ring", "wood"))
        assert park.kind == "park"
        assert 0 < park.lat < 0.018
        assert ring.kind == "street"
        on_it = (
            min(abs(ring.lon - x) for x in (10.006, 10.012)),
            min(abs(ring.lat - y) for y in (0.006, 0.012)),
        )
        assert min(on_it) < 1e-6
        assert wood.kind == "wood"


def test_of_two_extracts_the_newest_version_gives_the_name(both: Both) -> None:
    older, newer = (
        f"n500 v{v} x10.003 y0.003 Tplace=village,name={name}"
        for v, name in ((1, "Old"), (2, "New"))
    )
    for source in both(older, newer):
        assert found(source, "old") == []
        assert found(source, "new") == [("New", "village")]


HOSTILE = (
    "Robert'); DROP TABLE names; --",
    '" OR name MATCH "a',
    "NEAR(a b) AND NOT *",
    "a:* & !b | (c <-> d)",
    "%s %(words)s {0}",
    "back\\slash\tand\nnew line",
    "{name: *} ^a - b + c",
    "naïve 地図 مكان שם",
    "$$; SELECT pg_sleep(9) $$",
    "*",
    "'",
    '""',
)


def test_a_hostile_name_is_only_data(both: Both) -> None:
    lines = "\n".join(
        f"n{500 + n} v1 x10.00{3 + n % 6} y0.00{3 + n % 6} Tshop=yes,name={escaped(name)}"
        for n, name in enumerate(HOSTILE)
    )
    for source in both(lines):
        for name in HOSTILE:
            hits = source.find(name)
            assert (name in [place.name for place in hits]) == bool(fold(name)), name
        assert found(source, "robert") == [(HOSTILE[0], "shop")]


def test_an_update_keeps_the_names_true(
    server: Server, slim: str, monaco_pbf: Path, tmp_path: Path
) -> None:
    change = tmp_path / "changes.osc"
    with Store.at(slim).open() as source:
        (city, *_), rue = source.find("monaco"), resolve("rue grimaldi", source.find)
        ways = osmium.FileProcessor(str(monaco_pbf), osmium.osm.WAY)
        deleted = "".join(
            f'<way id="{way.id}" version="99"/>'
            for way in ways
            if way.tags.get("name") == "Rue Grimaldi"
        )
        nodes = osmium.FileProcessor(str(monaco_pbf), osmium.osm.NODE)
        (node,) = (node.id for node in nodes if node.tags.get("place") == "city")
        change.write_text(
            f'<osmChange version="0.6"><modify>'
            f'<node id="{node}" version="99" lat="43.74" lon="7.43">'
            '<tag k="place" v="city"/><tag k="name" v="Renamed"/></node></modify>'
            '<create><node id="99999999999" version="1" lat="43.7384" lon="7.4246">'
            '<tag k="shop" v="books"/><tag k="name" v="Brand New Books"/></node></create>'
            f"<delete>{deleted}</delete></osmChange>"
        )
        Store.at(slim).update(change)
        assert resolve("renamed", source.find) == NamedPlace(
            "Renamed", "city", 43.74, 7.43, True, city.rank
        )
        assert ("Monaco", "city") not in found(source, "monaco")
        assert found(source, "brand new") == [("Brand New Books", "books")]
        assert (rue.name, "street") not in found(source, "rue grimaldi")
    server.psql("DROP TABLE loc2vec_raw.named CASCADE", slim.rpartition("/")[2])
    with pytest.raises(StoreError, match="import its extract again, with --slim"):
        Store.at(slim).update(change)


def test_a_name_means_one_place_or_says_which_it_may_be(monaco: FeatureSource) -> None:
    with pytest.raises(
        AmbiguousNameError, match=r"'parking' may be .*give the whole name, or lat and lon"
    ) as several:
        resolve("parking", monaco.find)
    assert len(several.value.candidates) > 1
    with pytest.raises(
        UnknownNameError, match="no place of this store is called 'Grimldi': did you mean"
    ) as unknown:
        resolve("Grimldi", monaco.find)
    assert all(
        "grim" in fold(place.name) or "gri" in fold(place.name)
        for place in unknown.value.candidates
    )
    with pytest.raises(UnknownNameError, match=r"is called 'qqqqq'$") as nothing:
        resolve("qqqqq", monaco.find)
    assert nothing.value.candidates == []


def test_the_file_still_opens_as_a_geopackage(monaco_store: Path) -> None:
    assert pyogrio.list_layers(monaco_store)[:, 0].tolist() == ["features", "extracts", "names"]
    names = pyogrio.read_arrow(monaco_store, layer="names")[1]
    assert "Rue Grimaldi" in names["name"].to_pylist()


def test_ascii_is_folded_as_all_letters_are() -> None:
    for letter in map(chr, range(128)):
        text = f"A{letter}B {letter}"
        assert f"{fold(text)} e".split() == fold(f"{text} é").split()
