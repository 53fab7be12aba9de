"""What training and evaluation read of a tile dataset."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tiling.catalogue import Catalogue
from tiling.values import TileGeometry

Places = NDArray[np.int64]
Pixels = NDArray[np.uint8]


class Dataset(Protocol):
    """What training and evaluation read of a tile dataset (`tiling.dataset.dataset.TileDataset` is one).

    Slot 0 of a place is its anchor; slots 1..`positives` are turned and shifted.
    """

    @property
    def fingerprint(self) -> str: ...
    @property
    def channels(self) -> tuple[str, ...]: ...
    @property
    def catalogue(self) -> Catalogue: ...
    @property
    def geometry(self) -> TileGeometry: ...
    @property
    def n_places(self) -> int: ...
    @property
    def positives(self) -> int: ...
    @property
    def lat(self) -> NDArray[np.float64]: ...
    @property
    def lon(self) -> NDArray[np.float64]: ...
    def tiles(self, places: Places, slots: Places, out: Pixels | None = None) -> Pixels:
        """Return tiles uint8 [m, 12, H, W] of m places and slots, in `out` if it is given."""
