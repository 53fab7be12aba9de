"""Residual blocks, 18 layers with weights, at the width of the default encoder.

He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition, CVPR 2016, arXiv 1512.03385.
"""

from collections.abc import Callable
from typing import cast

import torch.nn.functional as F
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from loc2vec.encoders.base import (
    LEAK,
    STRICT,
    Norm,
    Options,
    TileEncoder,
    initialise,
    normalise,
    pooled,
)
from tiling.values import N_CHANNELS

STEM, WIDTHS = 32, (32, 40, 48, 64)  # channels; the sides of the stages are 64, 32, 16, 8
BLOCKS = 2  # a stage


@dataclass(frozen=True, config=STRICT)
class ResNetOptions(Options):
    """Options of `resnet`: `norm`, batch or layer normalisation."""

    norm: Norm = "batch"


class ResNet(TileEncoder):
    """A convolution of stride 2, then four stages of two basic blocks.

    `gate` returns the module that weighs the channels of a block, from their number.
    """

    def __init__(
        self, options: ResNetOptions, gate: Callable[[int], nn.Module] = lambda width: nn.Identity()
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(  # [n, 12, 128, 128]
            nn.Conv2d(N_CHANNELS, STEM, 3, stride=2, padding=1, bias=False),  # [n, 32, 64, 64]
            normalise(options.norm, STEM),
            nn.LeakyReLU(LEAK),
        )
        blocks: list[nn.Module] = []
        before = STEM
        # [n, 32, 64, 64], [n, 40, 32, 32], [n, 48, 16, 16], [n, 64, 8, 8]
        for stage, width in enumerate(WIDTHS):
            for number in range(BLOCKS):
                stride = 2 if stage and not number else 1
                blocks.append(BasicBlock(before, width, stride, options.norm, gate(width)))
                before = width
        self.blocks = nn.Sequential(*blocks)
        self.head = pooled(before)  # [n, 64]
        self.embedding = nn.Linear(before, options.dim)  # [n, dim]
        self.apply(initialise)

    def read(self, x: Tensor) -> Tensor:
        """Return the features of tiles: [n, 12, 128, 128] -> [n, 64]."""
        return cast(Tensor, self.head(self.blocks(self.stem(x))))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut: [n, A, H, W] -> [n, B, H / stride, W / stride]."""

    def __init__(self, before: int, width: int, stride: int, norm: Norm, gate: nn.Module) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.Conv2d(before, width, 3, stride=stride, padding=1, bias=False),
            normalise(norm, width),
            nn.LeakyReLU(LEAK),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            normalise(norm, width),
            gate,
        )
        self.shortcut = nn.Sequential()  # the identity, or a convolution to the new shape
        if stride > 1 or before != width:
            self.shortcut = nn.Sequential(
                nn.Conv2d(before, width, 1, stride=stride, bias=False), normalise(norm, width)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Add and rectify."""
        return F.leaky_relu(self.residual(x) + self.shortcut(x), LEAK)
