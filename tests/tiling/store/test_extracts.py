"""What an import says and does with extracts of all kinds: the same in every kind of store."""

from collections.abc import Callable
from pathlib import Path

import osmium
import pytest
import shapely

from tests.postgres import Server
from tests.tiling.handmade import opl
from tiling.catalogue.catalogue import load_catalogue
from tiling.errors import ExtractError, LossError
from tiling.osm.sieve import BROKEN, INCOMPLETE, NOWHERE, UNREADABLE
from tiling.store.store import ImportOptions, ImportSummary, Store
from tiling.values import Box

WORLD = Box(-180, -90, 180, 90)
# A town of 1.1 km: node n is at column n % 40, row n // 40 of a grid with steps of 0.0003 degrees.
NODES = [
    f"n{n} v1 x{10 + n % 40 * 0.0003:.4f} y{50 + n // 40 * 0.0003:.4f}" for n in range(1, 1600)
]
BUILDINGS = [
    f"w{n} v1 Tbuilding=yes Nn{n},n{n + 1},n{n + 41},n{n + 40},n{n}"
    for n in range(1, 1560)
    if n % 40 < 38 and n % 2 and n // 40 % 2
]
TOWN = [*NODES, *BUILDINGS]
UNPACKED = "pbf,pbf_compression=none"
Take = Callable[..., ImportSummary]


