"""Shows a run in TensorBoard while it trains; needs the extra `tensorboard`."""

from pathlib import Path

import numpy as np

from loc2vec.errors import RunError
from loc2vec.train.triplets import Sample, Triplet, picture


class TensorBoard:
    """Event files in a folder; a resumed run hides the events after its checkpoint.

    Raises `RunError` when the package is missing.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard.writer import SummaryWriter
        except ImportError as error:
            raise RunError(
                "--tensorboard needs an extra: pip install 'loc2vec[tensorboard]'"
            ) from error
        self._open, self._folder = SummaryWriter, str(folder)

    def begin(self, step: int) -> None:
        """Open an event file for the steps after this one."""
        self._writer = self._open(self._folder, purge_step=step + 1 if step else None)

    def scalars(self, step: int, group: str, values: dict[str, float]) -> None:
        """Show values at a step, those of a group side by side."""
        for name, value in values.items():
            self._writer.add_scalar(f"{group}/{name.replace('@', '_at_')}", value, step)

    def look(self, step: int, seen: Sample, triplets: list[Triplet]) -> None:
        """Show a histogram of each dimension, and the triplets as pictures."""
        for number, values in enumerate(seen.anchors.T):
            self._writer.add_histogram(
                f"embedding/{number:02d}", np.ascontiguousarray(values), step
            )
        if triplets:
            self._writer.add_image("hard triplets", picture(triplets), step, dataformats="HWC")
        self._writer.flush()

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()
