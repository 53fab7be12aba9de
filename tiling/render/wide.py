"""Wide tiles of near places, cut from shared pictures.

Wide ground takes long to render, because it holds many features, and near places show nearly the
same of it. So the wide scales of tiles lie on a raster of whole pixels. It is fixed on the ground,
block by block. A block is as large as a tile, and its picture reaches half a tile beyond it. A
tile is at most half a pixel off its place. Cut from a picture, a pixel may differ by a few of 255
from one rendered alone: lines are clipped elsewhere. So only the places of one call decide which
are cut: the same call gives the same pixels, whatever came before.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple, Self

import numpy as np
from cachetools import LRUCache
from numpy.typing import NDArray

from tiling.geo.geodesy import MetresPerDegree
from tiling.values import LonLat, TileGeometry

KEPT = 48  # pictures of blocks: 0.8 MB each
SHARED = 3  # so many places of a block make its picture cheaper than tiles alone
SPARE_PX = 2  # degrees of latitude differ in length by 1 %: blocks are that much higher

# (middle, x, y, pixels a side) -> uint8 [12, pixels, pixels] of the ground x metres east and y
# metres north of the middle.
Draw = Callable[[LonLat, float, float, int], NDArray[np.uint8]]


class Block(NamedTuple):
    """A square of ground by its row and column; `middle` is the place that pixels count from."""

    row: int
    column: int
    middle: LonLat

    @classmethod
    def of(cls, place: LonLat, side_m: float) -> Self:
        """Return the block that a place lies in."""
        height_deg = side_m / MetresPerDegree.at(0).y
        row = math.floor(place.lat / height_deg)
        lat = (row + 0.5) * height_deg
        width_deg = side_m / MetresPerDegree.at(lat).x
        column = math.floor(place.lon / width_deg)
        return cls(row, column, LonLat((column + 0.5) * width_deg, lat))

    def pixels(self, place: LonLat, pixels_per_metre: float) -> tuple[int, int]:
        """Return how many pixels east and north of the middle a place lies."""
        scale = MetresPerDegree.at(self.middle.lat)
        east = (place.lon - self.middle.lon) * scale.x * pixels_per_metre
        north = (place.lat - self.middle.lat) * scale.y * pixels_per_metre
        return round(east), round(north)


class WideTiles:
    """Tiles of one wide scale; it belongs to one thread, as what draws them does."""

    def __init__(self, scale: TileGeometry, draw: Draw) -> None:
        self._scale, self._draw = scale, draw
        self._pictures: LRUCache[Block, NDArray[np.uint8]] = LRUCache(KEPT)

    def tiles(self, places: Sequence[LonLat], out: NDArray[np.uint8]) -> None:
        """Render the tiles of places into `out`, uint8 [n, 12, size, size]."""
        blocks = [Block.of(place, 2 * self._scale.radius_m) for place in places]
        shared = {block for block, count in Counter(blocks).items() if count >= SHARED}
        for tile, place, block in zip(out, places, blocks, strict=True):
            at = block.pixels(place, self._scale.pixels_per_metre)
            tile[:] = self._cut(block, *at) if block in shared else self._alone(block, *at)

    def _alone(self, block: Block, east: int, north: int) -> NDArray[np.uint8]:
        ppm = self._scale.pixels_per_metre
        return self._draw(block.middle, east / ppm, north / ppm, self._scale.size)

    def _cut(self, block: Block, east: int, north: int) -> NDArray[np.uint8]:
        size = self._scale.size
        if block not in self._pictures:
            self._pictures[block] = self._draw(block.middle, 0, 0, 2 * (size + SPARE_PX))
        top, left = size // 2 + SPARE_PX - north, size // 2 + SPARE_PX + east
        return self._pictures[block][:, top : top + size, left : left + size]
