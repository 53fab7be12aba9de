"""A dataset in memory and an encoder that trains in no time."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import nn

from loc2vec.encoders.base import Options
from tiling.catalogue.catalogue import Catalogue, load_catalogue
from tiling.values import N_CHANNELS, TILE_SIZE, TileGeometry

GEOMETRY, CATALOGUE = TileGeometry(), load_catalogue()


@dataclass(frozen=True)
class MemoryDataset:
    """Places 1 km apart on a line.

    Each has blocks of its own, turned and rolled in its positives.
    """

    n_places: int = 8
    positives: int = 3
    seed: int = 0
    fingerprint: str = "0123456789abcdef"
    channels: tuple[str, ...] = tuple(f"channel {i}" for i in range(N_CHANNELS))
    catalogue: Catalogue = CATALOGUE
    geometry: TileGeometry = GEOMETRY
    spacing_m: float = 1000.0
    south: float = 0.0  # latitude of the first place
    targets: pa.Table | None = None

    @property
    def store(self) -> list[str]:
        return ["town"] * self.n_places

    @property
    def lat(self) -> NDArray[np.float64]:
        return self.south + np.arange(self.n_places) * self.spacing_m / 111_195

    @property
    def lon(self) -> NDArray[np.float64]:
        return np.full(self.n_places, 7.0)

    def tiles(
        self,
        places: NDArray[np.int64],
        slots: NDArray[np.int64],
        out: NDArray[np.uint8] | None = None,
    ) -> NDArray[np.uint8]:
        return np.stack(
            [self.tile(int(p), int(s)) for p, s in zip(places, slots, strict=True)], out=out
        )

    def tile(self, place: int, slot: int) -> NDArray[np.uint8]:
        rng = np.random.default_rng((self.seed, place))
        blocks = rng.integers(0, 256, (N_CHANNELS, 8, 8), np.uint8) * (
            rng.random((N_CHANNELS, 8, 8)) < 0.3
        )
        pixels = np.kron(blocks, np.ones((1, TILE_SIZE // 8, TILE_SIZE // 8), np.uint8)).astype(
            np.uint8
        )
        turned = np.rot90(pixels, slot, axes=(1, 2))
        return np.roll(turned, (5 * slot, -7 * slot), axis=(1, 2)).copy()


class Tiny(nn.Module):
    """A small encoder with all that training must keep: batch statistics and dropout."""

    def __init__(self, options: Options) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(N_CHANNELS, 8, 3, stride=16),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Dropout(0.2),
            nn.Flatten(),
        )
        self.dense = nn.Linear(8 * 8 * 8, options.dim)

    def forward(self, tiles: torch.Tensor) -> torch.Tensor:
        vectors: torch.Tensor = self.dense(self.layers(tiles.float() / 255))
        return vectors
