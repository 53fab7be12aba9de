from pathlib import Path

import pytest
from click.testing import CliRunner

from service.cli.demo import (
    DemoPaths,
    default_work_folder,
    demo_command,
    prepare_demo,
    urls_to_try,
)
from service.errors import AddressError
from service.index.index import NeighborIndex
from tests.models import save_fresh_model
from tiling.store.store import Store


@pytest.fixture(autouse=True)
def wide_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.cli.demo.GRID_M", 400.0)


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def paths(tmp_path: Path, model_folder: Path, told: list[str]) -> DemoPaths:
    return prepare_demo(tmp_path / "work", str(model_folder), told.append)


def made(told: list[str]) -> list[bool]:
    """Which of the two steps were done, not skipped."""
    return ["is there already" not in line for line in told]


def test_demo_makes_a_store_and_an_index(paths: DemoPaths, told: list[str]) -> None:
    assert made(told) == [True, True]
    with Store.at(paths.store).open() as source:
        assert source.bounds.west < 7.4246 < source.bounds.east
    index = NeighborIndex.open(paths.index)
    assert 20 < len(index) < 60
    assert index.model.startswith("fresh-0@")


def test_a_second_run_uses_what_is_there(
    paths: DemoPaths, told: list[str], model_folder: Path
) -> None:
    before = (paths.store.stat().st_mtime_ns, paths.index.stat().st_mtime_ns)
    assert prepare_demo(paths.store.parent, str(model_folder), told.append) == paths
    assert made(told) == [True, True, False, False]
    assert (paths.store.stat().st_mtime_ns, paths.index.stat().st_mtime_ns) == before


def test_another_model_makes_the_index_again(
    paths: DemoPaths, told: list[str], tmp_path: Path
) -> None:
    other = save_fresh_model(tmp_path / "other", seed=1)
    prepare_demo(paths.store.parent, str(other), told.append)
    assert made(told)[2:] == [False, True]
    assert NeighborIndex.open(paths.index).model.startswith("fresh-1@")


def test_what_is_damaged_is_made_again(
    paths: DemoPaths, told: list[str], model_folder: Path
) -> None:
    paths.store.write_bytes(b"no store")
    prepare_demo(paths.store.parent, str(model_folder), told.append)
    assert made(told)[2] is True
    (paths.index / "vectors.parquet").unlink()
    prepare_demo(paths.store.parent, str(model_folder), told.append)
    assert made(told)[-2:] == [False, True]
    assert len(NeighborIndex.open(paths.index)) > 20


def test_a_lost_record_makes_both_again(
    paths: DemoPaths, told: list[str], model_folder: Path
) -> None:
    (paths.store.parent / "demo.json").write_text("{")
    prepare_demo(paths.store.parent, str(model_folder), told.append)
    assert made(told)[2:] == [True, True]


def test_the_work_folder_is_in_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_work_folder() == tmp_path / "loc2vec-demo"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_work_folder() == Path.home() / ".cache" / "loc2vec-demo"


def test_urls_name_the_address() -> None:
    assert all("http://127.0.0.1:9" in line for line in urls_to_try("http://127.0.0.1:9")[:4])


def test_the_port_comes_from_the_option_or_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[tuple[str, int]] = []

    def bind(host: str, port: int) -> None:
        asked.append((host, port))
        raise AddressError("enough")

    monkeypatch.setattr("service.cli.demo.bind", bind)
    monkeypatch.setenv("LOC2VEC_PORT", "9001")
    monkeypatch.setenv("LOC2VEC_HOST", "127.0.0.2")
    for options in ([], ["--port", "9002", "--host", "127.0.0.3"]):
        CliRunner().invoke(demo_command, ["--work", str(tmp_path), *options])
    assert asked == [("127.0.0.2", 9001), ("127.0.0.3", 9002)]
