"""Dense blocks: every layer reads the outputs of all layers before it.

Huang, Liu, van der Maaten, Weinberger: Densely Connected Convolutional Networks, CVPR 2017, arXiv
1608.06993. The memory-efficient variant is that of Pleiss, Chen, Huang, Li, van der Maaten,
Weinberger: Memory-Efficient Implementation of DenseNets, 2017, arXiv 1707.06990.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal, cast

import torch
from pydantic.dataclasses import dataclass
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from loc2vec.encoders.base import (
    LEAK,
    STRICT,
    Count,
    Norm,
    Options,
    TileEncoder,
    initialise,
    normalise,
    pooled,
)
from tiling.values import N_CHANNELS

STEM = 32  # channels
BOTTLENECK = 4  # times the growth rate
KEPT = 0.5  # share of the channels that a transition keeps


@dataclass(frozen=True, config=STRICT)
class DenseNetOptions(Options):
    """Options of `densenet`.

    `growth`: channels that a layer adds.
    `depth`: layers of each of the three blocks.
    `norm`: batch or layer normalisation.
    `memory`: "efficient" recomputes the bottlenecks in the backward pass instead of keeping them.
    """

    growth: Count = 16
    depth: Count = 6
    norm: Norm = "batch"
    memory: Literal["plain", "efficient"] = "plain"


class DenseNet(TileEncoder):
    """A convolution of stride 2 with pooling, then three dense blocks, joined by transitions."""

    def __init__(self, options: DenseNetOptions) -> None:
        super().__init__()
        width = STEM
        layers: list[nn.Module] = []
        for block in range(3):  # of sides 32, 16, 8
            if block:
                layers.append(_transition(width, int(width * KEPT), options.norm))
                width = int(width * KEPT)
            layers.append(DenseBlock(width, options))
            width += options.depth * options.growth
        self.stem = nn.Sequential(  # [n, 12, 128, 128]
            nn.Conv2d(N_CHANNELS, STEM, 3, stride=2, padding=1, bias=False),  # [n, 32, 64, 64]
            normalise(options.norm, STEM),
            nn.LeakyReLU(LEAK),
            nn.MaxPool2d(2),  # [n, 32, 32, 32]
        )
        self.layers = nn.Sequential(*layers)  # [n, width, 8, 8]
        self.head = nn.Sequential(normalise(options.norm, width), nn.LeakyReLU(LEAK), pooled(width))
        self.embedding = nn.Linear(width, options.dim)  # [n, dim]
        self.apply(initialise)

    def read(self, x: Tensor) -> Tensor:
        """Return the features of tiles: [n, 12, 128, 128] -> [n, width]."""
        return cast(Tensor, self.head(self.layers(self.stem(x))))


def _transition(before: int, width: int, norm: Norm) -> nn.Sequential:
    """Halve channels and sides: [n, A, H, W] -> [n, A / 2, H / 2, W / 2]."""
    convolution = nn.Conv2d(before, width, 1, bias=False)
    return nn.Sequential(normalise(norm, before), nn.LeakyReLU(LEAK), convolution, nn.AvgPool2d(2))


class DenseBlock(nn.Module):
    """Layers that each add `growth` channels: [n, A, H, W] -> [n, A + depth * growth, H, W]."""

    def __init__(self, width: int, options: DenseNetOptions) -> None:
        super().__init__()
        growth = options.growth
        self.layers = nn.ModuleList(
            DenseLayer(width + number * growth, options) for number in range(options.depth)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the input and the outputs of all layers, side by side."""
        made = [x]
        for layer in self.layers:
            made.append(layer(made))
        return torch.cat(made, 1)


class DenseLayer(nn.Module):
    """A 1x1 convolution of all outputs so far, then a 3x3 one with `growth` channels."""

    def __init__(self, width: int, options: DenseNetOptions) -> None:
        super().__init__()
        narrow, self.efficient = BOTTLENECK * options.growth, options.memory == "efficient"
        self.bottleneck = nn.Sequential(
            normalise(options.norm, width),
            nn.LeakyReLU(LEAK),
            nn.Conv2d(width, narrow, 1, bias=False),
        )
        self.convolution = nn.Sequential(
            normalise(options.norm, narrow),
            nn.LeakyReLU(LEAK),
            nn.Conv2d(narrow, options.growth, 3, padding=1, bias=False),
        )

    def forward(self, made: list[Tensor]) -> Tensor:
        """Return the layer's output: a list of [n, C, H, W] -> [n, growth, H, W]."""
        if self.efficient and self.training and torch.is_grad_enabled():
            narrow = checkpoint(self._narrow, *made, use_reentrant=False, context_fn=self._contexts)
        else:
            narrow = self._narrow(*made)
        return cast(Tensor, self.convolution(narrow))

    def _narrow(self, *made: Tensor) -> Tensor:
        return cast(Tensor, self.bottleneck(torch.cat(made, 1)))

    def _contexts(self) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        norm = self.bottleneck[0]
        return nullcontext(), nullcontext() if isinstance(norm, nn.GroupNorm) else _again(norm)


@contextmanager
def _again(norm: Any) -> Iterator[None]:
    """Keep a batch norm's running statistics: they have already counted this batch."""
    momentum, norm.momentum = norm.momentum, 0.0
    try:
        yield
    finally:
        norm.momentum = momentum
        norm.num_batches_tracked.sub_(1)
