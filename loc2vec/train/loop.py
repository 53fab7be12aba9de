"""Training: a configuration and a tile dataset become a run folder.

RUN/best/         the model folder with the best score so far
RUN/checkpoints/  the last three checkpoints; a resumed run goes on from the newest whole one
RUN/log.jsonl     one line every few steps and one at every evaluation
"""

import math
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from tqdm import tqdm

from loc2vec.encoders.registry import build, options_of
from loc2vec.errors import RunError
from loc2vec.evaluation.retrieval import Evaluator, Retrieval, require_positives
from loc2vec.model.compute import Encode, encode_tiles, keep_freed_memory, mixed_precision
from loc2vec.model.dataset import Dataset
from loc2vec.model.folder import Model, ModelConfig, save_model
from loc2vec.train.batches import Batch, Batches
from loc2vec.train.checkpoint import (
    State,
    begin,
    continued,
    newest_checkpoint,
    save_checkpoint,
    tidy,
)
from loc2vec.train.distributed import World, joined, use_whole_batches
from loc2vec.train.geocell import Cells, GeoCell, GeoCells, Headed, save_head
from loc2vec.train.losses import LOSSES, NO_LOSS, pairs_of
from loc2vec.train.runlog import Board, Log, Meter
from loc2vec.train.triplets import hardest, sample
from tiling.values import check_fingerprint

VALIDATION_PLACES = 1000
SHOWN_PLACES, SHOWN_TRIPLETS = 200, 8
LOG_EVERY = 10  # steps; to read a number from a GPU is to wait for it


@dataclass(frozen=True)
class TrainConfig:
    """Everything but the tiles that decides what a run computes."""

    encoder: str = "loc2vec"
    dim: int = 16
    # of the encoder's family; the default where it has none
    options: Mapping[str, Any] = field(default_factory=dict)
    places: int = 20  # in a batch
    pairs: int = 5  # positives of each place in a batch
    steps: int = 10_000
    learning_rate: float = 1e-3  # at its highest
    warm_up: int = 100  # steps of rising learning rate
    weight_decay: float = 1e-4
    loss: str = "softpn"  # or "none", with a head
    head: str | None = None  # "geocell": name the cell of each place as well
    seed: int = 0
    eval_every: int = 500
    checkpoint_every: int = 100


@dataclass(frozen=True)
class TrainResult:
    """What a run came to: it stands at `step`, less than `steps` when it was stopped.

    `best` is the greatest value of `score` ("recall@1"; "-loss" without validation; where nothing
    but the cells is learned, "top-1 cell"); `skipped` steps changed nothing, because their loss or
    gradient was not finite.
    """

    out: Path
    step: int
    steps: int
    score: str
    best: float | None
    best_step: int | None
    skipped: int

    @property
    def finished(self) -> bool:
        return self.step == self.steps


@dataclass(frozen=True)
class MeanLoss:
    """What judges a run without validation: minus the mean loss since it was asked last, whatever the encoder."""

    meter: Meter
    primary: ClassVar[str] = "-loss"

    def __call__(self, encode: Encode) -> dict[str, float]:
        """Return "-loss"."""
        return {self.primary: -self.meter.take_mean_loss()}


def train(
    config: TrainConfig,
    tiles: Dataset,
    out: Path,
    validation: Dataset | None = None,
    device: str = "auto",
    resume: bool = False,
    stop: threading.Event | None = None,
    board: Board | None = None,
    init: Model | None = None,
) -> TrainResult:
    """Train an encoder; `RunError` when `out` exists or, resuming, was begun differently.

    Starts from random weights, or from those of `init`, a model of the same encoder and tiles.
    Keeps the model with the best recall@1 on `validation` (top-1 cell, where nothing but the cells
    is learned), or without one the least training loss. Once `stop` is set the run saves a
    checkpoint and returns; resumed, it goes on as if undisturbed. A resumed run may have more steps
    than before. `board` is shown how the run goes.
    """
    if validation is not None:
        check_fingerprint("the validation dataset", validation.fingerprint, tiles.fingerprint)
        require_positives(validation)
    if init is not None:
        _check_init(init, config, tiles)
    if config.loss == NO_LOSS and config.head is None:
        raise RunError("--loss none leaves nothing to learn: it goes with --head geocell")
    with joined(device) as (world, where):
        if config.head is not None and world.size > 1:
            raise RunError("--head geocell is trained by one process: start it without torchrun")
        return _train(
            config,
            tiles,
            out,
            validation,
            resume,
            stop or threading.Event(),
            board,
            init,
            world,
            where,
        )


def _check_init(init: Model, config: TrainConfig, tiles: Dataset) -> None:
    check_fingerprint(f"model {init.config.name}", init.config.fingerprint, tiles.fingerprint)
    ours, theirs = (config.encoder, _options(config)), (init.config.encoder, init.config.options)
    if ours != theirs:
        raise RunError(
            f"model {init.config.name} is of encoder {theirs[0]} {theirs[1]}, the run of {ours[0]} {ours[1]}"
        )


