"""What all encoders share: options, input, output, and a few layers."""

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
    """Options of an encoder: `dim`, the length of its vectors; families add their own."""

    dim: Count = 16


class TileEncoder(nn.Module, ABC):
    """Tiles to vectors; a family adds `read`, for the features, and `embedding`, the last layer."""

    embedding: nn.Linear  # [n, features] -> [n, dim]

    def forward(self, tiles: Tensor) -> Tensor:
        """Encode tiles, uint8 (0..255) or float (0..1) [n, 12, 128, 128], as float32 [n, dim]."""
        x = self.read(as_floats(tiles))  # [n, features]
        # float32: bfloat16 would round distances to 3 digits
        with torch.autocast(x.device.type, enabled=False):
            return cast(Tensor, self.embedding(x.float()))

    @abstractmethod
    def read(self, x: Tensor) -> Tensor:
        """Return the features of tiles: float [n, 12, 128, 128] -> [n, features]."""


def as_floats(tiles: Tensor) -> Tensor:
    """Return tiles [n, C, H, W] as floats, 0 to 1, channels last: the fastest to convolve."""
    last = tiles.contiguous(memory_format=torch.channels_last)  # as bytes, the least to move
    return last.float().div_(255) if last.dtype == torch.uint8 else last


def normalise(kind: Norm, channels: int) -> nn.Module:
    """Return a normalisation of [n, C, H, W]: by batch, or by layer (over C, H, W of a tile)."""
    return nn.BatchNorm2d(channels) if kind == "batch" else nn.GroupNorm(1, channels)


def initialise(module: nn.Module) -> None:
    """Set random weights that keep the variance through a (leaky) ReLU (He et al. 2015)."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.kaiming_normal_(module.weight, a=LEAK, nonlinearity="leaky_relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def pooled(width: int) -> nn.Sequential:
    """Return a head that takes the mean over the tile: [n, width, H, W] -> [n, width]."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
