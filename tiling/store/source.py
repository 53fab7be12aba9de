"""A feature source: an open store that returns the features of a box and knows its coverage."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, Self

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from tiling.catalogue.catalogue import Catalogue
from tiling.errors import OutsideError, StoreError
from tiling.osm.names import KINDS, Name, NamedPlace, fold, merged, words_of
from tiling.store.changes import Changes
from tiling.values import Box, Features, LonLat, halves


@dataclass(frozen=True, slots=True, eq=False)
class Outline:
    """All features of a store without their geometries, in the order of the store.

    `id` int64 [n], `channel` int8 [n], `width_m` float32 [n]. `middle` float64 [n, 2] of (lon, lat)
    are the middles of their bounding boxes.
    """

    id: NDArray[np.int64]
    channel: NDArray[np.int8]
    width_m: NDArray[np.float32]
    middle: NDArray[np.float64]


# What values of a kind that nobody expected, or that are cut, raise where they are read.
RANKS = tuple(range(len(KINDS)))
DAMAGE = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError,
          shapely.errors.ShapelyError)  # fmt: skip


@contextmanager
def reading(location: str) -> Iterator[None]:
    """Read values of a store in the block; raise `StoreError` when they are damaged."""
    try:
        yield
    except DAMAGE as error:
        raise StoreError(f"{location} is damaged ({error}): import the extracts again") from error


class Origin(Protocol):
    """The store that a source was opened from; other threads and processes open it again."""

    @property
    def location(self) -> str:
        """Return the location without secrets."""

    def open(self) -> "FeatureSource":
        """Open the store for reading."""

    def revision(self) -> str:
        """Return a string that changes whenever the store is replaced or updated."""

    def content_hash(self) -> str:
        """Return the hash that identifies the content."""

    def changes_since(self, content: str) -> Changes:
        """Return what changed since the store had the content hash `content`."""


class FeatureSource(Protocol):
    """A store that is open for reading, by one thread; `Store.open` sets its `store`."""

    store: Origin
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

        Those whose boxes are less than `smallest_deg` degrees wide and high are left out.
        """

    def outline(self) -> Outline:
        """Return the ids, channels, widths and middles of all features."""

    def geometries(self, ids: NDArray[np.int64]) -> NDArray[np.object_]:
        """Return the WKB, object [n] of bytes, of the features with these ids."""

    def find(self, name: str, limit: int = 10) -> list[NamedPlace]:
        """Return the places with a name, the best first.

        A whole name comes before the beginning of one, that before words of one. The last word may
        be unfinished.
        """

    def names_in(self, box: Box, ranks: Sequence[int] = RANKS) -> list[Name]:
        """Return the names of objects in a box, of these ranks (numbers of `KINDS`)."""

    def covers(self, place: LonLat) -> bool:
        """Tell whether the store holds data for `place`."""

    def require(self, place: LonLat) -> None:
        """Raise `OutsideError` unless the store covers `place`."""

    def close(self) -> None:
        """Close the store."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc: object) -> None: ...


class Names(ABC):
    """The search for names, mixed into the sources; each queries its own full-text index."""

    location: str

    @abstractmethod
    def _called(self, words: Sequence[str], folded: str) -> Iterable[Sequence[Any]]:
        """Return the rows of `Name` that have all `words`, those that equal `folded` first.

        The last word may be the beginning of one.
        """

    @abstractmethod
    def _called_in(self, box: Box, ranks: Sequence[int]) -> Iterable[Sequence[Any]]:
        """Return the rows of `Name` in a box that does not cross the antimeridian."""

    def find(self, name: str, limit: int = 10) -> list[NamedPlace]:
        """Return the places with a name, the best first."""
        words = words_of(name)
        if not words:
            return []
        rows = self._called(words, fold(name))
        with reading(self.location):
            return merged((Name(*row) for row in rows), name, limit)

    def names_in(self, box: Box, ranks: Sequence[int] = RANKS) -> list[Name]:
        """Return the names of objects in a box, of these ranks (numbers of `KINDS`)."""
        return [Name(*row) for part in halves(box) for row in self._called_in(part, ranks)]


class Coverage:
    """The area that a store holds data for, mixed into the sources."""

    location: str
    store: Origin

    def __init__(self, areas: Sequence[bytes], names: Sequence[str]) -> None:
        """`areas` of the extracts, WKB in degrees, and their `names`.

        The areas are joined when they are first needed.
        """
        self._areas, self._names = areas, names

    @cached_property
    def coverage(self) -> BaseGeometry:
        """Return the area that the store holds data for, in degrees.

        Raises `StoreError` when it is none.
        """
        with reading(self.location):
            area = shapely.union_all(shapely.from_wkb(list(self._areas)))
        if area.is_empty or not np.isfinite(area.bounds).all():
            raise StoreError(f"{self.location} covers no place: import the extracts again")
        shapely.prepare(area)
        return area

    @cached_property
    def bounds(self) -> Box:
        """Return the box around the coverage."""
        return Box(*(float(v) for v in self.coverage.bounds))

    @cached_property
    def regions(self) -> Mapping[str, BaseGeometry]:
        """Return the areas of the extracts, in degrees, by name; those of one name are joined."""
        parts: dict[str, list[BaseGeometry]] = {}
        with reading(self.location):
            areas = shapely.from_wkb(list(self._areas))
        for name, area in zip(self._names, areas, strict=True):
            parts.setdefault(name, []).append(area)
        with reading(self.location):
            joined = {name: shapely.union_all(areas) for name, areas in parts.items()}
        shapely.prepare(list(joined.values()))
        return joined

    def covers(self, place: LonLat) -> bool:
        """Tell whether the store holds data for `place`."""
        return bool(shapely.intersects_xy(self.coverage, place.lon, place.lat))

    def require(self, place: LonLat) -> None:
        """Raise `OutsideError` unless the store covers `place`."""
        if not self.covers(place):
            swapped = self.covers(LonLat(place.lat, place.lon))
            raise OutsideError(
                f"lat {place.lat}, lon {place.lon} is outside the data of this store: "
                f"{self._held_near(place)}" + (": are lat and lon swapped?" if swapped else "")
            )

    def _held_near(self, place: LonLat) -> str:
        """Say what the store holds: its box, or the nearest place where `place` lies in the box."""
        west, south, east, north = self.bounds
        if west <= place.lon <= east and south <= place.lat <= north:
            line = shapely.shortest_line(self.coverage, shapely.Point(place))
            lon, lat = (round(v, 5) for v in shapely.get_coordinates(line)[0])
            return f"the nearest place that it holds is lat {lat}, lon {lon}"
        west, south, east, north = (round(v, 5) for v in self.bounds)
        return f"it holds lat {south}..{north}, lon {west}..{east}"
