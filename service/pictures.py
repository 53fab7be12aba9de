"""Pictures of the map, as orders to a drawing process: what is to be seen travels there, a PNG comes back."""

import io
import math
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tiling.basemap import Theme, draw_tile
from tiling.mercator import TILE_PX
from tiling.sources.base import FeatureSource

QUICK = 3  # of zlib's levels: a third of the time of the usual one, for 6 % more bytes


class TileNumber(NamedTuple):
    """A tile of the map: column `x` from the west, row `y` from the north, `scale` times 256 pixels a side."""

    zoom: int
    x: int
    y: int
    scale: int = 1


class Picture(Protocol):
    """Something that a drawing process can draw."""

    def png(self, source: FeatureSource) -> bytes:
        """Draw it."""


@dataclass(frozen=True, slots=True)
class BaseTile:
    """A tile of the base map."""

    tile: TileNumber
    theme: Theme

    def png(self, source: FeatureSource) -> bytes:
        """Draw it from the features of the store."""
        tile = self.tile
        return _encode(draw_tile(source, tile.zoom, tile.x, tile.y, self.theme, tile.scale))


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """Squares around places: middles `xy` float32 [n, 2] in pixels from the north-west, colours uint8 [n, 3].

    `side_px`: of a square. Where places share pixels, these get the mean of their colours.
    """

    xy: NDArray[np.float32]
    colours: NDArray[np.uint8]
    side_px: float
    size: int = TILE_PX

    def png(self, source: FeatureSource | None = None) -> bytes:
        """Draw them; the rest is transparent."""
        return _encode(self.draw())

    def draw(self) -> NDArray[np.uint8]:
        """Return RGBA, uint8 [size, size, 4]."""
        picture = np.zeros((self.size, self.size, 4), np.uint8)
        if self.side_px <= 1:
            self._mean(picture)
        else:
            self._paint(picture)
        return picture

    def _paint(self, picture: NDArray[np.uint8]) -> None:
        """Fill the squares. Neighbours round their common edge to the same pixel, so that they abut."""
        first, end = (np.rint(self.xy + shift).astype(int) for shift in (-self.side_px / 2, self.side_px / 2))
        first, end = np.clip(first, 0, self.size), np.clip(end, 0, self.size)
        within = np.arange(math.ceil(self.side_px) + 1)
        column, row = first[:, 0, None] + within, first[:, 1, None] + within
        shown = (row < end[:, 1, None])[:, :, None] & (column < end[:, 0, None])[:, None, :]
        place, down, right = np.nonzero(shown)
        picture[row[place, down], column[place, right], :3] = self.colours[place]
        picture[row[place, down], column[place, right], 3] = 255

    def _mean(self, picture: NDArray[np.uint8]) -> None:
        column, row = np.floor(self.xy).astype(int).T
        inside = (column >= 0) & (column < self.size) & (row >= 0) & (row < self.size)
        pixel = (row * self.size + column)[inside]
        count = np.bincount(pixel, minlength=self.size**2)
        full = count > 0
        flat = picture.reshape(-1, 4)
        for band in range(3):
            total = np.bincount(pixel, self.colours[inside, band], minlength=self.size**2)
            flat[full, band] = np.rint(total[full] / count[full])
        flat[full, 3] = 255


def _encode(picture: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG", compress_level=QUICK)
    return buffer.getvalue()
