"""Wide tiles of near places, cut from shared pictures.

Wide ground takes long to render, because it holds many features, and near places show nearly the
same of it. So the wide scales of tiles lie on a raster of whole pixels. It is fixed on the ground,
block by block, and a tile is at most half a pixel off its place. The places of one call that lie in
a block share a picture of all their tiles, where it is no larger than the tiles one by one. Cut
from a picture, a pixel may differ by a few of 255 from one rendered alone: lines are clipped
elsewhere. So only the places of one call decide which are cut: the same call gives the same pixels.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from tiling.geo.geodesy import MetresPerDegree
from tiling.values import LonLat, TileGeometry

BLOCK_TILES = 8  # tiles along a side of a block: over 6 km of ground, degrees keep their length
CORNER_TILES = 1  # along a side of what is rendered at one go: makes pictures nearly square

# (middle, x, y, width, height) -> uint8 [12, height, width] of the ground x metres east and y
# metres north of the middle, width and height in pixels.
Draw = Callable[[LonLat, float, float, int, int], NDArray[np.uint8]]


class Block(NamedTuple):
    """A square of ground by its row and column; `middle` is the place that pixels count from."""

    row: int
    column: int
    middle: LonLat

    @classmethod
    def of(cls, place: LonLat, side_m: float) -> Self:
        """Return the block of so many metres a side that a place lies in."""
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


def block_by_block(lon_lat: NDArray[np.float64], geometry: TileGeometry) -> NDArray[np.int64]:
    """Return the order in which places [n, 2] share most, int64 [n]: block by block, in short rows.

    Tiles of one scale share along whole rows, so these places stay as they are.
    """
    if geometry.scales == 1:
        return np.arange(len(lon_lat))
    tile_m, places = 2 * geometry.widest.radius_m, [LonLat(*place) for place in lon_lat.tolist()]
    keys = [
        (*Block.of(place, BLOCK_TILES * tile_m)[:2], *Block.of(place, CORNER_TILES * tile_m)[:2])
        for place in places
    ]
    return np.lexsort((*lon_lat.T, *np.array(keys, np.int64).reshape(-1, 4).T[::-1]))


class WideTiles:
    """Tiles of one wide scale; it belongs to one thread, as what draws them does."""

    def __init__(self, scale: TileGeometry, draw: Draw) -> None:
        self._scale, self._draw = scale, draw

    def tiles(self, places: Sequence[LonLat], out: NDArray[np.uint8]) -> None:
        """Render the tiles of places into `out`, uint8 [n, 12, size, size]."""
        blocks: dict[Block, list[int]] = {}
        for number, place in enumerate(places):
            block = Block.of(place, BLOCK_TILES * 2 * self._scale.radius_m)
            blocks.setdefault(block, []).append(number)
        for block, numbers in blocks.items():
            at = [block.pixels(places[number], self._scale.pixels_per_metre) for number in numbers]
            for number, tile in zip(numbers, self._of_block(block.middle, at), strict=True):
                out[number] = tile

    def _of_block(
        self, middle: LonLat, at: Sequence[tuple[int, int]]
    ) -> Iterator[NDArray[np.uint8]]:
        """Yield the tiles `at` so many pixels east and north of the middle."""
        size = self._scale.size
        west, south = (min(pixels) for pixels in zip(*at, strict=True))
        east, north = (max(pixels) for pixels in zip(*at, strict=True))
        width, height = east - west + size, north - south + size
        if width * height > len(at) * size**2:
            for x, y in at:
                yield self._picture(middle, x, y, size, size)
            return
        picture = self._picture(middle, (west + east) / 2, (south + north) / 2, width, height)
        for x, y in at:
            top, left = north - y, x - west
            yield picture[:, top : top + size, left : left + size]

    def _picture(
        self, middle: LonLat, x: float, y: float, width: int, height: int
    ) -> NDArray[np.uint8]:
        scale = self._scale.pixels_per_metre
        return self._draw(middle, x / scale, y / scale, width, height)
