"""The indexed places as colours on the map: one colour basis for the whole index."""

import threading
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from loc2vec.paper.colours import Colours
from loc2vec.paper.squares import ABUT
from service.index.index import NeighborIndex
from service.index.pictures import Cells
from tiling.geo.geodesy import box_around, ground_distance_m
from tiling.geo.mercator import TILE_PX, pixels_per_metre, tile_box, to_world
from tiling.render.pictures import TileNumber
from tiling.values import Box, LonLat

FIT_PLACES = 100_000  # places, evenly taken, that the colours are fitted to
CHUNK = 100_000  # vectors that are coloured together
ASKED = 33  # places whose nearest neighbours give the spacing
NEAR_M, FAR_M = 5.0, 2000.0  # least and greatest spacing
SAME_M = 0.5  # places nearer than this are one
OVER_PX = 2.0  # beyond which no square reaches into a tile


class Overlay:
    """The colours of an index, computed on first use."""

    def __init__(self, index: NeighborIndex) -> None:
        self._index = index
        self._making = threading.Lock()

    def cells(self, tile: TileNumber, colours: NDArray[np.uint8] | None = None) -> Cells:
        """Return the squares that a tile shows, by default in the colours of their vectors.

        `colours` uint8 [rows, 3]: those of each row of the index.
        """
        with self._making:
            colours, spacing_m = self._colours if colours is None else colours, self._spacing_m
        box, size = tile_box(tile.zoom, tile.x, tile.y), TILE_PX * tile.scale
        side_px = (
            ABUT * spacing_m * tile.scale * pixels_per_metre(tile.zoom, (box.south + box.north) / 2)
        )
        ids = self._index.ids_in(_wider(box, (side_px / 2 + OVER_PX) / size))
        x, y = to_world(self._index.lon[ids], self._index.lat[ids])
        xy = np.stack([x * 2**tile.zoom - tile.x, y * 2**tile.zoom - tile.y], axis=1) * size
        return Cells(xy.astype(np.float32), colours[ids], side_px, size)

    @cached_property
    def _colours(self) -> NDArray[np.uint8]:
        """The colour of each row of the index, uint8 [rows, 3].

        Rows without an embedding have none.
        """
        ids = self._index.ids
        fitted = Colours.fit(self._index.vectors_of(ids[:: -(-len(ids) // FIT_PLACES)]))
        colours = np.zeros((len(self._index.lat), 3), np.uint8)
        for start in range(0, len(ids), CHUNK):
            part = ids[start : start + CHUNK]
            colours[part] = fitted.rgb(self._index.vectors_of(part))
        return colours

    @cached_property
    def _spacing_m(self) -> float:
        """The spacing of the places: the median distance of some to their nearest neighbour."""
        ids = self._index.ids
        asked = ids[np.linspace(0, len(ids) - 1, min(ASKED, len(ids))).astype(int)]
        return float(np.median([self._nearest_m(int(row)) for row in asked]))

    def _nearest_m(self, row: int) -> float:
        """Return how far the place of an id is from the nearest other one, at most FAR_M."""
        place, reach = LonLat(float(self._index.lon[row]), float(self._index.lat[row])), NEAR_M
        while reach < FAR_M:
            near = self._index.ids_in(box_around(place, reach))
            far = ground_distance_m(
                place.lat, place.lon, self._index.lat[near], self._index.lon[near]
            )
            if (between := far[(far > SAME_M) & (far <= reach)]).size:
                return float(between.min())
            reach *= 2
        return FAR_M


def _wider(box: Box, share: float) -> Box:
    """Return a box with a margin of so much of its width and height."""
    x, y = share * (box.east - box.west), share * (box.north - box.south)
    return Box(box.west - x, box.south - y, box.east + x, box.north + y)
