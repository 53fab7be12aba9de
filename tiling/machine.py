"""The CPUs, memory and threads of this process."""

import ctypes
import math
import mmap
import os
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import Any

CGROUPS = Path("/sys/fs/cgroup")


def cpu_count() -> int:
    """Return how many CPUs this process may use: its affinity, or less by its quota."""
    pinned = hasattr(os, "sched_getaffinity")
    cpus = len(os.sched_getaffinity(0)) if pinned else os.cpu_count() or 1
    return math.ceil(min(cpus, cpu_quota()))


def cpu_quota() -> float:
    """Return the CPUs that its control groups allow this process, `inf` without a limit.

    Files `cpu.max` of version 2, `cpu.cfs_*` of version 1: cgroups(7). Groups that a container does
    not see are left out.
    """
    least = math.inf
    for line in _lines("/proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        root = CGROUPS / controllers
        group = root / path.strip("/")
        for each in (group, *group.parents):
            if each.is_relative_to(root):
                least = min(least, _quota_of(each))
    return least


def data_bytes() -> int:
    """Return how much memory of its own this process has reserved; 0 where Linux does not tell."""
    pages = _text("/proc/self/statm").split()[5:6]  # data and stack: proc_pid_statm(5)
    return sum(map(int, pages)) * mmap.PAGESIZE


def _quota_of(group: Path) -> float:
    """Return the CPUs that one control group allows."""
    words = [word for line in _lines(group / "cpu.max") for word in line.split()]
    words += _lines(group / "cpu.cfs_quota_us") + _lines(group / "cpu.cfs_period_us")
    if len(words) != 2 or words[0] in ("max", "-1"):
        return math.inf
    return int(words[0]) / int(words[1])


def _lines(path: str | Path) -> list[str]:
    """Return the lines of a file of the system; none where it is missing."""
    return _text(path).splitlines()


def _text(path: str | Path) -> str:
    """Return what a file of the system tells; "" where it is missing."""
    try:
        return Path(path).read_text(errors="surrogateescape")  # as names of files are decoded
    except OSError:  # its process has ended, or this is no Linux
        return ""


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
    return _text(f"/proc/{pid}/stat").rpartition(")")[2].split()


def give_back_memory() -> None:
    """Return freed memory to the system.

    Without it the heap of a long-lived worker fragments and grows.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):  # glibc has it
        libc.malloc_trim(0)


def let_go_of(path: Path) -> None:
    """Take the pages of a file that is mapped and shared out of this process's memory.

    What was written stays in the file. The system keeps its pages for as long as it has room.
    """
    for line in _lines("/proc/self/maps"):
        addresses, rights, *_, name = line.split(maxsplit=5)
        if rights.endswith("s") and name == str(path.resolve()):
            start, end = (int(address, 16) for address in addresses.split("-"))
            length = ctypes.c_size_t(end - start)
            ctypes.CDLL(None).madvise(ctypes.c_void_p(start), length, mmap.MADV_DONTNEED)


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


class SharedMemory:
    """Bytes that a process and those that it spawns read and write.

    They lie on no disk. What lies in `/dev/shm` or `/tmp` ends the process that touches it when
    that disk is full.
    """

    def __init__(self, size: int, handle: Any = None) -> None:
        """Take `size` bytes, or with a `handle` those that another process took."""
        file = os.memfd_create("shared") if handle is None else handle.detach()
        weakref.finalize(self, os.close, file)
        os.ftruncate(file, max(size, 1))  # no map is empty
        self._file, self._map, self.size = file, mmap.mmap(file, max(size, 1)), size

    def __reduce__(self) -> tuple[Any, ...]:
        return SharedMemory, (self.size, DupFd(self._file))

    def bytes(self) -> memoryview:
        """Return the memory, uint8 [size]."""
        return memoryview(self._map)[: self.size]
