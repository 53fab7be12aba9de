"""Map pictures as orders to a render process: what to show travels there, a PNG comes back."""

import io
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from numpy.typing import NDArray
from PIL import Image

from tiling.render.basemap import draw_tile
from tiling.render.style import Theme
from tiling.store.base import FeatureSource

QUICK = 3  # zlib level: a third of the time of the default, for 6 % more bytes


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
        return encode_png(draw_tile(source, tile.zoom, tile.x, tile.y, self.theme, tile.scale))


def encode_png(picture: NDArray[Any]) -> bytes:
    """Encode a picture, uint8 [H, W, 3 or 4], as a PNG."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG", compress_level=QUICK)
    return buffer.getvalue()
