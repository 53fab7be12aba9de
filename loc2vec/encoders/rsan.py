"""Residual self-attention over several scales of the surroundings, made for naming cells.

The Residual Self-Attention Network (RSAN) of hierarchical geo-localisation. A convolution and max
pooling, both with kernel and stride 4, make the tokens of each scale. Residual multi-head attention
relates them (Vaswani et al.: Attention Is All You Need, NIPS 2017, arXiv 1706.03762).
`loc2vec.train.objectives.geocell` trains it to name cells.
"""

from typing import cast

import torch
import torch.nn.functional as F
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from loc2vec.encoders.base import LEAK, STRICT, Count, Options, TileEncoder
from loc2vec.encoders.vit import waves
from tiling.values import N_CHANNELS, TILE_SIZE

STRIDE = 4  # and kernel, of the convolution and of the pooling
SIDE = TILE_SIZE // STRIDE // STRIDE  # tokens a side
WIDTH, HEADS = 96, 6
NARROW = 16  # channels behind the convolution over tokens


@dataclass(frozen=True, config=STRICT)
class RSANOptions(Options):
    """Options of `rsan`.

    `scales`: 1 is the whole tile; each more adds the middle of the last one, half as wide.
    `depth`: blocks of attention.
    """

    scales: Count = 3
    depth: Count = 4


class RSAN(TileEncoder):
    """Tokens of all scales, blocks of residual attention, a 1-D convolution, a dense layer."""

    positions: Tensor

    def __init__(self, options: RSANOptions) -> None:
        super().__init__()
        self.scales = options.scales
        self.extractors = nn.ModuleList(_extractor() for _ in range(options.scales))
        self.register_buffer("positions", waves(SIDE, WIDTH), persistent=False)
        self.scale_of_token = nn.Parameter(torch.randn(options.scales, 1, WIDTH) * 0.02)
        self.blocks = nn.Sequential(*(ResidualAttention() for _ in range(options.depth)))
        self.over_tokens = nn.Conv1d(WIDTH, NARROW, 3, padding=1)
        self.head = nn.Sequential(nn.LeakyReLU(LEAK), nn.Flatten())
        self.embedding = nn.Linear(NARROW * options.scales * SIDE * SIDE, options.dim)  # [n, dim]

    def read(self, x: Tensor) -> Tensor:
        """Return the features of tiles: [n, 12, 128, 128] -> [n, 16 * tokens]."""
        # [n, 96, 8, 8] each
        seen = [extract(_middle(x, 2**number)) for number, extract in enumerate(self.extractors)]
        # [n, scales, 64, 96]
        tokens = torch.stack([each.flatten(2).transpose(1, 2) for each in seen], 1)
        tokens = tokens + self.positions + self.scale_of_token
        tokens = self.blocks(tokens.flatten(1, 2))  # [n, tokens, 96]
        return cast(Tensor, self.head(self.over_tokens(tokens.transpose(1, 2))))


def _extractor() -> nn.Sequential:
    return nn.Sequential(  # [n, 12, 128, 128]
        nn.Conv2d(N_CHANNELS, WIDTH, STRIDE, stride=STRIDE),  # [n, 96, 32, 32]
        nn.BatchNorm2d(WIDTH),
        nn.LeakyReLU(LEAK),
        nn.MaxPool2d(STRIDE),  # [n, 96, 8, 8]
    )


def _middle(x: Tensor, times: int) -> Tensor:
    """Enlarge the middle of tiles `times` times: [n, C, H, W] -> the same shape."""
    if times == 1:
        return x
    side = x.shape[-1] // times
    first = (x.shape[-1] - side) // 2
    middle = x[:, :, first : first + side, first : first + side]
    return F.interpolate(middle, scale_factor=float(times), mode="bilinear", align_corners=False)


class ResidualAttention(nn.Module):
    """x + attention(norm(x)): [n, tokens, 96] -> the same."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        """Add attention to the tokens."""
        y = self.norm(x)
        attended: Tensor = x + self.attention(y, y, y, need_weights=False)[0]
        return attended
