"""Making shards on a Ray cluster. The only module that knows Ray, which is an extra: `pip install loc2vec[ray]`."""

import os
import socket
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import redirect_stdout
from typing import Any, TypeVar

from tiling.dataset.executors import Waiting
from tiling.errors import UserError, WorkerError

try:
    # the coming default; Ray warns of the old one
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
OBJECT_STORE_BYTES = 100 << 20  # of a Ray started here; places go in and records come out, no tiles
REACH_S = 10.0
AT_A_TIME = 4  # tasks given out for each CPU of the cluster


class RayCluster:
    """The CPUs of a Ray cluster: at `address` or RAY_ADDRESS, or one of `workers` processes started here.

    On every node this package must be installed, and the stores and the dataset's folder be reached
    at the same place: a shared file system, or a URL.
    """

    def __init__(self, address: str | None, workers: int) -> None:
        self.retried = 0
        self._address = address
        self._workers = workers

    def run(self, task: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        """Yield `task(item)` for each item, as they come."""
        waiting = Waiting(items)
        if not waiting:
            return
        ours = not ray.is_initialized()
        if ours:
            self._connect()
        try:
            with redirect_stdout(sys.stderr):  # where Ray's own words belong
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
            ray.init(**options)
        except (OSError, RuntimeError, ValueError) as error:  # Ray's ConnectionError is an OSError
            raise UserError(f"no Ray cluster at {address}: {error}") from error

    def _results(self, task: Callable[[T], R], waiting: Waiting[T]) -> Iterator[R]:
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
                self.retried += waiting.lost(error, number)
            except RayTaskError as error:
                raise error.cause from error
            except RayError as error:
                raise WorkerError(f"Ray: {error}") from error
            else:
                waiting.done(number)
                yield result


def _reach(address: str) -> None:
    """Raise `OSError` when nothing listens at HOST:PORT or ray://HOST:PORT: Ray itself asks again for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host, int(port)), REACH_S).close()
