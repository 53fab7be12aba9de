import json
import math
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from loc2vec.errors import RunError, TrainingError
from loc2vec.model import load_model
from loc2vec.train import TrainConfig, learning_rate, train
from tiling.errors import FingerprintError

SMALL = TrainConfig(places=4, pairs=2, steps=6, warm_up=2, eval_every=3, checkpoint_every=100)


class StopAfter(threading.Event):
    """An event that is set once it was asked so many times, as Ctrl-C in the middle of a run."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.left = times

    def is_set(self) -> bool:
        self.left -= 1
        return self.left < 0


def lines(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


@pytest.fixture(autouse=True)
def log_often(monkeypatch):
    monkeypatch.setattr("loc2vec.train.LOG_EVERY", 2)


def test_resumed_run_equals_an_undisturbed_one_bit_for_bit(tmp_path, make_dataset):
    tiles, validation = make_dataset(), make_dataset(seed=1)
    straight = train(SMALL, tiles, tmp_path / "a", validation, "cpu")
    stopped = train(SMALL, tiles, tmp_path / "b", validation, "cpu", stop=StopAfter(3))
    assert (stopped.step, stopped.finished) == (3, False)
    resumed = train(SMALL, tiles, tmp_path / "b", validation, "cpu", resume=True)
    assert resumed.finished and replace(resumed, out=straight.out) == straight
    for name in ("last/model.safetensors", "last/optimizer.safetensors", "best/model.safetensors"):
        a, b = load_file(tmp_path / "a" / name), load_file(tmp_path / "b" / name)
        assert a.keys() == b.keys()
        assert all(torch.equal(a[key], b[key]) for key in a), name
    losses = [{k: v for k, v in x.items() if k != "tiles_per_s"} for x in lines(tmp_path / "a")]
    assert [x["recall@1"] for x in losses if "recall@1" in x] == [
        x["recall@1"] for x in lines(tmp_path / "b") if "recall@1" in x
    ]
