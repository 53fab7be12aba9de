"""A pool of worker processes for tile jobs, batch embedding and the service.

Each worker has a pipe of its own and does one item at a time. The standard `ProcessPoolExecutor`
shares one pipe between its workers. One that is killed in the middle of an answer breaks the pool,
or leaves the reader waiting for the rest of it.

- A killed worker is replaced and gets its item again, at most `MAX_LOSSES` times.
- A worker that hangs is killed and replaced, where the caller says how long an item may take.
- An error of the task is raised in the main process, and the worker goes on.
- NumPy arrays come back through shared memory, without being pickled.
- Ctrl-C and SIGTERM reach the main process only. Workers end when it ends, however it ends.
- Processes are spawned, not forked: Mapnik and SQLite keep threads and locks.
"""

import contextlib
import logging
import math
import multiprocessing
import os
import pickle
import signal
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import cache
from itertools import accumulate, islice
from multiprocessing import connection, get_context, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from multiprocessing.util import Finalize
from types import TracebackType
from typing import Any, Generic, NamedTuple, Self, TypeVar
from weakref import WeakSet

from tiling.errors import KilledError, Loc2VecError, WorkerError
from tiling.machine import SharedMemory, cpu_s_of, wants_cpu

MAX_LOSSES = 3  # times that an item is given out again because its worker was killed
KILLED = (
    f"a worker process was killed {MAX_LOSSES + 1} times over the same work (out of memory?): "
    "run the same command again with fewer --workers"
)
HUNG = "a worker process did not answer: another one takes its place"
ENDING = "the worker process is being ended"
START_S = 30.0  # in which a process that may not hang should have started
STILL_S = 0.015  # of CPU: a process that used less has stood still
LOOK_S = 0.25  # between two looks for processes that hang
ENDED = (EOFError, OSError)  # what a pipe raises when the process at its other end has ended
SPAWN = get_context("spawn")

log = logging.getLogger(__name__)
T = TypeVar("T")
R = TypeVar("R")
Setup = Callable[[], AbstractContextManager[Callable[[T], R]]]


class Answer(NamedTuple, Generic[R]):
    """What a task returned."""

    value: R


