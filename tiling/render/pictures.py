"""Pictures of the map, rendered where the store is: a description goes there, a PNG comes back."""

import io
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from numpy.typing import NDArray
from PIL import Image

from tiling.render.basemap import draw_tile
from tiling.render.style import Theme
from tiling.store.base import FeatureSource

QUICK = 3  # zlib level: a third of the default's time, 6 % more bytes


class TileNumber(NamedTuple):
    """A tile of the web map."""

    zoom: int
    x: int  # column, from the west
    y: int  # row, from the north
    scale: int = 1  # times 256 pixels a side


class Picture(Protocol):
    """A description of a picture; it can be pickled."""

    def png(self, source: FeatureSource) -> bytes:
        """Render it from the features of a store, as a PNG."""


@dataclass(frozen=True, slots=True)
class BaseTile:
    """A tile of the base map."""

    tile: TileNumber
    theme: Theme

    def png(self, source: FeatureSource) -> bytes:
        """Render it from the features of a store, as a PNG."""
        tile = self.tile
        return encode_png(draw_tile(source, tile.zoom, tile.x, tile.y, self.theme, tile.scale))


def encode_png(picture: NDArray[Any]) -> bytes:
    """Encode a picture, uint8 [H, W, 3 or 4], as a PNG."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG", compress_level=QUICK)
    return buffer.getvalue()
