"""Writing files so that nobody ever sees half of one."""

import ctypes
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tiling.errors import UserError

AT_FDCWD, RENAME_EXCHANGE = -100, 2  # fcntl.h, linux/fs.h


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path`; on success sync it and rename it over `path`.

    On any error the temporary file goes, and what stood at `path` stays as it was.
    """
    with _scratch(path) as folder:
        temporary = folder / path.name
        yield temporary
        _sync(temporary)
        temporary.replace(path)
        _sync(path.parent)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Give an empty temporary folder; on success sync it and put it in the place of `path`."""
    with _scratch(path) as folder:
        temporary = folder / path.name
        temporary.mkdir()
        yield temporary
        for entry in (*temporary.rglob("*"), temporary):
            _sync(entry)
        if not (path.exists() and _exchange(temporary, path)):
            if path.exists():
                path.rename(folder / "previous")
            temporary.rename(path)
        _sync(path.parent)


def _exchange(one: Path, other: Path) -> bool:
    """Swap the names of two folders in one step, so that no crash leaves neither; False where that is unknown."""
    renameat2 = getattr(ctypes.CDLL(None), "renameat2", None)  # Linux, glibc 2.28
    return renameat2 is not None and renameat2(AT_FDCWD, bytes(one), AT_FDCWD, bytes(other), RENAME_EXCHANGE) == 0


@contextmanager
def _scratch(path: Path) -> Iterator[Path]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    except (PermissionError, FileExistsError, NotADirectoryError) as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _sync(path: Path) -> None:
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


def write_json(path: Path, value: Any) -> None:
    """Write `value` as readable JSON, atomically."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; `UserError` when the file is missing or holds something else."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise UserError(f"{path} does not hold a JSON object")
    return value
