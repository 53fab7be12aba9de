"""The objective of covers: its targets, and that it asks for channels that are switched off."""

from pathlib import Path

import numpy as np
import pytest
import torch

from loc2vec.train.batches import Batches
from loc2vec.train.loop import train
from loc2vec.train.objectives.cover import LEAST_VARIANCE, CoverObjective, root_covers
from loc2vec.train.run import Run, TrainConfig
from loc2vec.train.runlog import read_log
from tests.loc2vec.memory import MemoryDataset
from tiling.values import N_CHANNELS


def test_covers_are_roots_of_means_over_the_tile_and_over_its_middle() -> None:
    tiles = torch.zeros(1, 2 * N_CHANNELS, 128, 128, dtype=torch.uint8)
    tiles[:, 3, :64] = 255  # half of the tile, half of its middle
    tiles[:, 5, 40:88, 40:88] = 255  # the middle alone
    tiles[:, 12 + 7] = 51  # of the wider scale
    covers = root_covers(tiles, N_CHANNELS)
    assert covers.shape == (1, 3 * N_CHANNELS)
    found = covers.square()[0]
    assert found[3] == pytest.approx(0.5)
    assert found[24 + 3] == pytest.approx(0.5)
    assert found[5] == pytest.approx((48 / 128) ** 2)
    assert found[24 + 5] == pytest.approx(1)
    assert found[12 + 7] == pytest.approx(0.2)
    assert np.count_nonzero(found.numpy()) == 5


def test_the_target_is_the_anchor_as_it_was_rendered() -> None:
    data = MemoryDataset()
    batch = Batches(data, TrainConfig(places=4, pairs=2, channel_dropout=0.5)).batch(0)
    variance = torch.linspace(0, 0.1, 2 * N_CHANNELS)
    objective = CoverObjective(torch.nn.Linear(5, 2 * N_CHANNELS), variance)
    vectors = torch.randn(4, 3, 5)
    anchors = torch.from_numpy(data.tiles(batch.places.numpy(), np.zeros(4, np.int64)))
    off = objective.head(vectors) - root_covers(anchors, N_CHANNELS)[:, None]
    expected = (off.square() / variance.clamp(min=LEAST_VARIANCE)).mean().item()
    assert objective(vectors, batch).loss.item() == pytest.approx(expected, rel=1e-5)


def test_covers_that_vary_little_weigh_as_much_as_others(tmp_path: Path) -> None:
    config = TrainConfig(encoder="loc2vec", places=4, heads={"cover": 1.0})
    run = Run(config, MemoryDataset(n_places=6), tmp_path / "run")
    tiles = np.stack([MemoryDataset().tile(place, 0) for place in range(6)])
    covers = root_covers(torch.from_numpy(tiles), N_CHANNELS)
    expected = covers.var(0, correction=0).clamp(min=LEAST_VARIANCE)
    torch.testing.assert_close(CoverObjective.of(run, 16).variance, expected)


def test_it_learns(tmp_path: Path, tiny: str) -> None:
    config = TrainConfig(
        encoder="tiny", places=4, pairs=2, steps=60, warm_up=2, learning_rate=3e-2,
        heads={"cover": 1.0}, loss="none",
    )  # fmt: skip
    train(Run(config, MemoryDataset(), tmp_path / "run"), "cpu")
    log = [line["loss"] for line in read_log(tmp_path / "run" / "log.jsonl") if "loss" in line]
    assert log[-1] < 0.5 * log[0]
