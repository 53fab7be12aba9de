"""Options that commands share, the types of `loc2vec tile`, and how any command ends."""

import errno
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from tiling.cli.group import CommandGroup
from tiling.cli.options import StoreType, json_option, print_result, read_box, store_option
from tiling.cli.tile import Radii, ShareType
from tiling.errors import (
    DatasetError,
    Loc2VecError,
    PlaceError,
    StoppedError,
    UserError,
    WriteError,
)
from tiling.store.store import Store

SECRET = "s3cret"  # noqa: S105 - made up
URL = f"postgresql://me:{SECRET}@db.example:5433/osm"


@click.command()
@click.option("--bbox", callback=read_box)
@click.option("--shard", type=ShareType(), default="1/1")
@click.option("--radii", type=Radii())
@click.option("--stores", multiple=True, type=StoreType())
@json_option
def shown(
    bbox: object,
    shard: tuple[int, int],
    radii: tuple[float, ...] | None,
    stores: tuple[Store, ...],
    as_json: bool,
) -> None:
    """Print what the options were read as."""
    facts = {"bbox": bbox, "shard": shard, "radii": radii, "stores": list(map(str, stores))}
    print_result(facts, as_json, f"shard {shard[0]} of {shard[1]}")


@click.command()
@store_option
def opened(store: Store) -> None:
    """Print the store and the password that was put aside."""
    click.echo(f"{store} {os.environ.get('PGPASSWORD')}")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No password from before, and none left behind."""
    monkeypatch.setenv("PGPASSWORD", "of before")
    monkeypatch.delenv("PGPASSWORD")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(shown, [*arguments])


def read(*arguments: str) -> dict[str, object]:
    result = run("--json", *arguments)
    assert result.exit_code == 0, result.output
    facts: dict[str, object] = json.loads(result.stdout)
    return facts


def refused(message: str, *arguments: str) -> None:
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in " ".join(result.stderr.split())


def test_without_options_there_is_one_share_and_nothing_else() -> None:
    assert read() == {"bbox": None, "shard": [1, 1], "radii": None, "stores": []}
    assert run().stdout == "shard 1 of 1\n"


@pytest.mark.parametrize(
    ("text", "share"), [("1/1", [1, 1]), ("2/3", [2, 3]), ("3/3", [3, 3]), ("007/010", [7, 10])]
)
def test_a_share_is_read(text: str, share: list[int]) -> None:
    assert read("--shard", text)["shard"] == share


@pytest.mark.parametrize("text", ["0/3", "4/3", "1/0", "1", "1/", "/3", "-1/3", "1/2/3", "a/b", ""])
def test_what_is_no_share_is_refused(text: str) -> None:
    refused(f"{text!r} is not one of 1/N, 2/N, ... N/N", "--shard", text)


@pytest.mark.parametrize(
    ("text", "radii"),
    [("100", [100]), ("10,1000", [10, 1000]), ("50.5, 100,400", [50.5, 100, 400])],
)
def test_radii_are_read(text: str, radii: list[float]) -> None:
    assert read("--radii", text)["radii"] == radii


@pytest.mark.parametrize("text", ["9.99", "1000.01", "400,100", "100,100", "nan", "100,nan", "inf"])
def test_radii_must_rise_within_their_range(text: str) -> None:
    refused(f"{text!r}: the radii must rise, from 10 to 1000 m", "--radii", text)


@pytest.mark.parametrize("text", ["", "a", "100,", "100;400", "100 400"])
def test_what_is_no_list_of_metres_is_refused(text: str) -> None:
    refused(f"{text!r} is not a list of metres such as 100,400", "--radii", text)


def test_a_box_is_read_or_refused() -> None:
    assert read("--bbox", "7,43,8,44")["bbox"] == [7.0, 43.0, 8.0, 44.0]
    refused("Invalid value for '--bbox': box '7,43': give four numbers", "--bbox", "7,43")
    refused("lat 95.0 is out of range", "--bbox", "7,43,8,95")


def test_a_password_is_put_aside_and_shown_nowhere() -> None:
    result = CliRunner().invoke(opened, ["--store", URL])
    store, password = result.stdout.split()
    assert password == SECRET
    assert SECRET not in store
    assert store.startswith("postgresql://me@db.example:5433/osm")


def test_a_file_and_a_url_without_a_password_stay_as_they_are() -> None:
    for store in ("region.gpkg", "maps/a b.gpkg"):
        assert CliRunner().invoke(opened, ["--store", store]).stdout == f"{store} None\n"
    result = CliRunner().invoke(opened, ["--store", "postgresql://me@db/osm"])
    assert result.stdout.endswith(" None\n")


def test_several_stores_may_have_one_password() -> None:
    other = f"postgresql://me:{SECRET}@elsewhere/osm"
    stores = read("--stores", URL, "--stores", "region.gpkg", "--stores", other)["stores"]
    assert isinstance(stores, list)
    assert stores[1] == "region.gpkg"
    assert SECRET not in str(stores)
    refused(
        "stores have different passwords: put them into ~/.pgpass",
        "--stores", URL, "--stores", "postgresql://me:another@db/osm",
    )  # fmt: skip


def test_a_url_that_is_none_is_refused_without_its_password() -> None:
    group = CommandGroup("loc2vec", {"opened": opened})
    nonsense = f"postgresql://me:{SECRET}@x/osm?nonsense=1"
    result = CliRunner().invoke(group, ["opened", "--store", nonsense])
    assert result.exit_code == 2
    assert "postgresql://me@x/osm?nonsense=1 is no URL of a database" in result.stderr
    assert SECRET not in result.output


ERRORS: list[tuple[BaseException, int, str]] = [
    (UserError("your fault"), 2, "your fault"),
    (PlaceError("a place"), 2, "a place"),
    (DatasetError("a dataset"), 2, "a dataset"),
    (Loc2VecError("no fault of yours"), 1, "no fault of yours"),
    (WriteError("two\n  lines"), 1, "two lines"),
    (StoppedError("stopped"), 130, "stopped"),
    (KeyboardInterrupt(), 130, "interrupted"),
    (FileNotFoundError(errno.ENOENT, "No such file", "x.csv"), 2, "No such file: x.csv"),
    (PermissionError(errno.EACCES, "Permission denied", "x"), 2, "Permission denied: x"),
    (IsADirectoryError(errno.EISDIR, "Is a directory", "x"), 2, "Is a directory: x"),
    (OSError(errno.ENOSPC, "No space left on device"), 1, "No space left on device"),
    (OSError("odd"), 1, "odd"),
]


@pytest.mark.parametrize(("error", "status", "message"), ERRORS)
def test_an_error_ends_a_command_with_one_line(
    error: BaseException, status: int, message: str
) -> None:
    group = CommandGroup("loc2vec")

    @group.command()
    def fail() -> None:
        raise error

    result = CliRunner().invoke(group, ["fail"])
    assert (result.exit_code, result.stdout) == (status, "")
    assert result.stderr.splitlines()[-1] == f"loc2vec: error: {message}"
    assert "Traceback" not in result.output


@pytest.mark.parametrize("error", [ValueError("a bug"), AssertionError()])
def test_a_bug_is_not_hidden(error: Exception) -> None:
    group = CommandGroup("loc2vec")

    @group.command()
    def fail() -> None:
        raise error

    assert CliRunner().invoke(group, ["fail"]).exception is error


def test_a_reader_that_goes_away_is_no_error() -> None:
    group = CommandGroup("loc2vec")

    @group.command()
    def fail() -> None:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    result = CliRunner().invoke(group, ["fail"])
    assert result.exit_code == 1
    assert "loc2vec: error" not in result.output


def test_a_wrong_option_is_a_usage_error_of_click() -> None:
    group = CommandGroup("loc2vec", {"shown": shown})
    result = CliRunner().invoke(group, ["shown", "--nonsense"])
    assert result.exit_code == 2
    assert "No such option" in result.stderr


def test_sigterm_ends_the_workers_of_a_job(monaco_store: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "loc2vec", "tile", "--store", str(monaco_store)]
    job = ["--out", str(tmp_path / "tiles"), "--locations", "20000", "--workers", "2"]
    with subprocess.Popen([*command, *job], stderr=subprocess.PIPE, text=True) as process:
        end = time.monotonic() + 60
        while len(workers := workers_of(process.pid)) < 2:
            assert time.monotonic() < end, "no worker was started"
            time.sleep(0.1)
        process.terminate()
        _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert told.splitlines()[-1].startswith("loc2vec: error: stopped at")
    assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()]


def workers_of(pid: int) -> list[str]:
    """Return the worker processes of a job."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [
        child for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()
    ]
