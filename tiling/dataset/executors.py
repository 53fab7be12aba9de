"""Where the shards of a job are made: in this process, in several, or (`tiling.dataset.ray`) on a Ray cluster.

An executor runs a task over items and gives the results as they come, in any order. A worker that is
lost does not end the job: its items are given out again, up to `MAX_LOSSES` times each.
"""

import multiprocessing
import os
import signal
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import connection
from typing import Generic, Protocol, TypeVar

from tiling.errors import WorkerError

T = TypeVar("T")
R = TypeVar("R")
MAX_LOSSES = 3


class Executor(Protocol):
    """A way to run one task over many items."""

    retried: int  # items given out again because their worker was lost

    def run(self, task: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        """Yield `task(item)` for each item, as they come; an error of a task ends it all."""


class InProcess:
    """One item after the other, in this process."""

    retried = 0

    def run(self, task: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        """Yield `task(item)` for each item."""
        return map(task, items)


class Processes:
    """Fresh processes of this machine."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.retried = 0

    def run(self, task: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        """Yield `task(item)` for each item, as they come."""
        waiting = Waiting(items)
        while waiting:
            try:
                yield from self._pool(task, waiting)
            except BrokenProcessPool as error:
                self.retried += waiting.lost(error)

    def _pool(self, task: Callable[[T], R], waiting: "Waiting[T]") -> Iterator[R]:
        """Work with one pool of processes until it breaks or nothing is left."""
        before = set(multiprocessing.active_children())
        # Spawned, not forked: Mapnik and SQLite keep threads and locks.
        pool = ProcessPoolExecutor(
            self.workers, multiprocessing.get_context("spawn"), _end_with_parent
        )
        running: dict[Future[R], int] = {}
        try:
            while waiting:
                with _ctrl_c_kept_from_children():
                    for number, item in waiting.take(2 * self.workers):
                        running[pool.submit(task, item)] = number
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    result = future.result()
                    waiting.done(running.pop(future))
                    yield result
        except (KeyboardInterrupt, GeneratorExit):
            # Not waited for: what they write has a temporary name.
            for child in set(multiprocessing.active_children()) - before:
                child.kill()
            raise
        finally:
            pool.shutdown(cancel_futures=True)


class Waiting(Generic[T]):
    """The items that are not done: some given out, at most so many at a time, the others in their order."""

    def __init__(self, items: Iterable[T]) -> None:
        self._items = dict(enumerate(items))
        self._next = deque(self._items)
        self._out: set[int] = set()
        self._losses: Counter[int] = Counter()

    def __len__(self) -> int:
        return len(self._items)

    def take(self, at_a_time: int) -> Iterator[tuple[int, T]]:
        """Give out items, each with its number, until `at_a_time` are out."""
        while self._next and len(self._out) < at_a_time:
            number = self._next.popleft()
            self._out.add(number)
            yield number, self._items[number]

    def done(self, number: int) -> None:
        """Strike out an item."""
        self._out.remove(number)
        del self._items[number]

    def lost(self, error: Exception, number: int | None = None) -> int:
        """Take back an item, or all that are out.

        Return how many. `WorkerError` for one lost too often.
        """
        numbers = sorted(self._out) if number is None else [number]
        self._losses.update(numbers)
        if max(self._losses.values(), default=0) > MAX_LOSSES:
            raise WorkerError(
                f"a worker process was killed {MAX_LOSSES + 1} times over the same work (out of memory?): "
                "run the same command again with fewer --workers"
            ) from error
        self._out -= set(numbers)
        self._next.extendleft(reversed(numbers))
        return len(numbers)


@contextmanager
def _ctrl_c_kept_from_children() -> Iterator[None]:
    """Let processes that start now never see SIGINT, which a terminal sends to all.

    This one gets it a moment later.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_with_parent() -> None:
    """Make this process end with its parent however that ends, also when it is killed."""
    threading.Thread(target=_watch_parent, daemon=True).start()


def _watch_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
