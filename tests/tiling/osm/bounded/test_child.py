"""A function in a process of its own: its answer, its error, its death, its bounds."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, MutableSequence
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from tests.disk import said_on_a_full_disk
from tiling.errors import ExtractError
from tiling.osm.bounded.child import Bounds, ChildDiedError, in_child

Board = MutableSequence[int]
ROOMY = Bounds(60, 2_000_000_000)


def answer(board: Board) -> int:
    board[0] = 7
    return os.getpid()


def fail(board: Board) -> None:
    raise ExtractError("it is no extract")


def crash(board: Board) -> None:
    board[0] = 5
    ctypes.string_at(0)


def spin(board: Board) -> None:
    while True:
        board[0] += 1


def hoard(board: Board) -> int:
    return int(np.ones(400_000_000).sum())


class Large:
    """A task whose process begins with 200 MB, as it does where libraries see many CPUs."""

    def __reduce__(self) -> tuple[object, ...]:
        return _with_much, ()


def _with_much() -> "partial[int]":
    return partial(_fill_beside, np.ones(25_000_000))


def _fill_beside(held: object, board: Board) -> int:
    return len(bytearray(30_000_000))


def test_the_answer_and_the_board_come_back() -> None:
    seen: list[int] = []
    assert in_child(answer, ROOMY, 1, lambda board: seen.append(board[0])) != os.getpid()
    assert seen[-1] == 7


def test_a_full_disk_ends_no_child(tmp_path: Path) -> None:
    code = (
        "from tests.tiling.osm.bounded.test_child import ROOMY, answer, in_child\n"
        "if __name__ == '__main__':\n"
        "    in_child(answer, ROOMY, 100_000, lambda board: print(board[0]))\n"
    )
    assert said_on_a_full_disk(code, tmp_path).splitlines()[-1] == "7"


def test_its_error_is_raised_here() -> None:
    with pytest.raises(ExtractError, match="it is no extract"):
        in_child(fail, ROOMY)


def test_a_crash_ends_the_child_alone_and_shows_where_it_was() -> None:
    seen: list[int] = []
    with pytest.raises(ChildDiedError) as died:
        in_child(crash, ROOMY, 1, lambda board: seen.append(board[0]))
    assert died.value.signal == signal.SIGSEGV
    assert seen[-1] == 5


def test_cpu_time_and_memory_are_bounded() -> None:
    with pytest.raises(ChildDiedError) as died:
        in_child(spin, Bounds(1, 2_000_000_000), 1)
    assert died.value.signal == signal.SIGXCPU
    with pytest.raises(MemoryError):
        in_child(hoard, Bounds(60, 1_000_000_000))


def test_memory_that_libraries_have_reserved_does_not_count() -> None:
    large = cast(Callable[[Board], int], Large())
    assert in_child(large, Bounds(60, 60_000_000)) == 30_000_000


def test_it_ends_with_its_parent(tmp_path: Path) -> None:
    code = (
        "from tests.tiling.osm.bounded import test_child as t\n"
        "if __name__ == '__main__': t.in_child(t.spin, t.ROOMY, 1)\n"
    )
    script = tmp_path / "parent.py"
    script.write_text(code)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    parent = subprocess.Popen([sys.executable, str(script)], env=environment)
    children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
    started: list[str] = []
    while len(started) < 2:  # the child, and the tracker of resources
        assert parent.poll() is None
        started = children.read_text().split()
        time.sleep(0.05)
    parent.kill()
    parent.wait()
    end = time.monotonic() + 30
    while any(Path(f"/proc/{pid}/stat").exists() and state(pid) != "Z" for pid in started):
        assert time.monotonic() < end
        time.sleep(0.05)


def state(pid: str) -> str:
    """Return the state of a process, as /proc has it; "Z" when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"
