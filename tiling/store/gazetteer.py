"""What people call places, and where a named place is."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import shapely

from tiling.geo.geodesy import box_around, ground_distance_m
from tiling.osm.names import KINDS, Name, resolve
from tiling.osm.words import words_of
from tiling.store.source import FeatureSource
from tiling.values import LonLat, check_place

STREET = "street"  # a kind of name
STREET_M, NEAR_M = 120.0, 300.0  # how near a street, or anything else, names a place
THINGS_M = 100.0  # how near the named things are that tell what kind of place it is
# The keys whose words tell it.
TELLING = (
    "amenity", "building", "leisure", "man_made", "natural", "office", "railway", "shop", "tourism"
)  # fmt: skip


class Called(NamedTuple):
    """The nearest thing with a name, what kind it is, and the title of the region around a place.

    `name` and `kind` are None where nothing near has a name.
    """

    name: str | None
    kind: str | None
    region: str


class Gazetteer:
    """What people call places: the nearest street or named thing, and the extract."""

    def __init__(self, source: FeatureSource) -> None:
        self._source = source

    @property
    def title(self) -> str:
        """What all of the store is called: its extract, or how many there are."""
        names = list(self._source.regions)
        return title_of(names[0]) if len(names) == 1 else f"{len(names)} extracts"

    def name(self, place: LonLat) -> str:
        """Return what a place is called, as "Rue Grimaldi, Monaco"."""
        called = self.called(place)
        return f"{called.name}, {called.region}" if called.name else called.region

    def called(self, place: LonLat) -> Called:
        """Return the nearest street or named thing, and the extract."""
        region = self._region(place)
        # A hundredth more: the box is measured on the ellipsoid, the distance on the mean sphere.
        near = self._source.names_in(box_around(place, 1.01 * NEAR_M))
        streets = [name for name in near if name.kind == STREET]
        found = _nearest(streets, place, STREET_M) or _nearest(near, place, NEAR_M)
        return Called(found.name, found.kind, region) if found else Called(None, None, region)

    def things(self, place: LonLat, reach_m: float = THINGS_M) -> Counter[str]:
        """Return how many named things of each word of `tiling.osm.words` are near a place."""
        near = set(self._source.names_in(box_around(place, 1.01 * reach_m)))
        each = {(name.name, name.rank, name.kind, name.lat, name.lon) for name in near}
        found: Counter[str] = Counter()
        for _, rank, kind, lat, lon in each:
            key = KINDS[rank].key
            if key in TELLING and ground_distance_m(place.lat, place.lon, lat, lon) <= reach_m:
                found.update(words_of({key: kind.replace(" ", "_")}))
        return found

    def _region(self, place: LonLat) -> str:
        """Return the title of the smallest extract around a place."""
        areas = self._source.regions
        inside = [
            name
            for name, area in areas.items()
            if shapely.intersects_xy(area, place.lon, place.lat)
        ]
        smallest = min(inside, key=lambda name: float(areas[name].area), default="elsewhere")
        return title_of(smallest)


def _nearest(names: Sequence[Name], place: LonLat, reach_m: float) -> Name | None:
    """Return the name nearest to a place, None when all are farther away than `reach_m`."""
    if not names:
        return None
    lat, lon = np.array([(name.lat, name.lon) for name in names]).T
    away = ground_distance_m(place.lat, place.lon, lat, lon)
    row = int(away.argmin())
    return names[row] if away[row] <= reach_m else None


def title_of(extract: str) -> str:
    """Return the name of an extract as a title; words of two letters are countries and states.

    >>> title_of("apex_nc_us"), title_of("faroe_islands")
    ('Apex NC US', 'Faroe Islands')
    """
    return " ".join(
        word.upper() if len(word) == 2 else word.capitalize() for word in extract.split("_")
    )


def locate(source: FeatureSource, text: str) -> LonLat:
    """Return the place that "lat,lon" or a name means; raises an error that says what is wrong."""
    try:
        lat, lon = (float(part) for part in text.split(","))
    except ValueError:
        named = resolve(text, source.find)
        return LonLat(named.lon, named.lat)
    place = check_place(lat, lon)
    source.require(place)
    return place
