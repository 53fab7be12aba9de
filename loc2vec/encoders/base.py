"""What all encoders share: options, the way in, the way out, and a few layers."""

from abc import ABC, abstractmethod
from typing import Annotated, Literal, cast

import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

LEAK = 0.01  # slope of the leaky ReLU below zero

Count = Annotated[int, Field(ge=1)]
Norm = Literal["batch", "layer"]
STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True, config=STRICT)
class Options:
    """What can be chosen of an encoder: `dim`, how many numbers it gives; families add theirs."""

    dim: Count = 16


class TileEncoder(nn.Module, ABC):
    """Tiles to vectors: what a family adds is `read`, the features of a tile, and `embedding`, the last layer."""

    embedding: nn.Linear  # [n, features] -> [n, dim]

    def forward(self, tiles: Tensor) -> Tensor:
        """Encode tiles, uint8 (0..255) or float (0..1) [n, 12, 128, 128], as float32 [n, dim]."""
        x = tiles.float() / 255 if tiles.dtype == torch.uint8 else tiles
        x = self.read(x)  # [n, features]
        # bfloat16 would round distances to 3 digits
        with torch.autocast(x.device.type, enabled=False):
            return cast(Tensor, self.embedding(x.float()))

    @abstractmethod
    def read(self, x: Tensor) -> Tensor:
        """Return the features of tiles: float [n, 12, 128, 128] -> [n, features]."""


def normalise(kind: Norm, channels: int) -> nn.Module:
    """Return batch normalisation of [n, C, H, W], or layer normalisation, which is over all of a tile's C, H, W."""
    return nn.BatchNorm2d(channels) if kind == "batch" else nn.GroupNorm(1, channels)


def initialise(module: nn.Module) -> None:
    """Draw weights that keep the variance of the signal through a (leaky) ReLU (He et al. 2015)."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.kaiming_normal_(module.weight, a=LEAK, nonlinearity="leaky_relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def pooled(width: int) -> nn.Sequential:
    """Return the head of networks without a dense layer: the mean over the picture, [n, width, H, W] -> [n, width]."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
