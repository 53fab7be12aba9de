"""What the machine gives to a process."""

import math
import mmap
import os
from pathlib import Path

import pytest

from tiling import machine
from tiling.machine import cpu_count, cpu_quota, give_back_memory, let_go_of, one_thread


def test_the_cpus_are_those_that_the_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "cpu_quota", lambda: math.inf)
    assert 1 <= cpu_count() <= (os.cpu_count() or 1)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 3, 5}, raising=False)
    assert cpu_count() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    assert cpu_count() == 7
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert cpu_count() == 1


@pytest.mark.parametrize(
    ("group", "files", "cpus"),
    [
        ("0::/", {}, math.inf),
        ("0::/", {"cpu.max": "max 100000"}, math.inf),
        ("0::/", {"cpu.max": "50000 100000"}, 0.5),
        ("0::/a/b", {"a/b/cpu.max": "max 100000", "a/cpu.max": "300000 100000"}, 3.0),
        ("0::/not/seen/in/a/container", {"cpu.max": "150000 100000"}, 1.5),
        ("1:cpu:/a", {"cpu/a/cpu.cfs_quota_us": "-1", "cpu/a/cpu.cfs_period_us": "1"}, math.inf),
        ("1:cpu:/", {"cpu/cpu.cfs_quota_us": "20000", "cpu/cpu.cfs_period_us": "10000"}, 2.0),
        ("1:cpuset:/", {"cpuset/cpu.max": "1 1"}, math.inf),
    ],
)
def test_the_quota_of_control_groups_is_read(
    group: str,
    files: dict[str, str],
    cpus: float,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    lines = machine._lines
    monkeypatch.setattr(machine, "CGROUPS", tmp_path)
    monkeypatch.setattr(
        machine, "_lines", lambda path: [group] if str(path).startswith("/proc") else lines(path)
    )
    assert cpu_quota() == cpus
    assert cpu_count() == max(1, min(math.ceil(min(cpus, 1000)), len(os.sched_getaffinity(0))))


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


def held(path: Path) -> int:
    """Return how many kB of a mapped file this process holds in memory: proc_pid_smaps(5)."""
    lines = Path("/proc/self/smaps").read_text(errors="surrogateescape").splitlines()
    at = next(n for n, line in enumerate(lines) if line.endswith(f" {path}"))
    return next(int(line.split()[1]) for line in lines[at:] if line.startswith("Rss:"))


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="Linux tells what is mapped")
def test_the_pages_of_a_shared_file_go_and_what_was_written_stays(tmp_path: Path) -> None:
    size = 1 << 20
    shared, private = tmp_path / os.fsdecode(b"a shared file\xff"), tmp_path / "private"
    for path in (shared, private):
        path.write_bytes(bytes(size))
    with (
        shared.open("r+b") as one,
        private.open("r+b") as other,
        mmap.mmap(one.fileno(), size) as kept,
        mmap.mmap(other.fileno(), size, access=mmap.ACCESS_COPY) as copied,
    ):
        kept[:], copied[:] = b"a" * size, b"b" * size
        assert held(shared) == held(private) == size >> 10
        let_go_of(shared)
        let_go_of(private)
        assert held(shared) == 0
        assert held(private) == size >> 10, "what was written to it lies in no file"
        assert kept[:] == b"a" * size
        assert copied[:] == b"b" * size
    assert shared.read_bytes() == b"a" * size
