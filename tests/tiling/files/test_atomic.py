"""Files and folders that appear whole or not at all, whatever fails in the middle."""

import ctypes
import errno
import hashlib
import os
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tiling.errors import PointsError, StoreError, UserError
from tiling.files.atomic import (
    json_bytes,
    parse_json,
    read_json,
    replacing,
    replacing_folder,
    require_file,
    sha256_of,
    sweep,
    write_json,
    write_new,
    write_text,
)


class Crash(BaseException):
    """What no handler of errors catches, as the end of a process."""


def everything(folder: Path) -> dict[str, str]:
    """Every file under a folder with its text; folders have none."""
    return {
        str(path.relative_to(folder)): path.read_text() if path.is_file() else ""
        for path in folder.rglob("*")
    }


def fail_at(monkeypatch: pytest.MonkeyPatch, name: str, error: BaseException, call: int) -> None:
    """Have call number `call` of a function of `os` fail."""
    real: Callable[..., object] = getattr(os, name)
    calls = iter(range(1, 100))

    def function(*arguments: object, **options: object) -> object:
        if next(calls) == call:
            raise error
        return real(*arguments, **options)

    monkeypatch.setattr(os, name, function)


def test_a_replaced_file_is_whole_and_alone(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "file.txt"
    for text in ("first", "second"):
        with replacing(path) as temporary:
            assert temporary.parent.parent == path.parent, "a rename stays on one file system"
            assert temporary.name == path.name, "writers go by the suffix"
            temporary.write_text(text)
            assert everything(path.parent).get("file.txt") != text
        assert everything(path.parent) == {"file.txt": text}


def stopped(writing: AbstractContextManager[Path], error: BaseException) -> None:
    """Write half of a file, or of a folder, and end with an error."""
    with writing as temporary:
        half = temporary / "half" if temporary.is_dir() else temporary
        half.write_text("half")
        raise error


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left"), Crash(), ValueError()])
def test_an_error_of_the_writer_leaves_what_stood_there(
    tmp_path: Path, error: BaseException
) -> None:
    path = tmp_path / "file"
    path.write_text("before")
    with pytest.raises(type(error)):
        stopped(replacing(path), error)
    assert everything(tmp_path) == {"file": "before"}


@pytest.mark.parametrize(("owner", "name"), [(os, "fsync"), (Path, "replace")])
def test_a_file_that_cannot_be_synced_or_renamed_is_not_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: object, name: str
) -> None:
    path = tmp_path / "file"
    path.write_text("before")

    def written_until_then() -> None:
        with replacing(path) as temporary:
            temporary.write_text("after")
            monkeypatch.setattr(owner, name, lambda *_: (_ for _ in ()).throw(Crash))

    with pytest.raises(Crash):
        written_until_then()
    monkeypatch.undo()
    assert everything(tmp_path) == {"file": "before"}


def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that grows with what is synced and what is renamed, by the file's name."""
    told: list[str] = []
    fsync, replace, link = os.fsync, Path.replace, os.link

    def sync(handle: int) -> None:
        told.append("sync " + Path(f"/proc/self/fd/{handle}").readlink().name)
        fsync(handle)

    def rename(one: Path, other: Path) -> Path:
        told.append(f"rename {one.name}")
        return replace(one, other)

    def join(one: Path, other: Path) -> None:
        told.append(f"link {one.name}")
        link(one, other)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(Path, "replace", rename)
    monkeypatch.setattr(os, "link", join)
    return told


def test_the_data_is_on_the_disk_before_its_name_and_then_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = synced(monkeypatch)
    write_text(tmp_path / "file", "text")
    assert told == ["sync file", "rename file", f"sync {tmp_path.name}"]
    del told[:]
    write_new(tmp_path / "new", b"data")
    assert told == ["sync new", "link new", f"sync {tmp_path.name}"]


def test_a_new_file_is_written_once(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file"
    assert write_new(path, b"one") is True
    assert write_new(path, b"two") is False
    assert everything(path.parent) == {"file": "one"}


@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOTSUP, errno.ENOSYS])
def test_without_hard_links_a_new_file_is_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(code, "no links")))
    path = tmp_path / "file"
    assert write_new(path, b"one") is True
    with pytest.raises(OSError, match="no links"):
        write_new(path, b"two")
    assert everything(tmp_path) == {"file": "one"}


def test_a_full_disk_writes_no_new_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_at(monkeypatch, "link", OSError(errno.ENOSPC, "No space left"), 1)
    with pytest.raises(OSError, match="No space left"):
        write_new(tmp_path / "file", b"one")
    assert everything(tmp_path) == {}


def test_of_many_writers_one_makes_the_file_and_the_last_replaces_it(tmp_path: Path) -> None:
    path, made = tmp_path / "file", []
    texts = [str(number) * 50_000 for number in range(6)]
    seen: set[str] = set()

    def write(text: str) -> None:
        if write_new(path, text.encode()):
            made.append(text)
        seen.add(path.read_text())
        write_text(path, text)
        seen.add(path.read_text())

    writers = [threading.Thread(target=write, args=(text,)) for text in texts]
    for each in writers:
        each.start()
    for each in writers:
        each.join()
    assert len(made) == 1
    assert seen <= set(texts), "nobody sees a part of a file"
    assert everything(tmp_path).keys() == {"file"}