@pytest.fixture(params=["GeoPackage", "PostGIS"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """An empty store of each kind."""
    if request.param == "GeoPackage":
        return Store.at(tmp_path / "town.gpkg")
    server: Server = request.getfixturevalue("server")
    return Store.at(server.url(request.getfixturevalue("database")))


@pytest.fixture
def take(store: Store, tmp_path: Path) -> Take:
    """Import the lines of an extract."""

    def build(*lines: str, allow_loss: bool = False, slim: bool = False) -> ImportSummary:
        path = opl(tmp_path / "town.osm.opl", lines)
        options = ImportOptions(allow_loss=allow_loss, slim=slim)
        return store.import_extracts([path], load_catalogue(), options=options)

    return build


def written(
    path: Path, *lines: str, box: osmium.osm.Box | None = None, packed: bool = True
) -> Path:
    """Write objects in the format of the file's name, in their order."""
    text = "\n".join([*lines, ""]).encode()
    header = osmium.io.Header()
    if box is not None:
        header.add_box(box)
    file = osmium.io.File(str(path)) if packed else osmium.io.File(str(path), UNPACKED)
    with osmium.SimpleWriter(file, header=header, overwrite=True) as writer:
        for item in osmium.FileProcessor(osmium.io.FileBuffer(text, "opl")):
            writer.add(item)
    return path


def test_a_whole_town_is_imported_without_loss(take: Take, store: Store) -> None:
    summary = take(*TOWN)
    assert (summary.features, summary.lost) == (len(BUILDINGS), {})
    with store.open() as source:
        assert len(source.features(WORLD)) == len(BUILDINGS)
        assert list(source.regions) == ["town"]


def test_what_cannot_be_built_is_counted_by_its_reason(take: Take) -> None:
    summary = take(
        *TOWN,
        "n5001 v1 x10.0 y95.5 Tamenity=school",
        "n5002 v1 Tamenity=school",
        "w9001 v1 Tbuilding=yes Nn1,n2,n99999,n41,n1",
        "w9002 v1 Thighway=primary Nn99998,n99999",
        "w9003 v1 Tbuilding=yes Nn1,n42,n2,n41,n1",
        "w9004 v1 Tbuilding=yes Nn1,n2,n1",
        "w9005 v1 T Nn1,n2,n42",
        "r1 v1 Ttype=multipolygon,landuse=forest Mw9005@outer,w77777@outer",
        "r2 v1 Ttype=multipolygon,landuse=forest Mw9005@outer",
        "r3 v1 Ttype=multipolygon Mw9005@outer",
    )
    assert summary.lost == {NOWHERE: 2, INCOMPLETE: 3, BROKEN: 3}
    assert summary.features == len(BUILDINGS)


def test_what_is_underground_or_indoors_is_not_drawn(take: Take, store: Store) -> None:
    under = ["tunnel=yes", "location=underground", "indoor=room", "layer=-1,level=-1"]
    square = "Nn1,n2,n42,n41,n1"
    summary = take(
        *TOWN,
        *(f"w{9000 + n} v1 Tbuilding=yes,{tags} {square}" for n, tags in enumerate(under)),
        *(f"w{9100 + n} v1 Thighway=footway,{tags} Nn1,n2" for n, tags in enumerate(under[:3])),
        *(f"n{9000 + n} v1 x10.001 y50.001 Tamenity=school,{t}" for n, t in enumerate(under)),
        "n9010 v1 x10.001 y50.001 Tamenity=parking,parking=underground",
        "w9203 v1 T Nn5,n6,n46,n45,n5",
        "r1 v1 Ttype=multipolygon,amenity=parking,layer=-2 Mw9203@outer",
        "w9301 v1 Thighway=busway,layer=-1,tunnel=no,indoor=no Nn1,n2",
        f"w9302 v1 Tlanduse=forest,layer=-1 {square}",
    )
    assert (summary.features, summary.lost) == (len(BUILDINGS) + 2, {})
    with store.open() as source:
        assert sorted(set(source.features(WORLD).channel.tolist())) == [1, 4, 6]


def test_a_great_loss_stops_the_import_unless_it_is_allowed(take: Take, store: Store) -> None:
    take(*TOWN)
    before = store.content_hash()
    lost = [f"w{9000 + n} v1 Tbuilding=yes Nn1,n2,n{80000 + n},n1" for n in range(len(BUILDINGS))]
    with pytest.raises(LossError, match=r"361 of 722 objects of .* cannot be built.*--allow-loss"):
        take(*TOWN, *lost)
    assert store.content_hash() == before
    summary = take(*TOWN, *lost, allow_loss=True)
    assert summary.lost == {INCOMPLETE: len(BUILDINGS)}


def test_ways_may_hold_the_positions_of_their_nodes(store: Store, tmp_path: Path) -> None:
    bare = written(tmp_path / "bare.osm.pbf", *TOWN)
    located = tmp_path / "town.osm.pbf"
    file = osmium.io.File(str(located), "pbf,locations_on_ways=true")
    with osmium.SimpleWriter(file) as writer:
        ways = osmium.filter.EntityFilter(osmium.osm.WAY)
        for way in osmium.FileProcessor(str(bare)).with_locations().with_filter(ways):
            writer.add(way)
    summary = store.import_extracts([located], load_catalogue())
    assert (summary.features, summary.lost) == (len(BUILDINGS), {})


@pytest.mark.parametrize(
    ("suffix", "name"),
    [
        (".osm.pbf", "TOWN.OSM.PBF"),
        (".osm.pbf", "town.osm"),
        (".osm", "town.osm.pbf (1)"),
        (".osm.gz", "town"),
        (".osm.bz2", "town.osm"),
    ],
)
def test_the_content_decides_and_not_the_name(
    store: Store, tmp_path: Path, name: str, suffix: str
) -> None:
    path = written(tmp_path / f"right{suffix}", *TOWN).rename(tmp_path / name)
    assert store.import_extracts([path], load_catalogue()).features == len(BUILDINGS)


@pytest.mark.parametrize("suffix", [".osm", ".osm.pbf"])
def test_objects_that_are_not_in_order_are_refused(
    store: Store, tmp_path: Path, suffix: str
) -> None:
    path = written(tmp_path / f"town{suffix}", *BUILDINGS, *NODES)
    with pytest.raises(ExtractError, match=r"node [0-9]+ comes after a way.*osmium sort"):
        store.import_extracts([path], load_catalogue())


def test_a_tag_beyond_the_limit_of_the_library_is_refused(store: Store, tmp_path: Path) -> None:
    named = "n9000 v1 x10.001 y50.001 Tnatural=tree,name=Na_me"
    path = written(tmp_path / "town.osm", *TOWN, named)
    path.write_text(path.read_text().replace("Na_me", 3000 * "x"))
    with pytest.raises(ExtractError, match=r"town\.osm.*OSM tag value is too long"):
        store.import_extracts([path], load_catalogue())


def test_deleted_objects_are_not_drawn_and_a_history_is_refused(
    take: Take, store: Store, tmp_path: Path
) -> None:
    summary = take(
        *TOWN, "w9001 v2 dD Tbuilding=yes Nn1,n2,n42,n41,n1", "n9000 v2 dD Tnatural=tree"
    )
    assert (summary.features, summary.lost) == (len(BUILDINGS), {})
    history = written(tmp_path / "town.osh.pbf", *TOWN)
    with pytest.raises(ExtractError, match=r"it is a history.*osmium time-filter"):
        store.import_extracts([history], load_catalogue())


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("n-5 v1 x10.001 y50.001 Tnatural=tree", "node -5"),
        ("w-6 v1 Tbuilding=yes Nn1,n2,n42,n41,n1", "way -6"),
        ("w9001 v1 Tbuilding=yes Nn1,n2,n-3,n41,n1", "way 9001"),
        ("w9001 v1 Thighway=primary Nn-3,n-4", "way 9001"),
        ("r-7 v1 Ttype=multipolygon,landuse=forest Mw1@outer", "relation -7"),
    ],
)
def test_negative_ids_are_refused(take: Take, line: str, named: str) -> None:
    with pytest.raises(ExtractError, match=f"{named} has a negative id.*osmium renumber"):
        take(*TOWN, line)


