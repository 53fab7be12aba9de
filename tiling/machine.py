"""What the machine gives to this process."""

import ctypes
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager


def cpu_count() -> int:
    """Return how many CPUs this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def give_back_memory() -> None:
    """Give memory that was freed back to the system: the heap of a long-lived worker breaks up and grows without."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):  # glibc has it
        libc.malloc_trim(0)


@contextmanager
def one_thread(threads: Callable[[], int], use: Callable[[int], object]) -> Iterator[None]:
    """Have a library compute in one thread in the block.

    `threads` says how many it uses, `use` sets it.
    """
    before = threads()
    use(1)
    try:
        yield
    finally:
        use(before)
