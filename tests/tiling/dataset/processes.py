"""Running `loc2vec tile` as a process of its own, to stop it in every way."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from tiling.dataset.job import TileJob


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file under a folder, by name."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def tile(*options: str | Path, out: str | Path) -> list[str]:
    """Return the command line of `loc2vec tile`."""
    return [sys.executable, "-m", "loc2vec", "tile", "--out", str(out), *map(str, options)]


def options_of(job: TileJob) -> list[str]:
    """Return the options of a job of one store and sampled places."""
    return [
        *("--store", job.stores[0].location, "--locations", str(job.locations)),
        *("--positives", str(job.positives), "--seed", str(job.seed)),
    ]


def start(command: list[str]) -> subprocess.Popen[str]:
    """Start a command in a session of its own."""
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def descendants(pid: int) -> list[int]:
    """Return the processes that a process has started, and they."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        children = [
            int(child) for task in tasks for child in (task / "children").read_text().split()
        ]
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [each for child in children for each in (child, *descendants(child))]


def gone(pid: int) -> bool:
    """Tell whether a process has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def all_gone(pids: Iterable[int], within_s: float = 30) -> bool:
    """Wait until the processes have ended; tell whether they did."""
    pids, until = list(pids), time.monotonic() + within_s
    while not all(map(gone, pids)) and time.monotonic() < until:
        time.sleep(0.02)
    return all(map(gone, pids))


def wait_for(folder: Path, pattern: str, running: subprocess.Popen[str]) -> None:
    """Wait until a file appears while a command runs."""
    while not list(folder.glob(pattern)):
        assert running.poll() is None, running.communicate()
        time.sleep(0.02)


KILL, CTRL_C = signal.SIGKILL, signal.SIGINT
