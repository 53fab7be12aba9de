"""Time and CPU of works that take turns, in this process and in servers."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Clock = Callable[[], float]  # of the CPU seconds that were used so far
WARM_UP, IN_A_ROW = 3, 20


class Work(NamedTuple):
    """What is measured: a function of a number, and the clock of those who do the work."""

    call: Callable[[int], Any]
    clock: Clock = time.process_time


class Times(NamedTuple):
    """Seconds of each call, and CPU seconds of a call in the mean."""

    each: NDArray[np.float64]
    cpu: float

    @property
    def median(self) -> float:
        return float(np.median(self.each))


def in_turns(works: Mapping[str, Work], count: int) -> dict[str, Times]:
    """Return the times of at least `count` calls of each work, each with another number.

    They take turns, so that whatever else the machine does disturbs them all alike. A turn is
    `IN_A_ROW` calls after three that warm up: a processor that wakes from idling is slower.
    """
    times: dict[str, list[float]] = {name: [] for name in works}
    cpu = dict.fromkeys(works, 0.0)
    for start in range(0, count, IN_A_ROW):
        for name, work in works.items():
            numbers = range(2 * start, 2 * start + WARM_UP + IN_A_ROW)
            for number in numbers[:WARM_UP]:
                work.call(number)
            used = work.clock()
            times[name] += [seconds(work.call, number) for number in numbers[WARM_UP:]]
            cpu[name] += work.clock() - used
    return {name: Times(np.array(each), cpu[name] / len(each)) for name, each in times.items()}


def of_all(work: Work, count: int) -> Times:
    """Return the times of calls of one work, which take long enough to need no turns."""
    used = work.clock()
    each = np.array([seconds(work.call, number) for number in range(count)])
    return Times(each, (work.clock() - used) / count)


def seconds(call: Callable[[int], Any], number: int) -> float:
    """Return how long a call takes."""
    start = time.perf_counter()
    call(number)
    return time.perf_counter() - start


def clock_of(pid: int) -> Clock:
    """Return the clock of a process and of its children, by clock_getcpuclockid(3)."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    children = " ".join((task / "children").read_text() for task in tasks)
    pids = [pid, *map(int, children.split())]
    return lambda: sum(time.clock_gettime((~each << 3) | 2) for each in pids)