def fill(folder: Path, text: str) -> None:
    (folder / "inner").mkdir()
    (folder / "inner" / "file").write_text(text)


@pytest.mark.parametrize("exchange", [True, False])
def test_a_folder_takes_the_place_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchange: bool
) -> None:
    if not exchange:
        monkeypatch.setattr("tiling.files.atomic._exchange", lambda *_: False)
    path = tmp_path / "models" / "mine"
    for text in ("first", "second"):
        with replacing_folder(path) as temporary:
            assert list(temporary.iterdir()) == []
            fill(temporary, text)
            if text == "first":
                (temporary / "surplus").write_text("")
        kept = {"inner": "", "inner/file": text} | ({"surplus": ""} if text == "first" else {})
        assert everything(path) == kept
    assert [entry.name for entry in path.parent.iterdir()] == ["mine"]


def test_an_error_leaves_the_folder_that_stood_there(tmp_path: Path) -> None:
    path = tmp_path / "mine"
    path.mkdir()
    fill(path, "before")
    before = everything(tmp_path)
    with pytest.raises(Crash):
        stopped(replacing_folder(path), Crash())
    assert everything(tmp_path) == before


def test_every_file_of_a_folder_is_synced_before_it_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = synced(monkeypatch)
    with replacing_folder(tmp_path / "mine") as temporary:
        fill(temporary, "text")
    assert set(told[:-1]) == {"sync file", "sync inner", "sync mine"}
    assert told[-1] == f"sync {tmp_path.name}"


def test_without_an_exchange_the_old_folder_makes_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mine"
    path.mkdir()
    fill(path, "before")
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())  # a C library without renameat2
    with replacing_folder(path) as temporary:
        fill(temporary, "after")
    assert everything(tmp_path) == {"mine": "", "mine/inner": "", "mine/inner/file": "after"}


def test_a_place_where_nothing_can_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write .*/file/below: (Not a dir|File exists)"):
        write_text(tmp_path / "file" / "below", "text")
    denied = PermissionError(errno.EACCES, "Permission denied")
    monkeypatch.setattr("tempfile.mkdtemp", lambda **_: (_ for _ in ()).throw(denied))
    with pytest.raises(UserError, match=r"cannot write .*/mine: Permission denied"):
        write_text(tmp_path / "mine", "text")
    assert everything(tmp_path) == {"file": ""}


def test_only_a_regular_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "device").symlink_to("/dev/full")
    for name in ("folder", "fifo", "device"):
        with pytest.raises(UserError, match=f"cannot write .*/{name}: it is no regular file"):
            write_text(tmp_path / name, "text")
    assert (tmp_path / "device").is_char_device()
    assert {entry.name for entry in tmp_path.iterdir()} == {"folder", "fifo", "device"}


def test_what_killed_writers_left_is_swept_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "store.gpkg"
    left, other = tmp_path / ".store.gpkg.abcd_123", tmp_path / ".other.gpkg.abcd1234"
    for folder in (left, other):
        folder.mkdir()
        (folder / "half").write_text("half")
    young = tmp_path / ".store.gpkg.zyxw9876"
    young.mkdir()
    with replacing(path) as temporary:
        os.utime(left, (0, 0))
        os.utime(other, (0, 0))
        os.utime(temporary.parent, (0, 0))
        sweep(path)
        assert temporary.parent.is_dir(), "it is in use"
        temporary.write_text("whole")
    assert not left.exists()
    assert young.is_dir(), "it may be in use a moment later"
    assert (other / "half").is_file(), "it belongs to another file"


def test_a_file_that_must_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    for missing in (path, tmp_path):
        with pytest.raises(StoreError, match="is not a file: make it"):
            require_file(missing, StoreError, "make it")
    path.write_text("")
    require_file(path, StoreError, "make it")
    monkeypatch.setattr(os, "access", lambda asked, mode: not (asked == path and mode == os.R_OK))
    with pytest.raises(PointsError, match=r"no permission to read .*/file"):
        require_file(path, PointsError, "make it")


def test_the_hash_of_a_file_is_that_of_its_bytes(tmp_path: Path) -> None:
    for data in (b"", b"abc", bytes(range(256)) * 5_000):
        (tmp_path / "file").write_bytes(data)
        assert sha256_of(tmp_path / "file") == hashlib.sha256(data).hexdigest()


def test_json_is_written_to_be_read_by_people_and_read_back(tmp_path: Path) -> None:
    value = {"name": "Zürich", "list": [1, 2.5, None], "nested": {"true": True}}
    write_json(tmp_path / "file.json", value)
    text = (tmp_path / "file.json").read_text(encoding="utf-8")
    assert text.encode() == json_bytes(value)
    assert '\n  "name": "Zürich",\n' in text
    assert text.endswith("}\n")
    assert read_json(tmp_path / "file.json") == value


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "it is not valid JSON"),
        (b'{"a": 1', "it is not valid JSON"),
        (b'{"a": "\xff"}', "it is not valid JSON"),
        (b"[1, 2]", "it does not hold a JSON object"),
        (b"null", "it does not hold a JSON object"),
    ],
)
def test_what_is_no_json_object_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_json(data, "it")


def test_a_missing_json_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nothing\.json is missing"):
        read_json(tmp_path / "nothing.json")
