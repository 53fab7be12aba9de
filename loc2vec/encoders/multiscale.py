"""Several scales of one place: a trunk each, joined before the last layers, whitened at the end.

Each scale has a trunk of parallel kernels (`inception.py`). The wider ones read half as many
pixels a side, which costs a quarter. Their maps are pooled over the whole tile. Those of the first
scale are also pooled over its middle: what stands at the place itself would be lost in the mean.
"""

from typing import Annotated, cast

import torch
import torch.nn.functional as F
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from loc2vec.encoders.base import LEAK, STRICT, Options, as_floats, initialise
from loc2vec.encoders.inception import TRUNK_WIDTH, Inception, trunk
from loc2vec.encoders.whitening import Whitening
from tiling.values import N_CHANNELS

MIDDLES = (1 / 2, 1 / 4)  # sides of the middles of the first scale, as shares of the tile
SMALLEST_COVER = 1e-4  # keeps the gradient of the square root finite


@dataclass(frozen=True, config=STRICT)
class MultiscaleOptions(Options):
    """Options of `multiscale`.

    `hidden`: width of the layer before the last one; 0 leaves it out. `shared`: one trunk reads
    all scales. `white`: whether vectors are whitened. `dropout`: share of the pooled features that
    a tile lacks in training.
    """

    hidden: Annotated[int, Field(ge=0)] = 256
    shared: bool = False
    white: bool = True
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0


class Multiscale(nn.Module):
    """Tiles of all scales of a place to one vector."""

    def __init__(self, options: MultiscaleOptions, scales: int) -> None:
        super().__init__()
        trunks = 1 if options.shared else scales
        self.trunks = nn.ModuleList(trunk() for _ in range(trunks))
        self.scales = scales
        pools = len(MIDDLES) + scales
        features = pools * (TRUNK_WIDTH + N_CHANNELS)
        self.norm = nn.BatchNorm1d(features)
        self.dropout = nn.Dropout(options.dropout)
        self.hidden = hidden_layer(features, options.hidden)
        self.embedding = nn.Linear(options.hidden or features, options.dim)  # [n, dim]
        self.whitening = Whitening(options.dim) if options.white else nn.Identity()
        self.apply(initialise)

    def forward(self, tiles: Tensor) -> Tensor:
        """Encode tiles, uint8 or float [n, scales * 12, 128, 128], as float32 [n, dim]."""
        return self.joined(self.pooled(tiles))

    def pooled(self, tiles: Tensor) -> Tensor:
        """Return what the trunks and the channels have pooled from tiles: [n, F]."""
        firsts = range(0, tiles.shape[1], N_CHANNELS)
        near, *wide = (as_floats(tiles[:, first : first + N_CHANNELS]) for first in firsts)
        scales = [near, *(F.avg_pool2d(each, 2) for each in wide)]
        return torch.cat([*self._seen(scales), *_covers(scales)], 1)

    def joined(self, features: Tensor) -> Tensor:
        """Join pooled features [n, F] to vectors, float32 [n, dim]: the layers after the trunks."""
        with torch.autocast(features.device.type, enabled=False):
            joined = self.embedding(self.hidden(self.dropout(self.norm(features.float()))))
            return cast(Tensor, self.whitening(joined))

    def start_from(self, model: Inception) -> None:
        """Copy the trained layers of a network of one scale into the trunk of each scale."""
        for each in self.trunks:
            each.load_state_dict(model.layers.state_dict())

    def _seen(self, scales: list[Tensor]) -> list[Tensor]:
        """Return the pooled maps of each scale [n, 192], then those of the middles."""
        trunks = list(self.trunks) * (self.scales // len(self.trunks))
        maps = [each(scale).float() for each, scale in zip(trunks, scales, strict=True)]
        return [*(each.mean((2, 3)) for each in maps), *_middles(maps[0])]


def hidden_layer(features: int, width: int) -> nn.Module:
    """Return the layer before the last one: [n, features] -> [n, width]; without a width, none."""
    if not width:
        return nn.Identity()
    return nn.Sequential(nn.Linear(features, width), nn.BatchNorm1d(width), nn.LeakyReLU(LEAK))


def _middles(maps: Tensor) -> list[Tensor]:
    """Return the mean of [n, C, H, W] over each of its middles, [n, C]."""
    edges = [round(maps.shape[-1] * (1 - share) / 2) for share in MIDDLES]
    return [maps[..., edge:-edge, edge:-edge].mean((2, 3)) for edge in edges]


def _covers(scales: list[Tensor]) -> list[Tensor]:
    """Return the root of the cover of each channel, by scale and in the middles, [n, 12] each."""
    means = [*(each.float().mean((2, 3)) for each in scales), *_middles(scales[0].float())]
    return [each.clamp(min=SMALLEST_COVER).sqrt() for each in means]
