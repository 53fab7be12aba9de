"""Folders of a dataset: local, or behind an fsspec URL such as s3://bucket/tiles.

A reader sees a whole file or none. A local file is written under a temporary name, synced and
renamed; in an object store, one `put` is atomic. No other module knows fsspec.
"""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Protocol

import fsspec
import pyarrow as pa

from tiling.errors import Loc2VecError, UserError, WriteError
from tiling.files.atomic import replacing, write_new

ATTEMPTS = 3
# what `tiling.files.atomic` writes into before it renames
_TEMPORARY = re.compile(r"\.(.+)\.[a-z0-9_]{8}")


Pieces = Callable[[int, int], memoryview]  # offset and length in bytes -> that piece of a file


class Folder(Protocol):
    """A flat folder of files, named by `location`."""

    location: str

    def sizes(self) -> dict[str, int]:
        """Return the bytes of each file, by name; nothing when there is no such folder."""

    def read(self, name: str) -> bytes:
        """Return the content of a file; `FileNotFoundError` without it."""

    def pieces(self, name: str, data: bytes) -> Pieces:
        """Return a function that gives pieces of a file, whose content is `data`.

        Thousands of files may be cut up so at a time.
        """

    def put(self, name: str, data: bytes) -> None:
        """Write a file, or put it in the place of the one there, in one step."""

    def put_new(self, name: str, data: bytes) -> bool:
        """Write a file unless the name is taken; of several writers, one gets True."""

    def delete(self, name: str) -> None:
        """Delete a file, if it is there."""

    def sweep(self) -> None:
        """Remove what writers left that were killed."""


def open_folder(location: str | Path) -> Folder:
    """Return the folder at a path or an fsspec URL; it need not exist.

    Raises `UserError` for a protocol that is unknown or whose package is missing.
    """
    protocol, separator, path = str(location).partition("://")
    if not separator:
        return LocalFolder(Path(location))
    if protocol not in fsspec.available_protocols():
        raise UserError(
            f"{location}: {protocol}:// is not known: give a folder, or a URL such as s3://bucket/tiles"
        )
    return LocalFolder(Path(path)) if protocol == "file" else RemoteFolder(str(location))


def absolute(location: str | Path) -> str:
    """Return a location that every process understands: a URL as it is, or an absolute path."""
    return str(location) if "://" in str(location) else str(Path(location).absolute())


class LocalFolder:
    """A folder of this machine, or one that is mounted on it."""

    def __init__(self, path: Path) -> None:
        self.location = str(path)
        self._path = path

    def sizes(self) -> dict[str, int]:
        """Return the bytes of each file, by name; nothing when there is no such folder."""
        if not self._path.is_dir():
            return {}
        return {
            entry.name: entry.stat().st_size for entry in os.scandir(self._path) if entry.is_file()
        }

    def read(self, name: str) -> bytes:
        """Return the content of a file."""
        return (self._path / name).read_bytes()

    def pieces(self, name: str, data: bytes) -> Pieces:
        """Return a function that gives pieces of a file, mapped: it holds no memory of its own."""
        with pa.memory_map(str(self._path / name)) as file:
            content = memoryview(file.read_buffer())  # stays mapped when the file is closed
        return partial(_piece, content)

    def put(self, name: str, data: bytes) -> None:
        """Write a file in one step."""
        with _no_room():
            for attempt in range(ATTEMPTS):
                try:
                    with replacing(self._path / name) as temporary:
                        temporary.write_bytes(data)
                    return
                except FileNotFoundError:  # swept away by another run of the same job
                    if attempt == ATTEMPTS - 1:
                        raise

    def put_new(self, name: str, data: bytes) -> bool:
        """Write a file unless there is one."""
        with _no_room():
            return write_new(self._path / name, data)

    def delete(self, name: str) -> None:
        """Delete a file, if it is there."""
        (self._path / name).unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove what writers left that were killed."""
        for entry in self._path.iterdir():
            temporary = _TEMPORARY.fullmatch(entry.name)
            if (
                temporary
                and entry.is_dir()
                and {each.name for each in entry.iterdir()} <= {temporary[1]}
            ):
                shutil.rmtree(entry, ignore_errors=True)  # a second job may sweep at the same time


class RemoteFolder:
    """A folder behind an fsspec URL."""

    def __init__(self, url: str) -> None:
        self.location = url
        with _explained(url):
            self._files, self._path = fsspec.core.url_to_fs(url)

    def sizes(self) -> dict[str, int]:
        """Return the bytes of each file, by name; nothing when there is no such folder."""
        with _explained(self.location):
            self._files.invalidate_cache()
            try:
                entries = self._files.ls(self._path, detail=True)
            except FileNotFoundError:
                return {}
        return {
            str(e["name"]).rpartition("/")[2]: int(e["size"])
            for e in entries
            if e["type"] == "file"
        }

    def read(self, name: str) -> bytes:
        """Return the content of a file."""
        with _explained(self.location):
            return bytes(self._files.cat_file(f"{self._path}/{name}"))

    def pieces(self, name: str, data: bytes) -> Pieces:
        """Return a function that cuts pieces out of `data`: a request for each would take long."""
        return partial(_piece, memoryview(data))

    def put(self, name: str, data: bytes) -> None:
        """Write a file in one step."""
        with _explained(self.location):
            self._write(name, data)

    def put_new(self, name: str, data: bytes) -> bool:
        """Write a file unless there is one."""
        with _explained(self.location):
            self._files.invalidate_cache()
            if self._files.exists(f"{self._path}/{name}"):  # not every protocol knows mode="create"
                return False
            try:
                self._write(name, data, mode="create")
            except FileExistsError:
                return False
        return True

    def _write(self, name: str, data: bytes, **options: str) -> None:
        try:
            self._files.pipe_file(f"{self._path}/{name}", data, **options)
        except FileNotFoundError as error:  # a bucket that is not there
            raise WriteError(f"cannot write {self.location}/{name}: {error}") from error

    def delete(self, name: str) -> None:
        """Delete a file, if it is there."""
        with _explained(self.location):
            self._files.invalidate_cache()
            if self._files.exists(f"{self._path}/{name}"):
                self._files.rm_file(f"{self._path}/{name}")

    def sweep(self) -> None:
        """Do nothing: a put that was cut off leaves nothing behind."""


@contextmanager
def _no_room() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise WriteError(
            f"cannot write {error.filename or 'the dataset'}: {error.strerror or error}"
        ) from error


@contextmanager
def _explained(url: str) -> Iterator[None]:
    """Turn the errors of a protocol into ours, each in one line."""
    try:
        yield
    except (FileNotFoundError, Loc2VecError):
        raise
    except ImportError as error:
        raise UserError(f"{url}: {error}: s3:// comes with `pip install loc2vec[s3]`") from error
    except Exception as error:
        raise WriteError(f"{url}: {type(error).__name__}: {error}") from error


def _piece(content: memoryview, offset: int, length: int) -> memoryview:
    return content[offset : offset + length]
