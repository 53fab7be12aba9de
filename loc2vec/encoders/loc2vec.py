"""The published network: 128x128 tiles of 12 channels to 16 numbers, 305,040 values in all."""

from typing import cast

import torch
from torch import Tensor, nn

from tiling.values import N_CHANNELS

LEAK = 0.01  # slope of the leaky ReLU below zero


class Loc2Vec(nn.Module):
    """CNN of five 3x3 and two 1x1 convolutions, one hidden and one linear dense layer.

    With `dim` 16 it has 302,992 weights and biases and 2,048 batch-norm values (scale, shift, running
    mean and variance of 512 features).
    """

    def __init__(self, dim: int = 16) -> None:
        super().__init__()
        self.dim = dim
        self.input_dropout = nn.Dropout2d(1 / N_CHANNELS)  # whole channels, one of the twelve on average
        self.features = nn.Sequential(  # [n, 12, 128, 128]
            *_convolution(N_CHANNELS, 32, 3),  # [n, 32, 126, 126]
            *_convolution(32, 32, 3),  # [n, 32, 124, 124]
            nn.MaxPool2d(2),  # [n, 32, 62, 62]
            *_convolution(32, 64, 3),  # [n, 64, 60, 60]
            nn.MaxPool2d(2),  # [n, 64, 30, 30]
            *_convolution(64, 64, 3),  # [n, 64, 28, 28]
            nn.MaxPool2d(2),  # [n, 64, 14, 14]
            *_convolution(64, 128, 3),  # [n, 128, 12, 12]
            nn.MaxPool2d(2),  # [n, 128, 6, 6]
            *_convolution(128, 64, 1),  # [n, 64, 6, 6]
            *_convolution(64, 64, 1),  # [n, 64, 6, 6]
        )
        self.head = nn.Sequential(
            nn.Flatten(),  # [n, 2304]
            nn.Linear(64 * 6 * 6, 64),  # [n, 64]
            nn.BatchNorm1d(64),
            nn.LeakyReLU(LEAK),
            nn.Dropout(0.1),  # behind the last batch norm, whose variance it would bias
        )
        self.embedding = nn.Linear(64, dim)  # [n, dim]
        self.apply(_initialise)

    def forward(self, tiles: Tensor) -> Tensor:
        """Encode tiles, uint8 (0..255) or float (0..1) [n, 12, 128, 128], as float32 [n, dim]."""
        x = tiles.float() / 255 if tiles.dtype == torch.uint8 else tiles
        x = self.head(self.features(self.input_dropout(x)))
        with torch.autocast(x.device.type, enabled=False):  # bfloat16 would round distances to 3 digits
            return cast(Tensor, self.embedding(x.float()))


def _convolution(channels_in: int, channels_out: int, kernel: int) -> tuple[nn.Module, ...]:
    """Return a convolution without padding and what follows it, as fresh modules."""
    return (
        nn.Conv2d(channels_in, channels_out, kernel),
        nn.BatchNorm2d(channels_out),
        nn.LeakyReLU(LEAK),
    )


def _initialise(module: nn.Module) -> None:
    """Draw weights that keep the variance of the signal through a leaky ReLU (He et al. 2015)."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.kaiming_normal_(module.weight, a=LEAK, nonlinearity="leaky_relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
