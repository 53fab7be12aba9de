"""A full disk, as a process of the same account meets it: none of its files grows."""

import contextlib
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest


def fill_disk(pid: int) -> None:
    """Refuse whatever a process and those that it starts from now on write into files."""
    _let_grow(pid, 0)


def free_disk(pid: int) -> None:
    """Let a process write again."""
    _let_grow(pid, resource.RLIM_INFINITY)


def _let_grow(pid: int, most: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))


def said_on_a_full_disk(code: str, folder: Path) -> str:
    """Return what Python code prints where `/dev/shm`, the temporary folder too, has 64 kB.

    Skips the test where an account may not mount.
    """
    (folder / "code.py").write_text(code)
    small = "mount -t tmpfs -o size=64k none /dev/shm && "
    own = ["unshare", "--mount", "--map-root-user", "sh", "-c"]
    if subprocess.run([*own, f"{small} true"], capture_output=True).returncode:
        pytest.skip("this account may not mount a small disk")
    command = f"{small} TMPDIR=/dev/shm exec {sys.executable} {folder / 'code.py'}"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run([*own, command], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout
