"""A GeoPackage store gives back what was written, by box, by id and by name."""

import contextlib
import re
import sqlite3
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry.base import BaseGeometry

from tests.tiling.handmade import SHA256, features_of, make_store, open_store
from tiling.catalogue.catalogue import load_catalogue
from tiling.errors import OutsideError, StoreError, WriteError
from tiling.geo.geodesy import ground_distance_m
from tiling.osm.gather.gather import ExtractRecord
from tiling.osm.names import Name
from tiling.store.geopackage.source import GeoPackageSource, wkb_of
from tiling.store.geopackage.write import write_geopackage
from tiling.store.source import FeatureSource
from tiling.store.store import Store
from tiling.values import ATTRIBUTION, Box, Features, LonLat, TileGeometry

WORLD = Box(-180, -90, 180, 90)
AREA = shapely.box(6, 42, 9, 45)
SQUARE = shapely.box(7.0, 43.0, 7.5, 43.25)
LINE = shapely.LineString([(7.0, 43.5), (8.0, 44.0)])
SHAPES = [
    (4, 0.0, SQUARE),
    (0, 13.0, LINE),
    (6, 3.0, shapely.Point(8.5, 44.5)),
    (5, 0.0, shapely.MultiPolygon([shapely.box(6.5, 42.5, 6.6, 42.6), SQUARE.buffer(-0.1)])),
    (2, 3.5, shapely.MultiLineString([[(7, 44), (7.1, 44)], [(7.2, 44), (7.3, 44.1)]])),
    (4, 0.0, shapely.Polygon([(8, 43), (8.4, 43), (8.4, 43.4)], [])),
]  # fmt: skip


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of a few shapes."""
    path = tmp_path_factory.mktemp("stores") / "hand.gpkg"
    return make_store(path, features_of(*SHAPES), AREA)


def shapes(features: Features) -> list[BaseGeometry]:
    return list(shapely.from_wkb(features.wkb))


def test_what_is_read_is_what_was_written_in_its_order(store: Path) -> None:
    with open_store(store) as source:
        features = source.features(WORLD)
    assert features.channel.tolist() == [channel for channel, _, _ in SHAPES]
    assert features.width_m.tolist() == [width for _, width, _ in SHAPES]
    assert features.channel.dtype == np.int8
    assert features.width_m.dtype == np.float32
    for read, (_, _, written) in zip(shapes(features), SHAPES, strict=True):
        assert read.equals_exact(written, 0)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.floats(5.5, 9.0), st.floats(41.5, 45.0), st.floats(0.001, 2.0), st.floats(0.001, 2.0)
)  # fmt: skip
def test_a_box_holds_what_its_own_boxes_meet(
    opened: GeoPackageSource, west: float, south: float, width: float, height: float
) -> None:
    found = opened.features(Box(west, south, west + width, south + height)).channel.tolist()
    near = 2e-6  # the R-tree holds float32, rounded outwards
    asked = shapely.box(west, south, west + width, south + height)
    surely = [c for c, _, g in SHAPES if shapely.box(*g.bounds).intersects(asked)]
    perhaps = [c for c, _, g in SHAPES if shapely.box(*g.bounds).buffer(near).intersects(asked)]
    assert found in (surely, perhaps)


@pytest.fixture(scope="module")
def opened(store: Path) -> GeoPackageSource:
    """The store, open for all examples of a property."""
    return open_store(store)


@pytest.mark.parametrize(
    ("smallest", "kept"),
    [
        (0.0, [0, 1, 2, 3, 4, 5]),
        (0.05, [0, 1, 3, 4, 5]),
        (0.45, [0, 1, 3]),
        (0.6, [1, 3]),
        (0.95, [1]),
        (1.1, []),
    ],
)
def test_small_features_are_left_out_by_their_longer_side(
    opened: GeoPackageSource, smallest: float, kept: list[int]
) -> None:
    found = opened.features(WORLD, smallest)
    assert found.channel.tolist() == [SHAPES[number][0] for number in kept]


def test_the_outline_tells_what_and_where_all_features_are(opened: GeoPackageSource) -> None:
    outline = opened.outline()
    assert outline.channel.tolist() == [channel for channel, _, _ in SHAPES]
    assert outline.width_m.tolist() == [width for _, width, _ in SHAPES]
    bounds = shapely.bounds(np.array([geometry for _, _, geometry in SHAPES]))
    np.testing.assert_allclose(outline.middle, (bounds[:, :2] + bounds[:, 2:]) / 2, atol=1e-5)
    for values, kind in (
        (outline.id, "int64"),
        (outline.channel, "int8"),
        (outline.width_m, "float32"),
        (outline.middle, "float64"),
    ):
        assert values.dtype == kind


def test_geometries_come_by_their_ids_in_the_order_asked(opened: GeoPackageSource) -> None:
    ids = opened.outline().id[[4, 0, 0, 2]]
    read = shapely.from_wkb(opened.geometries(ids))
    expected = [SHAPES[number][2] for number in (4, 0, 0, 2)]
    assert [one.equals_exact(other, 0) for one, other in zip(read, expected, strict=True)] == [
        True
    ] * 4
    assert len(opened.geometries(ids[:0])) == 0


def test_the_store_knows_its_extract_and_its_area(opened: GeoPackageSource, store: Path) -> None:
    assert (opened.name, opened.location) == ("hand", str(store))
    assert opened.fingerprint == load_catalogue().fingerprint(TileGeometry())
    assert opened.extract_hashes == (SHA256,)
    assert opened.coverage.equals(AREA)
    assert opened.bounds == Box(6, 42, 9, 45)
    assert set(opened.regions) == {"hand"}
    assert opened.covers(LonLat(6, 42)), "the edge belongs to it"
    assert not opened.covers(LonLat(9.001, 43))


def test_a_place_outside_is_told_what_the_store_holds(opened: GeoPackageSource) -> None:
    opened.require(LonLat(7, 43))
    with pytest.raises(OutsideError, match=r"it holds lat 42\.0\.\.45\.0, lon 6\.0\.\.9\.0$"):
        opened.require(LonLat(7, 50))
    with pytest.raises(OutsideError, match="are lat and lon swapped"):
        opened.require(LonLat(43, 7))


def test_several_extracts_are_one_area_and_regions_by_their_names(tmp_path: Path) -> None:
    parts = [shapely.box(0, 0, 1, 1), shapely.box(1, 0, 2, 1), shapely.box(5, 5, 6, 6)]
    names = ["north", "south", "north"]
    records = [
        ExtractRecord(name, str(number) * 64, part)
        for number, (name, part) in enumerate(zip(names, parts, strict=True))
    ]
    path = tmp_path / "several.gpkg"
    write_geopackage(path, [features_of(SHAPES[0])], [], records, load_catalogue())
    with open_store(path) as source:
        assert source.coverage.equals(shapely.union_all(parts))
        assert source.coverage.geom_type == "MultiPolygon"
        assert source.regions["north"].equals(parts[0] | parts[2])
        assert source.regions["south"].equals(parts[1])
        assert source.extract_hashes == ("0" * 64, "1" * 64, "2" * 64)


EAST, WEST = shapely.box(179.5, -17.5, 180, -17), shapely.box(-180, -17.5, -179.5, -17)


def test_a_box_over_the_antimeridian_asks_on_both_sides(tmp_path: Path) -> None:
    far = shapely.Point(0, -17.2)
    features = features_of((5, 0, EAST), (6, 3, far), (4, 0, WEST))
    path = make_store(tmp_path / "fiji.gpkg", features, EAST | WEST)
    with open_store(path) as source:
        assert source.features(Box(179.9, -17.3, -179.9, -17.1)).channel.tolist() == [5, 4]
        assert source.features(Box(179.9, -17.3, 180, -17.1)).channel.tolist() == [5]
        assert source.features(Box(-179.9, -17.3, 179.0, -17.1)).channel.tolist() == [6, 4]
        assert source.features(Box(179.9, 0, -179.9, 1)).channel.tolist() == []
        assert source.covers(LonLat(180, -17.2))
        assert source.covers(LonLat(-180, -17.2))


def test_what_lies_on_both_sides_of_the_antimeridian_comes_once(tmp_path: Path) -> None:
    both = shapely.MultiPolygon([EAST, WEST])
    path = make_store(tmp_path / "fiji.gpkg", features_of((4, 0, WEST), (5, 0, both)), both)
    with open_store(path) as source:
        assert source.features(Box(179.9, -17.3, -179.9, -17.1)).channel.tolist() == [4, 5]


def test_opening_a_store_to_write_does_not_change_its_hash_and_writing_does(
    tmp_path: Path,
) -> None:
    path = make_store(tmp_path / "town.gpkg", features_of(*SHAPES), AREA)
    before, size = Store.at(path).content_hash(), path.read_bytes()
    with contextlib.closing(sqlite3.connect(path)) as connection:  # as QGIS does
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("PRAGMA journal_mode = WAL")
    assert path.read_bytes() != size
    assert Store.at(path).content_hash() == before
    with Store.at(path).open() as source:
        assert len(source.outline().id) == len(SHAPES)
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("UPDATE names SET name = 'other'")
        connection.execute("CREATE TABLE other (a)")
    assert Store.at(path).content_hash() != before


def named(name: str, lat: float, lon: float) -> Name:
    return Name(name, name.lower(), "town", 1, lat, lon)


@pytest.fixture(scope="module")
def towns(tmp_path_factory: pytest.TempPathFactory) -> GeoPackageSource:
    """A store of some towns about the antimeridian."""
    names = [
        named("Upton Magna", 1.0, 179.5),
        named("Upton", 2.0, -179.5),
        named("New Upton", 3.0, 10.0),
        named("Uptonville", 4.0, 180.0),
        named("Ville", 5.0, -180.0),
    ]
    path = tmp_path_factory.mktemp("towns") / "towns.gpkg"
    return open_store(make_store(path, features_of(SHAPES[0]), AREA, names))


@pytest.mark.parametrize(
    ("box", "names"),
    [
        (WORLD, ["Upton Magna", "Upton", "New Upton", "Uptonville", "Ville"]),
        (Box(179, 0, -179, 9), ["Upton Magna", "Uptonville", "Upton", "Ville"]),
        (Box(10, 3, 10, 3), ["New Upton"]),
        (Box(179, 0, -179, 1.5), ["Upton Magna"]),
        (Box(0, 0, 9, 9), []),
    ],
)
def test_the_names_in_a_box(towns: GeoPackageSource, box: Box, names: list[str]) -> None:
    assert [name.name for name in towns.names_in(box)] == names


@pytest.mark.parametrize(
    ("asked", "names"),
    [
        ("upton", ["Upton", "Uptonville", "Upton Magna", "New Upton"]),
        ("UPTON m", ["Upton Magna"]),
        ("magna upton", ["Upton Magna"]),
        ("ville", ["Ville"]),
        ("ton", []),
        ("", []),
    ],
)
def test_names_are_found_by_their_words(
    towns: GeoPackageSource, asked: str, names: list[str]
) -> None:
    assert [place.name for place in towns.find(asked)] == names
    assert [place.name for place in towns.find(asked, 2)] == names[:2]


def test_every_row_of_a_name_comes_back_as_it_was_written(towns: GeoPackageSource) -> None:
    assert towns.names_in(Box(10, 3, 10, 3)) == [named("New Upton", 3.0, 10.0)]


def test_other_programs_find_the_facts_of_the_extracts(store: Path) -> None:
    table = pyogrio.read_arrow(store, layer="extracts")[1]
    assert table["attribution"].to_pylist() == [ATTRIBUTION]
    assert table["fingerprint"].to_pylist() == [load_catalogue().fingerprint(TileGeometry())]
    info = pyogrio.read_info(store, layer="features")
    assert (info["crs"], info["features"]) == ("EPSG:4326", len(SHAPES))


@pytest.mark.parametrize("code", range(5))
def test_a_geometry_lies_behind_its_envelope(code: int) -> None:
    envelope = b"\xff" * (0, 32, 48, 48, 64)[code]
    blob = b"GP\0" + bytes([0b1 | code << 1]) + b"\0" * 4 + envelope + shapely.Point(7, 43).wkb
    assert shapely.from_wkb(wkb_of(blob)) == shapely.Point(7, 43)


def test_a_file_that_is_cut_is_refused_while_it_is_read(store: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.gpkg"
    data = bytearray(store.read_bytes())
    data[3 * len(data) // 4 :] = bytes(len(data) - 3 * len(data) // 4)
    cut.write_bytes(data)

    def read_all() -> None:
        with open_store(cut) as source:
            source.outline()
            source.features(WORLD)
            source.find("upton")

    with pytest.raises(StoreError, match=r"cut\.gpkg"):
        read_all()


def test_a_store_without_an_extract_is_refused(store: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty.gpkg"
    empty.write_bytes(store.read_bytes())
    with sqlite3.connect(empty) as connection:
        triggers = "SELECT name FROM sqlite_master WHERE type = 'trigger'"
        for (name,) in connection.execute(triggers).fetchall():
            connection.execute(f'DROP TRIGGER "{name}"')
        connection.execute("DELETE FROM extracts")
    connection.close()
    with pytest.raises(StoreError, match="holds no extract: make it again with `loc2vec import`"):
        open_store(empty)


def test_a_folder_that_is_not_there_cannot_be_written(tmp_path: Path) -> None:
    path = tmp_path / "none" / "store.gpkg"
    with pytest.raises(WriteError, match=r"cannot write store\.gpkg: .*: is the disk full\?"):
        make_store(path, features_of(SHAPES[0]), AREA)


def test_a_place_within_the_box_but_outside_the_data_is_told_the_nearest_that_is_held(
    monaco: FeatureSource,
) -> None:
    west, south, east, north = monaco.bounds
    rng = np.random.default_rng(0)
    inside = [LonLat(*row) for row in rng.uniform([west, south], [east, north], (200, 2)).tolist()]
    place = next(place for place in inside if not monaco.covers(place))
    with pytest.raises(OutsideError, match="the nearest place that it holds is") as caught:
        monaco.require(place)
    lat, lon = map(float, re.findall(r"is lat (\S+), lon (\S+)$", str(caught.value))[0])
    assert ground_distance_m(lat, lon, place.lat, place.lon) < 5000
    assert monaco.coverage.distance(shapely.Point(lon, lat)) < 1e-4
