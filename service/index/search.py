"""Searching an index with filters: where the neighbours may lie on the ground."""

import hashlib
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import shapely
from cachetools import LRUCache
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from service.errors import RegionError
from service.flights import Flights
from service.index.columns import require_columns
from service.index.index import NeighborIndex
from service.index.overlay import Overlay
from service.index.passing import passing, require_fitting
from service.index.scale import ALIKE, Scale
from service.index.spread import Found, spread_out
from service.index.teach import Lesson, Scores
from service.index.where import Where
from service.patience import left_s
from tiling.geo.geodesy import box_around, ground_distance_m
from tiling.values import Box, LonLat

Mask = NDArray[np.bool_]
SAMPLE = 20_000  # places that a share of the index is measured on
MOST_FILTERS = 8  # on columns, whose rows are remembered
MOST_LESSONS = 8  # whose scores of all places are remembered


class Neighbor(NamedTuple):
    """An indexed place; `distance` in the embedding, `ground_distance_m` from the place given.

    `closer_than`: the share of random pairs of indexed places that are farther apart.
    """

    id: int
    lat: float
    lon: float
    distance: float
    ground_distance_m: float | None
    closer_than: float


@dataclass(frozen=True, slots=True)
class Filters:
    """Where neighbours may lie, and what they are.

    `min_distance_m` is from each of the places given, `spread_m` from each other.
    """

    bbox: Box | None = None
    min_distance_m: float = 0.0
    within: tuple[str, ...] = ()  # in one of them
    not_within: tuple[str, ...] = ()
    where: Where | None = None
    spread_m: float = 0.0


EVERYWHERE = Filters()


class Search:
    """An index and the regions of its store; results never mix two indexes."""

    def __init__(self, index: NeighborIndex, regions: Mapping[str, BaseGeometry]) -> None:
        self.index, self.overlay, self._regions = index, Overlay(index), regions
        self._masks: dict[str, Mask] = {}
        self._passing: LRUCache[Where, Mask] = LRUCache(MOST_FILTERS)
        self._scores: LRUCache[str, Scores] = LRUCache(MOST_LESSONS)
        self._learning = Flights[str, Scores]()
        self._making = threading.Lock()

    @property
    def scale(self) -> Scale:
        """What distances in the embedding are compared with."""
        return self.index.scale

    def require(self, filters: Filters, columns: Sequence[str] = ()) -> None:
        """Raise the error of a column or a filter that the index cannot have, before long work."""
        require_columns(self.index.table, columns)
        if filters.where is not None:
            require_fitting(filters.where, self.index.table)

    @cached_property
    def _some(self) -> NDArray[np.float32]:
        """Vectors of some places, evenly drawn: [up to SAMPLE, D]."""
        ids = self.index.ids
        return self.index.vectors_of(ids[:: len(ids) // SAMPLE + 1])

    def alike(self, vector: NDArray[np.float32]) -> float:
        """Return the share of indexed places that are like a vector [D], 0 to 1.

        It is measured on up to `SAMPLE` of them.
        """
        apart = np.linalg.norm(self._some - vector, axis=1)
        return float((apart <= self.scale.distance(ALIKE)).mean())

    def nearest(
        self,
        embedding: NDArray[np.float32],
        k: int,
        places: Sequence[LonLat] = (),
        filters: Filters = EVERYWHERE,
    ) -> list[Neighbor]:
        """Return the `k` indexed places nearest to `embedding` [D], nearest first.

        Fewer when fewer pass the filters. Distances on the ground are from the first of `places`.
        Raises `RegionError` for an unknown region, `SlowError` when nobody waits any more.
        """
        left_s()
        ids, distances = self._search(embedding, k, self._allowed(places, filters), filters)
        lat, lon = self.index.lat[ids], self.index.lon[ids]
        far: list[float | None] = [None] * len(ids)
        if places:
            far = ground_distance_m(places[0].lat, places[0].lon, lat, lon).tolist()
        columns = (column.tolist() for column in (ids, lat, lon, distances))
        closer = self.scale.closer_than(distances).tolist()
        return [Neighbor(*row) for row in zip(*columns, far, closer, strict=True)]

    def _search(
        self, embedding: NDArray[np.float32], k: int, allowed: Mask | None, filters: Filters
    ) -> Found:
        if not filters.spread_m:
            return self.index.search(embedding, k, allowed)

        left = np.ones(len(self.index.lat), np.bool_) if allowed is None else allowed.copy()

        def search(count: int, taken: NDArray[np.int64]) -> Found:
            for row in taken.tolist():
                place = LonLat(float(self.index.lon[row]), float(self.index.lat[row]))
                left[self._near(place, filters.spread_m)] = False
            return self.index.search(embedding, count, left)

        return spread_out(search, self.index.lat, self.index.lon, k, filters.spread_m)

    def allowed(self, places: Sequence[LonLat], filters: Filters) -> Mask:
        """Return which rows pass: bool [rows]."""
        mask = self._allowed(places, filters)
        return np.ones(len(self.index.lat), np.bool_) if mask is None else mask

    def scores(self, vectors: NDArray[np.float32], labels: Sequence[str | None]) -> Scores:
        """Return what examples, vectors [n, D] with their labels, say of all indexed places.

        The last few are remembered: a map asks for the same again with each of its tiles.
        """
        name = hashlib.sha256(vectors.tobytes() + repr(labels).encode()).hexdigest()

        def make(_: Sequence[str]) -> list[Scores]:
            scores = Scores.of(Lesson.of(vectors, labels, self.index), self.index, name)
            with self._making:
                self._scores[name] = scores
            return [scores]

        def known(_: str) -> Scores | None:
            with self._making:
                return self._scores.get(name)

        (scores,) = self._learning.get([name], known, make)
        return scores

    def _allowed(self, places: Sequence[LonLat], filters: Filters) -> Mask | None:
        """Return which rows pass: bool [rows], or None for all."""
        masks = []
        if places and filters.min_distance_m > 0:
            far = np.ones(len(self.index.lat), np.bool_)
            for place in places:
                far[self._near(place, filters.min_distance_m)] = False
            masks.append(far)
        masks += [] if filters.bbox is None else [self.index.in_box(filters.bbox)]
        masks += (
            []
            if not filters.within
            else [np.logical_or.reduce([self._in_region(name) for name in filters.within])]
        )
        masks += [~self._in_region(name) for name in filters.not_within]
        masks += [] if filters.where is None else [self._that_pass(filters.where)]
        return np.logical_and.reduce(masks) if masks else None

    def _near(self, place: LonLat, metres: float) -> NDArray[np.int64]:
        """Return the ids of the places that lie less than `metres` from `place`.

        Only those in a box around it are measured.
        """
        # A hundredth more: the box is measured on the ellipsoid, the distance on the mean sphere.
        ids = self.index.ids_in(box_around(place, 1.01 * metres))
        far = ground_distance_m(place.lat, place.lon, self.index.lat[ids], self.index.lon[ids])
        return ids[far < metres]

    def _that_pass(self, where: Where) -> Mask:
        with self._making:
            if where not in self._passing:
                self._passing[where] = passing(where, self.index.table)
            return self._passing[where]

    def _in_region(self, name: str) -> Mask:
        with self._making:
            if name not in self._masks:
                if name not in self._regions:
                    known = ", ".join(sorted(self._regions)[:50])
                    raise RegionError(
                        f"{name[:100]!r} is no region of this store: there is {known}"
                    )
                self._masks[name] = shapely.intersects_xy(
                    self._regions[name], self.index.lon, self.index.lat
                )
            return self._masks[name]
