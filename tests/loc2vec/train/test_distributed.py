"""Training by several processes, as `torchrun` starts them, with gloo on the CPU."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import loc2vec.model.compute
import loc2vec.train.loop
from loc2vec.encoders.base import Options
from loc2vec.encoders.registry import ENCODERS, Family
from loc2vec.errors import RunError
from loc2vec.train.checkpoint import checkpoints, read_checkpoint
from loc2vec.train.distributed import World, use_whole_batches
from loc2vec.train.runlog import read_log
from tests.loc2vec.train.ranks import Double, run

SCRIPT = Path(__file__).parent / "ranks.py"
ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3]), "OMP_NUM_THREADS": "1"}
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
CURVES = (
    "loss",
    "positive_distance",
    "nearest_negative_distance",
    "easy_share",
    "gradient_norm",
    "learning_rate",
)


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put back what `ranks.run` sets."""
    monkeypatch.setattr(
        loc2vec.model.compute, "bfloat16_is_fast", loc2vec.model.compute.bfloat16_is_fast
    )
    monkeypatch.setattr(loc2vec.train.loop, "LOG_EVERY", loc2vec.train.loop.LOG_EVERY)
    monkeypatch.setitem(ENCODERS, "double", Family(Options, Double))
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def curves(out: Path) -> list[list[float]]:
    lines = [line for line in read_log(out / "log.jsonl") if "loss" in line]
    return [[line[name] for name in CURVES] for line in lines]


def by_two(out: Path, *arguments: str) -> None:
    command = [*TORCHRUN, str(SCRIPT), str(out), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr


def test_two_processes_train_network_and_head_as_one_does_also_resumed(tmp_path: Path) -> None:
    by_two(tmp_path / "two", "double", "4", "--head")
    by_two(tmp_path / "two", "double", "6", "--head", "--resume")
    run(tmp_path / "one", "double", 4, "--head")
    run(tmp_path / "one", "double", 6, "--head", "--resume")
    one, two = (torch.tensor(curves(tmp_path / name)) for name in ("one", "two"))
    assert len(one) == 6
    assert one[:, 0].max() > 1.1 * one[:, 0].min()
    torch.testing.assert_close(two, one, rtol=1e-5, atol=1e-6)
    folders = [checkpoints(tmp_path / name)[-1] for name in ("one", "two")]
    for part in ("model", "objectives"):
        alone, together = (load_file(folder / f"{part}.safetensors") for folder in folders)
        assert alone.keys() == together.keys()
        for name, value in alone.items():
            torch.testing.assert_close(together[name], value, rtol=1e-5, atol=1e-6, msg=name)
    logs = [read_log(tmp_path / name / "log.jsonl")[-1]["top-1 cell"] for name in ("one", "two")]
    assert logs[0] == logs[1]


@pytest.mark.soak  # the test before trains a network with more parts
def test_two_processes_train_the_published_network_as_one_does(tmp_path: Path) -> None:
    by_two(tmp_path / "two", "loc2vec", "2")
    run(tmp_path / "one", "loc2vec", 2)
    one, two = (torch.tensor(curves(tmp_path / name)) for name in ("one", "two"))
    # before the optimiser makes rounding larger
    torch.testing.assert_close(two[0], one[0], rtol=1e-3, atol=0)
    torch.testing.assert_close(two[:, 0], one[:, 0], rtol=0.02, atol=0)


@pytest.mark.parametrize("module", [nn.Dropout(), nn.BatchNorm3d(1)])
def test_what_several_processes_cannot_train_as_one_is_refused(module: nn.Module) -> None:
    with pytest.raises(
        RunError, match=f"{type(module).__name__} cannot be trained by several processes"
    ):
        use_whole_batches(nn.Sequential(nn.Sequential(module)), World(0, 2))


@pytest.mark.soak
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_torchrun_stops_all_processes_with_a_checkpoint(
    tmp_path: Path, number: signal.Signals
) -> None:
    with subprocess.Popen(
        [*TORCHRUN, SCRIPT, tmp_path / "run", "double", "100000"],
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    ) as torchrun:
        log = tmp_path / "run" / "log.jsonl"
        until = time.monotonic() + 120
        while not (log.exists() and any("loss" in line for line in read_log(log))):
            assert torchrun.poll() is None
            assert time.monotonic() < until
            time.sleep(0.1)
        torchrun.send_signal(number)
        _, said = torchrun.communicate(timeout=60)
    assert "stopping: saving a checkpoint" in said
    assert not re.search(r"forcefully|Sending process \d+ closing signal SIGKILL", said)
    stood = read_checkpoint(checkpoints(tmp_path / "run")[-1]).state.step
    assert stood == read_log(log)[-1]["step"] > 0
