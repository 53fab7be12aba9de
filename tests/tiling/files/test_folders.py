"""Folders of datasets: a local one, a mounted one by file://, and one in memory behind fsspec."""

import errno
import itertools
from collections.abc import Callable
from pathlib import Path

import fsspec
import pytest

from tiling.errors import DatasetError, UserError, WriteError
from tiling.files.folders import LocalFolder, RemoteFolder, absolute, open_folder

NUMBERS = itertools.count()


@pytest.fixture(params=["path", "file", "memory"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a folder may be that is not there yet."""
    name = f"deep/folder-{next(NUMBERS)}"
    urls = {"path": f"{tmp_path}/{name}", "file": f"file://{tmp_path}/{name}"}
    return urls.get(request.param, f"memory://{name}")


def test_a_folder_holds_what_was_put_into_it(location: str) -> None:
    folder = open_folder(location)
    assert folder.sizes() == {}
    folder.put("one", b"12345")
    folder.put("two", b"")
    assert folder.sizes() == {"one": 5, "two": 0}
    folder.put("one", b"123")
    assert open_folder(location).sizes() == {"one": 3, "two": 0}
    assert (folder.read("one"), folder.read("two")) == (b"123", b"")
    with pytest.raises(FileNotFoundError):
        folder.read("three")


def test_a_new_file_is_put_once(location: str) -> None:
    folder = open_folder(location)
    assert folder.put_new("plan", b"first") is True
    assert open_folder(location).put_new("plan", b"second") is False
    assert folder.read("plan") == b"first"


def test_what_is_deleted_is_gone_and_may_be_gone_before(location: str) -> None:
    folder = open_folder(location)
    folder.put("one", b"1")
    folder.put("two", b"2")
    folder.delete("one")
    folder.delete("one")
    folder.delete("never")
    assert folder.sizes() == {"two": 1}


def test_folders_inside_are_no_files(location: str) -> None:
    folder = open_folder(location)
    folder.put("file", b"1")
    open_folder(f"{location}/inner").put("hidden", b"2")
    assert folder.sizes() == {"file": 1}
    folder.sweep()
    assert open_folder(f"{location}/inner").sizes() == {"hidden": 1}


def test_a_location_says_which_kind_of_folder_it_is(tmp_path: Path) -> None:
    assert isinstance(open_folder(tmp_path), LocalFolder)
    assert open_folder(f"file://{tmp_path}/x").location == f"{tmp_path}/x"
    remote = open_folder("memory://a/b")
    assert isinstance(remote, RemoteFolder)
    assert remote.location == "memory://a/b"
    with pytest.raises(UserError, match="ftpx://y: ftpx:// is not known: give a folder, or a URL"):
        open_folder("ftpx://y")


def test_a_location_means_the_same_in_every_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute("tiles") == absolute(Path("tiles")) == f"{tmp_path}/tiles"
    assert absolute("/tiles") == "/tiles"
    assert absolute("s3://bucket/tiles") == "s3://bucket/tiles"


def test_what_a_killed_writer_left_is_swept_and_nothing_else(tmp_path: Path) -> None:
    left = [".plan.json.abcd1234", ".tiles-00001.parquet.x_y_z_09", ".empty.0a1b2c3d"]
    kept = [".plan.json.short", ".plan.json.ABCD1234", "plan.json.abcd1234", ".abcd1234"]
    for name in (*left, *kept, ".mine.abcd1234"):
        (tmp_path / name).mkdir()
    (tmp_path / left[0] / "plan.json").write_text("half")
    (tmp_path / left[1] / "tiles-00001.parquet").write_text("half")
    (tmp_path / ".mine.abcd1234" / "of-the-user").write_text("mine")
    (tmp_path / ".file.abcd1234").write_text("mine")
    LocalFolder(tmp_path).sweep()
    assert {entry.name for entry in tmp_path.iterdir()} == {
        *kept,
        ".mine.abcd1234",
        ".file.abcd1234",
    }


def failing(times: int, error: OSError) -> Callable[[Path, bytes], int]:
    """Return `Path.write_bytes` that fails so often at first."""
    real, left = Path.write_bytes, [times]

    def write_bytes(path: Path, data: bytes) -> int:
        left[0] -= 1
        if left[0] >= 0:
            raise error
        return real(path, data)

    return write_bytes


@pytest.mark.parametrize(("times", "written"), [(1, True), (2, True), (3, False)])
def test_a_file_that_another_run_sweeps_away_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int, written: bool
) -> None:
    swept = FileNotFoundError(errno.ENOENT, "No such file", "swept")
    monkeypatch.setattr(Path, "write_bytes", failing(times, swept))
    folder = LocalFolder(tmp_path)
    if written:
        folder.put("file", b"data")
    else:
        with pytest.raises(WriteError, match="cannot write swept: No such file"):
            folder.put("file", b"data")
    assert folder.sizes() == ({"file": 4} if written else {})


@pytest.mark.parametrize("put", [LocalFolder.put, LocalFolder.put_new])
def test_a_full_disk_is_named_and_leaves_the_file_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, put: Callable[[LocalFolder, str, bytes], None]
) -> None:
    folder = LocalFolder(tmp_path)
    folder.put("file", b"before")
    full = OSError(errno.ENOSPC, "No space left on device", "/disk/file")
    monkeypatch.setattr(Path, "write_bytes", failing(1, full))
    with pytest.raises(WriteError, match=r"cannot write /disk/file: No space left on device$"):
        put(folder, "file", b"after")
    assert folder.read("file") == b"before"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
    monkeypatch.setattr(Path, "write_bytes", failing(1, OSError("odd")))
    with pytest.raises(WriteError, match="cannot write the dataset: odd"):
        put(folder, "file", b"after")


def remote_that_fails(monkeypatch: pytest.MonkeyPatch, error: Exception) -> RemoteFolder:
    folder = RemoteFolder(f"memory://failing-{next(NUMBERS)}")
    memory = fsspec.get_filesystem_class("memory")
    for name in ("ls", "cat_file", "pipe_file", "exists", "rm_file"):
        monkeypatch.setattr(memory, name, lambda *_, **__: (_ for _ in ()).throw(error))
    return folder


def test_an_error_of_a_protocol_becomes_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = remote_that_fails(monkeypatch, RuntimeError("the network is down"))
    asked: list[Callable[[], object]] = [
        folder.sizes,
        lambda: folder.read("x"),
        lambda: folder.put("x", b""),
        lambda: folder.put_new("x", b""),
        lambda: folder.delete("x"),
    ]
    for ask in asked:
        with pytest.raises(
            WriteError, match=r"memory://failing-\d+: RuntimeError: the network is down"
        ):
            ask()


def test_an_error_of_ours_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = remote_that_fails(monkeypatch, DatasetError("ours"))
    with pytest.raises(DatasetError, match=r"^ours$"):
        folder.read("x")


def test_a_bucket_that_is_not_there_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = remote_that_fails(monkeypatch, FileNotFoundError("no such bucket"))
    assert folder.sizes() == {}
    with pytest.raises(WriteError, match=r"cannot write memory://failing-\d+/x: no such bucket"):
        folder.put("x", b"")
    with pytest.raises(FileNotFoundError):
        folder.read("x")


def test_a_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = ImportError("Install s3fs")
    monkeypatch.setattr(fsspec.core, "url_to_fs", lambda _: (_ for _ in ()).throw(missing))
    with pytest.raises(UserError, match=r"Install s3fs: s3:// comes with `pip install loc2vec\[s3"):
        open_folder("s3://bucket/tiles")


def test_of_two_writers_that_both_find_nothing_one_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def create(_: object, path: str, data: bytes, mode: str = "overwrite") -> None:
        asked.append((path.rpartition("/")[2], data, mode))
        raise FileExistsError(path)

    monkeypatch.setattr(fsspec.get_filesystem_class("memory"), "pipe_file", create)
    assert open_folder(f"memory://race-{next(NUMBERS)}").put_new("plan", b"mine") is False
    assert asked == [("plan", b"mine", "create")]
