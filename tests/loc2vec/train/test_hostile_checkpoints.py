"""Checkpoints with fitting hashes and hostile content: refused in one line, and no code is run."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from loc2vec.errors import RunError
from loc2vec.train.checkpoint import (
    HASHES,
    OPTIMIZER,
    STATE,
    State,
    checkpoints,
    read_checkpoint,
    save_checkpoint,
)
from tiling.files.atomic import read_json, sha256_of, write_json


def network() -> tuple[dict[str, nn.Module], torch.optim.Optimizer]:
    part = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(part.parameters())
    part(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    return {"model": part}, optimizer


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    save_checkpoint(tmp_path, *network(), State(1, {"steps": 5}))
    return checkpoints(tmp_path)[0]


def forge(folder: Path) -> None:
    """Let the hashes fit what the folder holds."""
    names = read_json(folder / HASHES)
    write_json(folder / HASHES, {name: sha256_of(folder / name) for name in names})


@pytest.mark.parametrize(
    "values",
    [
        {"step": "5"}, {"step": 1.5}, {"step": None}, {"run": []}, {"run": {}}, {"plans": 3},
        {"plans": ["x"]}, {"losses": []}, {"losses": [1, 2, 3]}, {"losses": "ab"}, {"best": {}},
        {"best_step": "x"}, {"skipped": "none"},
    ],
)  # fmt: skip
def test_a_forged_state_is_refused(checkpoint: Path, values: dict[str, Any]) -> None:
    write_json(checkpoint / STATE, read_json(checkpoint / STATE) | values)
    forge(checkpoint)
    with pytest.raises(RunError, match="step-00000001 is damaged: ") as refused:
        read_checkpoint(checkpoint)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "moments",
    [
        {"0.exp_avg": torch.zeros(7)},
        {"99.exp_avg": torch.zeros(2, 3)},
        {"x.exp_avg": torch.zeros(2, 3)},
        {"plain": torch.zeros(2, 3)},
    ],
)
def test_forged_moments_are_refused(checkpoint: Path, moments: dict[str, torch.Tensor]) -> None:
    save_file(moments, checkpoint / OPTIMIZER)
    forge(checkpoint)
    with pytest.raises(RunError, match="the checkpoint is of another run: "):
        read_checkpoint(checkpoint).restore(*network())


def test_a_pickle_in_the_place_of_weights_is_refused(checkpoint: Path) -> None:
    torch.save({"weight": torch.zeros(2, 3)}, checkpoint / "model.safetensors")
    forge(checkpoint)
    with pytest.raises(RunError, match="is damaged: "):
        read_checkpoint(checkpoint)


def test_a_whole_checkpoint_is_read_and_restored(checkpoint: Path) -> None:
    read = read_checkpoint(checkpoint)
    parts, optimizer = network()
    read.restore(parts, optimizer)
    assert (read.state.step, read.state.losses) == (1, (0.0, 0))
    torch.testing.assert_close(parts["model"].state_dict(), read.weights["model"])