@pytest.mark.parametrize(
    "box",
    [
        osmium.osm.Box(0, 0, 0, 0),
        osmium.osm.Box(20, 20, 21, 21),
        osmium.osm.Box(10.001, 50.001, 10.001, 50.001),
        osmium.osm.Box(9, 49, 10.003, 50.02),  # one of several boxes
    ],
)
def test_a_declared_box_that_is_not_that_of_the_data_does_not_count(
    store: Store, tmp_path: Path, box: osmium.osm.Box
) -> None:
    plain = store.import_extracts([written(tmp_path / "a.osm.pbf", *TOWN)], load_catalogue())
    boxed = written(tmp_path / "b.osm.pbf", *TOWN, box=box)
    assert store.import_extracts([boxed], load_catalogue()).bounds == plain.bounds


def test_what_covers_nothing_is_refused_and_the_store_stays(take: Take, store: Store) -> None:
    take(*TOWN)
    before = store.content_hash()
    with pytest.raises(ExtractError, match="covers no ground: it is too small"):
        take(*NODES, BUILDINGS[0])
    with pytest.raises(ExtractError, match="holds nothing that the channel catalogue draws"):
        take(*NODES)
    assert store.content_hash() == before


def test_regions_of_one_name_are_told_apart(store: Store, tmp_path: Path) -> None:
    paths = []
    for number, name in enumerate(("map.osm", "map.osm", "planet_10.0,50.0.osm.pbf")):
        folder = tmp_path / str(number)
        folder.mkdir()
        paths.append(written(folder / name, *TOWN))
    summary = store.import_extracts(paths, load_catalogue())
    assert summary.regions == ("map", "map-2", "planet_10.0,50.0")
    assert summary.features == len(BUILDINGS), "each object counts once"
    with store.open() as source:
        assert list(source.regions) == ["map", "map-2", "planet_10.0,50.0"]


def test_text_that_is_no_utf8_loses_its_object_alone(store: Store, tmp_path: Path) -> None:
    cafe = "n9000 v1 x10.001 y50.001 Tamenity=school,name=HERE"
    path = written(tmp_path / "town.osm.pbf", *NODES, cafe, *BUILDINGS, packed=False)
    path.write_bytes(path.read_bytes().replace(b"HERE", b"\xff\xc3\xfe\xff"))
    summary = store.import_extracts([path], load_catalogue())
    assert (summary.features, summary.lost) == (len(BUILDINGS) + 1, {UNREADABLE: 1})
    with store.open() as source:
        assert source.find("here") == []


def test_both_kinds_hold_the_same(server: Server, database: str, tmp_path: Path) -> None:
    lines = [
        *TOWN, "w9001 v1 Tnatural=coastline Nn1,n2,n3,n4",
        "w9002 v3 Thighway=primary,name=It Nn5,n6,n99999,n8,n9",
        "w9003 v1 T Nn100,n120,n520,n500,n100",
        "r1 v1 Ttype=multipolygon,landuse=forest,name=A%5c%N%9%B Mw9003@outer",
        "n9000 v1 x10.005 y50.005 Tamenity=school,name=Line%a%break",
    ]  # fmt: skip
    path = opl(tmp_path / "town.osm.opl", lines)
    stores = [Store.at(tmp_path / "town.gpkg"), Store.at(server.url(database))]
    one, other = (store.import_extracts([path], load_catalogue()) for store in stores)
    assert one == other
    with stores[0].open() as ours, stores[1].open() as theirs:
        a, b = ours.features(WORLD), theirs.features(WORLD)
        assert a.wkb.tolist() == b.wkb.tolist()
        assert a.channel.tolist() == b.channel.tolist()
        assert a.width_m.tolist() == b.width_m.tolist()
        assert sorted(ours.names_in(WORLD)) == sorted(theirs.names_in(WORLD))
        assert len(ours.names_in(WORLD)) == 3
        assert ours.coverage.equals(theirs.coverage)
        assert shapely.get_dimensions(shapely.from_wkb(a.wkb)).tolist().count(1) == 1
