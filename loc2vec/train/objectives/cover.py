"""The cover of each channel around a place, also of channels that a view has switched off.

A dense layer reads the square root of the cover from the vector; it is thrown away.
"""

from typing import Self

import torch
from torch import Tensor, nn

from loc2vec.train.batches import Batch
from loc2vec.train.distributed import World
from loc2vec.train.objectives.objective import Objective, Outcome
from loc2vec.train.run import Run

MIDDLE = 3 / 8  # side of the middle of the first scale, as a share of the tile
VARIANCE = 0.05  # of the root of a cover, about: it brings the error to the size of the others


class CoverObjective(Objective):
    """The error of reading the cover of the anchor's channels from each view of a place."""

    name = "cover"

    def __init__(self, head: nn.Linear, world: World | None = None) -> None:
        super().__init__()
        self.head = head
        self.world = world or World()

    @classmethod
    def of(cls, run: Run) -> Self:
        """Return the objective with a fresh head for the channels of the run's tiles."""
        channels = len(run.tiles.channels)
        middle = channels // run.tiles.geometry.scales
        head = nn.Linear(run.vector_size, channels + middle)
        return cls(head, World.of_environment())

    def forward(self, vectors: Tensor, batch: Batch) -> Outcome:
        """Return the mean square error over all views and channels."""
        middle = self.head.out_features - batch.pixels.shape[2]
        covers = self.world.gather(root_covers(batch.pixels[:, 0], middle))  # [P, covers]
        error = self.head(vectors) - covers[:, None]
        return Outcome(error.square().mean() / VARIANCE, {})


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
