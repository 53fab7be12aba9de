"""Atomic writes: a reader sees a whole file or none."""

import ctypes
import errno
import fcntl
import glob
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tiling.errors import UserError

AT_FDCWD, RENAME_EXCHANGE = -100, 2  # fcntl.h, linux/fs.h
YOUNG_S = 1.0  # a folder that was just made may not be locked yet
NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS)  # what file systems without hard links say


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path`; on success sync it and rename it over `path`.

    On any error the temporary file goes, and what stood at `path` stays as it was. Other files may
    be put beside the temporary one: they go with its folder.

    Raises `UserError` for what is no regular file, such as a device, a FIFO or a folder.
    """
    if path.exists() and not path.is_file():
        raise UserError(f"cannot write {path}: it is no regular file")
    with _scratch(path) as folder:
        temporary = folder / path.name
        yield temporary
        sync(temporary)
        temporary.replace(path)
        sync(path.parent)


def write_new(path: Path, data: bytes) -> bool:
    """Write a synced file unless `path` exists; of several writers, one gets True."""
    with _scratch(path) as folder:
        temporary = folder / path.name
        temporary.write_bytes(data)
        sync(temporary)
        try:
            os.link(temporary, path)  # unlike a rename it fails when the name is taken
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in NO_LINKS or path.exists():
                raise
            temporary.replace(path)
        sync(path.parent)
    return True


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Give an empty temporary folder; on success sync it and put it in the place of `path`."""
    with _scratch(path) as folder:
        temporary = folder / path.name
        temporary.mkdir()
        yield temporary
        for entry in (*temporary.rglob("*"), temporary):
            sync(entry)
        _put_folder(temporary, path)


@contextmanager
def replacing_together(path: Path) -> Iterator[Path]:
    """Give a temporary path to which suffixes are added, for files and folders beside `path`.

    On success all of them are synced and renamed, PATH and suffix each; on any error none is.
    Raises `UserError` when a folder stands where a file goes, or the other way round.
    """
    with _scratch(path) as folder:
        yield folder / path.name
        made = sorted(folder.iterdir())
        for each in made:
            target = path.with_name(each.name)
            if target.exists() and target.is_dir() != each.is_dir():
                raise UserError(f"cannot write {target}: it is something else")
            for entry in (*each.rglob("*"), each):
                sync(entry)
        for each in made:
            _put(each, path.with_name(each.name))


def _put(made: Path, path: Path) -> None:
    if made.is_dir():
        _put_folder(made, path)
    else:
        made.replace(path)
        sync(path.parent)


def _put_folder(made: Path, path: Path) -> None:
    """Rename a synced folder over another one, which stays beside `made`."""
    if not (path.exists() and _exchange(made, path)):
        if path.exists():
            path.rename(made.with_name(f".{made.name}.previous"))
        made.rename(path)
    sync(path.parent)


def _exchange(one: Path, other: Path) -> bool:
    """Swap the names of two folders in one step, so that no crash leaves neither.

    False where that is unknown.
    """
    renameat2 = getattr(ctypes.CDLL(None), "renameat2", None)  # Linux, glibc 2.28
    return (
        renameat2 is not None
        and renameat2(AT_FDCWD, bytes(one), AT_FDCWD, bytes(other), RENAME_EXCHANGE) == 0
    )


@contextmanager
def _scratch(path: Path) -> Iterator[Path]:
    """Give an empty folder beside `path`, which goes afterwards; it is locked while it is used."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    except (PermissionError, FileExistsError, NotADirectoryError) as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system without locks is never swept
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(handle)


def sweep(path: Path) -> None:
    """Remove the temporary folders that killed writers of `path` have left beside it."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.{'[a-z0-9_]' * 8}"):
        with suppress(OSError):
            handle = os.open(left, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                old = time.time() - os.fstat(handle).st_mtime > YOUNG_S
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if old:
                    shutil.rmtree(left, ignore_errors=True)
            finally:
                os.close(handle)


def sync(path: Path) -> None:
    """Write what the system holds of a file or folder to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def require_file(path: Path, error: type[UserError], advice: str) -> None:
    """Raise `error` with `advice` unless `path` is a file that may be read."""
    if not path.is_file():
        raise error(f"{path} is not a file: {advice}")
    if not os.access(path, os.R_OK):
        raise error(f"no permission to read {path}")


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def json_bytes(value: Any) -> bytes:
    """Return `value` as readable JSON."""
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


def write_json(path: Path, value: Any) -> None:
    """Write `value` as readable JSON, atomically."""
    write_text(path, json_bytes(value).decode())


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; `UserError` when the file is missing or holds something else."""
    if path.exists() and not path.is_file():  # a FIFO would never end
        raise UserError(f"{path} is no regular file")
    try:
        return parse_json(path.read_bytes(), str(path))
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing") from error


def parse_json(data: bytes, what: str) -> dict[str, Any]:
    """Return the JSON object in `data`; `UserError` about `what` when it holds something else."""
    try:
        value = json.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise UserError(f"{what} is not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise UserError(f"{what} does not hold a JSON object")
    return value
