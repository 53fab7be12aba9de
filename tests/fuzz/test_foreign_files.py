"""Hostile extracts, tables and change files: read, or refused in one line, and nothing is left.

FUZZ_S=3600 pytest -m soak tests/fuzz -rP
"""

import contextlib
import resource
import shutil
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar
from unittest.mock import patch

import numpy as np
import osmium
import pyarrow as pa
import pytest

from loc2vec.embed.files import OURS
from loc2vec.embed.foreign import read_foreign
from loc2vec.evaluation.tasks.labels import read_labels, task_of
from loc2vec.predict.target import Target
from tests.fuzz.attack import DURATIONS, Attack, Tries, started, use_store
from tests.fuzz.changes import hostile_changes
from tests.fuzz.extracts import cut_of, damaged_or_hostile, town
from tests.fuzz.tables import hostile_table
from tiling.catalogue.catalogue import load_catalogue
from tiling.errors import Loc2VecError
from tiling.files.points import read_points
from tiling.files.write import WRITERS, write_table
from tiling.osm.bounded.child import Board, Bounds
from tiling.store.store import ImportOptions, Store
from tiling.values import TileGeometry

CENTRE = osmium.osm.Box(7.4225, 43.7375, 7.4255, 43.7395)  # of Monaco
CATALOGUE = load_catalogue()
FEW, MANY = 24, 100  # tries of the short forms: an import takes longer than a table
R = TypeVar("R")


def at_once(
    task: Callable[[Board], R],
    bounds: Bounds,
    slots: int = 0,
    watch: Callable[[Board], object] = lambda board: None,
) -> R:
    """Do in this process what a child does, in the same bounds: no process has to start."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    used_s = int(usage.ru_utime + usage.ru_stime)
    held = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
    board = [0] * slots
    with (
        _limited(resource.RLIMIT_CPU, used_s + bounds.cpu_s),
        _limited(resource.RLIMIT_DATA, held + bounds.memory),
    ):
        try:
            return task(board)
        finally:
            watch(board)


@contextlib.contextmanager
def _limited(which: int, most: int) -> Iterator[None]:
    before = resource.getrlimit(which)
    resource.setrlimit(which, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(which, before)


@pytest.fixture(scope="module")
def worker() -> Iterator[Tries]:
    """One process for all targets; what ends it is tried once."""
    with patch("tiling.render.pool.MAX_LOSSES", 0), contextlib.closing(started(in_it)) as tries:
        yield tries


@contextlib.contextmanager
def in_it() -> Iterator[None]:
    """Start no further process, and take a warning for a fault."""
    warnings.simplefilter("error")
    with patch("tiling.osm.bounded.read.in_child", at_once):
        yield


def fresh(path: Path) -> Path:
    """Return a folder beside a file, without anything in it."""
    folder = path.with_name("stores")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def held(folder: Path) -> dict[str, bytes]:
    """Return all files in a folder."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def serve(store: Path) -> None:
    """Use a store that was taken: the service may not refuse it."""
    try:
        use_store(store)
    except Loc2VecError as error:
        raise AssertionError(f"it was taken, and cannot be used: {error}") from error


def use_extract(path: Path) -> None:
    """Import an extract, and use the store."""
    store = fresh(path) / "s.gpkg"
    try:
        Store.at(store).import_extracts([path], CATALOGUE, options=ImportOptions(allow_loss=True))
    except Loc2VecError:
        assert held(store.parent) == {}
        raise
    assert list(held(store.parent)) == ["s.gpkg"]
    serve(store)


def use_changes(path: Path) -> None:
    """Apply a change file to a store, and use that."""
    (changes,) = path.parent.glob(f"{path.name}.*")
    store = fresh(path) / "s.gpkg"
    shutil.copytree(updatable(path), store.parent, dirs_exist_ok=True)
    before = held(store.parent)
    try:
        summary = Store.at(store).update(changes)
    except Loc2VecError:
        assert held(store.parent) == before
        raise
    assert len(held(store.parent)) == len(before)
    summary.changes.area(TileGeometry())
    serve(store)


def updatable(path: Path) -> Path:
    """Return a folder with a store that takes updates; the first one who asks makes it."""
    folder = path.with_name("base")
    if not folder.exists():
        extract, options = path.with_name("town.osm.pbf"), ImportOptions(slim=True, allow_loss=True)
        Store.at(folder / "s.gpkg").import_extracts([extract], CATALOGUE, options=options)
    return folder


def use_table(path: Path) -> None:
    """Read a table as places, as vectors and as labels; the first refusal of three is raised."""
    refused: list[Loc2VecError] = []
    for read in (as_places, read_foreign, as_labels):
        try:
            read(path)
        except Loc2VecError as error:
            refused.append(error)
    refused.sort(key=lambda error: str(error).count("\n"))  # the worst comes last
    if len(refused) == 3 or any("\n" in str(error) for error in refused):
        raise refused[-1]


def as_places(path: Path) -> None:
    """Read places, and write them with the columns of their file."""
    points = read_points(path)
    assert len(points.lat) == len(points.lon) == points.table.num_rows
    kept = [name for name in points.more.column_names if name not in OURS]
    table = pa.table({"lat": points.lat, "lon": points.lon})
    for name in kept:
        table = table.append_column(name, points.more[name])
    for ending in WRITERS:
        write_table(path.with_name(f"out{ending}"), table, points.lat, points.lon, {})


def as_labels(path: Path) -> None:
    """Read labels, as an evaluation and as a prediction take them."""
    labels = read_labels(path, "price")
    task_of(labels, "price", np.zeros(len(labels.values), np.int64), ("town",))
    Target.of("price", labels.values)


@pytest.mark.parametrize("seconds", DURATIONS)
def test_hostile_extracts(fuzz: Attack, monaco_pbf: Path, tmp_path: Path, seconds: float) -> None:
    cut = cut_of(monaco_pbf, tmp_path / "cut.osm.pbf", CENTRE)
    spoil = partial(damaged_or_hostile, cut)
    fuzz(use_extract, spoil, tmp_path / "hostile.osm.pbf", seconds, FEW, ended=use_extract)


@pytest.mark.parametrize("seconds", DURATIONS)
def test_hostile_tables(fuzz: Attack, tmp_path: Path, seconds: float) -> None:
    fuzz(use_table, hostile_table, tmp_path / "table.csv", seconds, MANY)


@pytest.mark.parametrize("seconds", DURATIONS)
def test_hostile_changes(fuzz: Attack, tmp_path: Path, seconds: float) -> None:
    town(tmp_path / "town.osm.pbf")
    fuzz(use_changes, hostile_changes, tmp_path / "changes", seconds, FEW, ended=use_changes)
