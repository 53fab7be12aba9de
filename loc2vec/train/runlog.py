"""What a run reports while it trains: `log.jsonl`, and the means that are logged."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from loc2vec.errors import TrainingError
from loc2vec.evaluation.retrieval import effective_rank
from loc2vec.train.triplets import Sample, Triplet
from tiling.files.atomic import replacing

MOST_SKIPPED = 5  # steps in a row without a finite loss and gradient; then the run ends


class Board(Protocol):
    """Where a run is shown while it trains, such as `loc2vec.train.board.TensorBoard`."""

    def begin(self, step: int) -> None:
        """Continue after this step; whatever was shown of later ones is dropped."""

    def look(self, step: int, seen: Sample, triplets: list[Triplet]) -> None:
        """Show the vectors of some places, and the hardest triplets."""

    def close(self) -> None:
        """Write what is left."""

    def scalars(self, step: int, group: str, values: dict[str, float]) -> None:
        """Show values at a step, those of a group side by side."""


class Log:
    """A file of JSON lines; a resumed run first drops the lines after its checkpoint.

    Without a path it writes nothing.
    """

    def __init__(self, path: Path | None, step: int, board: Board | None = None) -> None:
        self.path, self.board = path, board if path is not None else None
        if self.path is not None:
            lines = read_log(self.path) if step else []  # step 0 is saved before it is evaluated
            kept = "".join(f"{json.dumps(line)}\n" for line in lines if line["step"] <= step)
            with replacing(self.path) as temporary:
                temporary.write_text(kept)
        if self.board is not None:
            self.board.begin(step)

    def write(self, step: int, group: str, metrics: dict[str, float]) -> None:
        """Append a line; on the board its values stand in this group."""
        rounded = {name: float(f"{value:.6g}") for name, value in metrics.items()}
        if self.path is not None:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": step} | rounded) + "\n")
        if self.board is not None:
            self.board.scalars(step, group, rounded)

    def close(self) -> None:
        """Close the board; the file is complete after every line."""
        if self.board is not None:
            self.board.close()


def read_log(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a log, except a last one that a kill cut short."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


class Step(NamedTuple):
    """What a training step reports, as tensors on its device.

    `scalars`: by their name in the log, "loss" among them.
    `taken`: 1, or 0 where the step was skipped.
    `anchors` [P, D]: vectors of the anchors of the whole batch.
    """

    scalars: dict[str, Tensor]
    taken: Tensor
    anchors: Tensor


class Meter:
    """Means over the steps since the last reading; adding a step does not wait for the device."""

    def __init__(self, losses: tuple[float, int] = (0.0, 0)) -> None:
        self.names: list[str] = []
        self.pending: list[Tensor] = []  # float32 [names + 1] a step: scalars, then `taken`
        self.losses = losses  # since the last evaluation: their sum and number
        self.skipped_in_a_row = 0
        self.restart_clock()

    def restart_clock(self) -> None:
        """Leave the time until now out of tiles_per_s and data_wait."""
        self.since, self.waited = time.perf_counter(), 0.0

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Count the time within as waiting for tiles."""
        start = time.perf_counter()
        yield
        self.waited += time.perf_counter() - start

    def add(self, step: Step) -> None:
        """Add the report of a step."""
        self.names = list(step.scalars)
        self.pending.append(torch.stack([*step.scalars.values(), step.taken]))
        self.anchors = step.anchors

    def read(self, step: int, tiles_a_step: int) -> dict[str, float]:
        """Return the means over the steps taken, the pace, and the number of steps skipped.

        `effective_rank` is that of the last anchors. `data_wait` is the share of the time spent
        waiting for tiles. Raises `TrainingError` when too many steps in a row were skipped.
        """
        rows = torch.stack(self.pending).tolist()  # waits for the device
        self.pending.clear()
        self._count_skipped(rows, step)
        good = [row[:-1] for row in rows if row[-1]]
        means = dict(zip(self.names, map(_mean, zip(*good, strict=True)), strict=bool(good)))
        self._add_losses(good)
        seconds = time.perf_counter() - self.since
        pace = {
            "tiles_per_s": len(rows) * tiles_a_step / seconds,
            "data_wait": self.waited / seconds,
        }
        rank = (
            {"effective_rank": effective_rank(self.anchors.cpu().numpy())} if rows[-1][-1] else {}
        )
        return means | pace | rank | {"skipped": len(rows) - len(good)}

    def _count_skipped(self, rows: list[list[float]], step: int) -> None:
        for *_, taken in rows:
            self.skipped_in_a_row = 0 if taken else self.skipped_in_a_row + 1
            if self.skipped_in_a_row == MOST_SKIPPED:
                raise TrainingError(
                    f"the loss or its gradient was not finite at {MOST_SKIPPED} steps in a row "
                    f"before step {step}. The last checkpoint is kept. "
                    "Try a lower learning rate in a new run"
                )

    def _add_losses(self, rows: list[list[float]]) -> None:
        losses = [row[self.names.index("loss")] for row in rows]
        total, number = self.losses
        self.losses = (sum(losses, total), number + len(losses))

    def take_mean_loss(self) -> float:
        """Return the mean loss since this was last called."""
        total, number = self.losses
        self.losses = (0.0, 0)
        return total / number


def _mean(values: tuple[float, ...]) -> float:
    return sum(values) / len(values)
