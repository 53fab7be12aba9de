"""Tiles of several scales: one encoder for all of them."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from loc2vec.encoder import LocationEncoder
from loc2vec.encoders.registry import build
from loc2vec.errors import InputError
from loc2vec.evaluation.retrieval import retrieval
from loc2vec.train.batches import Batches
from loc2vec.train.loop import train
from loc2vec.train.run import Run, TrainConfig
from tests.loc2vec.memory import MemoryDataset
from tiling.values import TileGeometry

BOTH = TileGeometry(radius_m=100.0, wider_m=(400.0,))


@dataclass(frozen=True)
class TwoScales(MemoryDataset):
    """Its second scale is the picture upside down."""

    channels: tuple[str, ...] = tuple(f"channel {i}" for i in range(24))
    geometry: TileGeometry = BOTH
    spacing_m: float = 5000.0

    def tile(self, place: int, slot: int) -> NDArray[np.uint8]:
        first = super().tile(place, slot)
        return np.concatenate([first, first[:, ::-1]])


def random_tiles(n: int) -> torch.Tensor:
    return torch.randint(
        0, 256, (n, 24, 128, 128), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )


@pytest.mark.parametrize("n", [0, 1, 3])
def test_each_scale_is_read_by_the_same_encoder(n: int) -> None:
    torch.manual_seed(0)
    network = build("loc2vec", 2, dim=5).eval()
    tiles = random_tiles(n)
    with torch.no_grad():
        vectors = network(tiles)
        each = [network.get_submodule("encoder")(scale) for scale in tiles.split(12, dim=1)]
    torch.testing.assert_close(vectors, torch.cat(each, 1))
    assert vectors.shape == (n, 10)
    alone = build("loc2vec", dim=5)
    assert sum(p.numel() for p in network.parameters()) == sum(
        p.numel() for p in alone.parameters()
    )


def test_a_run_a_model_and_an_encoder_of_two_scales(tmp_path: Path, tiny: str) -> None:
    config = TrainConfig(encoder="tiny", dim=8, places=4, pairs=2, steps=2, warm_up=1, eval_every=2)
    result = train(Run(config, TwoScales(), tmp_path / "run", TwoScales(seed=1)), "cpu")
    assert result.finished
    encoder = LocationEncoder.load(tmp_path / "run" / "best", device="cpu")
    assert (encoder.dim, encoder.geometry) == (16, BOTH)
    tile = TwoScales().tile(0, 0)
    assert encoder.encode(tile).shape == (16,)
    with pytest.raises(InputError, match=r"uint8 \[n, 24, 128, 128\], not uint8 \[12, 128, 128\]"):
        encoder.encode(tile[:12])
    assert np.isfinite(retrieval(encoder.encode, TwoScales(), channels_off=3)["recall@1 off"])


def test_places_overlap_as_far_as_the_widest_scale_reaches() -> None:

    near = replace(TwoScales(), spacing_m=600.0)
    assert Batches(near, TrainConfig(places=4, pairs=2)).batch(0).overlapping.sum() > 4
    assert (
        Batches(replace(near, geometry=TileGeometry()), TrainConfig(places=4, pairs=2))
        .batch(0)
        .overlapping.sum()
        == 4
    )


def test_a_channel_is_off_in_every_scale_and_views_differ_in_how_many() -> None:
    batches = Batches(TwoScales(n_places=64), TrainConfig(places=64, pairs=3, channel_dropout=0.2))
    kept = batches.batch(0).kept
    near, wide = kept.split(12, dim=2)
    assert torch.equal(near, wide)
    off = (~near[:, 1:]).sum(2)
    assert off.min() == 0
    assert off.max() >= 5
    assert off.float().mean().item() == pytest.approx(0.2 * 12, abs=0.3)
