"""A function in a process of its own, with bounds on its CPU time and memory.

A crash, an endless computation or a flood of memory then ends that process alone.
"""

import ctypes
import gc
import os
import resource
import signal
import sys
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, NamedTuple, TypeVar

from tiling.errors import Loc2VecError
from tiling.machine import SharedMemory, data_bytes

POLL_S = 0.2
PR_SET_PDEATHSIG = 1  # linux/prctl.h
SPAWN = get_context("spawn")

R = TypeVar("R")
Board = Any  # int64 [n] of shared memory: what the child is at


class Bounds(NamedTuple):
    """What a child may use: CPU seconds, and bytes of memory beside what it begins with."""

    cpu_s: int
    memory: int


class ChildDiedError(Loc2VecError):
    """A child ended without an answer; `signal` ended it, or 0."""

    def __init__(self, status: int) -> None:
        super().__init__(f"a child process ended with status {status}")
        self.signal = max(0, -status)


def in_child(
    task: Callable[[Board], R],
    bounds: Bounds,
    slots: int = 0,
    watch: Callable[[Board], object] = lambda board: None,
) -> R:
    """Return what `task` returns in a spawned process, or raise what it raises.

    `task` and its answer are pickled. It is given a board of `slots` shared integers, which `watch`
    looks at now and then. Raises `ChildDiedError` when the process is killed, also by its bounds.
    """
    shared = SharedMemory(8 * max(slots, 1))
    board = shared.bytes().cast("q")
    ours, theirs = SPAWN.Pipe(duplex=False)
    process = SPAWN.Process(
        target=_run, args=(task, bounds, shared, theirs, os.getpid()), daemon=True
    )
    process.start()
    theirs.close()
    try:
        while not ours.poll(POLL_S):
            watch(board)
        answer: R | BaseException = ours.recv()
    except EOFError as error:
        process.join()
        watch(board)
        raise ChildDiedError(process.exitcode or 0) from error
    finally:
        process.kill()
        process.join()
        ours.close()
    watch(board)
    if isinstance(answer, BaseException):
        raise answer
    return answer


def _run(
    task: Callable[[Board], Any],
    bounds: Bounds,
    shared: SharedMemory,
    pipe: Connection,
    parent: int,
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    _end_with(parent)
    _limit(resource.RLIMIT_CPU, bounds.cpu_s)
    # Libraries reserve tens of megabytes for each CPU of the machine when they are imported.
    _limit(resource.RLIMIT_DATA, data_bytes() + bounds.memory)
    _limit(resource.RLIMIT_CORE, 0)
    gc.disable()  # the process ends soon, and looking for cycles takes a tenth of its time
    try:
        pipe.send(task(shared.bytes().cast("q")))
    except Exception as error:  # it is raised in the parent
        pipe.send(error)


def _end_with(parent: int) -> None:
    """Let the system kill this process when its parent ends, however it ends."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "prctl"):  # Linux
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before
            sys.exit(1)


def _limit(which: int, most: int) -> None:
    _, hard = resource.getrlimit(which)
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(which, (most, hard))
