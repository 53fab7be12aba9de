"""A spatial transformer before the default encoder: it may turn, shift and scale a tile first.

Jaderberg, Simonyan, Zisserman, Kavukcuoglu: Spatial Transformer Networks, NIPS 2015, arXiv
1506.02025.
"""

from typing import cast

import torch
import torch.nn.functional as F
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from loc2vec.encoders.base import LEAK, STRICT, TileEncoder, initialise
from loc2vec.encoders.loc2vec import Loc2Vec, Loc2VecOptions
from tiling.values import N_CHANNELS

IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


@dataclass(frozen=True, config=STRICT)
class SpatialTransformerOptions(Loc2VecOptions):
    """Options of `stn`: those of the encoder behind the transformer."""


class SpatialTransformer(TileEncoder):
    """A small network predicts an affine map, by which the tile is resampled bilinearly.

    The last layer starts with zero weights, so the first map is the identity. Ground beyond the
    tile is empty.
    """

    def __init__(self, options: SpatialTransformerOptions) -> None:
        super().__init__()
        self.localisation = nn.Sequential(  # [n, 12, 128, 128]
            nn.AvgPool2d(4),  # [n, 12, 32, 32]
            nn.Conv2d(N_CHANNELS, 16, 5, padding=2),  # [n, 16, 32, 32]
            nn.LeakyReLU(LEAK),
            nn.MaxPool2d(2),  # [n, 16, 16, 16]
            nn.Conv2d(16, 24, 5, padding=2),  # [n, 24, 16, 16]
            nn.LeakyReLU(LEAK),
            nn.MaxPool2d(4),  # [n, 24, 4, 4]
            nn.Flatten(),  # [n, 384]
            nn.Linear(384, 32),  # [n, 32]
            nn.LeakyReLU(LEAK),
        )
        self.affine = nn.Linear(32, 6)  # [n, 6]
        reader = Loc2Vec(options)
        self.features, self.head, self.embedding = reader.features, reader.head, reader.embedding
        self.localisation.apply(initialise)
        nn.init.zeros_(self.affine.weight)
        with torch.no_grad():
            self.affine.bias.copy_(torch.tensor(IDENTITY))

    def transform(self, x: Tensor) -> Tensor:
        """Return the resampled tiles: [n, 12, 128, 128] -> float32 of the same shape."""
        found = self.localisation(x)
        # coordinates need more than bfloat16's 3 digits
        with torch.autocast(x.device.type, enabled=False):
            theta = self.affine(found.float()).unflatten(1, (2, 3))  # [n, 2, 3]
            grid = F.affine_grid(theta, list(x.shape), align_corners=False)  # [n, 128, 128, 2]
            return F.grid_sample(x.float(), grid, align_corners=False)

    def read(self, x: Tensor) -> Tensor:
        """Return the features of tiles: [n, 12, 128, 128] -> [n, 64]."""
        return cast(Tensor, self.head(self.features(self.transform(x))))
