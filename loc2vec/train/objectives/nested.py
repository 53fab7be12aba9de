"""An objective of the first numbers alone, so that they are vectors of use by themselves.

Kusupati et al.: Matryoshka Representation Learning, NeurIPS 2022, arXiv 2205.13147.
"""

from pathlib import Path

from torch import Tensor

from loc2vec.train.batches import Batch
from loc2vec.train.objectives.objective import Objective, Outcome


class Nested(Objective):
    """Another objective, which sees the first `size` numbers of the vectors alone."""

    def __init__(self, objective: Objective, size: int) -> None:
        super().__init__()
        self.name = f"{objective.name}_{size}"  # type: ignore[misc]
        self.objective, self.size, self.weight = objective, size, objective.weight

    def forward(self, vectors: Tensor, batch: Batch) -> Outcome:
        """Return the loss of the first numbers; the metrics are those of all numbers."""
        return Outcome(self.objective(vectors[..., : self.size], batch).loss, {})

    def save(self, folder: Path) -> None:
        """Write nothing: what the objective keeps is kept for the whole vectors."""
