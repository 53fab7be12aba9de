"""The bounded queue before the engine: it refuses at once what cannot be answered soon."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, TypeVar

from service.errors import STOPPING, BusyError, SlowError
from service.observe.metrics import QUEUE, REFUSED

# The message with which uvicorn cancels a request that outlasts a graceful stop.
OUTLASTED = "Task cancelled, timeout graceful shutdown exceeded"
THREADS = 32  # requests on their way through the engine: most wait for a drawing or for the network

Answer = TypeVar("Answer")


class Gate:
    """Runs work in its own threads while at most `capacity` places wait there."""

    def __init__(self, capacity: int, timeout_s: float) -> None:
        self._capacity, self._timeout_s = capacity, timeout_s
        self._waiting, self._lock = 0, threading.Lock()
        self._closed = False
        self._threads = ThreadPoolExecutor(THREADS, "engine")

    async def run(self, weight: int, work: Callable[..., Answer], *arguments: Any) -> Answer:
        """Return `work(*arguments)`, which costs about as much as `weight` places.

        Raises `BusyError` at once when too many places wait or the service stops. Raises
        `SlowError` after the timeout; the work then goes on and counts until it ends.
        """
        self._enter(weight)
        # The context holds the request's id and span.
        future = self._threads.submit(copy_context().run, work, *arguments)
        future.add_done_callback(lambda _: self._leave(weight))
        try:
            async with asyncio.timeout(self._timeout_s) as limit:
                return await asyncio.wrap_future(future)
        except TimeoutError as error:
            if not limit.expired():  # the work's own
                raise
            if future.done() and not future.cancelled():  # at the last moment
                return future.result()
            REFUSED.labels("slow").inc()
            raise SlowError(
                f"the answer took more than {self._timeout_s:.0f} s: ask for less at once"
            ) from error
        except asyncio.CancelledError as error:
            if self._closed or OUTLASTED in error.args:
                raise BusyError(STOPPING) from error
            raise  # somebody in this process cancelled the request and wants no answer

    def _enter(self, weight: int) -> None:
        with self._lock:
            if self._waiting and self._waiting + weight > self._capacity:
                REFUSED.labels("busy").inc()
                raise BusyError("too many requests wait already: try again in a second")
            self._waiting += weight
        QUEUE.inc(weight)

    def _leave(self, weight: int) -> None:
        with self._lock:
            self._waiting -= weight
        QUEUE.dec(weight)

    def close(self) -> None:
        """Wait for the work in progress, and start no more."""
        self._closed = True
        self._threads.shutdown(cancel_futures=True)
