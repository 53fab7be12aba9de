"""The indexed places as a map picture."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loc2vec.paper.squares import paint
from tiling.geo.mercator import TILE_PX
from tiling.render.pictures import encode_png
from tiling.store.source import FeatureSource


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """Coloured squares around places.

    `xy` float32 [n, 2]: their middles, in pixels from the north-west; `colours` uint8 [n, 3];
    `side_px`: the side of a square. A pixel of several places gets their mean colour.
    """

    xy: NDArray[np.float32]
    colours: NDArray[np.uint8]
    side_px: float
    size: int = TILE_PX

    def png(self, source: FeatureSource | None = None) -> bytes:
        """Draw them; the rest is transparent."""
        return encode_png(self.draw())

    def draw(self) -> NDArray[np.uint8]:
        """Return RGBA, uint8 [size, size, 4]."""
        return paint(self.xy, self.colours, self.side_px, self.size, self.size)
