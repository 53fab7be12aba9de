"""Threads of the test's own process, those of other languages too."""

import time
from pathlib import Path


def threads_come_to(expected: int, within_s: float = 10.0) -> bool:
    """Tell whether there are as many as expected, once those that are ending have ended."""
    end = time.monotonic() + within_s
    while (count := threads_of_this_process()) != expected and time.monotonic() < end:
        time.sleep(0.01)
    return count == expected


def threads_of_this_process() -> int:
    """Count them."""
    return len(list(Path("/proc/self/task").iterdir()))
