"""An executor on a Ray cluster. Ray is an extra, `pip install loc2vec[ray]`, known here only."""

import os
import signal
import socket
import sys
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any, Generic, TypeVar

from tiling.errors import UserError, WorkerError
from tiling.render.pool import KILLED, MAX_LOSSES

try:
    # Ray's next default; it warns about the present one.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray
    from ray.exceptions import (
        NodeDiedError,
        OutOfMemoryError,
        RayError,
        RayTaskError,
        WorkerCrashedError,
    )
except ImportError as error:
    raise UserError("--engine ray needs Ray: pip install 'loc2vec[ray]'") from error

T = TypeVar("T")
R = TypeVar("R")
LOST = (WorkerCrashedError, NodeDiedError, OutOfMemoryError)
OBJECT_STORE_BYTES = 100 << 20  # of a Ray started here: it carries places and records, no tiles
REACH_S = 10.0
AT_A_TIME = 4  # tasks given out for each CPU of the cluster


class _Waiting(Generic[T]):
    """The items that are not done yet: some are given out, the others wait in their order."""

    def __init__(self, items: Iterable[T]) -> None:
        self._items = dict(enumerate(items))
        self._next = deque(self._items)
        self._losses: Counter[int] = Counter()

    def __len__(self) -> int:
        return len(self._items)

    def take(self, at_a_time: int) -> Iterator[tuple[int, T]]:
        """Give out items, each with its number, until `at_a_time` are out."""
        while self._next and len(self._items) - len(self._next) < at_a_time:
            number = self._next.popleft()
            yield number, self._items[number]

    def done(self, number: int) -> None:
        """Strike out an item."""
        del self._items[number]

    def lost(self, number: int, error: Exception) -> None:
        """Take back an item; `WorkerError` when it was lost too often."""
        self._losses[number] += 1
        if self._losses[number] > MAX_LOSSES:
            raise WorkerError(KILLED) from error
        self._next.appendleft(number)


class RayCluster:
    """The CPUs of the Ray cluster at `address` or RAY_ADDRESS, else of one with `workers` CPUs.

    The latter is started here. Every node needs this package, and must reach the stores and the
    dataset's folder under the same path or URL.
    """

    def __init__(self, address: str | None, workers: int) -> None:
        self.retried = 0
        self._address = address
        self._workers = workers

    def run(self, task: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        """Yield `task(item)` for each item, as they come."""
        waiting = _Waiting(items)
        if not waiting:
            return
        ours = not ray.is_initialized()
        if ours:
            self._connect()
        try:
            with redirect_stdout(sys.stderr):  # Ray prints; stdout is for results
                yield from self._results(task, waiting)
        finally:
            if ours:
                ray.shutdown()

    def _connect(self) -> None:
        address = self._address or os.environ.get("RAY_ADDRESS") or "local"
        options: dict[str, Any] = {
            "address": address,
            "log_to_driver": False,
            "logging_level": "error",
        }
        if address == "local":
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            options |= {"num_cpus": max(1, self._workers), "include_dashboard": False}
            options |= {"object_store_memory": OBJECT_STORE_BYTES, "_node_ip_address": "127.0.0.1"}
        try:
            _reach(address)
            with _own_sigterm():
                ray.init(**options)
        except (OSError, RuntimeError, ValueError) as error:  # Ray's ConnectionError is an OSError
            raise UserError(f"no Ray cluster at {address}: {error}") from error

    def _results(self, task: Callable[[T], R], waiting: _Waiting[T]) -> Iterator[R]:
        def shard(item: T) -> R:  # the name that Ray shows
            return task(item)

        # Ray's own retries are off, so that every loss is counted.
        remote: Any = ray.remote(num_cpus=1, max_retries=0)(shard)
        at_a_time = AT_A_TIME * int(ray.cluster_resources().get("CPU", 1))  # type: ignore[no-untyped-call]
        running: dict[Any, int] = {}
        while waiting:
            for number, item in waiting.take(at_a_time):
                running[remote.remote(item)] = number
            (done,), _ = ray.wait(list(running))
            number = running.pop(done)
            try:
                result = ray.get(done)
            except LOST as error:
                waiting.lost(number, error)
                self.retried += 1
            except RayTaskError as error:
                raise error.cause from error
            except RayError as error:
                raise WorkerError(f"Ray: {error}") from error
            else:
                waiting.done(number)
                yield result


@contextmanager
def _own_sigterm() -> Iterator[None]:
    """Keep our handler of SIGTERM: Ray's ends the process in a way of its own, and outlives Ray."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def _reach(address: str) -> None:
    """Raise `OSError` when nothing listens at HOST:PORT or ray://HOST:PORT.

    Ray itself would try for minutes.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host, int(port)), REACH_S).close()