class Worker(Generic[T, R]):
    """A process that runs a task over items, one at a time. It belongs to one thread at a time.

    `setup` runs in the process: it opens what the task needs, such as a store, and yields the task.
    `room`: bytes of shared memory for the arrays of one answer; larger ones take the pipe.
    `patience_s`: a process that needs longer for an item is looked at, and again after as long. If
    it stood still, or used so much CPU, it is killed and replaced. One that gets little CPU on a
    busy machine goes on.
    """

    def __init__(self, setup: Setup[T, R], room: int = 0, patience_s: float | None = None) -> None:
        self.retried = 0  # items given out again because the process was killed
        self._setup, self._shared = setup, SharedMemory(room)
        self._patience_s = math.inf if patience_s is None else patience_s
        self._end_s = math.inf
        self._hung = self._ending = False
        self._looks_s: list[float] = []  # CPU used, at each look at an item that is late
        self._start()
        if patience_s is not None:
            _watch_over(self)

    def _start(self) -> None:
        self._hung = False
        self._end_s = time.monotonic() + START_S
        self.pipe, theirs = SPAWN.Pipe()
        arguments = (self._setup, theirs, self._shared)
        self._started = False
        self.process = SPAWN.Process(target=_work, args=arguments, name="worker", daemon=True)
        with _ctrl_c_blocked():
            self.process.start()
        theirs.close()  # only the process holds that end now, so its death closes the pipe
        # A program that forgets close() ends all the same: before it waits for its children.
        self._kill = Finalize(self, _kill, (self.process,), exitpriority=0)

    def give(self, item: T) -> None:
        """Hand over an item; `receive` returns the answer."""
        self._item, self._losses = item, 0
        self._send()

    def _send(self) -> None:
        if self._started:
            self._end_s = self._until()
        with contextlib.suppress(*ENDED):  # killed while it was idle: `receive` replaces it
            self.pipe.send(self._item)

    def _until(self) -> float:
        self._looks_s = []
        return time.monotonic() + self._patience_s

    def receive(self) -> Answer[R] | None:
        """Wait for a message: an answer, or None when the process has started or was replaced.

        Raises what the task or `setup` raised. Raises `WorkerError` after too many losses of one
        item, and when the process was replaced because it hung.
        """
        try:
            message: _Packed | Exception | None = self.pipe.recv()
        except ENDED as error:
            self._replace(error)
            return None
        if message is None:
            self._started, self._end_s = True, self._until()
            return None
        self._end_s = math.inf
        if isinstance(message, Exception):
            raise message
        return Answer(_unpack(message, self._shared))

    def _replace(self, error: Exception) -> None:
        if self._ending:
            raise WorkerError(ENDING) from error
        hung = self._hung
        self._losses += 1
        log.warning("worker process %s was killed: starting another", self.process.pid)
        self.close()
        outside = self.process.exitcode == -signal.SIGKILL
        self._start()
        if hung:
            raise WorkerError(HUNG) from error
        if self._losses > MAX_LOSSES:
            raise (KilledError if outside else WorkerError)(KILLED) from error
        self.retried += 1
        self._send()

    def kill_if_late(self, now_s: float) -> None:
        """Kill a process that hangs at `now_s` of the monotonic clock; `receive` replaces it.

        Called from another thread.
        """
        if now_s <= self._end_s or self.process.pid is None or self._has_answered():
            return
        self._looks_s.append(cpu_s_of(self.process.pid))
        if not self._hangs(self.process.pid):
            self._end_s = now_s + self._patience_s
            return
        self._hung, self._end_s = True, math.inf
        log.error("worker process %s hangs: it is killed", self.process.pid)
        self.process.kill()

    def _has_answered(self) -> bool:
        """Return whether a message waits that nobody has had the time to receive."""
        try:
            return self.pipe.poll()
        except OSError:  # closed by `finish`
            return False

    def _hangs(self, pid: int) -> bool:
        if len(self._looks_s) == 1:
            return False
        first_s, before_s, now_s = self._looks_s[0], *self._looks_s[-2:]
        still = now_s - before_s <= STILL_S and not wants_cpu(pid)
        return still or now_s - first_s >= self._patience_s

    def end(self) -> None:
        """Kill the process for good, also under a thread that waits for its answer."""
        self._ending = True
        self.process.kill()

    def ask(self, item: T) -> R:
        """Return the answer to one item; raises what `receive` raises."""
        self.give(item)
        while (answer := self.receive()) is None:
            pass
        return answer.value

    def finish(self) -> None:
        """Let the process complete its item, then end it."""
        self.pipe.close()
        self.process.join()

    def close(self) -> None:
        """End the process at once, whatever it is doing."""
        self._end_s = math.inf
        self.pipe.close()
        self._kill()


_watched: WeakSet[Worker[Any, Any]] = WeakSet()
_watching = threading.Lock()


def _watch_over(worker: Worker[Any, Any]) -> None:
    """Kill the worker when it hangs."""
    with _watching:
        _watched.add(worker)
        _start_watching()


@cache
def _start_watching() -> None:
    threading.Thread(target=_watch, name="watch workers", daemon=True).start()


os.register_at_fork(after_in_child=_start_watching.cache_clear)  # a fork has no such thread


def _watch() -> None:
    while True:
        time.sleep(LOOK_S)
        _kill_late()


def _kill_late() -> None:
    with _watching:
        workers = list(_watched)
    for worker in workers:
        worker.kill_if_late(time.monotonic())


