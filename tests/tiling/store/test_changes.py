"""Which places an update changes, against a search over all pairs in a plane of PROJ."""

import numpy as np
import pyproj
import pytest
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from tiling.geo.geodesy import MetresPerDegree
from tiling.store.changes import Changes
from tiling.values import TileGeometry

Array = NDArray[np.float64]
GEOMETRY = TileGeometry()
REACHES = [0.0, 1.5, 10.0]


def about(place: tuple[float, float], metres: Array) -> Array:
    """Places (lon, lat) so many metres from one."""
    degrees: Array = metres / np.array(MetresPerDegree.at(place[1])) + place
    degrees[:, 0] = (degrees[:, 0] + 180) % 360 - 180
    return degrees


def made(place: tuple[float, float], seed: int) -> tuple[Changes, Array]:
    """Some changes about a place, in degrees, and places all over them."""
    rng = np.random.default_rng(seed)
    shapes: list[BaseGeometry] = []
    for x, y in rng.uniform(-600, 600, (9, 2)).tolist():
        corner, side = np.array([[x, y]]), rng.uniform(5, 60)
        west, south = about(place, corner)[0].tolist()
        east, north = about(place, corner + side)[0].tolist()
        if east < west:
            continue
        shapes += [shapely.Point(west, south), shapely.box(west, south, east, north)]
        shapes.append(shapely.LineString([(west, south), (east, north)]))
    reach = [REACHES[number % 3] for number in range(len(shapes))]
    x, y = np.meshgrid(np.arange(-900, 900, 45.0), np.arange(-900, 900, 45.0))
    return Changes.of(reach, [shape.wkb for shape in shapes]), about(
        place, np.stack([x.ravel(), y.ravel()], axis=1)
    )


class Plane:
    """The changes and the places in an azimuthal plane of metres about one place."""

    def __init__(self, middle: tuple[float, float], changes: Changes, lon_lat: Array) -> None:
        plane = f"+proj=aeqd +lat_0={middle[1]} +lon_0={middle[0]} +ellps=WGS84"
        self._project = pyproj.Transformer.from_crs("EPSG:4326", plane, always_xy=True).transform
        self._changed = shapely.transform(shapely.from_wkb(changes.wkb), self._metres)
        self._reach, self._xy = changes.reach_m.tolist(), self._metres(lon_lat).tolist()

    def _metres(self, degrees: Array) -> Array:
        return np.stack(self._project(degrees[:, 0], degrees[:, 1]), axis=1)

    def seen(self, number: int, radius_m: float) -> bool:
        """Tell whether a square about a place meets a change."""
        x, y = self._xy[number]
        sides = [radius_m + reach for reach in self._reach]
        windows = [shapely.box(x - side, y - side, x + side, y + side) for side in sides]
        return bool(shapely.intersects(self._changed, windows).any())


PLACES = [(7.4, 43.7), (30.0, 0.0), (-70.0, -53.0), (25.0, 70.0), (179.9995, -17.0)]


@pytest.mark.parametrize("place", PLACES, ids=str)
@pytest.mark.parametrize("geometry", [GEOMETRY, TileGeometry(64, 50.0, (300.0,))], ids=str)
def test_a_place_meets_the_changes_that_its_tile_shows(
    place: tuple[float, float], geometry: TileGeometry
) -> None:
    changes, lon_lat = made(place, seed=1)
    met = changes.meet(lon_lat, geometry)
    radius, pixel = geometry.widest.radius_m, geometry.widest.metres_per_pixel
    some = np.random.default_rng(0).choice(len(lon_lat), 300, replace=False)
    plane = Plane(place, changes, lon_lat)
    for number in some.tolist():
        if plane.seen(number, radius):
            assert met[number], "a tile shows it and nobody says so"
        elif not plane.seen(number, radius + 2 * pixel):
            assert not met[number], "a place is to be seen anew for nothing"
    assert 0 < met.mean() < 1


@pytest.mark.parametrize("place", PLACES[:4], ids=str)
def test_the_area_holds_every_place_that_meets_a_change(place: tuple[float, float]) -> None:
    changes, lon_lat = made(place, seed=2)
    met = changes.meet(lon_lat, GEOMETRY)
    area = changes.area(GEOMETRY)
    assert met.any()
    assert shapely.intersects_xy(area, *lon_lat[met].T).all()
    away = about(place, np.array([[2_000.0, 0.0], [0.0, -2_000.0]]))
    assert not shapely.intersects_xy(area, *away.T).any()


def test_the_area_grows_with_what_is_drawn_about_a_change() -> None:
    point = [shapely.Point(7, 43).wkb]
    scale = MetresPerDegree.at(43)
    for reach in REACHES:
        west, south, east, north = Changes.of([reach], point).area(GEOMETRY).bounds
        expected = reach + np.sqrt(2) * (100 + 200 / 128)
        assert (east - west) / 2 * scale.x == pytest.approx(expected, rel=0.01)
        assert (north - south) / 2 * scale.y == pytest.approx(expected, rel=0.01)


def test_without_changes_no_place_is_met() -> None:
    none = Changes.of([], [])
    assert len(none) == 0
    assert none.meet(np.array([[7.0, 43.0]]), GEOMETRY).tolist() == [False]
    assert none.area(GEOMETRY).is_empty
    one = Changes.of([0.0], [shapely.Point(7, 43).wkb])
    assert one.meet(np.zeros((0, 2)), GEOMETRY).tolist() == []


def test_many_places_are_asked_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    changes, lon_lat = made(PLACES[0], seed=3)
    whole = changes.meet(lon_lat, GEOMETRY)
    monkeypatch.setattr("tiling.store.changes.AT_ONCE", 7)
    assert np.array_equal(changes.meet(lon_lat, GEOMETRY), whole)


def test_joined_changes_are_all_of_them() -> None:
    first = Changes.of([1.0, 2.0], [b"a", b"b"])
    second = Changes.of([3.0], [b"c"])
    joined = Changes.joined(each for each in (first, Changes.of([], []), second))
    assert joined.reach_m.tolist() == [1.0, 2.0, 3.0]
    assert joined.wkb.tolist() == [b"a", b"b", b"c"]
    assert len(joined) == 3
    assert joined.reach_m.dtype == np.float64


def test_the_area_of_changes_at_the_antimeridian_lies_on_both_sides() -> None:
    shapes = [shapely.Point(179.9995, -17), shapely.Point(-179.9995, 60)]
    area = Changes.of([1.0, 1.0], [shape.wkb for shape in shapes]).area(GEOMETRY)
    west, _, east, _ = area.bounds
    assert (west, east) == (-180, 180)
    for lon, lat in [(179.9995, -17), (-179.9999, -17), (-179.9995, 60), (179.9995, 60)]:
        assert area.intersects(shapely.Point(lon, lat))
    assert not area.intersects(shapely.Point(0, -17))
