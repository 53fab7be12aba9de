"""The bounded queue before the engine: it refuses at once what cannot be answered soon.

Clients have equal turns. However much one asks, it holds at most half of the threads and of the
queue, and another one comes next.
"""

import asyncio
import threading
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import Any, TypeVar

from service.errors import STOPPING, BusyError, GoneError
from service.observe.metrics import QUEUE, REFUSED
from service.patience import PATIENCE, Patience

# The message with which uvicorn cancels a request that outlasts a graceful stop.
OUTLASTED = "Task cancelled, timeout graceful shutdown exceeded"
THREADS = 32  # requests on their way through the engine: most wait for a drawing or for the network
SHARE = 2  # a client holds at most one part in so many, of threads and of the queue

Answer = TypeVar("Answer")
Work = tuple[Future[Any], Callable[[], Any]]


async def _never() -> None:
    await asyncio.Event().wait()


class Gate:
    """Runs work in its own threads while at most `capacity` places wait there."""

    def __init__(self, capacity: int, timeout_s: float) -> None:
        self._capacity, self.timeout_s = capacity, timeout_s
        self._waiting: Counter[str] = Counter()  # places, by client
        self._lock = threading.Lock()
        self._closed = False
        self._threads = FairThreads(THREADS, THREADS // SHARE)

    async def run(
        self,
        weight: int,
        work: Callable[..., Answer],
        *arguments: Any,
        client: str = "",
        patience: Patience | None = None,
        gone: Callable[[], Awaitable[None]] = _never,
    ) -> Answer:
        """Return `work(*arguments)`, which costs about as much as `weight` places.

        `client`: who asks. `patience`: how long it waits. `gone`: returns when it does no more.

        Raises `BusyError` at once when too many places wait or the service stops. Raises
        `SlowError` or `GoneError` when nobody waits any more; the work then ends soon, and counts
        until it does.
        """
        patience = patience or Patience(self.timeout_s)
        self._enter(client, weight)
        context = copy_context()  # holds the request's id and span
        context.run(PATIENCE.set, patience)
        future = self._threads.submit(client, partial(context.run, work, *arguments))
        future.add_done_callback(lambda _: self._leave(client, weight))
        answer, leaving = asyncio.wrap_future(future), asyncio.ensure_future(gone())
        try:
            return await self._first_of(answer, leaving, patience)
        except asyncio.CancelledError as error:
            if self._closed or OUTLASTED in error.args:
                raise BusyError(STOPPING) from error
            raise  # somebody in this process cancelled the request and wants no answer
        finally:
            patience_ends = not future.done()
            answer.cancel()
            leaving.cancel()
            if patience_ends:
                patience.give_up()

    async def _first_of(
        self, answer: asyncio.Future[Answer], leaving: asyncio.Future[None], patience: Patience
    ) -> Answer:
        first: set[asyncio.Future[Any]] = {answer, leaving}
        await asyncio.wait(first, timeout=patience.left_s(), return_when=asyncio.FIRST_COMPLETED)
        if answer.done():
            return answer.result()
        if leaving.done():
            leaving.result()
            REFUSED.labels("gone").inc()
            raise GoneError("the client has closed its connection")
        REFUSED.labels("slow").inc()
        raise patience.error()

    def _enter(self, client: str, weight: int) -> None:
        with self._lock:
            total, own = self._waiting.total(), self._waiting[client]
            if (total and total + weight > self._capacity) or (
                own and own + weight > max(1, self._capacity // SHARE)
            ):
                REFUSED.labels("busy").inc()
                raise BusyError("too many requests wait already: try again in a second")
            self._waiting[client] += weight
        QUEUE.inc(weight)

    def _leave(self, client: str, weight: int) -> None:
        with self._lock:
            self._waiting[client] -= weight
            self._waiting += Counter()  # forgets who waits for nothing
        QUEUE.dec(weight)

    def close(self) -> None:
        """Wait for the work in progress, and start no more."""
        self._closed = True
        self._threads.close()


class FairThreads:
    """Threads that work for several clients in turn, for each of them at most `share` at once."""

    def __init__(self, threads: int, share: int) -> None:
        self._count, self._share = threads, share
        self._threads = ThreadPoolExecutor(threads, "engine")
        self._running: Counter[str] = Counter()
        self._waiting: dict[str, deque[Work]] = {}
        self._lock = threading.Lock()

    def submit(self, client: str, work: Callable[[], Any]) -> Future[Any]:
        """Return the future of `work`, which begins when its client's turn comes."""
        future: Future[Any] = Future()
        with self._lock:
            self._waiting.setdefault(client, deque()).append((future, work))
            self._start()
        return future

    def _start(self) -> None:
        """Start what may start, first for the client that has the fewest threads."""
        while self._running.total() < self._count:
            free = [c for c in self._waiting if self._running[c] < self._share]
            if not free:
                return
            client = min(free, key=self._running.__getitem__)
            work = self._waiting[client].popleft()
            if not self._waiting[client]:
                del self._waiting[client]
            self._running[client] += 1
            self._threads.submit(self._run, client, *work)

    def _run(self, client: str, future: Future[Any], work: Callable[[], Any]) -> None:
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(work())
            except BaseException as error:  # raised where the answer is awaited
                future.set_exception(error)
        with self._lock:
            self._running[client] -= 1
            self._running += Counter()
            self._start()

    def close(self) -> None:
        """Cancel what waits, and wait for what runs."""
        with self._lock:
            waiting = [future for work in self._waiting.values() for future, _ in work]
            self._waiting.clear()
        for future in waiting:
            future.cancel()
        self._threads.shutdown()
