"""What a feature source is: anything that returns the features of a box and knows what it covers."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, Self

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from tiling.catalogue import Catalogue
from tiling.errors import OutsideError
from tiling.osm.names import Name, NamedPlace, fold, merged, words_of
from tiling.values import Box, Features, LonLat


@dataclass(frozen=True, slots=True, eq=False)
class Outline:
    """All features of a store without their geometries, in the order of the store.

    `id` int64 [n], `channel` int8 [n], `width_m` float32 [n], `middle` float64 [n, 2] of (lon,
    lat): the middles of their boxes.
    """

    id: NDArray[np.int64]
    channel: NDArray[np.int8]
    width_m: NDArray[np.float32]
    middle: NDArray[np.float64]


def halves(box: Box) -> tuple[Box, ...]:
    """Return the boxes that a store is asked for: two where `box` crosses the antimeridian."""
    if not box.crosses_antimeridian:
        return (box,)
    return box._replace(east=180.0), box._replace(west=-180.0)


class FeatureSource(Protocol):
    """A feature store that is open for reading; it belongs to one thread."""

    name: str
    location: str
    fingerprint: str
    catalogue: Catalogue
    extract_hashes: tuple[str, ...]

    @property
    def coverage(self) -> BaseGeometry:
        """Return the area that the store holds data for, in degrees."""

    @property
    def bounds(self) -> Box:
        """Return the box around the coverage."""

    @property
    def regions(self) -> Mapping[str, BaseGeometry]:
        """Return the areas of the extracts by their names, in degrees."""

    def features(self, box: Box, smallest_deg: float = 0.0) -> Features:
        """Return the features whose bounding boxes meet `box`, in the order of the store.

        Those whose own boxes are neither so wide nor so high as `smallest_deg` degrees are left
        out.
        """

    def outline(self) -> Outline:
        """Return what and where all features are."""

    def geometries(self, ids: NDArray[np.int64]) -> NDArray[np.object_]:
        """Return the WKB, object [n] of bytes, of the features with these ids."""

    def find(self, name: str, limit: int = 10) -> list[NamedPlace]:
        """Return the places with a name, the best first.

        A whole name comes before the beginning of one, that before words of one. The last word may
        be unfinished.
        """

    def names_in(self, box: Box) -> list[Name]:
        """Return all names of objects in a box."""

    def covers(self, place: LonLat) -> bool:
        """Tell whether the store holds data for `place`."""

    def require(self, place: LonLat) -> None:
        """Raise `OutsideError` unless the store covers `place`."""

    def close(self) -> None:
        """Let go of the store."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc: object) -> None: ...


class Names(ABC):
    """What places are called.

    Mixed into the sources, which give the rows of `Name` that their own index finds.
    """

    @abstractmethod
    def _called(self, words: Sequence[str], folded: str) -> Iterable[Sequence[Any]]:
        """Return the rows with all `words`, the last of which may go on, those called just `folded` first."""

    @abstractmethod
    def _called_in(self, box: Box) -> Iterable[Sequence[Any]]:
        """Return the rows in a box that does not cross the antimeridian."""

    def find(self, name: str, limit: int = 10) -> list[NamedPlace]:
        """Return the places with a name, the best first."""
        words = words_of(name)
        return (
            merged((Name(*row) for row in self._called(words, fold(name))), name, limit)
            if words
            else []
        )

    def names_in(self, box: Box) -> list[Name]:
        """Return all names of objects in a box."""
        return [Name(*row) for part in halves(box) for row in self._called_in(part)]


class Coverage:
    """The area that a store holds data for; mixed into the sources."""

    def __init__(self, areas: Sequence[bytes], names: Sequence[str]) -> None:
        """Take the areas of the extracts, WKB in degrees, and their names.

        Areas are joined when first asked for.
        """
        self._areas, self._names = areas, names

    @cached_property
    def coverage(self) -> BaseGeometry:
        """Return the area that the store holds data for, in degrees."""
        area = shapely.union_all(shapely.from_wkb(list(self._areas)))
        shapely.prepare(area)
        return area

    @cached_property
    def bounds(self) -> Box:
        """Return the box around the coverage."""
        return Box(*(float(v) for v in self.coverage.bounds))

    @cached_property
    def regions(self) -> Mapping[str, BaseGeometry]:
        """Return the areas of the extracts by their names, in degrees.

        Extracts of one name are one region.
        """
        parts: dict[str, list[BaseGeometry]] = {}
        for name, area in zip(self._names, shapely.from_wkb(list(self._areas)), strict=True):
            parts.setdefault(name, []).append(area)
        joined = {name: shapely.union_all(areas) for name, areas in parts.items()}
        shapely.prepare(list(joined.values()))
        return joined

    def covers(self, place: LonLat) -> bool:
        """Tell whether the store holds data for `place`."""
        return bool(shapely.intersects_xy(self.coverage, place.lon, place.lat))

    def require(self, place: LonLat) -> None:
        """Raise `OutsideError` unless the store covers `place`."""
        if not self.covers(place):
            west, south, east, north = (round(v, 5) for v in self.bounds)
            swapped = self.covers(LonLat(place.lat, place.lon))
            raise OutsideError(
                f"lat {place.lat}, lon {place.lon} is outside the data of this store: "
                f"it holds lat {south}..{north}, lon {west}..{east}"
                + (": are lat and lon swapped?" if swapped else "")
            )
