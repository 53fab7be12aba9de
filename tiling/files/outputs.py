"""What a command may write to: checked before long work begins, and by one command at a time."""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tiling.errors import UserError


def require_output(path: Path, *inputs: Path | None) -> None:
    """Raise `UserError` unless a file can be written to `path`.

    It may be none of `inputs`, which it would replace, and nothing else than a regular file.
    """
    if path.exists() and not path.is_file():
        raise UserError(f"cannot write {path}: it is no regular file")
    for given in inputs:
        if given is not None and path.exists() and given.exists() and path.samefile(given):
            raise UserError(f"{path} is read by this command and would be lost: name another --out")
    nearest = next(folder for folder in path.absolute().parents if folder.exists())
    try:
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error


@contextmanager
def claimed(path: Path) -> Iterator[None]:
    """Keep other commands from changing `path` meanwhile; `UserError` while one does.

    The lock is a file `.NAME.lock` beside it, which ends with the process that holds it.
    """
    lock = path.absolute().parent / f".{path.name}.lock"
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            gone = os.fstat(handle).st_nlink == 0  # its last holder has just removed it
        except BlockingIOError:
            gone = True
        if gone:
            raise UserError(f"another command is writing {path}: wait for it, then try again")
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)
    finally:
        os.close(handle)
