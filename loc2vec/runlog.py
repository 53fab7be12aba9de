"""What a run tells of itself while it goes on: `log.jsonl` and the means that go into it."""

import json
import math
import time
from pathlib import Path

import torch
from torch import Tensor

from loc2vec.errors import TrainingError
from loc2vec.retrieval import effective_rank


class Log:
    """A file of JSON lines; a resumed run first drops what was written after its checkpoint."""

    def __init__(self, path: Path, step: int) -> None:
        self.path = path
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        kept = [line for line in lines if json.loads(line)["step"] <= step]
        path.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")

    def write(self, step: int, metrics: dict[str, float]) -> None:
        """Append one line."""
        rounded = {name: float(f"{value:.6g}") for name, value in metrics.items()}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step} | rounded) + "\n")


class Meter:
    """Means over the steps since they were last read; adding does not wait for the device."""

    names = ("loss", "positive_distance", "nearest_negative_distance", "easy_share")

    def __init__(self) -> None:
        self.pending: list[Tensor] = []  # float32 [4] a step, in the order of `names`
        self.losses: list[float] = []  # since the last evaluation
        self.restart_clock()

    def restart_clock(self) -> None:
        """Leave the time until now out of tiles_per_s."""
        self.since = time.perf_counter()

    def add(self, metrics: Tensor, anchors: Tensor) -> None:
        """Take the four metrics of a step and the vectors of its anchors [P, D]."""
        self.pending.append(metrics)
        self.anchors = anchors

    def read(self, step: int, tiles_a_step: int) -> dict[str, float]:
        """Return the means, tiles_per_s and the effective rank of the last anchors.

        Raises `TrainingError` when a loss is not finite.
        """
        rows = torch.stack(self.pending).tolist()
        self.pending.clear()
        losses = [row[0] for row in rows]
        if not all(map(math.isfinite, losses)):
            raise TrainingError(
                f"the loss is not finite before step {step}: the checkpoint before is kept; "
                "try a lower learning rate in a new run"
            )
        self.losses += losses
        means = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
        speed = len(rows) * tiles_a_step / (time.perf_counter() - self.since)
        rank = effective_rank(self.anchors.cpu().numpy())
        return dict(zip(self.names, means, strict=True)) | {"tiles_per_s": speed, "effective_rank": rank}

    def take_mean_loss(self) -> float:
        """Return the mean loss since this was last asked."""
        mean = sum(self.losses) / len(self.losses)
        self.losses.clear()
        return mean
