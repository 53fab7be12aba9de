"""Two hundred random changes in both kinds of store, and updates that follow a server."""

import gzip
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import osmium
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

from service.cli.main import main
from tests.postgres import Server
from tests.tiling.handmade import GROUND, opl
from tests.tiling.town import Town, publish
from tiling.catalogue.catalogue import load_catalogue
from tiling.errors import ExtractError, ReplicationError, StoreError, UserError
from tiling.render.renderer import Renderer
from tiling.store.geopackage import update
from tiling.store.store import ImportOptions, Store
from tiling.values import LonLat, Pose, TileGeometry

SLIM = ImportOptions(slim=True)


def tiles(store: Store, places: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return the tiles of places, (lon, lat) [n, 2], uint8 [n, 12, 128, 128]."""
    with store.open() as source:
        renderer = Renderer(source)
        return np.concatenate(
            [renderer.tiles(LonLat(*p), [Pose(p[1], p[0])]) for p in places.tolist()]
        )


@pytest.fixture(scope="module")
def slim_folder(monaco_pbf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with Monaco in a GeoPackage that takes updates, to be copied."""
    folder = tmp_path_factory.mktemp("slim")
    store = Store.at(folder / "monaco.gpkg")
    store.import_extracts([monaco_pbf], load_catalogue(), options=SLIM)
    return folder


@pytest.fixture
def geopackage(slim_folder: Path, tmp_path: Path) -> Store:
    """Monaco in a GeoPackage that takes updates, alone in the folder of the test."""
    shutil.copytree(slim_folder, tmp_path, dirs_exist_ok=True)
    return Store.at(tmp_path / "monaco.gpkg")


@pytest.fixture(params=["geopackage", "slim"], ids=["a GeoPackage", "a PostGIS store"])
def updatable(request: pytest.FixtureRequest) -> Store:
    """Monaco in a store that takes updates, of each kind."""
    made = request.getfixturevalue(request.param)
    return made if isinstance(made, Store) else Store.at(made)


def test_two_hundred_random_changes_are_a_fresh_import(
    updatable: Store, monaco_pbf: Path, tmp_path: Path
) -> None:
    town, before = Town(monaco_pbf, seed=7), updatable.content_hash()
    files = []
    for number in range(2):
        files.append(tmp_path / f"{number}.osc.gz")
        files[-1].write_bytes(gzip.compress(town.change(100).encode()))
    picked = np.random.default_rng(7).permutation(len(town.places))[:60]
    places = np.array(town.places)[picked]
    drawn = tiles(updatable, places)
    for path in files:
        updatable.update(path)
    fresh = Store.at(tmp_path / "fresh.gpkg")
    fresh.import_extracts([town.write(tmp_path / "monaco.osm.pbf")], load_catalogue())
    updated = tiles(updatable, places)
    np.testing.assert_array_equal(updated, tiles(fresh, places))
    differ = (updated != drawn).any(axis=(1, 2, 3))
    met = updatable.changes_since(before).meet(places, TileGeometry())
    assert differ.sum() > 20
    assert not (differ & ~met).any(), "a tile changed and nobody said so"


def test_only_stale_tiles_are_named(geopackage: Store, change_file: Path) -> None:
    store = geopackage
    lon, lat = np.meshgrid(np.arange(7.4130, 7.4400, 0.002), np.arange(43.7270, 43.7480, 0.0015))
    places, before = np.stack([lon.ravel(), lat.ravel()], axis=1), store.content_hash()
    drawn = tiles(store, places)
    summary = store.update(change_file)
    assert (summary.went, summary.came) == (3, 2)
    changes = store.changes_since(before)
    assert len(changes) == len(summary.changes)
    met = changes.meet(places, TileGeometry())
    differ = (tiles(store, places) != drawn).any(axis=(1, 2, 3))
    assert differ.sum() > 5
    assert not (differ & ~met).any(), "a tile changed and nobody said so"
    assert (met & ~differ).sum() <= 0.1 * differ.sum() + 1, "embedded again for nothing"
    assert not len(store.changes_since(store.content_hash()))
    with pytest.raises(StoreError, match="embed all places again"):
        store.changes_since("of another store")


@pytest.mark.parametrize("step", ["write_gathered", "keep_extract"])
def test_a_geopackage_whose_update_was_stopped_stays_and_takes_the_next(
    step: str, geopackage: Store, change_file: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    store = geopackage
    content = store.content_hash()
    really = getattr(update, step)

    def stopped(*given: Any) -> None:
        really(*given)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(update, step, stopped)
        with pytest.raises(KeyboardInterrupt):
            store.update(change_file)
    assert store.content_hash() == content
    assert store.update(change_file).came == 2
    assert store.takes_updates()
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"monaco.gpkg", "monaco.gpkg.raw"}
    assert len(list((tmp_path / "monaco.gpkg.raw").iterdir())) == 1


def test_what_updates_cannot_use_is_refused_before_the_import(
    monaco_pbf: Path, change_file: Path, tmp_path: Path
) -> None:
    store = Store.at(tmp_path / "store.gpkg")
    with pytest.raises(UserError, match="--slim takes one extract"):
        store.import_extracts([monaco_pbf, monaco_pbf], load_catalogue(), options=SLIM)
    mixed = tmp_path / "mixed.osm.opl"
    mixed.write_text("\n".join(reversed(opl(mixed, GROUND).read_text().splitlines())) + "\n")
    with pytest.raises(ExtractError, match="osmium sort"):
        store.import_extracts([mixed], load_catalogue(), options=SLIM)
    assert not Path(store.location).exists()
    store.import_extracts([monaco_pbf], load_catalogue())
    assert not store.holds([monaco_pbf], load_catalogue(), slim=True)
    with pytest.raises(StoreError, match="import its extract again, with --slim"):
        store.update(change_file)
    store.import_extracts([monaco_pbf], load_catalogue(), options=SLIM)
    assert store.holds([monaco_pbf], load_catalogue(), slim=True)
    store.import_extracts([monaco_pbf], load_catalogue())
    assert not (tmp_path / "store.gpkg.raw").exists()


def test_an_extract_in_another_format_than_its_name_tells_takes_updates(tmp_path: Path) -> None:
    extract, changes = tmp_path / "town.osm.pbf", tmp_path / "changes.osc"
    plain = opl(tmp_path / "town.osm.opl", GROUND)
    with osmium.SimpleWriter(osmium.io.File(str(extract), "osm")) as writer:  # XML
        for item in osmium.FileProcessor(str(plain)):
            writer.add(item)
    added = '<node id="1" version="1" lat="20.005" lon="20.005"><tag k="natural" v="tree"/></node>'
    changes.write_text(f'<osmChange version="0.6"><create>{added}</create></osmChange>')
    store = Store.at(tmp_path / "town.gpkg")
    store.import_extracts([extract], load_catalogue(), options=SLIM)
    for came in (1, 0):  # the second time from the extract that the first has kept
        assert store.update(changes).came == came
    assert store.replication_url() is None


class Quiet(SimpleHTTPRequestHandler):
    """Says nothing on standard error."""

    def log_message(self, *args: object) -> None:
        """Do not tell."""


@pytest.fixture
def published(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The URL of a replication server without changes, and its folder."""
    folder = tmp_path / "server"
    publish(folder, 0, '<osmChange version="0.6"/>')
    handler = partial(Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}", folder
        http.shutdown()


@pytest.fixture
def following(monaco_pbf: Path, published: tuple[str, Path], tmp_path: Path) -> Path:
    """An extract of Monaco that names the server."""
    town = Town(monaco_pbf, seed=1)
    town.header.set("osmosis_replication_base_url", published[0])
    town.header.set("osmosis_replication_timestamp", "2025-01-01T00:00:00Z")
    return town.write(tmp_path / "monaco.osm.pbf")


@pytest.fixture(params=["gpkg", "postgis"])
def location(tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """Where a store of each kind may be."""
    if request.param == "gpkg":
        return str(tmp_path / "monaco.gpkg")
    server: Server = request.getfixturevalue("server")
    return server.url(request.getfixturevalue("database"))


class Enough(Exception):  # noqa: N818 - it is none
    """Ends a command that never ends."""


def test_follow_catches_up_waits_and_takes_the_next(
    location: str, following: Path, published: tuple[str, Path], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    store, town = Store.at(location), Town(following, seed=2)
    store.import_extracts([following], load_catalogue(), options=SLIM)
    assert store.replication_url() == published[0]
    publish(published[1], 1, town.change(5))
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 1:
            (published[1] / "state.txt").rename(tmp_path / "away")
        elif len(waits) == 2:
            publish(published[1], 2, town.change(5))
        else:
            raise Enough

    # The module alone: other threads sleep, too.
    monkeypatch.setattr("tiling.cli.update.time", SimpleNamespace(sleep=sleep))
    done = CliRunner().invoke(main, ["update", "--follow", "--every", "60", "--store", location])
    assert isinstance(done.exception, Enough), done.output
    assert waits == [60, 60, 60]
    assert done.stdout.count("features went") == 2
    assert "does not answer as a replication server" in done.stderr
    fresh = Store.at(tmp_path / "fresh.gpkg")
    fresh.import_extracts([town.write(tmp_path / "monaco.osm.pbf")], load_catalogue())
    places = np.array(town.places)
    np.testing.assert_array_equal(tiles(store, places), tiles(fresh, places))


def test_a_gap_ends_follow_with_the_way_out(
    following: Path, published: tuple[str, Path], tmp_path: Path
) -> None:
    store, town = Store.at(tmp_path / "monaco.gpkg"), Town(following, seed=2)
    store.import_extracts([following], load_catalogue(), options=SLIM)
    for number in (1, 2):
        publish(published[1], number, town.change(5))
    (published[1] / "000" / "000" / "001.osc.gz").unlink()
    with pytest.raises(ReplicationError, match="sequence 1, though it has newer ones: import a"):
        store.replicate(published[0])
    done = CliRunner().invoke(main, ["update", "--follow", "--store", store.location])
    assert done.exit_code == 1
    assert "import a newer extract" in done.stderr
    without = Store.at(tmp_path / "other.gpkg")
    opl_path = opl(tmp_path / "plain.osm.opl", GROUND)
    without.import_extracts([opl_path], load_catalogue(), options=SLIM)
    done = CliRunner().invoke(main, ["update", "--follow", "--store", without.location])
    assert "names no replication server: give --replication URL" in done.stderr


def update_taking(location: str, seconds: float) -> float:
    """Follow the server of a store for so long at most; return the seconds until it was updated."""
    command = [sys.executable, "-m", "loc2vec", "update", "--follow", "--every", "1"]
    store = Store.at(location)
    before, start = store.content_hash(), time.monotonic()
    with subprocess.Popen([*command, "--store", location], stdout=subprocess.DEVNULL) as run:
        try:
            while (past := time.monotonic() - start) < seconds and store.content_hash() == before:
                time.sleep(0.05)
            assert run.poll() is None, "it ended by itself"
        finally:
            run.kill()
    return past


def check_kills(location: str, following: Path, folder: Path, count: int) -> int:
    """Publish change files, kill an update after each; return how many kills left the store old."""
    store, town = Store.at(location), Town(following, seed=3)
    store.import_extracts([following], load_catalogue(), options=SLIM)
    server, times, early = folder / "server", random.Random(3), 0
    publish(server, 1, town.change(5))
    usual = update_taking(location, 600)
    for number in range(2, count + 2):
        publish(server, number, town.change(5))
        before = store.content_hash()
        update_taking(location, usual * times.uniform(0.1, 1.3))
        early += store.content_hash() == before
    store.replicate(str(store.replication_url()))
    fresh = Store.at(folder / "fresh.gpkg")
    fresh.import_extracts([town.write(folder / "monaco.osm.pbf")], load_catalogue())
    places = np.array(town.places)
    np.testing.assert_array_equal(tiles(store, places), tiles(fresh, places))
    return early


@pytest.mark.soak  # an update that is stopped after any step is tested above
def test_updates_that_are_killed_are_one_import(following: Path, tmp_path: Path) -> None:
    check_kills(str(tmp_path / "killed.gpkg"), following, tmp_path, 2)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_fifty_change_files_with_fifty_kills_are_one_import(
    location: str, following: Path, tmp_path: Path
) -> None:
    assert 10 < check_kills(location, following, tmp_path, 50) < 50
