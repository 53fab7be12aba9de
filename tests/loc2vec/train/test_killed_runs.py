"""Runs killed at random moments and resumed end with the same bits as an undisturbed run."""

import multiprocessing
import os
import random
import signal
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from loc2vec.encoders.base import Options
from loc2vec.encoders.registry import ENCODERS, Family
from loc2vec.train.checkpoint import checkpoints
from loc2vec.train.loop import train
from loc2vec.train.run import Run, TrainConfig
from loc2vec.train.runlog import read_log
from tests.loc2vec.memory import MemoryDataset, Tiny

CONFIG = TrainConfig(
    encoder="tiny", places=4, pairs=2, steps=20, warm_up=2, eval_every=5, checkpoint_every=2
)  # fmt: skip
TIMING = ("tiles_per_s", "data_wait")


def run(out: Path, begins: Event) -> None:
    """Begin or resume the run, in a process of its own."""
    torch.set_num_threads(2)
    ENCODERS["tiny"] = Family(Options, Tiny)
    begins.set()
    train(Run(CONFIG, MemoryDataset(), out, MemoryDataset(seed=1)), "cpu", resume=out.exists())


def started(out: Path) -> multiprocessing.process.BaseProcess:
    """Return the process, which has come to the first line of `train`."""
    # a process that has PyTorch is forked in no time
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["loc2vec.train.loop", "conftest"])
    begins = context.Event()
    process = context.Process(target=run, args=(out, begins))
    process.start()
    assert begins.wait(60)
    return process


def undisturbed(out: Path) -> None:
    process = started(out)
    process.join()
    assert process.exitcode == 0


def assert_same_run(a: Path, b: Path) -> None:
    for folders in ((checkpoints(a)[-1], checkpoints(b)[-1]), (a / "best", b / "best")):
        first, second = (load_file(folder / "model.safetensors") for folder in folders)
        assert [name for name in first if not torch.equal(first[name], second[name])] == []
    logs = [
        [
            {key: value for key, value in line.items() if key not in TIMING}
            for line in read_log(out / "log.jsonl")
        ]
        for out in (a, b)
    ]
    assert logs[0] == logs[1]
    assert not list(b.rglob(".*"))  # nothing half-written is left


def kill_again_and_again(folder: Path, kills: int, longest_s: float) -> None:
    undisturbed(folder / "straight")
    rng, killed, runs = random.Random(0), 0, 0
    while killed < kills:
        out = folder / f"killed-{runs}"
        runs += 1
        finished = False
        while not finished:
            process = started(out)
            process.join(rng.uniform(0, longest_s) if killed < kills else None)
            finished = process.exitcode == 0
            if process.exitcode is None:
                assert process.pid is not None
                os.kill(process.pid, signal.SIGKILL)
                process.join()
                killed += 1
            else:
                assert finished
        assert_same_run(folder / "straight", out)


def test_a_run_killed_a_few_times_ends_like_an_undisturbed_one(tmp_path: Path) -> None:
    kill_again_and_again(tmp_path, kills=2, longest_s=1.0)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_a_run_killed_fifty_times_ends_like_an_undisturbed_one(tmp_path: Path) -> None:
    kill_again_and_again(tmp_path, kills=50, longest_s=1.5)
