"""Processes that read batches ahead; a program of its own forks them, as training does.

python -m tests.loc2vec.train.readers the_same_batches
"""

import os
import signal
import sys
import time
from collections.abc import Iterator
from multiprocessing import active_children

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from loc2vec.errors import RunError
from loc2vec.train.batches import Batch, Batches
from loc2vec.train.run import TrainConfig
from tests.loc2vec.memory import MemoryDataset
from tiling.errors import DatasetError

DAMAGED = "tile 3 does not match its checksum"
CONFIG = TrainConfig(places=4, pairs=2, mirrored=True)


class Damaged(MemoryDataset):
    def tiles(
        self,
        places: NDArray[np.int64],
        slots: NDArray[np.int64],
        out: NDArray[np.uint8] | None = None,
    ) -> NDArray[np.uint8]:
        raise DatasetError(DAMAGED)


def same(a: Batch, b: Batch) -> bool:
    return all(torch.equal(getattr(a, name), getattr(b, name)) for name in a.__slots__)


def the_same_batches() -> None:
    batches = Batches(MemoryDataset(), CONFIG)
    got = list(batches.prefetched(2, 9, readers=2))
    assert all(same(batch, batches.batch(step)) for step, batch in enumerate(got, 2))
    assert len(got) == 7


def an_error() -> None:
    with pytest.raises(DatasetError, match=f"^{DAMAGED}$"):
        next(Batches(Damaged(), CONFIG).prefetched(0, 100, readers=2))


def _killed(coming: Iterator[Batch]) -> None:
    """Kill the process that reads, once it waits: within a lock of PyTorch it would keep that."""
    next(coming)
    (reader,) = active_children()
    time.sleep(1)
    os.kill(reader.pid or 0, signal.SIGKILL)


def a_killed_reader() -> None:
    coming = Batches(MemoryDataset(), CONFIG).prefetched(0, 100, readers=1)
    _killed(coming)
    with pytest.raises(RunError, match="a process that reads tiles was killed"):
        list(coming)


def a_reader_killed_between_two_batches() -> None:
    coming = Batches(MemoryDataset(), CONFIG).prefetched(0, 100, readers=1)
    _killed(coming)
    time.sleep(1)  # what a step does meanwhile is not interrupted
    with pytest.raises(RunError, match="a process that reads tiles was killed"):
        list(coming)


def the_end_of_who_asks() -> None:
    coming = Batches(MemoryDataset(), CONFIG).prefetched(0, 100, readers=2)
    next(coming)
    readers = active_children()
    assert len(readers) == 2
    for reader in readers:  # as a terminal sends it to all
        os.kill(reader.pid or 0, signal.SIGINT)
    for _ in range(20):  # more than were read before
        next(coming)
    assert len(active_children()) == 2
    coming.close()
    assert not active_children()


if __name__ == "__main__":
    globals()[sys.argv[1]]()
