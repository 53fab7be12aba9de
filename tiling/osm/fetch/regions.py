"""The regions of a provider's index, a GeoJSON file, and how a name or a place finds one."""

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import shapely
from shapely.errors import GEOSException
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from tiling.errors import FetchError, RegionError
from tiling.files.atomic import parse_json
from tiling.osm.names import fold
from tiling.values import LonLat

# It becomes a path in the cache, so it must not lead out of there.
ID = re.compile(r"[a-z0-9][a-z0-9_-]*(/[a-z0-9][a-z0-9_-]*)*")
CODES = ("iso3166-1:alpha2", "iso3166-2")
MOST_TOLD = 8


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """A region: its id, the ids from the continent down to it, and where its extract is.

    `area` is its outline in degrees; `codes` are those of ISO 3166.
    """

    id: str
    path: str
    name: str
    codes: tuple[str, ...]
    url: str
    area: BaseGeometry

    def is_called(self, name: str) -> bool:
        """Tell whether people may mean it by `name`."""
        wanted = name.strip("/").lower()
        return (
            f"/{self.path}".endswith(f"/{wanted}")
            or wanted == self.id
            or name.upper() in self.codes
            or fold(self.name) == fold(name)
        )


def read_index(data: bytes, what: str) -> list[Region]:
    """Return the regions of an index that have an extract.

    Raises `FetchError` when it is no index, or holds no region.
    """
    features = parse_json(data, what).get("features")
    if not isinstance(features, list):
        raise FetchError(f"{what} is no index of regions: it has no features")
    found = {p["id"]: (p, f) for f in features if (p := _properties(f)) is not None}
    parents = {key: properties.get("parent") for key, (properties, _) in found.items()}
    regions = [_region(key, *both, parents) for key, both in found.items()]
    known = [region for region in regions if region is not None]
    if not known:
        raise FetchError(f"{what} holds no region with an extract")
    return known


def _properties(feature: Any) -> dict[str, Any] | None:
    try:
        properties: dict[str, Any] = feature["properties"]
        usable = ID.fullmatch(properties["id"]) and re.match("https?://", properties["urls"]["pbf"])
    except (KeyError, TypeError):
        return None
    return properties if usable else None


def _region(
    key: str, properties: dict[str, Any], feature: Any, parents: dict[str, Any]
) -> Region | None:
    try:
        area = shape(feature["geometry"])
    except (KeyError, TypeError, ValueError, AttributeError, GEOSException):
        return None
    codes = [str(code) for name in CODES for code in properties.get(name) or []]
    url = str(properties["urls"]["pbf"])
    name = str(properties.get("name", key))
    return Region(key, _path(key, parents), name, tuple(codes), url, area)


def _path(key: str, parents: dict[str, Any]) -> str:
    """Return the ids from the root down; that of a child may begin with its parent's."""
    path, seen = key, {key}
    while isinstance(key := parents.get(key, ""), str) and key and key not in seen:
        seen.add(key)
        path = path if path.startswith(f"{key}/") else f"{key}/{path}"
    return path


def region_called(regions: Sequence[Region], name: str) -> Region | None:
    """Return the one region of a name, a path or a code, None without any.

    Raises `RegionError` when several have it.
    """
    exact = [region for region in regions if region.path == name.strip("/").lower()]
    found = exact or [region for region in regions if region.is_called(name)]
    if len(found) > 1:
        paths = ", ".join(region.path for region in found[:MOST_TOLD])
        raise RegionError(f"{name!r} may be {paths}: give one of these paths")
    return found[0] if found else None


def region_around(regions: Sequence[Region], place: LonLat) -> Region:
    """Return the smallest region around a place; `RegionError` without any."""
    around = [region for region in regions if shapely.intersects_xy(region.area, *place)]
    if not around:
        raise RegionError(f"no region holds lat {place.lat}, lon {place.lon}: check the order")
    return min(around, key=lambda region: float(region.area.area))


def unknown(regions: Sequence[Region], name: str) -> RegionError:
    """Return the error of a name that no region has, with the nearest ones."""
    words = {word: r.path for r in regions for word in (r.id, r.name.lower(), r.path)}
    near = [words[word] for word in difflib.get_close_matches(name.lower(), words, MOST_TOLD)]
    advice = f"did you mean {', '.join(dict.fromkeys(near))}?" if near else "give --around LAT,LON"
    return RegionError(f"no region is called {name!r}: {advice}")
