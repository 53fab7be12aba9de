"""The published network: 128x128 tiles of 12 channels to 16 numbers, 305,040 values in all."""

from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from loc2vec.encoders.base import LEAK, STRICT, Norm, Options, TileEncoder, initialise, normalise
from tiling.values import N_CHANNELS


@dataclass(frozen=True, config=STRICT)
class Loc2VecOptions(Options):
    """Options of `loc2vec`: `norm`, batch or layer normalisation of the convolutions."""

    norm: Norm = "batch"


class Loc2Vec(TileEncoder):
    """CNN with five 3x3 and two 1x1 convolutions, one hidden and one linear dense layer.

    With `dim` 16 it has 302,992 weights and biases and 2,048 batch-norm values (scale, shift,
    running mean and variance of 512 features).
    """

    def __init__(self, options: Loc2VecOptions) -> None:
        super().__init__()
        norm = options.norm
        self.features = nn.Sequential(  # [n, 12, 128, 128]
            *_convolution(N_CHANNELS, 32, 3, norm),  # [n, 32, 126, 126]
            *_convolution(32, 32, 3, norm),  # [n, 32, 124, 124]
            nn.MaxPool2d(2),  # [n, 32, 62, 62]
            *_convolution(32, 64, 3, norm),  # [n, 64, 60, 60]
            nn.MaxPool2d(2),  # [n, 64, 30, 30]
            *_convolution(64, 64, 3, norm),  # [n, 64, 28, 28]
            nn.MaxPool2d(2),  # [n, 64, 14, 14]
            *_convolution(64, 128, 3, norm),  # [n, 128, 12, 12]
            nn.MaxPool2d(2),  # [n, 128, 6, 6]
            *_convolution(128, 64, 1, norm),  # [n, 64, 6, 6]
            *_convolution(64, 64, 1, norm),  # [n, 64, 6, 6]
        )
        self.head = nn.Sequential(
            nn.Flatten(),  # [n, 2304]
            nn.Linear(64 * 6 * 6, 64),  # [n, 64]
            nn.BatchNorm1d(64) if norm == "batch" else nn.LayerNorm(64),
            nn.LeakyReLU(LEAK),
        )
        self.embedding = nn.Linear(64, options.dim)  # [n, dim]
        self.apply(initialise)

    def read(self, x: Tensor) -> Tensor:
        """Return the features of tiles: [n, 12, 128, 128] -> [n, 64]."""
        features: Tensor = self.head(self.features(x))
        return features


def _convolution(
    channels_in: int, channels_out: int, kernel: int, norm: Norm
) -> tuple[nn.Module, ...]:
    """Return a convolution without padding and what follows it, as fresh modules."""
    return (
        nn.Conv2d(channels_in, channels_out, kernel),
        normalise(norm, channels_out),
        nn.LeakyReLU(LEAK),
    )
