"""The changes of an update, and the places whose tiles show them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.errors import GEOSException
from shapely.geometry.base import BaseGeometry

from tiling.geo.geodesy import MetresPerDegree, box_around
from tiling.values import LonLat, TileGeometry, halves

AT_ONCE = 100_000  # places


@dataclass(frozen=True, slots=True, eq=False)
class Changes:
    """Where features came, went or changed.

    `wkb` object [n]: the geometries of the changes, degrees. `reach_m` float64 [n]: how far beyond
    its geometry each is rendered, metres.
    """

    reach_m: NDArray[np.float64]
    wkb: NDArray[np.object_]

    @classmethod
    def of(cls, reach_m: Sequence[float], wkb: Sequence[bytes]) -> Self:
        """Take lists."""
        array = np.empty(len(wkb), object)
        array[:] = wkb
        return cls(np.array(reach_m, np.float64), array)

    @classmethod
    def joined(cls, changes: Iterable[Self]) -> Self:
        """Return several changes as one."""
        every = list(changes)
        return cls.of(
            [m for one in every for m in one.reach_m.tolist()],
            [w for one in every for w in one.wkb],
        )

    def __len__(self) -> int:
        return len(self.wkb)

    def meet(self, lon_lat: NDArray[np.float64], geometry: TileGeometry) -> NDArray[np.bool_]:
        """Tell which places, float64 [n, 2] of (lon, lat), have a north-up tile that changed.

        Returns bool [n].
        """
        met = np.zeros(len(lon_lat), np.bool_)
        changed = shapely.from_wkb(self.wkb)
        for reach in np.unique(self.reach_m):
            tree = shapely.STRtree(changed[self.reach_m == reach])
            for start in range(0, len(lon_lat), AT_ONCE):
                windows = _windows(lon_lat[start : start + AT_ONCE], geometry, float(reach))
                met[start + tree.query(windows, predicate="intersects")[0]] = True
        return met

    def area(self, geometry: TileGeometry) -> BaseGeometry:
        """Return an area, in degrees, that contains every place whose tile changed."""
        reach = self.reach_m + np.sqrt(2) * (
            geometry.widest.radius_m + geometry.widest.metres_per_pixel
        )
        pairs = zip(shapely.from_wkb(self.wkb), reach.tolist(), strict=True)
        return _on_the_globe(
            shapely.union_all([_widened(changed, metres) for changed, metres in pairs])
        )


def _windows(
    lon_lat: NDArray[np.float64], geometry: TileGeometry, reach_m: float
) -> list[BaseGeometry]:
    """Return the ground that each tile shows, and a pixel more, because rendering rounds."""
    radius = geometry.widest.radius_m + geometry.widest.metres_per_pixel + reach_m
    boxes = (halves(box_around(LonLat(lon, lat), radius)) for lon, lat in lon_lat.tolist())
    return [shapely.MultiPolygon([shapely.box(*half) for half in both]) for both in boxes]


def _widened(changed: BaseGeometry, metres: float) -> BaseGeometry:
    # The scale of the latitude furthest from the equator makes the area rather too wide.
    scale = np.array(MetresPerDegree.at(max(abs(changed.bounds[1]), abs(changed.bounds[3]))))
    local = shapely.transform(changed, lambda degrees: degrees * scale).buffer(metres, quad_segs=4)
    return shapely.transform(local, lambda local: local / scale)


def _on_the_globe(area: BaseGeometry) -> BaseGeometry:
    """Return an area whose parts beyond 180 degrees lie on the other side; none is beyond 90."""
    parts = [
        shapely.transform(
            shapely.intersection(area, shapely.box(turn - 180, -90, turn + 180, 90)),
            lambda degrees, turn=turn: degrees - (turn, 0),
        )
        for turn in (-360, 0, 360)
    ]
    return shapely.union_all(parts)


def difference(before: Sequence[BaseGeometry], after: Sequence[BaseGeometry]) -> list[BaseGeometry]:
    """Return where an object is rendered differently: what it gains and loses.

    When in doubt that is all of it. Pieces of one polygon overlap, and are rendered twice there. So
    the overlaps are compared as well as the whole.
    """
    try:
        pairs = zip(_covered(before), _covered(after), strict=True)
        parts = [shapely.symmetric_difference(old, new) for old, new in pairs]
    except GEOSException:  # of an invalid polygon
        parts = []
    found = [part for part in parts if not part.is_empty]
    return found or [*before, *after]


def _covered(pieces: Sequence[BaseGeometry]) -> tuple[BaseGeometry, BaseGeometry]:
    """Return what pieces cover at least once, and what they cover twice."""
    all_of_it = np.array(pieces, object)
    one, other = shapely.STRtree(all_of_it).query(all_of_it, predicate="intersects")
    pair = one < other
    twice = shapely.intersection(all_of_it[one[pair]], all_of_it[other[pair]])
    return shapely.union_all(all_of_it), shapely.union_all(twice)
