"""Worker processes: answers, errors, losses, order, memory."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.disk import said_on_a_full_disk
from tiling.errors import KilledError, StoreError, WorkerError
from tiling.render.pool import MAX_LOSSES, Pool, Worker

ROOM = 100  # bytes
Numbers = NDArray[np.int64]
T = TypeVar("T")
R = TypeVar("R")


def numbers(length: int) -> Numbers:
    if length < 0:
        raise StoreError(f"no array has {length} numbers")
    return np.arange(length)


def twice(length: int) -> tuple[str, Numbers, Numbers]:
    return f"{length}", numbers(length), -numbers(length)


def die_unless(path: Path, lives: int) -> int:
    """Die `lives` times, counted in a file."""
    with path.open("a") as file:
        file.write("x")
    if path.stat().st_size <= lives:
        os.kill(os.getpid(), signal.SIGKILL)
    return lives


def fail_or_wait(folder: Path, seconds: float) -> float:
    """Raise for 0 seconds, else leave a file after the wait."""
    if not seconds:
        raise StoreError("nothing to wait for")
    time.sleep(seconds)
    (folder / str(seconds)).touch()
    return seconds


@contextmanager
def opened(task: Callable[[T], R]) -> Iterator[Callable[[T], R]]:
    yield task


@contextmanager
def broken() -> Iterator[Callable[[int], int]]:
    raise StoreError("cannot be opened")
    yield abs


def test_arrays_come_back_whole_and_stay(caplog: pytest.LogCaptureFixture) -> None:
    with closing(Worker(partial(opened, twice), ROOM)) as worker:
        for length in (0, 6, 7, 1000):  # two arrays of 6 numbers fit the room, two of 7 do not
            name, up, down = worker.ask(length)
            assert name == str(length)
            worker.ask(3)  # overwrites the shared memory
            assert np.array_equal(up, np.arange(length))
            assert np.array_equal(down, -np.arange(length))
            up += 1
    assert not caplog.records


def test_a_full_disk_ends_no_process(tmp_path: Path) -> None:
    code = (
        "from contextlib import closing\n"
        "from functools import partial\n"
        "from tests.tiling.render.test_pool import opened, numbers\n"
        "from tiling.render.pool import Worker\n"
        "if __name__ == '__main__':\n"
        "    with closing(Worker(partial(opened, numbers), 1_000_000)) as worker:\n"
        "        print(len(worker.ask(100_000)))\n"
    )
    assert said_on_a_full_disk(code, tmp_path) == "100000\n"


def test_an_error_of_a_task_is_raised_here_and_the_worker_goes_on() -> None:
    with closing(Worker(partial(opened, numbers))) as worker:
        pid = worker.process.pid
        with pytest.raises(StoreError, match=r"^no array has -1 numbers$"):
            worker.ask(-1)
        with pytest.raises(TypeError) as raised:
            worker.ask("many")  # type: ignore[arg-type]
        assert "in numbers" in raised.value.__notes__[0], "a bug must show where it is"
        assert len(worker.ask(4)) == 4
        assert (worker.process.pid, worker.retried) == (pid, 0)


def test_an_error_of_the_setup_is_raised_for_every_item() -> None:
    with closing(Worker(broken)) as worker:
        for _ in range(2):
            with pytest.raises(StoreError, match=r"^cannot be opened$"):
                worker.ask(1)


def test_an_item_is_given_out_again_until_it_killed_too_many(tmp_path: Path) -> None:
    deaths = partial(die_unless, tmp_path / "deaths")
    with closing(Worker(partial(opened, deaths))) as worker:
        assert worker.ask(MAX_LOSSES) == worker.retried == MAX_LOSSES
        with pytest.raises(WorkerError, match=r"killed 4 times over the same work .* --workers"):
            worker.ask(100)
        assert worker.ask(0) == 0


@pytest.mark.parametrize(("by", "error"), [("SIGKILL", KilledError), ("SIGSEGV", WorkerError)])
def test_who_killed_a_worker_is_told(
    monkeypatch: pytest.MonkeyPatch, by: str, error: type[WorkerError]
) -> None:
    monkeypatch.setattr("tiling.render.pool.MAX_LOSSES", 0)
    fatal = Worker(partial(opened, signal.raise_signal))
    with closing(fatal), pytest.raises(WorkerError) as raised:
        fatal.ask(signal.Signals[by])
    assert type(raised.value) is error


@pytest.mark.parametrize("in_order", [True, False])
def test_a_pool_answers_each_item_once_though_workers_are_killed(
    in_order: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with Pool(3, partial(opened, numbers), ROOM) as pool:
        answers = pool.run(range(40), in_order)
        lengths = [len(next(answers))]
        victim = pool._workers[1].process.pid
        assert victim is not None
        os.kill(victim, signal.SIGKILL)
        lengths += map(len, answers)
        assert pool.retried == 1
    assert sorted(lengths) == list(range(40))
    assert lengths == list(range(40)) or not in_order
    assert f"worker process {victim} was killed: starting another" in caplog.text


@pytest.mark.parametrize("in_order", [True, False])
def test_items_are_read_as_workers_become_free(in_order: bool) -> None:
    read: list[int] = []

    def items() -> Iterator[int]:
        for number in range(10):
            read.append(number)
            yield number

    with Pool(2, partial(opened, numbers)) as pool:
        for done, _ in enumerate(pool.run(items(), in_order), 1):
            assert len(read) <= done + 2
    assert len(read) == 10


def test_a_pool_without_items_has_no_answers() -> None:
    with Pool(0, partial(opened, numbers)) as pool:
        assert list(pool.run([])) == []


def test_an_error_waits_for_the_others(tmp_path: Path) -> None:
    setup = partial(opened, partial(fail_or_wait, tmp_path))
    with pytest.raises(StoreError), Pool(2, setup) as pool:
        list(pool.run([0.01, 0.02, 1.0, 0]))  # both workers are ready before the last two
    assert (tmp_path / "1.0").exists()


def test_an_abandoned_run_does_not_wait(tmp_path: Path) -> None:
    with Pool(2, partial(opened, partial(fail_or_wait, tmp_path))) as pool:
        assert next(pool.run([0.01, 60.0])) == 0.01
        start = time.monotonic()
    assert time.monotonic() - start < 30
