"""From extracts to a store: what is kept, cut, ordered, and refused."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import shapely

from tests.tiling.handmade import GROUND, opl
from tiling.catalogue.catalogue import load_catalogue
from tiling.errors import ExtractError, FingerprintError, OutsideError, StoreError, UserError
from tiling.geo.geodesy import box_around
from tiling.osm.gather.pieces import MAX_VERTICES
from tiling.store.source import FeatureSource
from tiling.store.store import Store
from tiling.values import Box, Features, LonLat

Import = Callable[..., FeatureSource]

# A square kilometre at the equator, in steps of 0.001 degrees; OPL is osmium's text format.
GRID = "\n".join(
    f"n{1 + row * 10 + column} v1 x{10 + column / 1000:.4f} y{row / 1000:.4f}"
    for row in range(10)
    for column in range(10)
)


@pytest.fixture
def imported(tmp_path: Path) -> Import:
    """Import hand-written extracts (OPL lines after the grid of nodes) and open the store."""

    def build(*extracts: str) -> FeatureSource:
        paths = []
        for number, lines in enumerate(extracts):
            path = tmp_path / f"hand{number}.osm.opl"
            opl(path, [*GRID.splitlines(), *GROUND, *lines.splitlines()])
            paths.append(path)
        Store.at(tmp_path / "hand.gpkg").import_extracts(paths, load_catalogue())
        return Store.at(tmp_path / "hand.gpkg").open()

    return build


def everything(source: FeatureSource) -> Features:
    return source.features(Box(9, -1, 11, 1))


BUILDING = "w1 v1 Tbuilding=yes Nn1,n2,n12,n11,n1"


def test_lines_areas_and_points_are_told_apart(imported: Import) -> None:
    with imported(
        f"n500 v1 x10.005 y0.005 Tnatural=tree\n{BUILDING}\n"
        "w2 v1 Thighway=residential Nn5,n6,n16,n15,n5"
    ) as source:
        features = everything(source)
    kinds = {
        (int(c), shapely.from_wkb(w).geom_type)
        for c, w in zip(features.channel, features.wkb, strict=True)
    }
    assert kinds == {(4, "MultiPolygon"), (1, "LineString"), (6, "Point")}


def test_a_multipolygon_keeps_its_hole(imported: Import) -> None:
    with imported(
        "w1 v1 T Nn1,n10,n100,n91,n1\nw2 v1 T Nn34,n36,n56,n54,n34\n"
        "r1 v1 Ttype=multipolygon,landuse=forest Mw1@outer,w2@inner"
    ) as source:
        (wkb,) = everything(source).wkb
    assert shapely.from_wkb(wkb).area == pytest.approx(81e-6 - 4e-6)


def test_of_two_extracts_the_newest_version_of_an_object_wins(imported: Import) -> None:
    newer = "w1 v2 Tbuilding=yes Nn1,n3,n23,n21,n1"
    for order in ((BUILDING, newer), (newer, BUILDING)):
        with imported(*order) as source:
            (wkb,) = everything(source).wkb
            assert shapely.from_wkb(wkb).area == pytest.approx(4e-6)


def test_a_way_with_missing_nodes_keeps_its_runs(imported: Import) -> None:
    gaps = "w2 v1 Thighway=primary Nn31,n32,n999,n34,n35\nw3 v1 Thighway=primary Nn998,n41"
    with imported(f"{BUILDING}\n{gaps}") as source:
        features = everything(source)
    (wkb,) = features.wkb[features.channel == 0]
    line = shapely.from_wkb(wkb)
    assert line.geom_type == "MultiLineString"
    assert line.length == pytest.approx(0.002)


def test_a_large_polygon_is_cut_without_a_gap(imported: Import) -> None:
    angle = np.linspace(0, 2 * np.pi, 2000, endpoint=False)
    nodes = "\n".join(
        f"n{1000 + i} v1 x{10.0045 + 0.004 * np.cos(a):.7f} y{0.0045 + 0.004 * np.sin(a):.7f}"
        for i, a in enumerate(angle)
    )
    ring = ",".join(f"n{1000 + i}" for i in (*range(2000), 0))
    with imported(f"{nodes}\nw1 v1 Tnatural=water N{ring}") as source:
        pieces = shapely.from_wkb(everything(source).wkb)
    assert len(pieces) > 3
    assert shapely.get_num_coordinates(pieces).max() <= MAX_VERTICES
    assert shapely.union_all(pieces).area == pytest.approx(np.pi * 0.004**2, rel=1e-4)


def test_monaco_has_every_channel_and_is_a_geopackage_for_gdal(
    monaco_store: Path, monaco: FeatureSource
) -> None:
    info = pyogrio.read_info(monaco_store, layer="features", force_total_bounds=True)
    assert info["crs"] == "EPSG:4326"
    assert info["capabilities"]["fast_spatial_filter"], "there is an R-tree"
    assert [str(name) for name in info["fields"]] == ["channel", "width_m"]
    meta, table = pyogrio.read_arrow(monaco_store, layer="features")
    assert set(table["channel"].to_pylist()) == set(range(12))
    assert (
        shapely.is_valid(
            shapely.from_wkb(table[meta["geometry_name"] or "wkb_geometry"].to_pylist())
        ).mean()
        > 0.99
    )
    extracts = pyogrio.read_arrow(monaco_store, layer="extracts")[1]
    assert extracts["attribution"].to_pylist() == ["(c) OpenStreetMap contributors, ODbL"]
    assert len(monaco.features(box_around(LonLat(7.4246, 43.7384), 200))) > 300


def test_the_store_says_what_lies_outside(monaco: FeatureSource) -> None:
    monaco.require(LonLat(7.4246, 43.7384))
    for place in (LonLat(7.30, 43.70), LonLat(-7.4246, 43.7384), LonLat(43.7384, 7.4246)):
        with pytest.raises(OutsideError, match=r"lat 43\.\d+\.\.43\.\d+, lon 7\.\d+\.\.7\.\d+"):
            monaco.require(place)
    with pytest.raises(OutsideError, match="are lat and lon swapped"):
        monaco.require(LonLat(43.7384, 7.4246))


def refused(path: Path, store: Path, error: type[UserError], message: str) -> None:
    with pytest.raises(error, match=message):
        Store.at(store).import_extracts([path], load_catalogue())
    assert not list(store.parent.glob("*.gpkg*")), "nothing half-written is left"
    assert not list(store.parent.glob(".*.gpkg*"))


def test_bad_extracts_are_refused(monaco_pbf: Path, tmp_path: Path) -> None:
    store = tmp_path / "out" / "region.gpkg"
    whole = monaco_pbf.read_bytes()
    for name, content in {"text": b"hello", "empty": b"", "cut": whole[: len(whole) // 2]}.items():
        path = tmp_path / f"{name}.osm.pbf"
        path.write_bytes(content)
        refused(path, store, ExtractError, f"cannot read .*{name}.osm.pbf")
    refused(tmp_path / "none.osm.pbf", store, ExtractError, "is not a file")
    bare = tmp_path / "bare.osm.opl"
    bare.write_text(GRID)
    refused(bare, store, ExtractError, "holds nothing that the channel catalogue draws")
    bare.write_text("w1 v1 Tbuilding=yes Nn1,n2,n3,n1\n")
    refused(bare, store, ExtractError, "none of its objects can be built: 1 lack nodes or ways")


def test_a_failed_import_leaves_the_store_before_it(own_store: Path, tmp_path: Path) -> None:
    before = own_store.read_bytes()
    with pytest.raises(ExtractError):
        Store.at(own_store).import_extracts([tmp_path / "none.osm.pbf"], load_catalogue())
    assert own_store.read_bytes() == before


def test_bad_stores_are_refused(own_store: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is not a file: make a store with"):
        Store.at(tmp_path / "none.gpkg").open()
    text = tmp_path / "text.gpkg"
    text.write_text("hello")
    with pytest.raises(StoreError, match="not a feature store"):
        Store.at(text).open()
    with pytest.raises(StoreError, match="a store is a file"):
        Store.at("mysql://localhost/osm").open()
    pyogrio.raw.write(
        tmp_path / "other.gpkg",
        np.array([shapely.Point(0, 0).wkb], object),
        [np.array([1])],
        ["n"],
        driver="GPKG",
        crs="EPSG:4326",
        geometry_type="Point",
    )
    with pytest.raises(StoreError, match="not a feature store"):
        Store.at(tmp_path / "other.gpkg").open()
    own_store.write_bytes(own_store.read_bytes()[:50_000])
    with pytest.raises(StoreError):
        Store.at(own_store).open().outline()


def test_a_store_of_another_catalogue_is_refused(own_store: Path) -> None:
    with sqlite3.connect(own_store) as connection:
        # GDAL's triggers call functions of its own; they have nothing to do here.
        triggers = connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'extracts'"
        )
        for (name,) in triggers.fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute("UPDATE extracts SET fingerprint = 'ffffffffffffffff'")
    connection.close()
    with pytest.raises(FingerprintError, match="make it again with this version"):
        Store.at(own_store).open()
