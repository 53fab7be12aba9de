"""The cover of each channel around a place, also of channels that a view has switched off.

A dense layer reads the square root of the cover from the vector; it is thrown away. Each error is
divided by the variance of its cover: thin ways then weigh as much as wide water.
"""

from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from loc2vec.model.dataset import Dataset
from loc2vec.train.batches import Batch
from loc2vec.train.distributed import World
from loc2vec.train.objectives.objective import Objective, Outcome
from loc2vec.train.run import Run

MIDDLE = 3 / 8  # side of the middle of the first scale, as a share of the tile
READ_TILES = 32  # tiles decoded at once
SAMPLE = 1024  # places whose covers tell how much each varies
LEAST_VARIANCE = 1e-3  # a channel that is hardly drawn must not outweigh the others


class CoverObjective(Objective):
    """The error of reading the cover of the anchor's channels from each view of a place."""

    name = "cover"
    variance: Tensor  # float32 [covers]

    def __init__(self, head: nn.Linear, variance: Tensor, world: World | None = None) -> None:
        """Take the head [D] -> [covers] and the variance of each cover [covers]."""
        super().__init__()
        self.head = head
        self.register_buffer("variance", variance.clamp(min=LEAST_VARIANCE), persistent=False)
        self.world = world or World()

    @classmethod
    def of(cls, run: Run, size: int) -> Self:
        """Return the objective with a fresh head for the channels of the run's tiles."""
        channels = len(run.tiles.channels)
        middle = channels // run.tiles.geometry.scales
        head = nn.Linear(size, channels + middle)
        covers = _sampled_covers(run.tiles, middle)
        return cls(head, covers.var(0, correction=0), World.of_environment())

    def forward(self, vectors: Tensor, batch: Batch) -> Outcome:
        """Return the mean square error over all views and channels."""
        middle = self.head.out_features - batch.pixels.shape[2]
        covers = self.world.gather(root_covers(batch.pixels[:, 0], middle))  # [P, covers]
        return Outcome(self.error(vectors, covers), {})

    def error(self, vectors: Tensor, covers: Tensor) -> Tensor:
        """Return the mean error of reading covers [P, covers] from vectors [P, V, D]."""
        error = self.head(vectors) - covers[:, None]
        mean: Tensor = (error.square() / self.variance).mean()
        return mean


def _sampled_covers(tiles: Dataset, middle: int) -> Tensor:
    """Return the root covers of some places of a dataset, float32 [n, covers]."""
    places = np.linspace(0, tiles.n_places - 1, min(SAMPLE, tiles.n_places)).astype(np.int64)
    parts = np.array_split(places, max(1, len(places) // READ_TILES))
    read = (torch.from_numpy(tiles.tiles(part, np.zeros_like(part))) for part in parts)
    return torch.cat([root_covers(each, middle) for each in read])


@torch.no_grad()
def root_covers(tiles: Tensor, middle: int) -> Tensor:
    """Return the root of the mean of each channel, then those of the middle of the first ones.

    Tiles uint8 [n, C, H, W], `middle` of whose channels are also looked at in their middle: float32
    [n, C + middle], from 0 to 1.
    """
    edge = round(tiles.shape[-1] * (1 - MIDDLE) / 2)
    inner = tiles[:, :middle, edge:-edge, edge:-edge]
    means = [each.float().mean((2, 3)) / 255 for each in (tiles, inner)]
    return torch.cat(means, 1).sqrt()
