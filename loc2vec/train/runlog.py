"""What a run tells of itself while it goes on: `log.jsonl` and the means that go into it."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from loc2vec.errors import TrainingError
from loc2vec.evaluation.retrieval import effective_rank
from loc2vec.train.batches import Batch
from loc2vec.train.triplets import Sample, Triplet
from tiling.files.atomic import replacing

MOST_SKIPPED = 5  # steps in a row without a finite loss and gradient; then the run ends


class Board(Protocol):
    """Where a run is shown while it goes on (`loc2vec.train.board.TensorBoard` is one)."""

    def begin(self, step: int) -> None:
        """Go on from this step; what was shown of later ones goes."""

    def look(self, step: int, seen: Sample, triplets: list[Triplet]) -> None:
        """Show the vectors of some places, and the triplets that were hardest."""

    def close(self) -> None:
        """Write what is left."""

    def scalars(self, step: int, group: str, values: dict[str, float]) -> None:
        """Show values at a step, those of a group side by side."""


class Log:
    """A file of JSON lines; a resumed run first drops what was written after its checkpoint."""

    def __init__(self, path: Path, step: int, board: Board | None = None) -> None:
        self.path, self.board = path, board
        lines = read_log(path) if step else []  # step 0 is saved before it is evaluated
        with replacing(path) as temporary:
            temporary.write_text(
                "".join(f"{json.dumps(line)}\n" for line in lines if line["step"] <= step)
            )
        if board is not None:
            board.begin(step)

    def write(self, step: int, group: str, metrics: dict[str, float]) -> None:
        """Append one line; on the board its values stand in this group."""
        rounded = {name: float(f"{value:.6g}") for name, value in metrics.items()}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step} | rounded) + "\n")
        if self.board is not None:
            self.board.scalars(step, group, rounded)

    def close(self) -> None:
        """Close the board; the file is whole after every line."""
        if self.board is not None:
            self.board.close()


def read_log(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a log; the last one may have been torn by a kill."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


class Meter:
    """Means over the steps since they were last read; adding does not wait for the device."""

    names = (
        "loss",
        "positive_distance",
        "nearest_negative_distance",
        "easy_share",
        "gradient_norm",
    )

    def __init__(self, losses: tuple[float, int] = (0.0, 0)) -> None:
        # float32 [6] a step: `names`, then 1 where the step was taken, 0 where skipped
        self.pending: list[Tensor] = []
        self.losses = losses  # since the last evaluation: their sum and number
        self.skipped_in_a_row = 0
        self.restart_clock()

    def restart_clock(self) -> None:
        """Leave the time until now out of tiles_per_s and data_wait."""
        self.since, self.waited = time.perf_counter(), 0.0

    def next_of(self, batches: Iterator[Batch]) -> Batch:
        """Take the next batch, and count how long it was waited for."""
        start = time.perf_counter()
        batch = next(batches)
        self.waited += time.perf_counter() - start
        return batch

    def add(self, metrics: Tensor, anchors: Tensor) -> None:
        """Take the metrics of a step and the vectors of its anchors [P, D]."""
        self.pending.append(metrics)
        self.anchors = anchors

    def read(self, step: int, tiles_a_step: int) -> dict[str, float]:
        """Return the means over the steps taken, the number of those skipped, and how fast they went.

        `effective_rank` is that of the last anchors; `data_wait` is the share of the time spent
        waiting for tiles. Raises `TrainingError` when too many steps in a row had a loss or
        gradient that is not finite.
        """
        rows = torch.stack(self.pending).tolist()
        self.pending.clear()
        for *_, taken in rows:
            self.skipped_in_a_row = 0 if taken else self.skipped_in_a_row + 1
            if self.skipped_in_a_row == MOST_SKIPPED:
                raise TrainingError(
                    f"the loss or its gradient was not finite at {MOST_SKIPPED} steps in a row before step {step}: "
                    "the checkpoint before is kept; try a lower learning rate in a new run"
                )
        good = [row[:-1] for row in rows if row[-1]]
        self.losses = (sum((row[0] for row in good), self.losses[0]), self.losses[1] + len(good))
        columns = zip(*good, strict=True) if good else ()
        means = {
            name: sum(column) / len(good)
            for name, column in zip(self.names, columns, strict=bool(good))
        }
        seconds = time.perf_counter() - self.since
        pace = {
            "tiles_per_s": len(rows) * tiles_a_step / seconds,
            "data_wait": self.waited / seconds,
        }
        rank = (
            {"effective_rank": effective_rank(self.anchors.cpu().numpy())} if rows[-1][-1] else {}
        )
        return means | pace | rank | {"skipped": len(rows) - len(good)}

    def take_mean_loss(self) -> float:
        """Return the mean loss since this was last asked."""
        total, number = self.losses
        self.losses = (0.0, 0)
        return total / number
