"""The commands as a user types them: what they print, and how they fail."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from service.cli.main import main
from tiling.cli.import_ import import_command
from tiling.errors import UserError


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def fails(status: int, message: str, *arguments: str | Path) -> None:
    result = run(*arguments)
    assert result.exit_code == status, result.output
    assert message in result.stderr
    assert "Traceback" not in result.output
    assert result.stdout == ""


def test_import_prints_what_it_drew(monaco_pbf: Path, tmp_path: Path) -> None:
    result = run("import", monaco_pbf, "--store", tmp_path / "m.gpkg", "--json")
    summary = json.loads(result.stdout)
    assert summary["features"] == sum(summary["by_channel"].values()) > 5000
    result = run("import", monaco_pbf, "--store", tmp_path / "m.gpkg")
    assert "1,265  buildings" in result.stdout


def test_import_if_changed_leaves_a_store_of_the_same_extracts_alone(
    monaco_pbf: Path, own_store: Path, tmp_path: Path
) -> None:
    same = tmp_path / "other-name.osm.pbf"
    same.write_bytes(monaco_pbf.read_bytes())
    made = own_store.stat()
    written = (made.st_ino, made.st_size, made.st_mtime_ns)
    assert "is up to date" in run("import", same, "--store", own_store, "--if-changed").stdout
    made = own_store.stat()  # without the time of reading
    assert (made.st_ino, made.st_size, made.st_mtime_ns) == written
    fails(
        2, "none.osm.pbf", "import", tmp_path / "none.osm.pbf", "--store", own_store, "--if-changed"
    )
    both = ("import", same, monaco_pbf, "--store", own_store, "--if-changed")
    assert "features in" in run(*both).stdout
    assert json.loads(run(*both, "--json").stdout)["up_to_date"] is True


def test_tile_draws_a_dataset_and_finds_it_again(monaco_store: Path, tmp_path: Path) -> None:
    command = (
        "tile",
        "--store",
        monaco_store,
        "--out",
        tmp_path / "t",
        "--locations",
        "10",
        "--positives",
        "2",
    )
    assert "30 tiles of 10 places" in run(*command, "--workers", "0").stdout
    again = json.loads(run(*command, "--workers", "0", "--json").stdout)
    assert (again["shards_made"], again["shards_found"]) == (0, 1)
    fails(2, "belongs to another tile job", *command, "--seed", "1")


def test_preview_is_a_picture_of_the_places(monaco_store: Path, tmp_path: Path) -> None:
    points = tmp_path / "points.csv"
    points.write_text("lat,lon\n43.7396,7.4283\n43.7347,7.4213\n")
    result = run(
        "tile", "--store", monaco_store, "--points", points, "--preview", tmp_path / "sheet.png"
    )
    assert result.exit_code == 0, result.output
    sheet = Image.open(tmp_path / "sheet.png")
    assert sheet.width > 13 * 128
    assert len(sheet.crop((6, 61, 134, 189)).getcolors(20_000) or []) > 50, (
        "the composite has many colours"
    )


def test_options_that_do_not_go_together(monaco_store: Path, tmp_path: Path) -> None:
    tile = ("tile", "--store", monaco_store)
    fails(2, "give --out FOLDER or --preview", *tile, "--locations", "3")
    fails(2, "give --locations N or --points FILE", *tile, "--out", tmp_path / "t")
    fails(
        2,
        "give --locations N or --points FILE",
        *tile,
        "--out",
        tmp_path / "t",
        "--locations",
        "3",
        "--points",
        "x",
    )
    fails(
        2,
        "is not a file: make a store",
        "tile",
        "--store",
        "none.gpkg",
        "--out",
        tmp_path / "t",
        "--locations",
        "3",
    )


def test_import_of_what_is_no_extract(tmp_path: Path) -> None:
    store = tmp_path / "s.gpkg"
    fails(2, "none.osm.pbf is not a file", "import", tmp_path / "none.osm.pbf", "--store", store)
    (tmp_path / "cut.osm.pbf").write_bytes(b"\0\0\0\x0d\x0a\x09OSMHeader\x18")
    fails(2, "is it a complete .osm.pbf", "import", tmp_path / "cut.osm.pbf", "--store", store)
    assert not store.exists()


def test_a_store_where_nothing_can_be_written(monaco_pbf: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    fails(2, "cannot write", "import", monaco_pbf, "--store", tmp_path / "file" / "m.gpkg")


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MB."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small disk")
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], check=False
    ).returncode:
        pytest.skip("this machine mounts no tmpfs")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_ends_a_command_and_leaves_nothing_behind(
    full_disk: Path, monaco_pbf: Path, monaco_store: Path
) -> None:
    fails(1, "is the disk full?", "import", monaco_pbf, "--store", full_disk / "m.gpkg")
    assert not list(full_disk.iterdir())
    out = full_disk / "tiles"
    fails(
        1,
        "No space left",
        "tile",
        "--store",
        monaco_store,
        "--out",
        out,
        "--locations",
        "40",
        "--workers",
        "0",
    )
    assert sorted(path.name for path in out.iterdir()) == ["places.parquet", "plan.json"]


def test_an_import_puts_the_handler_of_sigterm_back(monaco_pbf: Path, tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    arguments = [str(monaco_pbf), "--store", str(tmp_path / "m.gpkg"), "--reader", "anyone"]
    result = CliRunner().invoke(import_command, arguments)
    assert isinstance(result.exception, UserError), "it was refused before it began"
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_import_that_is_stopped_leaves_nothing(
    tmp_path: Path, monaco_pbf: Path, number: signal.Signals
) -> None:
    arguments = ["-m", "loc2vec", "import", str(monaco_pbf), "--store", str(tmp_path / "m.gpkg")]
    running = subprocess.Popen([sys.executable, *arguments], stderr=subprocess.PIPE, text=True)
    while not list(tmp_path.glob(".m.gpkg.*/stage")):
        assert running.poll() is None
        time.sleep(0.02)
    running.send_signal(number)
    _, told = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "Traceback" not in told
    assert list(tmp_path.iterdir()) == []