def _train(
    config: TrainConfig,
    tiles: Dataset,
    out: Path,
    validation: Dataset | None,
    resume: bool,
    stop: threading.Event,
    board: Board | None,
    init: Model | None,
    world: World,
    where: torch.device,
) -> TrainResult:
    """Train in this process, one of `world`; the first one writes."""
    batches = Batches(tiles, config.seed, config.places, config.pairs, world)
    keep_freed_memory(where)
    torch.manual_seed(config.seed)
    network = build(config.encoder, tiles.geometry.scales, **_options(config))
    if init is not None:
        network.load_state_dict(init.network.state_dict())
    head = None if config.head is None else _head(config, tiles)
    if head is not None:
        network = Headed(network, head, head.cells.labels(tiles.lat, tiles.lon))
    of_head = None if head is None or validation is None else GeoCells(head, validation)
    network = network.to(where, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(
        network.parameters(), weight_decay=config.weight_decay, fused=True
    )
    state = _stand(
        _describe(config, tiles, validation, init), out, resume, network, optimizer, world
    )
    use_whole_batches(network, world)

    start, tiles_a_step = state.step, config.places * (1 + config.pairs)
    meter = Meter(state.losses)
    judge: Evaluator = (
        MeanLoss(meter) if validation is None else Retrieval(validation, VALIDATION_PLACES)
    )
    primary = of_head.primary if of_head is not None and config.loss == NO_LOSS else judge.primary
    with (
        closing(Log(out / "log.jsonl", start, board)) if world.leads else nullcontext() as log,
        closing(batches.prefetched(start, config.steps, pinned=where.type == "cuda")) as coming,
        tqdm(
            total=config.steps,
            initial=start,
            desc="train",
            unit="step",
            dynamic_ncols=True,
            disable=not world.leads,
        ) as progress,
    ):
        for step in range(start, config.steps + 1):
            final = step == config.steps
            # Several processes ask each other only now and then: on GPUs it makes them wait.
            stopping = (world.size == 1 or step % LOG_EVERY == 0) and world.any(
                stop.is_set(), where
            )
            evaluating = (step % config.eval_every == 0 or final) and (step > start or step == 0)
            saving = (step % config.checkpoint_every == 0 or final or stopping) and step > start
            if meter.pending and (step % LOG_EVERY == 0 or evaluating or saving):
                metrics = meter.read(step, tiles_a_step)
                state = replace(state, skipped=state.skipped + int(metrics["skipped"]))
                if log is not None:
                    log.write(
                        step,
                        "training",
                        {"learning_rate": learning_rate(config, step - 1)} | metrics,
                    )
                progress.set_postfix(
                    loss=f"{metrics.get('loss', math.nan):.4f}",
                    tiles_s=f"{metrics['tiles_per_s']:.0f}",
                )
            if evaluating and log is not None and (validation is not None or meter.losses[1]):
                with _at_rest(network) as encode:
                    scores = judge(encode) | ({} if of_head is None else of_head(encode))
                log.write(step, "validation", scores)
                if board is not None:
                    _show(board, step, network, tiles if validation is None else validation)
                if state.best is None or scores[primary] > state.best:
                    state = replace(state, best=scores[primary], best_step=step)
                    facts = state.run | scores | {"step": step, "plans": state.plans}
                    about = _model_config(config, tiles, out.name, facts)
                    if isinstance(network, Headed):
                        save_model(
                            out / "best",
                            network.encoder,
                            about,
                            partial(save_head, head=network.head),
                        )
                    else:
                        save_model(out / "best", network, about)
            # what a step was skipped after is under suspicion
            if saving and (final or not meter.skipped_in_a_row):
                state = replace(state, step=step, losses=meter.losses)
                if world.leads:
                    save_checkpoint(out, network, optimizer, state)
            if final or stopping:
                break
            if not meter.pending:
                meter.restart_clock()
            meter.add(*train_step(network, optimizer, meter.next_of(coming), config, step, world))
            progress.update()
    return TrainResult(
        out, state.step, config.steps, primary, state.best, state.best_step, state.skipped
    )


def _stand(
    run: dict[str, Any],
    out: Path,
    resume: bool,
    network: nn.Module,
    optimizer: Optimizer,
    world: World,
) -> State:
    """Begin a run or find where it stands; put the network and the optimiser there."""
    if resume:
        checkpoint, complaints = newest_checkpoint(out)
        state = continued(out, checkpoint.state, run)
        checkpoint.restore(network, optimizer)
    elif out.exists():
        raise RunError(f"{out} exists: go on with --resume, or choose another folder")
    world.wait()  # all have looked before the first one writes
    if not world.leads:
        return state if resume else State(0, run)
    if not resume:
        return begin(out, run, network, optimizer)
    for complaint in complaints:
        tqdm.write(f"{complaint}: going on from step {state.step}", file=sys.stderr)
    tidy(out, state.step)
    return state


def _describe(
    config: TrainConfig, tiles: Dataset, validation: Dataset | None, init: Model | None
) -> dict[str, Any]:
    """Say what a run is made of, in values that JSON keeps as they are."""
    defaults = asdict(options_of(config.encoder, {"dim": config.dim}))
    changed = {name: value for name, value in _options(config).items() if value != defaults[name]}
    return asdict(config) | {
        "options": changed or None,
        "fingerprint": tiles.fingerprint,
        "train_places": tiles.n_places,
        "train_positives": tiles.positives,
        "init": None if init is None else init.model_id,
        "validation_places": None if validation is None else validation.n_places,
    }


def _head(config: TrainConfig, tiles: Dataset) -> GeoCell:
    """Return a fresh head for the cells of the tiles' places."""
    return GeoCell(config.dim * tiles.geometry.scales, Cells.of(tiles.lat, tiles.lon))


def _options(config: TrainConfig) -> dict[str, Any]:
    """Return all options of the encoder, `dim` among them, or raise `EncoderError`."""
    return asdict(options_of(config.encoder, {"dim": config.dim, **config.options}))


def _model_config(
    config: TrainConfig, tiles: Dataset, name: str, facts: dict[str, Any]
) -> ModelConfig:
    """Describe the model at a step of a run."""
    return ModelConfig(
        name=name,
        encoder=config.encoder,
        options=_options(config),
        channels=tuple(tiles.channels),
        geometry=tiles.geometry,
        fingerprint=tiles.fingerprint,
        training=facts,
        catalogue=tiles.catalogue.carried,
    )


def learning_rate(config: TrainConfig, step: int) -> float:
    """Rise in a line to the highest rate, then fall along half a cosine to nearly 0."""
    if step < config.warm_up:
        return config.learning_rate * (step + 1) / config.warm_up
    done = (step - config.warm_up) / max(config.steps - config.warm_up, 1)
    return config.learning_rate * (1 + math.cos(math.pi * done)) / 2


def train_step(
    network: nn.Module,
    optimizer: Optimizer,
    batch: Batch,
    config: TrainConfig,
    step: int,
    world: World,
) -> tuple[Tensor, Tensor]:
    """Take one step.

    Return the metrics that `Meter` takes and the anchors' vectors [P, D], of the whole batch.

    Dropout is seeded by the step, so that a step does the same in a resumed run. A step whose loss
    or gradient is not finite changes nothing. Nothing here makes this process wait for a GPU.
    """
    torch.manual_seed(
        int(np.random.SeedSequence((config.seed, step)).generate_state(1, np.uint64)[0])
    )
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(config, step)
    device = next(network.parameters()).device
    pixels, kept, overlapping = (
        tensor.to(device, non_blocking=True)
        for tensor in (batch.pixels, batch.kept, batch.overlapping)
    )
    seen = (
        (pixels * kept[..., None, None]).flatten(0, 1).contiguous(memory_format=torch.channels_last)
    )
    statistics = [buffer for buffer in network.buffers() if buffer.is_floating_point()]
    before = [buffer.clone() for buffer in statistics]
    with mixed_precision(device):
        vectors = network(seen).float()  # [P * (1 + K), D]
    vectors = world.gather(vectors.unflatten(0, kept.shape[:2]))  # [P, 1 + K, D]
    pairs = pairs_of(vectors, overlapping)
    loss = torch.zeros((), device=device) if config.loss == NO_LOSS else LOSSES[config.loss](pairs)
    if isinstance(network, Headed):
        loss = loss + network.loss(vectors, batch.places.to(device, non_blocking=True))
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    world.sum_gradients(network)
    norm = nn.utils.get_total_norm([p.grad for p in network.parameters() if p.grad is not None])
    finite = (loss + norm).isfinite()
    optimizer.found_inf = 1 - finite.float()  # type: ignore[attr-defined]  # the fused update then does nothing
    optimizer.step()
    for buffer, old in zip(statistics, before, strict=True):
        buffer.copy_(torch.where(finite, buffer, old))
    nearest = pairs.negative.amin(-1)[:, pairs.first]  # [P, Q]
    easy = (pairs.positive < nearest).float()
    metrics = [loss, *map(pairs.mean, (pairs.positive, nearest, easy)), norm, finite.float()]
    return torch.stack(metrics).detach(), vectors[:, 0].detach()


def _show(board: Board, step: int, network: nn.Module, dataset: Dataset) -> None:
    """Show on the board what the network makes of some places."""
    with _at_rest(network) as encode:
        seen = sample(encode, dataset, SHOWN_PLACES)
    board.look(step, seen, hardest(seen, dataset, SHOWN_TRIPLETS))


@contextmanager
def _at_rest(network: nn.Module) -> Iterator[Encode]:
    """Give the network as an encoder of tiles, without dropout, between two steps of training."""
    network.eval()
    with mixed_precision(next(network.parameters()).device):
        yield lambda tiles: encode_tiles(network, tiles)
    network.train()
