"""What people call places, and where a named place is."""

from functools import cached_property
from typing import NamedTuple

import numpy as np
import shapely
from scipy.spatial import cKDTree

from tiling.geo.globe import on_the_globe
from tiling.osm.names import resolve
from tiling.store.source import FeatureSource
from tiling.values import Box, LonLat, check_place

STREET = "street"  # a kind of name
STREET_M, NEAR_M = 120.0, 300.0  # how near a street, or anything else, names a place
GLOBE = Box(-180.0, -90.0, 180.0, 90.0)


class Called(NamedTuple):
    """The nearest thing with a name, what kind it is, and the title of the region around a place.

    `name` and `kind` are None where nothing near has a name.
    """

    name: str | None
    kind: str | None
    region: str


class Gazetteer:
    """What people call places: the nearest street or named thing, and the extract.

    The names of the store are read at the first question.
    """

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
        here = on_the_globe(np.array([place.lat]), np.array([place.lon]))
        for names, tree, reach_m in self._known:
            distance, row = tree.query(here[0], distance_upper_bound=reach_m)
            if np.isfinite(distance):
                name, kind = names[row]
                return Called(name, kind, region)
        return Called(None, None, region)

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

    @cached_property
    def _known(self) -> list[tuple[list[tuple[str, str]], cKDTree, float]]:
        """Streets, then all that has a name, with the distance within which they name a place."""
        every = self._source.names_in(GLOBE)
        streets = [name for name in every if name.kind == STREET]
        found = []
        for reach_m, names in ((STREET_M, streets), (NEAR_M, every)):
            if names:
                lat, lon = np.array([(name.lat, name.lon) for name in names]).T
                tree = cKDTree(on_the_globe(lat, lon))
                found.append(([(name.name, name.kind) for name in names], tree, reach_m))
        return found


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