class Pool(Generic[T, R]):
    """Workers that share out many items. A context manager; it belongs to one thread."""

    def __init__(self, workers: int, setup: Setup[T, R], room: int = 0) -> None:
        """Start the processes; `setup` and `room` as those of `Worker`."""
        self._workers = [Worker(setup, room) for _ in range(workers)]

    @property
    def retried(self) -> int:
        """How many items were given out again because their worker was killed."""
        return sum(worker.retried for worker in self._workers)

    def run(self, items: Iterable[T], in_order: bool = False) -> Iterator[R]:
        """Yield the answers as they come, or in the order of the items.

        Memory is bounded: `items` is read as workers become free, and a worker that waits for its
        turn holds its answer back. Raises what `Worker.receive` raises.
        """
        items, busy = iter(items), deque[Worker[T, R]]()
        for worker, item in zip(self._workers, items, strict=False):
            worker.give(item)
            busy.append(worker)
        while busy:
            for worker in [busy[0]] if in_order else _with_message(busy):
                answer = worker.receive()
                if answer is None:
                    continue
                busy.remove(worker)
                for item in islice(items, 1):  # before the yield: it works while the caller does
                    worker.give(item)
                    busy.append(worker)
                yield answer.value

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the processes: at once on Ctrl-C, after their items on an error of one of them."""
        if isinstance(error, Exception):
            for worker in self._workers:
                worker.finish()
        for worker in self._workers:
            worker.close()


def _with_message(busy: Sequence[Worker[T, R]]) -> list[Worker[T, R]]:
    """Wait until a worker has a message or has died, and return all such."""
    ready = set(connection.wait([worker.pipe for worker in busy]))
    return [worker for worker in busy if worker.pipe in ready]


def _kill(process: BaseProcess) -> None:
    process.kill()
    process.join()


@contextlib.contextmanager
def _ctrl_c_blocked() -> Iterator[None]:
    """Start processes that never see SIGINT, which a terminal sends to all: they inherit the mask.

    The main process gets the signal after the block.
    """
    resource_tracker.ensure_running()  # the first process starts it, and that unblocks SIGINT
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _work(setup: Setup[T, R], pipe: Connection, shared: SharedMemory) -> None:
    """Run in the worker: answer items until the main process closes the pipe.

    The first message says that the task is ready (None), or what `setup` raised.
    """
    for number in (signal.SIGINT, signal.SIGTERM):  # the main process decides what they mean
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=end_with_parent, daemon=True).start()
    with contextlib.suppress(*ENDED), contextlib.ExitStack() as stack:
        try:
            task = stack.enter_context(setup())
        except Exception as error:
            pipe.send(error)
            return
        pipe.send(None)
        while True:
            pipe.send(_answer(task, pipe.recv(), shared))


def end_with_parent() -> None:
    """Wait until the parent of this process ends or is killed, and end this process then."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _answer(task: Callable[[T], R], item: T, shared: SharedMemory) -> "_Packed | Exception":
    try:
        return _pack(task(item), shared)
    except Loc2VecError as error:  # raised again in the main process
        return error
    except Exception as error:
        error.add_note(f"In the worker process:\n{traceback.format_exc()}")
        return error


class _Packed(NamedTuple):
    """A pickled answer, and the sizes in bytes of its arrays, which lie in the shared memory."""

    pickled: bytes
    sizes: list[int]


def _pack(value: Any, shared: SharedMemory) -> _Packed:
    """Pickle a value, its arrays one after the other into the shared memory if they fit."""
    buffers: list[pickle.PickleBuffer] = []
    pickled = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    arrays = [buffer.raw() for buffer in buffers]
    sizes = [array.nbytes for array in arrays]
    if sum(sizes) > shared.size:
        return _Packed(pickle.dumps(value), [])
    memory = shared.bytes()
    for array, end in zip(arrays, accumulate(sizes), strict=True):
        memory[end - len(array) : end] = array
    return _Packed(pickled, sizes)


def _unpack(packed: _Packed, shared: SharedMemory) -> Any:
    """Return the value with arrays of its own: the next answer overwrites the shared memory."""
    memory = shared.bytes()
    arrays = [
        bytearray(memory[end - size : end])
        for size, end in zip(packed.sizes, accumulate(packed.sizes), strict=True)
    ]
    return pickle.loads(packed.pickled, buffers=arrays)  # noqa: S301 - from a process of ours
