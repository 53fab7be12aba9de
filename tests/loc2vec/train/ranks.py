"""One of the processes that `torchrun` starts: RUN ENCODER STEPS [--resume] [--head]."""

import sys
import threading
from pathlib import Path

import torch
from torch import Tensor, nn

import loc2vec.model.compute
import loc2vec.train.loop
from loc2vec.encoders.base import Options
from loc2vec.encoders.registry import ENCODERS, Family
from loc2vec.train.cli import _stop_on_interrupt
from loc2vec.train.loop import train
from loc2vec.train.run import Run, TrainConfig, TrainResult
from tests.loc2vec.memory import MemoryDataset


class Double(nn.Module):
    """An encoder in float64 with batch norms: the order of sums hardly matters to it."""

    def __init__(self, options: Options) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(12, 8, 3, stride=16), nn.BatchNorm2d(8), nn.LeakyReLU(), nn.Flatten(),
            nn.Linear(8 * 8 * 8, 32), nn.BatchNorm1d(32), nn.LeakyReLU(),
            nn.Linear(32, options.dim),
        )  # fmt: skip
        self.double()

    def forward(self, tiles: Tensor) -> Tensor:
        vectors: Tensor = self.layers(tiles.double() / 255)
        return vectors


def run(
    out: Path,
    encoder: str,
    steps: int,
    *flags: str,
    stop: threading.Event | None = None,
) -> TrainResult:
    """Train some steps without bfloat16; flags "--resume", "--head" (with the geocell head)."""
    torch.set_num_threads(1)
    ENCODERS["double"] = Family(Options, Double)
    loc2vec.model.compute.bfloat16_is_fast = lambda device: False
    loc2vec.train.loop.LOG_EVERY = 1
    config = TrainConfig(
        encoder=encoder, places=4, pairs=2, steps=steps, warm_up=2, eval_every=2,
        checkpoint_every=3, heads={"geocell": 1.0} if "--head" in flags else {},
    )  # fmt: skip
    data, validation = MemoryDataset(), MemoryDataset(seed=1)
    return train(Run(config, data, out, validation), "cpu", "--resume" in flags, stop)


if __name__ == "__main__":
    with _stop_on_interrupt() as event:
        result = run(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), *sys.argv[4:], stop=event)
    sys.exit(0 if result.finished else 130)
