"""What `loc2vec explore` writes appears as a whole or not at all."""

import errno
from pathlib import Path

import pytest

from loc2vec.paper import plot
from service.explore.options import Output


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
