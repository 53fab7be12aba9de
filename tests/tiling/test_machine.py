"""What the machine gives to a process."""

import os

import pytest

from tiling.machine import cpu_count, give_back_memory, one_thread


def test_the_cpus_are_those_that_the_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 1 <= cpu_count() <= (os.cpu_count() or 1)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 3, 5}, raising=False)
    assert cpu_count() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    assert cpu_count() == 7
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert cpu_count() == 1


def test_memory_is_given_back_where_the_c_library_can(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    class WithTrim:
        malloc_trim = asked.append

    give_back_memory()
    monkeypatch.setattr("ctypes.CDLL", lambda _: WithTrim)
    give_back_memory()
    assert asked == [0]
    monkeypatch.setattr("ctypes.CDLL", lambda _: object())
    give_back_memory()


def test_a_block_has_one_thread_and_then_as_many_as_before() -> None:
    used = [8]

    def failing() -> None:
        with one_thread(lambda: used[-1], used.append):
            raise KeyError

    with one_thread(lambda: used[-1], used.append):
        assert used == [8, 1]
    assert used == [8, 1, 8]
    with pytest.raises(KeyError):
        failing()
    assert used == [8, 1, 8, 1, 8]
