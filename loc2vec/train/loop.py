"""The training loop: a run becomes a run folder.

RUN/best/         the model folder with the best score so far
RUN/checkpoints/  the last three checkpoints; a resumed run starts from the newest undamaged one
RUN/log.jsonl     a line every few steps, and one for each evaluation
"""

import math
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from tqdm import tqdm

from loc2vec.errors import RunError
from loc2vec.evaluation.retrieval import Evaluator, Retrieval
from loc2vec.model.compute import Encode, encode_tiles, keep_freed_memory, mixed_precision
from loc2vec.model.folder import save_model
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
from loc2vec.train.objectives.objective import Objective
from loc2vec.train.objectives.registry import objectives_of
from loc2vec.train.run import Run, TrainConfig, TrainResult
from loc2vec.train.runlog import Board, Log, Meter, Step
from loc2vec.train.triplets import hardest, sample
from tiling.machine import cpu_count

VALIDATION_PLACES = 1000
SHOWN_PLACES, SHOWN_TRIPLETS = 200, 8
READERS = 8  # processes for a GPU; each holds two batches in shared memory
LOG_EVERY = 10  # steps; reading a number from a GPU waits for it


def train(
    run: Run,
    device: str = "auto",
    resume: bool = False,
    stop: threading.Event | None = None,
    board: Board | None = None,
) -> TrainResult:
    """Train an encoder; with `torchrun`, this is one of several processes.

    Keeps the best model: by the first objective's evaluator if it has one, else by recall@1 on the
    validation places. Without these the training loss decides. Once `stop` is set, the run saves a
    checkpoint and returns. A resumed run continues as if undisturbed, and may have more steps than
    before. `board` shows the progress.

    Raises `RunError` when the run folder exists or, with `resume`, was begun with other settings.
    """
    run.check()
    with joined(device) as (world, where):
        batches = Batches(run.tiles, run.config, world)
        keep_freed_memory(where)
        learner = fresh_learner(run, world)
        learner.to(where, memory_format=torch.channels_last)  # type: ignore[call-overload]
        training = Training(run, learner, resume)
        return training.loop(batches, stop or threading.Event(), board)


