"""Searching an index with filters: where the neighbours may lie on the ground."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from service.errors import RegionError
from service.index.index import NeighborIndex
from service.index.overlay import Overlay
from service.patience import left_s
from tiling.geo.geodesy import box_around, ground_distance_m
from tiling.values import Box, LonLat

Mask = NDArray[np.bool_]


class Neighbor(NamedTuple):
    """An indexed place; `distance` in the embedding, `ground_distance_m` from the place given."""

    id: int
    lat: float
    lon: float
    distance: float
    ground_distance_m: float | None


@dataclass(frozen=True, slots=True)
class Filters:
    """Where neighbours may lie; `min_distance_m` is from each of the places given."""

    bbox: Box | None = None
    min_distance_m: float = 0.0
    within: tuple[str, ...] = ()  # in one of them
    not_within: tuple[str, ...] = ()


EVERYWHERE = Filters()


class Search:
    """An index and the regions of its store; results never mix two indexes."""

    def __init__(self, index: NeighborIndex, regions: Mapping[str, BaseGeometry]) -> None:
        self.index, self.overlay, self._regions = index, Overlay(index), regions
        self._masks: dict[str, Mask] = {}
        self._making = threading.Lock()

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
        ids, distances = self.index.search(embedding, k, self._allowed(places, filters))
        lat, lon = self.index.lat[ids], self.index.lon[ids]
        far: list[float | None] = [None] * len(ids)
        if places:
            far = ground_distance_m(places[0].lat, places[0].lon, lat, lon).tolist()
        columns = (column.tolist() for column in (ids, lat, lon, distances))
        return [Neighbor(*row) for row in zip(*columns, far, strict=True)]

    def _allowed(self, places: Sequence[LonLat], filters: Filters) -> Mask | None:
        """Return which rows pass: bool [rows], or None for all."""
        masks = [
            ~self._near(place, filters.min_distance_m)
            for place in places
            if filters.min_distance_m > 0
        ]
        masks += [] if filters.bbox is None else [self.index.in_box(filters.bbox)]
        masks += (
            []
            if not filters.within
            else [np.logical_or.reduce([self._in_region(name) for name in filters.within])]
        )
        masks += [~self._in_region(name) for name in filters.not_within]
        return np.logical_and.reduce(masks) if masks else None

    def _near(self, place: LonLat, metres: float) -> Mask:
        """Tell which rows lie less than `metres` from `place`.

        Only those in a box around it are measured.
        """
        # A hundredth more: the box is measured on the ellipsoid, the distance on the mean sphere.
        near = self.index.in_box(box_around(place, 1.01 * metres))
        rows = np.flatnonzero(near)
        near[rows] = (
            ground_distance_m(place.lat, place.lon, self.index.lat[rows], self.index.lon[rows])
            < metres
        )
        return near

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
