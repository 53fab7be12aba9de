"""The CPUs, memory and threads of this process."""

import ctypes
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


def cpu_count() -> int:
    """Return how many CPUs this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_s_of(pid: int) -> float:
    """Return the CPU seconds that a process has used; 0 where the system does not tell."""
    fields = _stat(pid)
    if not fields:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / float(os.sysconf("SC_CLK_TCK"))


def wants_cpu(pid: int) -> bool:
    """Return whether a process computes, or waits for a CPU to compute with."""
    return _stat(pid)[:1] == ["R"]


def _stat(pid: int) -> list[str]:
    """Return the fields of `/proc/PID/stat` from the state on: proc_pid_stat(5)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:  # it has ended, or this is no Linux
        return []


def give_back_memory() -> None:
    """Return freed memory to the system.

    Without it the heap of a long-lived worker fragments and grows.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):  # glibc has it
        libc.malloc_trim(0)


@contextmanager
def one_thread(threads: Callable[[], int], use: Callable[[int], object]) -> Iterator[None]:
    """Let a library compute in one thread within the block.

    `threads` returns how many it uses, `use` sets the number.
    """
    before = threads()
    use(1)
    try:
        yield
    finally:
        use(before)
