"""A vision transformer: each patch of the tile attends to all others.

Dosovitskiy et al.: An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale, ICLR
2021, arXiv 2010.11929; blocks and sine/cosine positions of Vaswani et al.: Attention Is All You
Need, NIPS 2017, arXiv 1706.03762.
"""

from typing import Literal, cast

import torch
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from loc2vec.encoders.base import STRICT, Options, TileEncoder
from tiling.values import N_CHANNELS, TILE_SIZE

PATCH = 8  # pixels a side
SIDE = TILE_SIZE // PATCH  # patches a side
WIDTH, HEADS, DEPTH = 64, 4, 5
LONGEST = 100.0  # wave lengths of the positions: from 2 pi patches to 100 times that


@dataclass(frozen=True, config=STRICT)
class ViTOptions(Options):
    """Options of `vit`: `positions`, fixed sine and cosine waves, or learned vectors."""

    positions: Literal["sine", "learned"] = "sine"


class ViT(TileEncoder):
    """Patches of 8x8 pixels, five pre-norm transformer blocks, the mean of all patches."""

    positions: Tensor

    def __init__(self, options: ViTOptions) -> None:
        super().__init__()
        self.patches = nn.Conv2d(N_CHANNELS, WIDTH, PATCH, stride=PATCH)  # [n, 64, 16, 16]
        if options.positions == "learned":
            self.positions = nn.Parameter(torch.randn(SIDE * SIDE, WIDTH) * 0.02)
        else:
            self.register_buffer("positions", waves(SIDE, WIDTH), persistent=False)
        self.blocks = nn.Sequential(*(block(WIDTH, HEADS) for _ in range(DEPTH)))
        self.head = nn.LayerNorm(WIDTH)
        self.embedding = nn.Linear(WIDTH, options.dim)  # [n, dim]

    def read(self, x: Tensor) -> Tensor:
        """Return the features of tiles: [n, 12, 128, 128] -> [n, 64]."""
        tokens = self.patches(x).flatten(2).transpose(1, 2)  # [n, 256, 64]
        tokens = self.blocks(tokens + self.positions)  # [n, 256, 64]
        return cast(Tensor, self.head(tokens.mean(1)))


def block(width: int, heads: int) -> nn.Module:
    """Return a pre-norm block of attention and feed-forward: [n, tokens, width] -> the same."""
    return nn.TransformerEncoderLayer(
        width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
    )


def waves(side: int, width: int) -> Tensor:
    """Return positions of the patches of a square: float32 [side * side, width].

    Half of the numbers encode the row, half the column; of each, half are sines, half cosines.
    """
    lengths = LONGEST ** torch.linspace(0, 1, width // 4)  # [width / 4]
    angles = torch.arange(side)[:, None] / lengths  # [side, width / 4]
    line = torch.cat([angles.sin(), angles.cos()], 1)  # [side, width / 2]
    rows, columns = line[:, None].expand(-1, side, -1), line[None].expand(side, -1, -1)
    return torch.cat([rows, columns], 2).flatten(0, 1)
