"""Executors make the shards of a job: in this process or in several of this machine.

`tiling.dataset.ray` has one for a Ray cluster. Results come in any order. A job survives the loss
of a worker: its item is given out again, up to `MAX_LOSSES` times.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Protocol, TypeVar

from tiling.render.pool import Pool

T = TypeVar("T")
R = TypeVar("R")


class Executor(Protocol):
    """A way to run one task over many items."""

    retried: int  # items given out again because their worker was lost

    def run(self, task: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        """Yield `task(item)` for each item, as they come; an error of a task ends the run."""


class InProcess:
    """One item after the other, in this process."""

    retried = 0

    def run(self, task: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        """Yield `task(item)` for each item."""
        return map(task, items)


class Processes:
    """Several processes of this machine, started for each run."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.retried = 0

    def run(self, task: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        """Yield `task(item)` for each item, as they come."""
        items = list(items)
        with Pool(min(self.workers, len(items)), partial(_set_up, task)) as pool:
            try:
                yield from pool.run(items)
            finally:
                self.retried += pool.retried


@contextmanager
def _set_up(task: Callable[[T], R]) -> Iterator[Callable[[T], R]]:
    """Open nothing: a shard opens its stores itself."""
    yield task