class Learner(nn.Module):
    """What is trained: an encoder, and the objectives with their own parameters."""

    def __init__(
        self, encoder: nn.Module, objectives: Sequence[Objective], world: World | None = None
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.objectives = list(objectives)
        self.of_objectives = nn.ModuleDict({each.name: each for each in objectives})
        self.world = world or World()

    @property
    def device(self) -> torch.device:
        return next(self.encoder.parameters()).device

    def forward(self, batch: Batch) -> tuple[dict[str, Tensor], Tensor]:
        """Return the scalars of a batch, "loss" first, and the vectors [P, 1 + K, D].

        Of several objectives the weighted losses are added up; each is reported as "NAME_loss".
        """
        with mixed_precision(self.device):
            vectors = self.encoder(batch.seen()).float()  # [P * (1 + K), D]
        # of all processes' places from here on
        vectors = self.world.gather(vectors.unflatten(0, batch.kept.shape[:2]))  # [P, 1 + K, D]
        outcomes = {objective.name: objective(vectors, batch) for objective in self.objectives}
        losses = {f"{name}_loss": outcome.loss for name, outcome in outcomes.items()}
        weighted = [each.weight * outcomes[each.name].loss for each in self.objectives]
        scalars = {"loss": torch.stack(weighted).sum()}
        if len(losses) > 1:
            scalars |= losses
        for outcome in outcomes.values():
            scalars |= outcome.metrics
        return scalars, vectors

    def sum_gradients(self) -> None:
        """Give every process the gradients of the whole batch.

        The encoder's gradients are of this process's places: they are summed. An objective's are
        of the whole batch in every process already: their mean keeps all processes alike.
        """
        if self.world.size > 1:
            for parameter in self.of_objectives.parameters():
                if parameter.grad is not None:
                    parameter.grad /= self.world.size
            self.world.sum_gradients(self)

    def parts(self) -> dict[str, nn.Module]:
        """Return what a checkpoint holds the weights of."""
        return {"model": self.encoder, "objectives": self.of_objectives}

    def save(self, folder: Path) -> None:
        """Write into a model folder what the objectives keep beside the model."""
        for objective in self.objectives:
            objective.save(folder)


def readers_for(device: torch.device, world: World) -> int:
    """Return how many processes read batches ahead; a CPU needs none."""
    if device.type != "cuda":
        return 0
    return min(READERS, max(1, cpu_count() // world.of_host))


def fresh_learner(run: Run, world: World) -> Learner:
    """Return the encoder and the objectives of a run as it starts, on the CPU."""
    torch.manual_seed(run.config.seed)
    return Learner(run.encoder(), objectives_of(run), world)


def learning_rate(config: TrainConfig, step: int) -> float:
    """Rise linearly to the highest rate, then fall along half a cosine to nearly 0."""
    if step < config.warm_up:
        return config.learning_rate * (step + 1) / config.warm_up
    done = (step - config.warm_up) / max(config.steps - config.warm_up, 1)
    return config.learning_rate * (1 + math.cos(math.pi * done)) / 2


def train_step(
    learner: Learner, optimizer: Optimizer, batch: Batch, config: TrainConfig, step: int
) -> Step:
    """Take one step; it changes nothing if the loss or the gradient is not finite.

    Nothing here waits for a GPU: the results are tensors on the device.
    """
    _seed_dropout(config.seed, step)
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(config, step)
    statistics = [buffer for buffer in learner.buffers() if buffer.is_floating_point()]
    before = [buffer.clone() for buffer in statistics]  # the forward pass changes batch statistics
    scalars, vectors = learner(batch.to(learner.device))  # vectors [P, 1 + K, D]
    loss = scalars["loss"]
    optimizer.zero_grad()
    loss.backward()
    learner.sum_gradients()
    norm = nn.utils.get_total_norm([p.grad for p in learner.parameters() if p.grad is not None])
    finite = (loss + norm).isfinite()
    # the fused update does nothing where `found_inf` is 1
    optimizer.found_inf = 1 - finite.float()  # type: ignore[attr-defined]
    optimizer.step()
    for buffer, old in zip(statistics, before, strict=True):
        buffer.copy_(torch.where(finite, buffer, old))
    scalars = {name: value.detach() for name, value in scalars.items()}
    return Step(scalars | {"gradient_norm": norm}, finite.float(), vectors[:, 0].detach())


def _seed_dropout(seed: int, step: int) -> None:
    """Make dropout a function of seed and step, so a resumed run repeats it."""
    state = np.random.SeedSequence((seed, step)).generate_state(1, np.uint64)
    torch.manual_seed(int(state[0]))


@dataclass(frozen=True)
class MeanLoss:
    """The evaluator of a run without validation: minus the mean loss since the last evaluation."""

    meter: Meter
    primary: ClassVar[str] = "-loss"

    def __call__(self, encode: Encode) -> dict[str, float]:
        """Return "-loss"; the encoder is not used."""
        return {self.primary: -self.meter.take_mean_loss()}


class Due(NamedTuple):
    """What is due at a step, before its batch."""

    evaluation: bool
    checkpoint: bool
    end: bool


class Training:
    """A run in this process, perhaps one of several; only the first process evaluates and writes.

    Raises `RunError` when the run folder does not suit, or an objective refuses the tiles.
    """

    def __init__(self, run: Run, learner: Learner, resume: bool) -> None:
        self.run, self.learner, self.world, self.meter = run, learner, learner.world, Meter()
        self.evaluators, self.score = _evaluators(run, learner, self.meter)
        self.optimizer = torch.optim.AdamW(
            learner.parameters(), weight_decay=run.config.weight_decay, fused=True
        )
        self.state = _stand(run, resume, learner, self.optimizer)
        self.start, self.meter.losses = self.state.step, self.state.losses
        use_whole_batches(learner.encoder, self.world)

    def loop(self, batches: Batches, stop: threading.Event, board: Board | None) -> TrainResult:
        """Train until the run has all its steps, or `stop` is set."""
        config, meter, on_gpu = self.run.config, self.meter, self.learner.device.type == "cuda"
        readers = readers_for(self.learner.device, self.world)
        with (
            closing(self._log(board)) as log,
            closing(batches.prefetched(self.start, config.steps, readers, on_gpu)) as coming,
            self._progress() as progress,
        ):
            for step in range(self.start, config.steps + 1):
                due = self._due(step, stop)
                if meter.pending and (step % LOG_EVERY == 0 or due.evaluation or due.checkpoint):
                    self._report(step, log, progress)
                if due.evaluation:
                    self._evaluate(step, log)
                if due.checkpoint:
                    self._save(step)
                if due.end:
                    break
                if not meter.pending:
                    meter.restart_clock()
                with meter.waiting():
                    batch = next(coming)
                meter.add(train_step(self.learner, self.optimizer, batch, config, step))
                progress.update()
        return self._result()

    def _due(self, step: int, stop: threading.Event) -> Due:
        config = self.run.config
        final, begun = step == config.steps, step > self.start
        # Several processes ask each other only now and then: on GPUs it makes them wait.
        asking = self.world.size == 1 or step % LOG_EVERY == 0
        stopping = asking and self.world.any(stop.is_set(), self.learner.device)
        return Due(
            evaluation=(step % config.eval_every == 0 or final) and (begun or step == 0),
            checkpoint=(step % config.checkpoint_every == 0 or final or stopping) and begun,
            end=final or stopping,
        )

    def _report(self, step: int, log: Log, progress: tqdm) -> None:
        """Log the means of the steps since the last report."""
        config = self.run.config
        metrics = self.meter.read(step, config.places * (1 + config.pairs))
        self.state = replace(self.state, skipped=self.state.skipped + int(metrics["skipped"]))
        rate = {"learning_rate": learning_rate(config, step - 1)}
        log.write(step, "training", rate | metrics)
        progress.set_postfix(
            loss=f"{metrics.get('loss', math.nan):.4f}", tiles_s=f"{metrics['tiles_per_s']:.0f}"
        )

    def _evaluate(self, step: int, log: Log) -> None:
        """Measure the encoder; keep it if it is the best so far."""
        measurable = self.run.validation is not None or self.meter.losses[1]
        if not (self.world.leads and measurable):
            return
        scores: dict[str, float] = {}
        with _at_rest(self.learner) as encode:
            for evaluator in self.evaluators:
                scores |= evaluator(encode)
            log.write(step, "validation", scores)
            if log.board is not None:
                self._show(log.board, step, encode)
        if self.state.best is None or scores[self.score] > self.state.best:
            self.state = replace(self.state, best=scores[self.score], best_step=step)
            facts = self.state.run | scores | {"step": step, "plans": self.state.plans}
            about = self.run.model_config(facts)
            save_model(self.run.out / "best", self.learner.encoder, about, self.learner.save)

    def _show(self, board: Board, step: int, encode: Encode) -> None:
        """Show on the board what the encoder makes of some places."""
        dataset = self.run.tiles if self.run.validation is None else self.run.validation
        seen = sample(encode, dataset, SHOWN_PLACES)
        board.look(step, seen, hardest(seen, dataset, SHOWN_TRIPLETS))

    def _save(self, step: int) -> None:
        """Write a checkpoint, but none right after a skipped step: its weights may be bad."""
        if self.meter.skipped_in_a_row and step < self.run.config.steps:
            return
        self.state = replace(self.state, step=step, losses=self.meter.losses)
        if self.world.leads:
            save_checkpoint(self.run.out, self.learner.parts(), self.optimizer, self.state)

    def _log(self, board: Board | None) -> Log:
        """Return the log of the run; that of the other processes writes nothing."""
        path = self.run.out / "log.jsonl" if self.world.leads else None
        return Log(path, self.start, board)

    def _progress(self) -> tqdm:
        return tqdm(
            total=self.run.config.steps,
            initial=self.start,
            desc="train",
            unit="step",
            dynamic_ncols=True,
            disable=not self.world.leads,
        )

    def _result(self) -> TrainResult:
        state, steps = self.state, self.run.config.steps
        return TrainResult(
            self.run.out, state.step, steps, self.score, state.best, state.best_step, state.skipped
        )


def _evaluators(run: Run, learner: Learner, meter: Meter) -> tuple[list[Evaluator], str]:
    """Return what measures the encoder, and the metric that chooses the best model."""
    if run.validation is None:
        return [MeanLoss(meter)], MeanLoss.primary
    retrieval = Retrieval(run.validation, VALIDATION_PLACES)
    own = [objective.evaluator(run.validation) for objective in learner.objectives]
    first = own[0] or retrieval
    return [retrieval, *(each for each in own if each is not None)], first.primary


def _stand(run: Run, resume: bool, learner: Learner, optimizer: Optimizer) -> State:
    """Return where a run stands; begin its folder, or load the weights of its last checkpoint."""
    out, facts, world = run.out, run.facts(), learner.world
    if resume:
        checkpoint, complaints = newest_checkpoint(out)
        state = continued(out, checkpoint.state, facts)
        checkpoint.restore(learner.parts(), optimizer)
    elif out.exists():
        raise RunError(f"{out} exists: go on with --resume, or choose another folder")
    world.wait()  # all processes have looked before the first one writes
    if not world.leads:
        return state if resume else State(0, facts)
    if not resume:
        return begin(out, facts, learner.parts(), optimizer)
    for complaint in complaints:
        tqdm.write(f"{complaint}: going on from step {state.step}", file=sys.stderr)
    tidy(out, state.step)
    return state


@contextmanager
def _at_rest(learner: Learner) -> Iterator[Encode]:
    """Give the encoder as a function of tiles, without dropout, between two training steps."""
    learner.eval()
    with mixed_precision(learner.device):
        yield lambda tiles: encode_tiles(learner.encoder, tiles)
    learner.train()
