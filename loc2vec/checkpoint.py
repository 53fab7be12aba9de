"""Checkpoints of a run: a folder with the network, the optimiser and a readable `state.json`."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from torch.optim import Optimizer

from loc2vec.errors import RunError
from loc2vec.model import save_weights
from tiling.errors import UserError
from tiling.files import read_json, replacing_folder, write_json

NETWORK, OPTIMIZER, STATE = "model.safetensors", "optimizer.safetensors", "state.json"


@dataclass(frozen=True)
class State:
    """Where a run stands after `step` steps.

    `run` says what the run is made of (configuration, tiles); `best` is the score of the best model;
    `plans` are the numbers of steps it was to have, one more each time it was made longer.
    """

    step: int
    run: dict[str, Any]
    best: float | None
    best_step: int | None
    plans: list[int]


def begin(out: Path, run: dict[str, Any], resume: bool) -> State:
    """Make a new run folder, or read where the run in an old one stands; `RunError` as in `train`.

    A run may be made longer: the learning rate then follows the new plan from the step where it stands.
    """
    if resume:
        state = read_state(out / "last")
        if run["steps"] <= state.run["steps"]:
            _check_same(out, state.run, run)
            return state
        _check_same(out, state.run | {"steps": run["steps"]}, run)
        return replace(state, run=run, plans=[*state.plans, run["steps"]])
    if out.exists():
        raise RunError(f"{out} exists: go on with --resume, or choose another folder")
    try:
        out.mkdir(parents=True)
    except OSError as error:
        raise RunError(f"cannot write {out}: {error.strerror}") from error
    return State(0, run, None, None, [run["steps"]])


def _check_same(out: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    changed = [key for key in before | now if before.get(key) != now.get(key)]
    if changed:
        words = "; ".join(f"{key} was {before.get(key)}, is {now.get(key)}" for key in changed)
        raise RunError(f"{out} was begun with other settings ({words}): resume it with the same")


def save_checkpoint(folder: Path, network: nn.Module, optimizer: Optimizer, state: State) -> None:
    """Write a checkpoint in place of the one before; a crash leaves one of the two whole."""
    moments = {
        f"{index}.{name}": value.contiguous()
        for index, values in optimizer.state_dict()["state"].items()
        for name, value in values.items()
    }
    with replacing_folder(folder) as temporary:
        save_weights(network, temporary / NETWORK)
        save_file(moments, temporary / OPTIMIZER)
        write_json(temporary / STATE, vars(state) | {"torch": torch.__version__})


def read_state(folder: Path) -> State:
    """Read where a checkpoint stands; `RunError` when there is none."""
    try:
        values = read_json(folder / STATE)
        return State(values["step"], values["run"], values["best"], values["best_step"], values["plans"])
    except (UserError, KeyError) as error:
        raise RunError(f"nothing to resume at {folder.parent}: {error}") from error


def load_checkpoint(folder: Path, network: nn.Module, optimizer: Optimizer) -> None:
    """Put the weights and the moments of a checkpoint into a network and its fresh optimiser."""
    try:
        network.load_state_dict(load_file(folder / NETWORK))
        moments = load_file(folder / OPTIMIZER)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise RunError(f"checkpoint {folder} is damaged: {' '.join(str(error).split())}") from error
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in moments.items():
        index, _, name = key.partition(".")
        state.setdefault(int(index), {})[name] = _laid_out_like(parameters[int(index)], value)
    optimizer.load_state_dict(optimizer.state_dict() | {"state": state})


def _laid_out_like(parameter: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Copy moments into the memory layout of their parameter, which the fused update relies on."""
    if value.shape != parameter.shape:  # the step counter
        return value
    return torch.empty_like(parameter).copy_(value).detach()
