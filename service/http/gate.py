"""The bounded queue before the engine: what cannot be answered soon is refused at once."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, TypeVar

from service.errors import STOPPING, BusyError, SlowError
from service.observe.metrics import QUEUE, REFUSED

# What uvicorn says to the task of a request that has outlasted a stop's patience; anybody else has
# reasons of his own.
OUTLASTED = "Task cancelled, timeout graceful shutdown exceeded"
THREADS = 32  # requests on their way through the engine: most wait for a drawing or for the network

Answer = TypeVar("Answer")


class Gate:
    """Lets work into threads of its own as long as no more than `capacity` places wait there."""

    def __init__(self, capacity: int, timeout_s: float) -> None:
        self._capacity, self._timeout_s = capacity, timeout_s
        self._waiting, self._lock = 0, threading.Lock()
        self._closed = False
        self._threads = ThreadPoolExecutor(THREADS, "engine")

    async def run(self, weight: int, work: Callable[..., Answer], *arguments: Any) -> Answer:
        """Return what `work` does with `arguments`, which costs about as much as `weight` places.

        Raises `BusyError` at once when too many wait, and when the service stops; `SlowError` when
        it takes too long. Work that was begun goes on then, and counts until it ends.
        """
        self._enter(weight)
        # with the request's id and span
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
            raise  # whoever cancels a request, as a client within the process may, gets no answer

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
        """Wait for the work that was begun, and begin no more."""
        self._closed = True
        self._threads.shutdown(cancel_futures=True)
