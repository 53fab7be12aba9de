"""Pictures of the map, as orders to a drawing process: what is to be seen travels there, a PNG comes back."""

import io
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from loc2vec.explore.squares import paint
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
        return paint(self.xy, self.colours, self.side_px, self.size, self.size)


def _encode(picture: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG", compress_level=QUICK)
    return buffer.getvalue()
