"""Parallel kernels: each module sees several sizes of surroundings, with batch normalisation.

Ioffe, Szegedy: Batch Normalization: Accelerating Deep Network Training by Reducing Internal
Covariate Shift, ICML 2015, arXiv 1502.03167: two 3x3 convolutions stand for the 5x5 one of Szegedy
et al.: Going Deeper with Convolutions, CVPR 2015, arXiv 1409.4842.
"""

from typing import cast

import torch
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from loc2vec.encoders.base import LEAK, STRICT, Options, TileEncoder, initialise, pooled
from tiling.values import N_CHANNELS

TRUNK_WIDTH = 192  # channels of what `trunk` returns


@dataclass(frozen=True, config=STRICT)
class InceptionOptions(Options):
    """Options of `inception`: only `dim`; it always has batch normalisation."""


class Inception(TileEncoder):
    """Two convolutions, then three stages of modules; each stage halves the sides."""

    def __init__(self, options: InceptionOptions) -> None:
        super().__init__()
        self.layers = trunk()  # [n, 192, 8, 8]
        self.head = pooled(TRUNK_WIDTH)  # [n, 192]
        self.embedding = nn.Linear(TRUNK_WIDTH, options.dim)  # [n, dim]
        self.apply(initialise)

    def read(self, x: Tensor) -> Tensor:
        """Return the features of tiles: [n, 12, 128, 128] -> [n, 192]."""
        return cast(Tensor, self.head(self.layers(x)))


def trunk() -> nn.Sequential:
    """Return the layers before the head: [n, 12, H, W] -> [n, 192, H / 16, W / 16]."""
    return nn.Sequential(  # [n, 12, 128, 128]
        _convolution(N_CHANNELS, 24, 3, stride=2),  # [n, 24, 64, 64]
        _convolution(24, 40, 3),  # [n, 40, 64, 64]
        nn.MaxPool2d(2),  # [n, 40, 32, 32]
        Module(40, 32, (24, 48), (16, 32), 16),  # [n, 128, 32, 32]
        Reduction(128, (32, 48), (20, 32)),  # [n, 208, 16, 16]
        Module(208, 40, (40, 64), (24, 40), 24),  # [n, 168, 16, 16]
        Reduction(168, (40, 56), (24, 40)),  # [n, 264, 8, 8]
        Module(264, 56, (48, 72), (28, 40), 24),  # [n, 192, 8, 8]
    )


def _convolution(before: int, width: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Return a convolution that keeps the sides (or halves them), normalised and rectified."""
    return nn.Sequential(
        nn.Conv2d(before, width, kernel, stride=stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(width),
        nn.LeakyReLU(LEAK),
    )


class Module(nn.Module):
    """Four branches side by side: [n, A, H, W] -> [n, sum of the branches' widths, H, W].

    The branches: 1x1; 1x1, 3x3; 1x1, 3x3, 3x3; the mean of 3x3, 1x1.
    """

    def __init__(
        self, before: int, one: int, three: tuple[int, int], double: tuple[int, int], mean: int
    ) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            (
                _convolution(before, one, 1),
                nn.Sequential(_convolution(before, three[0], 1), _convolution(*three, 3)),
                nn.Sequential(
                    _convolution(before, double[0], 1),
                    _convolution(*double, 3),
                    _convolution(double[1], double[1], 3),
                ),
                nn.Sequential(nn.AvgPool2d(3, stride=1, padding=1), _convolution(before, mean, 1)),
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs of all branches, side by side."""
        return torch.cat([branch(x) for branch in self.branches], 1)


class Reduction(nn.Module):
    """Branches of stride 2 beside max pooling: [n, A, H, W] -> [n, A + B, H / 2, W / 2].

    B is the sum of the branches' widths.
    """

    def __init__(self, before: int, three: tuple[int, int], double: tuple[int, int]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            (
                nn.Sequential(_convolution(before, three[0], 1), _convolution(*three, 3, stride=2)),
                nn.Sequential(
                    _convolution(before, double[0], 1),
                    _convolution(*double, 3),
                    _convolution(double[1], double[1], 3, stride=2),
                ),
                nn.MaxPool2d(2),
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs of all branches, side by side."""
        return torch.cat([branch(x) for branch in self.branches], 1)
