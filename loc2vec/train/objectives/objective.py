"""What an objective is: a loss on the vectors of a batch, with what belongs to it."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar, NamedTuple

from torch import Tensor, nn

from loc2vec.evaluation.retrieval import Evaluator
from loc2vec.model.dataset import Dataset
from loc2vec.train.batches import Batch


class Outcome(NamedTuple):
    """The loss of a batch and its metrics for the log, all of them scalars."""

    loss: Tensor
    metrics: dict[str, Tensor]


class Objective(nn.Module, ABC):
    """A loss on the vectors of a batch, with parameters of its own (perhaps none).

    The parameters are trained and checkpointed with the encoder. They are left out of the model
    folder: `save` writes what is worth keeping beside the model. What an objective knows of each
    place of the dataset is a buffer, indexed by `batch.places`.
    """

    name: ClassVar[str]  # of its weights in a checkpoint, and of its loss in the log
    weight: float = 1.0  # of its loss in the sum of all

    @abstractmethod
    def forward(self, vectors: Tensor, batch: Batch) -> Outcome:
        """Return the loss of vectors float32 [P, V, D], the V views of each place of a batch.

        Several processes all see the vectors of the whole batch, and compute the same loss. Of
        `batch.pixels` and `batch.kept` each process has its own part only.
        """

    def evaluator(self, validation: Dataset) -> Evaluator | None:
        """Return what measures this objective on validation places, if anything does.

        The primary metric of a run's first objective chooses the best model; recall@1 does where
        the first objective has no evaluator. Raises `RunError` when the places do not suit.
        """
        return None

    def save(self, folder: Path) -> None:
        """Write what belongs beside the model into its folder; by default nothing."""
