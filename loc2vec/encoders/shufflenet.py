"""Cheap grouped convolutions; shuffling mixes the channels of different groups.

Zhang, Zhou, Lin, Sun: ShuffleNet: An Extremely Efficient Convolutional Neural Network for Mobile
Devices, CVPR 2018, arXiv 1707.01083; Ma, Zhang, Zheng, Sun: ShuffleNet V2: Practical Guidelines for
Efficient CNN Architecture Design, ECCV 2018, arXiv 1807.11164.
"""

from typing import Literal, cast

import torch
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

STEM = 24  # channels
# channels of the stages, of sides 32, 16, 8
WIDTHS = {"v1": (144, 264, 384), "v2": (112, 176, 240)}
UNITS = {"v1": (3, 6, 6), "v2": (3, 5, 3)}  # of each stage
GROUPS = 3  # of the 1x1 convolutions of version 1
NARROW = 4  # version 1: how many times narrower a unit is inside


@dataclass(frozen=True, config=STRICT)
class ShuffleNetOptions(Options):
    """Options of `shufflenet`: version of the `units`, and `norm`, batch or layer normalisation."""

    units: Literal["v1", "v2"] = "v2"
    norm: Norm = "batch"


class ShuffleNet(TileEncoder):
    """A convolution of stride 2, then three stages of units, each beginning with stride 2."""

    def __init__(self, options: ShuffleNetOptions) -> None:
        unit = UnitV1 if options.units == "v1" else UnitV2
        widths = WIDTHS[options.units]
        super().__init__()
        layers: list[nn.Module] = [  # [n, 12, 128, 128]
            nn.Conv2d(N_CHANNELS, STEM, 3, stride=2, padding=1, bias=False),  # [n, 24, 64, 64]
            normalise(options.norm, STEM),
            nn.LeakyReLU(LEAK),
        ]
        before = STEM
        # [n, width, 32 | 16 | 8, ...]
        for width, count in zip(widths, UNITS[options.units], strict=True):
            layers.append(unit(before, width, 2, options.norm))
            layers += [unit(width, width, 1, options.norm) for _ in range(count)]
            before = width
        self.layers = nn.Sequential(*layers)
        self.head = pooled(before)
        self.embedding = nn.Linear(before, options.dim)  # [n, dim]
        self.apply(initialise)

    def read(self, x: Tensor) -> Tensor:
        """Return the features of tiles: [n, 12, 128, 128] -> [n, width]."""
        return cast(Tensor, self.head(self.layers(x)))


def _each(before: int, width: int, norm: Norm, groups: int = 1) -> list[nn.Module]:
    """Return a 1x1 convolution, normalised: [n, A, H, W] -> [n, B, H, W]."""
    return [nn.Conv2d(before, width, 1, groups=groups, bias=False), normalise(norm, width)]


def _depthwise(width: int, stride: int, norm: Norm) -> list[nn.Module]:
    """Return a depthwise 3x3 convolution (each channel by itself), normalised."""
    convolution = nn.Conv2d(width, width, 3, stride=stride, padding=1, groups=width, bias=False)
    return [convolution, normalise(norm, width)]


class UnitV1(nn.Module):
    """Grouped 1x1, shuffle, depthwise 3x3, grouped 1x1, added to the input: [n, A, H, W].

    With stride 2, the result is concatenated with the 3x3 mean of the input:
    [n, A, H, W] -> [n, B, H / 2, W / 2].
    """

    def __init__(self, before: int, width: int, stride: int, norm: Norm) -> None:
        super().__init__()
        made, narrow = width - before if stride == 2 else width, width // NARROW
        self.residual = nn.Sequential(
            *_each(before, narrow, norm, GROUPS),
            nn.LeakyReLU(LEAK),
            nn.ChannelShuffle(GROUPS),
            *_depthwise(narrow, stride, norm),
            *_each(narrow, made, norm, GROUPS),
        )
        self.shortcut = nn.AvgPool2d(3, stride=2, padding=1) if stride == 2 else None

    def forward(self, x: Tensor) -> Tensor:
        """Join both branches, then ReLU."""
        made = self.residual(x)
        joined = x + made if self.shortcut is None else torch.cat([self.shortcut(x), made], 1)
        return F.leaky_relu(joined, LEAK)


class UnitV2(nn.Module):
    """Half of the channels pass; the other half goes through 1x1, depthwise 3x3, 1x1.

    Then both halves are shuffled. With stride 2 there is no split: both halves read the whole
    input: [n, A, H, W] -> [n, B, H / 2, W / 2].
    """

    def __init__(self, before: int, width: int, stride: int, norm: Norm) -> None:
        super().__init__()
        half = width // 2
        self.passing: nn.Sequential | None = None
        if stride == 2:
            self.passing = nn.Sequential(
                *_depthwise(before, stride, norm), *_each(before, half, norm), nn.LeakyReLU(LEAK)
            )
        self.branch = nn.Sequential(
            *_each(before if stride == 2 else half, half, norm),
            nn.LeakyReLU(LEAK),
            *_depthwise(half, stride, norm),
            *_each(half, half, norm),
            nn.LeakyReLU(LEAK),
        )
        self.shuffle = nn.ChannelShuffle(2)

    def forward(self, x: Tensor) -> Tensor:
        """Split, join and shuffle."""
        if self.passing is None:
            passed, split = x.chunk(2, 1)
        else:
            passed, split = self.passing(x), x
        return cast(Tensor, self.shuffle(torch.cat([passed, self.branch(split)], 1)))
