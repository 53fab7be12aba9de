"""Tiles of several scales: one encoder for all, its vectors concatenated."""

from torch import Tensor, nn

from tiling.values import N_CHANNELS


class SharedScales(nn.Module):
    """An encoder shared by the scales of tiles [n, scales * 12, 128, 128], the smallest first."""

    def __init__(self, encoder: nn.Module, scales: int) -> None:
        super().__init__()
        self.encoder, self.scales = encoder, scales

    def forward(self, tiles: Tensor) -> Tensor:
        """Encode tiles as float32 [n, scales * dim], the numbers of the first scale first."""
        # [n * scales, 12, 128, 128]
        each = tiles.reshape(len(tiles) * self.scales, N_CHANNELS, *tiles.shape[2:])
        # [n * scales, dim]
        vectors: Tensor = self.encoder(each)
        return vectors.reshape(len(tiles), vectors.shape[1] * self.scales)
