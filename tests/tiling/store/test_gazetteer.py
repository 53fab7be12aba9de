"""What a place is called: the nearest street, else the nearest thing with a name."""

from pathlib import Path

import pytest
import shapely

from tests.tiling.handmade import features_of, make_store, open_store
from tiling.geo.geodesy import MetresPerDegree
from tiling.osm.names import KINDS, Name
from tiling.store.gazetteer import NEAR_M, Called, Gazetteer
from tiling.store.geopackage.source import _NAMES_IN, GeoPackageSource
from tiling.values import Box, LonLat

HERE = LonLat(179.9999, 43.0)  # what is near lies on both sides of the antimeridian
METRES = MetresPerDegree.at(HERE.lat)


def name(text: str, kind: str, east_m: float) -> Name:
    lon = HERE.lon + east_m / METRES.x
    return Name(text, text.casefold(), kind, 0, HERE.lat, lon if lon <= 180 else lon - 360)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> GeoPackageSource:
    folder: Path = tmp_path_factory.mktemp("called")
    names = [
        name("Shop", "bakery", 40), name("Long Lane", "street", 100),
        name("Far Lane", "street", -130), name("Old Oak", "tree", -400),
        name("Beyond", "town", -2000),
    ]  # fmt: skip
    area = shapely.union(shapely.box(179, 42, 180, 44), shapely.box(-180, 42, -179, 44))
    return open_store(
        make_store(
            folder / "two_gb.gpkg", features_of((0, 5.0, shapely.Point(179.5, 43))), area, names
        )
    )


@pytest.mark.parametrize(
    ("east_m", "called", "kind"),
    [
        (0, "Long Lane", "street"),  # a bakery is nearer, but a street within 120 m tells more
        (215, "Long Lane", "street"),
        (-380, "Old Oak", "tree"),
        (-900, None, None),
    ],
)
def test_a_street_near_names_a_place_and_else_what_is_nearest(
    source: GeoPackageSource, east_m: float, called: str | None, kind: str | None
) -> None:
    lon = HERE.lon + east_m / METRES.x
    place = LonLat(lon if lon <= 180 else lon - 360, HERE.lat)
    found = Gazetteer(source).called(place)
    assert found[:2] == Called(called, kind, "")[:2]


def test_only_the_names_around_a_place_are_read(
    source: GeoPackageSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Box] = []
    names_in = source.names_in

    def noted(box: Box) -> list[Name]:
        read.append(box)
        return names_in(box)

    monkeypatch.setattr(source, "names_in", noted)
    Gazetteer(source).called(HERE)
    (box,) = read
    assert (box.north - box.south) * METRES.y < 3 * NEAR_M
    assert len(names_in(Box(-180, -90, 180, 90))) == 5 > len(names_in(box))


def test_named_things_near_are_counted_by_their_words(
    tmp_path: Path,
) -> None:
    shop = next(rank for rank, kind in enumerate(KINDS) if kind.key == "shop")
    street = next(rank for rank, kind in enumerate(KINDS) if kind.key == "highway")
    rows = [
        name("Bread", "bakery", 40)._replace(rank=shop),
        name("Bread", "bakery", 40)._replace(rank=shop, folded="brot"),  # its name in German
        name("Meat", "butcher", -60)._replace(rank=shop),
        name("Far", "butcher", 130)._replace(rank=shop),
        name("Long Lane", "street", 10)._replace(rank=street),
    ]
    area = shapely.box(179, 42, 180, 44)
    with open_store(
        make_store(tmp_path / "s.gpkg", features_of((0, 5.0, shapely.Point(HERE))), area, rows)
    ) as source:
        assert Gazetteer(source).things(HERE) == {"shops": 2}


def test_names_in_a_box_are_found_by_an_index(source: GeoPackageSource) -> None:
    plan = source._select(
        f"EXPLAIN QUERY PLAN {_NAMES_IN.format('0, 1')}", Box(0, 0, 1, 1)._asdict()
    )
    assert "USING INDEX names_by_rank (rank=? AND lat>? AND lat<?)" in str(plan)
