"""What a command may write to."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from service.cli.main import main
from tiling.errors import UserError
from tiling.files.outputs import claimed, require_output


def test_an_output_may_be_new_or_replace_an_older_one(tmp_path: Path) -> None:
    require_output(tmp_path / "deep" / "out.csv", tmp_path / "in.csv", None)
    (tmp_path / "out.csv").write_text("older")
    require_output(tmp_path / "out.csv", tmp_path / "in.csv")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.csv"]


@pytest.mark.parametrize("link", ["same", "symbolic", "hard"])
def test_an_output_that_is_an_input_is_refused(tmp_path: Path, link: str) -> None:
    given = tmp_path / "places.csv"
    given.write_text("lat,lon")
    out = given if link == "same" else tmp_path / "out.csv"
    if link == "symbolic":
        out.symlink_to(given)
    if link == "hard":
        out.hardlink_to(given)
    with pytest.raises(UserError, match=r"is read by this command and would be lost: name another"):
        require_output(out, None, given)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", Path("/dev/null")):
        with pytest.raises(UserError, match="it is no regular file"):
            require_output(path)


def test_two_commands_do_not_change_one_output(tmp_path: Path) -> None:
    out = tmp_path / "index"
    with claimed(out):
        with (
            pytest.raises(UserError, match=r"another command is writing .*index: wait for it"),
            claimed(out),
        ):
            pytest.fail("claimed twice")
        with claimed(tmp_path / "other"):
            pass
    with claimed(out):
        pass
    assert not list(tmp_path.iterdir())


def test_a_claim_ends_with_its_process(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from tiling.files.outputs import claimed\n"
        "with claimed(Path(sys.argv[1])): print('mine', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "index")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "mine\n"
        with pytest.raises(UserError, match="another command"), claimed(tmp_path / "index"):
            pytest.fail("claimed twice")
        holder.send_signal(signal.SIGKILL)
    with claimed(tmp_path / "index"):
        pass


WALK = ("trips", "walk", "extract.osm.pbf", "--store", "store.gpkg", "--out")
PREVIEW = ("tile", "--store", "store.gpkg", "--locations", "2", "--preview")
EVALUATE = ("evaluate", "extract.osm.pbf", "--store", "store.gpkg", "--out")
LABELS = ("--labels", "report/places/way.parquet", "--target", "way")
VECTORS = ("--vectors", "report/table.md")
EMBED = ("embed", "--store", "store.gpkg", "--grid", "500", "--out")


@pytest.mark.parametrize(
    ("command", "out"),
    [
        (WALK, "extract.osm.pbf"),
        (WALK, "store.gpkg"),
        (PREVIEW, "store.gpkg"),
        (EMBED, "store.gpkg"),
        ((*EVALUATE[:-1], *LABELS, "--out"), "report"),
        ((*EVALUATE[:-1], *VECTORS, "--out"), "report"),
        (("evaluate", "report/results.json", "--out"), "report"),
        (("explore", "lda", "page.html", "--store", "store.gpkg", "--out"), "page"),
        (("explore", "lda", "extract.osm.pbf", "--store", "page.html", "--out"), "page.png"),
        (("explore", "map", "--store", "store.gpkg", "--index", "town-tiles", "--out"), "town"),
        (("explore", "map", "--store", "town-tiles/deep/s.gpkg", "--out"), "town.png"),
        (("explore", "map", "--store", "store.gpkg", "--out"), "notes"),
    ],
)
def test_no_command_replaces_what_it_reads(
    monaco_store: Path,
    monaco_pbf: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: tuple[str, ...],
    out: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    files = {
        "extract.osm.pbf": monaco_pbf, "store.gpkg": monaco_store, "page.html": monaco_store,
        "report/places/way.parquet": monaco_pbf, "report/table.md": monaco_pbf,
        "report/results.json": monaco_pbf, "town-tiles/deep/s.gpkg": monaco_store,
        "notes-tiles/mine.txt": monaco_pbf,
    }  # fmt: skip
    for name, source in files.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, name)
    result = CliRunner().invoke(main, [*command, out])
    assert result.exit_code == 2, result.output
    for name, source in files.items():
        assert Path(name).read_bytes() == source.read_bytes()
