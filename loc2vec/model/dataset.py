"""What training and evaluation need of a tile dataset."""

from typing import Protocol

import pyarrow as pa

from loc2vec.model.arrays import Floats, Pixels, Places
from tiling.catalogue.catalogue import Catalogue
from tiling.values import TileGeometry


class Dataset(Protocol):
    """A tile dataset, such as `tiling.dataset.dataset.TileDataset`.

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
    def store(self) -> list[str]: ...
    @property
    def targets(self) -> pa.Table | None: ...
    @property
    def lat(self) -> Floats: ...
    @property
    def lon(self) -> Floats: ...
    def tiles(self, places: Places, slots: Places, out: Pixels | None = None) -> Pixels:
        """Return tiles uint8 [m, C, H, W] of m places and slots, in `out` if it is given."""
