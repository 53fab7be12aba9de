"""Checkpoints of a run: RUN/checkpoints/step-NNNNNNNN, each a folder that is written atomically.

    model.safetensors       weights of the encoder
    objectives.safetensors  weights of the objectives, if they have any
    optimizer.safetensors   moments of all these weights
    state.json              `State`
    sha256.json             SHA-256 of the others

The last three are kept: if the newest one is damaged, the run resumes from the one before.
"""

import operator
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.optim import Optimizer

from loc2vec.errors import RunError
from loc2vec.model.folder import save_weights, write_tensors
from tiling.errors import UserError
from tiling.files.atomic import read_json, replacing_folder, sha256_of, write_json
from tiling.words import in_one_line

CHECKPOINTS = "checkpoints"
KEPT = 3
OPTIMIZER, STATE, HASHES = "optimizer.safetensors", "state.json", "sha256.json"
TENSORS = ".safetensors"

Parts = Mapping[str, nn.Module]  # what has weights, by the name of their file


@dataclass(frozen=True)
class State:
    """Where a run stands after `step` steps.

    `run`: what the run is made of (configuration, tiles).
    `best`, `best_step`: score and step of the best model.
    `plans`: the planned numbers of steps, one more each time the run was made longer.
    `skipped`: number of steps that changed nothing, because loss or gradient was not finite.
    `losses`: sum and number of the losses since the last evaluation.
    """

    step: int
    run: dict[str, Any]
    best: float | None = None
    best_step: int | None = None
    plans: tuple[int, ...] = ()
    skipped: int = 0
    losses: tuple[float, int] = (0.0, 0)


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A checkpoint in memory.

    `weights` are those of each part; `moments` are the optimiser's, by "index.name".
    """

    state: State
    weights: dict[str, dict[str, Tensor]]
    moments: dict[str, Tensor]

    def restore(self, parts: Parts, optimizer: Optimizer) -> None:
        """Load weights and moments into the parts and their fresh optimiser.

        Raises `RunError` when they do not fit.
        """
        try:
            for name, module in parts.items():
                module.load_state_dict(self.weights.get(name, {}))
        except RuntimeError as error:
            raise RunError(f"the checkpoint is of another network: {in_one_line(error)}") from error
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        state: dict[int, dict[str, Tensor]] = {}
        try:
            for key, value in self.moments.items():
                index, _, name = key.partition(".")
                like = parameters[int(index)]
                state.setdefault(int(index), {})[name] = _laid_out_like(like, value)
            optimizer.load_state_dict(optimizer.state_dict() | {"state": state})
        except (ValueError, IndexError, RuntimeError) as error:
            raise RunError(f"the checkpoint is of another run: {in_one_line(error)}") from error


def _laid_out_like(parameter: Tensor, value: Tensor) -> Tensor:
    """Copy moments into the memory layout of their parameter, as the fused update needs it."""
    if value.ndim == 0:  # the step counter
        return value
    if value.shape != parameter.shape:
        raise ValueError(f"moments {list(value.shape)} of weights {list(parameter.shape)}")
    return torch.empty_like(parameter).copy_(value).detach()


def begin(out: Path, run: dict[str, Any], parts: Parts, optimizer: Optimizer) -> State:
    """Make a run folder; it appears together with the checkpoint of step 0."""
    state = State(0, run, plans=(run["steps"],))
    with replacing_folder(out) as temporary:
        save_checkpoint(temporary, parts, optimizer, state)
    return state


def continued(out: Path, state: State, run: dict[str, Any]) -> State:
    """Return the state to resume from; `RunError` when `out` was begun with other settings.

    A run may be made longer. The learning rate then follows the new plan from the next step on.
    """
    if run["steps"] <= state.run["steps"]:
        _check_same(out, state.run, run)
        return state
    _check_same(out, state.run | {"steps": run["steps"]}, run)
    return replace(state, run=run, plans=(*state.plans, run["steps"]))


def _check_same(out: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    changed = [key for key in before | now if before.get(key) != now.get(key)]
    if changed:
        words = "; ".join(f"{key} was {before.get(key)}, is {now.get(key)}" for key in changed)
        raise RunError(f"{out} was begun with other settings ({words}): resume it with the same")


def save_checkpoint(out: Path, parts: Parts, optimizer: Optimizer, state: State) -> None:
    """Write a checkpoint of a run, then remove all but the last three."""
    moments = {
        f"{index}.{name}": value.contiguous()
        for index, values in optimizer.state_dict()["state"].items()
        for name, value in values.items()
    }
    with replacing_folder(out / CHECKPOINTS / f"step-{state.step:08d}") as temporary:
        for name, module in parts.items():
            if module.state_dict():
                save_weights(module, temporary / f"{name}{TENSORS}")
        write_tensors(moments, temporary / OPTIMIZER)
        write_json(temporary / STATE, vars(state) | {"torch": torch.__version__})
        files = sorted(temporary.iterdir())
        write_json(temporary / HASHES, {path.name: sha256_of(path) for path in files})
    for old in checkpoints(out)[:-KEPT]:
        shutil.rmtree(old)


def checkpoints(out: Path) -> list[Path]:
    """Return the checkpoints of a run, oldest first."""
    return sorted((out / CHECKPOINTS).glob("step-*"))


def newest_checkpoint(out: Path) -> tuple[Checkpoint, list[str]]:
    """Read the newest undamaged checkpoint of a run.

    Also return complaints about newer ones. Raises `RunError` when there is none.
    """
    complaints: list[str] = []
    for folder in reversed(checkpoints(out)):
        try:
            return read_checkpoint(folder), complaints
        except RunError as error:
            complaints.append(str(error))
    raise RunError(
        f"nothing to resume at {out}: {'; '.join(complaints) or 'it holds no checkpoint'}"
    )


def read_checkpoint(folder: Path) -> Checkpoint:
    """Read one checkpoint; `RunError` when something is missing or was altered."""
    try:
        hashes = read_json(folder / HASHES)
        for name, expected in hashes.items():
            if sha256_of(folder / name) != expected:
                raise RunError(f"checkpoint {folder} is damaged: {name} was altered")
        values = read_json(folder / STATE)
        state = _state({key: values[key] for key in State.__dataclass_fields__})
        tensors = {name: load_file(folder / name) for name in hashes if name.endswith(TENSORS)}
        moments = tensors.pop(OPTIMIZER)
    except RunError:
        raise
    except (UserError, OSError, LookupError, TypeError, ValueError, SafetensorError) as error:
        raise RunError(f"checkpoint {folder} is damaged: {in_one_line(error)}") from error
    return Checkpoint(
        state,
        {name.removesuffix(TENSORS): weights for name, weights in tensors.items()},
        moments,
    )


def _state(values: dict[str, Any]) -> State:
    """Return a state of values of any kind; `TypeError` or `ValueError` where one is wrong."""
    total, count = values["losses"]
    if not isinstance(values["run"], dict) or not isinstance(values["run"]["steps"], int):
        raise TypeError("run is no table of settings with steps")
    for name in ("best", "best_step"):
        if values[name] is not None:
            float(values[name])
    return State(
        step=operator.index(values["step"]),
        run=values["run"],
        best=values["best"],
        best_step=values["best_step"],
        plans=tuple(map(operator.index, values["plans"])),
        skipped=operator.index(values["skipped"]),
        losses=(float(total), operator.index(count)),
    )


def tidy(out: Path, step: int) -> None:
    """Remove what a kill left behind: half-written folders, and checkpoints after `step`."""
    for folder in (out, out / CHECKPOINTS):
        for scratch in folder.glob(".*.????????"):
            shutil.rmtree(scratch)
    for folder in checkpoints(out):
        if folder.name > f"step-{step:08d}":
            shutil.rmtree(folder)
