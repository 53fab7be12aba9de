"""What `loc2vec explore` writes appears as a whole or not at all."""

import errno
from pathlib import Path

import pytest
from click.testing import CliRunner

from loc2vec.paper import plot
from service.cli.main import main
from service.explore.options import Output
from tiling.errors import UserError
from tiling.files.atomic import replacing_together


def test_a_disk_that_fills_leaves_no_part_of_an_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = Output(tmp_path / "deep" / "kinds.png", False)

    def save(_: object, path: Path) -> list[Path]:
        picture = path.with_name(path.name + ".png")
        picture.write_bytes(b"picture")
        return [picture]

    def full(path: Path) -> list[Path]:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(plot, "save", save)
    with pytest.raises(OSError, match="No space left"):
        output.finish(None, {}, [], full)  # type: ignore[arg-type]
    assert not list((tmp_path / "deep").iterdir())
    output.finish(None, {}, [])  # type: ignore[arg-type]
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["kinds.png"]


def test_folders_and_files_appear_together(tmp_path: Path) -> None:
    (tmp_path / "map-tiles").mkdir()
    (tmp_path / "map-tiles" / "old.png").touch()
    with replacing_together(tmp_path / "map") as apart:
        apart.with_name("map-tiles").mkdir()
        (apart.with_name("map-tiles") / "new.png").touch()
        apart.with_name("map.tif").touch()
        assert (tmp_path / "map-tiles" / "old.png").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["map-tiles", "map.tif"]
    assert [path.name for path in (tmp_path / "map-tiles").iterdir()] == ["new.png"]


def test_nothing_is_renamed_when_one_name_is_taken_by_something_else(tmp_path: Path) -> None:
    def write() -> None:
        with replacing_together(tmp_path / "map") as apart:
            apart.with_name("map.png").touch()
            apart.with_name("map.tif").touch()

    (tmp_path / "map.tif").mkdir()
    with pytest.raises(UserError, match=r"map\.tif: it is something else"):
        write()
    assert [path.name for path in tmp_path.iterdir()] == ["map.tif"]


@pytest.mark.parametrize("command", ["pca", "map"])
def test_what_is_written_beside_a_figure_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, monaco_store: Path, model_folder: Path,
    command: str,
) -> None:  # fmt: skip
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tiling.files.atomic._put", full)
    arguments = ["--store", monaco_store, "--model", model_folder, "--places", 20]
    out = tmp_path / "deep" / command
    result = CliRunner().invoke(main, ["explore", command, *map(str, arguments), "--out", str(out)])
    assert "No space left" in result.output
    assert result.exit_code
    assert not list(out.parent.iterdir())
