"""Coloured places on a map: squares in Web Mercator, as a picture of any box."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from loc2vec.errors import ExploreError
from loc2vec.model.arrays import Floats, Pixels
from loc2vec.paper.squares import ABUT, paint
from tiling.geo.globe import on_the_globe
from tiling.geo.mercator import MAX_LAT, pixels_per_metre, to_world
from tiling.values import Box

MARGIN = 1.0  # squares around the outermost places
WIDEST_DEG = 20.0  # of what is shown on one map


@dataclass(frozen=True, eq=False)
class Painting:
    """Places with a colour each, uint8 [n, 3], which stand for squares of `spacing_m` metres."""

    lat: Floats
    lon: Floats
    colours: Pixels
    spacing_m: float

    @property
    def box(self) -> Box:
        """The box around all squares, degrees; raises `ExploreError` where it is too large."""
        dy = (0.5 + MARGIN) * self.spacing_m / 110_500
        dx = dy / max(np.cos(np.radians(np.abs(self.lat).max())), 0.01)
        box = Box(
            self.lon.min() - dx, self.lat.min() - dy, self.lon.max() + dx, self.lat.max() + dy
        )
        if (
            max(box.east - box.west, box.north - box.south) > WIDEST_DEG
            or max(abs(box.south), box.north) > MAX_LAT
        ):
            raise ExploreError(
                f"the places lie {box.east - box.west:.0f} by {box.north - box.south:.0f} degrees "
                "apart: give a --bbox of one town"
            )
        return box

    def pixels(self, box: Box, width: int) -> tuple[Floats, float]:
        """Return the pixels of the places in a picture of `box`, and a side of a square there.

        The pixels are x, y from the north-west, float64 [n, 2].
        """
        left, top = to_world(box.west, box.north)
        per_world = width * 360 / (box.east - box.west)
        x, y = to_world(self.lon, self.lat)
        zoom = np.log2(per_world / 256)
        side = ABUT * self.spacing_m * pixels_per_metre(float(zoom), (box.south + box.north) / 2)
        return np.stack([x - left, y - top], axis=1) * per_world, side

    def paint(self, box: Box, width: int, height: int) -> Pixels:
        """Paint the squares that a box shows, on a clear ground: RGBA uint8 [height, width, 4]."""
        at, side_px = self.pixels(box, width)
        return paint(at, self.colours, side_px, width, height)


def spacing_of(lat: Floats, lon: Floats) -> float:
    """Return how far apart places lie, metres: the median distance to the nearest other one."""
    positions = np.unique(on_the_globe(lat, lon), axis=0)
    if len(positions) < 2:
        raise ExploreError("one place is no map: give more")
    distances, _ = cKDTree(positions).query(positions, 2)
    return float(np.median(distances[:, 1]))
