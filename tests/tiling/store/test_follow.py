"""Two hundred random changes in both kinds of store, and updates that follow a server."""

import contextlib
import gzip
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np
import osmium
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

from service.cli.main import main
from tests.postgres import Server
from tests.tiling.handmade import GROUND, opl
from tiling.catalogue import load_catalogue
from tiling.errors import ExtractError, ReplicationError, StoreError, UserError
from tiling.render.renderer import Renderer
from tiling.store.geopackage import update
from tiling.store.store import ImportOptions, Store
from tiling.values import LonLat, Pose, TileGeometry

MEMBERS = {"n": "node", "w": "way", "r": "relation"}
SLIM = ImportOptions(slim=True)
TAGS: tuple[dict[str, str], ...] = (
    {"building": "yes"}, {"building": "church", "amenity": "place_of_worship"},
    {"landuse": "forest"}, {"leisure": "park"}, {"highway": "primary"}, {"railway": "rail"},
    {"natural": "water"}, {"amenity": "school"}, {"shop": "bakery", "name": "New"}, {},
)  # fmt: skip


class Town:
    """All objects of an extract, which are changed at random as mappers do."""

    def __init__(self, path: Path, seed: int) -> None:
        self._random = random.Random(seed)
        self.header = osmium.io.Reader(str(path), osmium.osm.NOTHING).header()
        self.nodes: dict[int, tuple[int, float, float, dict[str, str]]] = {}
        self.ways: dict[int, tuple[int, list[int], dict[str, str]]] = {}
        self.relations: dict[int, tuple[int, list[tuple[str, int, str]], dict[str, str]]] = {}
        for item in osmium.FileProcessor(str(path)):
            self._take(item)
        self.places: list[tuple[float, float]] = []  # (lon, lat) of what was changed

    def _take(self, item: Any) -> None:
        tags = dict(item.tags)
        if item.is_node():
            self.nodes[item.id] = (item.version, item.lon, item.lat, tags)
        elif item.is_way():
            self.ways[item.id] = (item.version, [node.ref for node in item.nodes], tags)
        else:
            members = [(member.type, member.ref, member.role) for member in item.members]
            self.relations[item.id] = (item.version, members, tags)

    def change(self, count: int) -> str:
        """Make so many changes; return them as a file."""
        deeds = (self._move, self._retag, self._delete, self._build, self._relate)
        lines = [deed for n in range(count) for deed in deeds[n % len(deeds)]()]
        return f'<osmChange version="0.6">{"".join(lines)}</osmChange>'

    def _near(self, node: int) -> tuple[float, float]:
        _, lon, lat, _ = self.nodes[node]
        self.places.append((lon, lat))
        return lon, lat

    def _some_way(self) -> int:
        held = {ref for _, members, _ in self.relations.values() for _, ref, _ in members}
        return self._random.choice([key for key in self.ways if key not in held])

    def _move(self) -> Iterator[str]:
        node = self._random.choice(self.ways[self._some_way()][1])
        version, lon, lat, tags = self.nodes[node]
        self._near(node)
        lon, lat = (round(v + self._random.gauss(0, 2e-4), 7) for v in (lon, lat))
        self.nodes[node] = (version + 1, lon, lat, tags)
        yield f"<modify>{self._node(node)}</modify>"

    def _retag(self) -> Iterator[str]:
        key = self._some_way()
        version, nodes, _ = self.ways[key]
        self._near(nodes[0])
        self.ways[key] = (version + 1, nodes, dict(self._random.choice(TAGS)))
        yield f"<modify>{self._way(key)}</modify>"

    def _delete(self) -> Iterator[str]:
        key = self._some_way()
        version, nodes, _ = self.ways.pop(key)
        self._near(nodes[0])
        yield f'<delete><way id="{key}" version="{version + 1}"/></delete>'

    def _build(self) -> Iterator[str]:
        lon, lat = self._near(self._random.choice(self.ways[self._some_way()][1]))
        first = max(self.nodes) + 1
        for n, (x, y) in enumerate(((0, 0), (3e-4, 0), (3e-4, 2e-4), (0, 2e-4))):
            self.nodes[first + n] = (1, round(lon + x, 7), round(lat + y, 7), {})
            yield f"<create>{self._node(first + n)}</create>"
        key = max(self.ways) + 1
        ring = [first, first + 1, first + 2, first + 3, first]
        self.ways[key] = (1, ring, dict(self._random.choice(TAGS)))
        yield f"<create>{self._way(key)}</create>"

    def _relate(self) -> Iterator[str]:
        areas = [
            k for k, (_, _, tags) in self.relations.items() if tags.get("type") == "multipolygon"
        ]
        key = self._random.choice(areas)
        version, members, _ = self.relations[key]
        tags = {"type": "multipolygon", **self._random.choice(TAGS)}
        self.relations[key] = (version + 1, members, tags)
        for kind, ref, _ in members[:1]:
            if kind == "w" and ref in self.ways:
                self._near(self.ways[ref][1][0])
        inner = "".join(
            f'<member type="{MEMBERS[kind]}" ref="{ref}" role={quoteattr(role)}/>'
            for kind, ref, role in members
        )
        yield (
            f'<modify><relation id="{key}" version="{version + 1}">{inner}{_tags(tags)}</relation>'
            "</modify>"
        )

    def _node(self, key: int) -> str:
        version, lon, lat, tags = self.nodes[key]
        return (
            f'<node id="{key}" version="{version}" lat="{lat:.7f}" lon="{lon:.7f}">'
            f"{_tags(tags)}</node>"
        )

    def _way(self, key: int) -> str:
        version, nodes, tags = self.ways[key]
        refs = "".join(f'<nd ref="{node}"/>' for node in nodes)
        return f'<way id="{key}" version="{version}">{refs}{_tags(tags)}</way>'

    def write(self, path: Path) -> Path:
        """Write the extract as it is after the changes."""
        with osmium.SimpleWriter(str(path), header=self.header, overwrite=True) as writer:
            for key, (version, lon, lat, tags) in sorted(self.nodes.items()):
                writer.add_node(
                    osmium.osm.mutable.Node(id=key, version=version, location=(lon, lat), tags=tags)
                )
            for key, (version, nodes, tags) in sorted(self.ways.items()):
                writer.add_way(
                    osmium.osm.mutable.Way(id=key, version=version, nodes=nodes, tags=tags)
                )
            for key, (version, members, tags) in sorted(self.relations.items()):
                writer.add_relation(
                    osmium.osm.mutable.Relation(id=key, version=version, members=members, tags=tags)
                )
        return path


def _tags(tags: dict[str, str]) -> str:
    return "".join(f"<tag k={quoteattr(k)} v={quoteattr(v)}/>" for k, v in tags.items())


def tiles(store: Store, places: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return the tiles of places, (lon, lat) [n, 2], uint8 [n, 12, 128, 128]."""
    with store.open() as source:
        renderer = Renderer(source)
        return np.concatenate(
            [renderer.tiles(LonLat(*p), [Pose(p[1], p[0])]) for p in places.tolist()]
        )


@pytest.fixture(params=["a GeoPackage", "a PostGIS store"])
def updatable(request: pytest.FixtureRequest, monaco_pbf: Path, tmp_path: Path) -> Store:
    """Monaco in a store that takes updates, of each kind."""
    if request.param == "a PostGIS store":
        return Store.at(request.getfixturevalue("slim"))
    store = Store.at(tmp_path / "monaco.gpkg")
    store.import_extracts([monaco_pbf], load_catalogue(), options=SLIM)
    return store


def test_two_hundred_random_changes_are_a_fresh_import(
    updatable: Store, monaco_pbf: Path, tmp_path: Path
) -> None:
    town, before = Town(monaco_pbf, seed=7), updatable.content_hash()
    files = []
    for number in range(4):
        files.append(tmp_path / f"{number}.osc.gz")
        files[-1].write_bytes(gzip.compress(town.change(50).encode()))
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


def test_only_stale_tiles_are_named(monaco_pbf: Path, change_file: Path, tmp_path: Path) -> None:
    store = Store.at(tmp_path / "monaco.gpkg")
    store.import_extracts([monaco_pbf], load_catalogue(), options=SLIM)
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
    step: str, change_file: Path, monaco_pbf: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    store = Store.at(tmp_path / "monaco.gpkg")
    store.import_extracts([monaco_pbf], load_catalogue(), options=SLIM)
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


class Quiet(SimpleHTTPRequestHandler):
    """Says nothing on standard error."""

    def log_message(self, *args: object) -> None:
        """Do not tell."""


def publish(folder: Path, number: int, text: str) -> None:
    """Add one state of a replication server, of a day each."""
    below = folder / "000" / "000"
    below.mkdir(parents=True, exist_ok=True)
    when = f"20{30 + number // 360}-{number // 30 % 12 + 1:02}-{number % 30 + 1:02}T00\\:00\\:00Z"
    when = when if number else "2000-01-01T00\\:00\\:00Z"
    (below / f"{number:03}.osc.gz").write_bytes(gzip.compress(text.encode()))
    state = f"sequenceNumber={number}\ntimestamp={when}\n"
    (below / f"{number:03}.state.txt").write_text(state)
    (folder / "state.txt").write_text(state)


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


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_fifty_change_files_with_fifty_kills_are_one_import(
    location: str, following: Path, published: tuple[str, Path], tmp_path: Path
) -> None:
    store, town = Store.at(location), Town(following, seed=3)
    store.import_extracts([following], load_catalogue(), options=SLIM)
    times, kills, until_s = random.Random(3), 0, 6.0
    command = [sys.executable, "-m", "loc2vec", "update", "--follow", "--every", "1"]
    for number in range(1, 51):
        publish(published[1], number, town.change(5))
        with subprocess.Popen(
            [*command, "--store", location], stdout=subprocess.DEVNULL
        ) as process:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(times.uniform(0.5, until_s))
            assert process.returncode is None, "it ended by itself"
            process.kill()
            kills += 1
    store.replicate(published[0])
    fresh = Store.at(tmp_path / "fresh.gpkg")
    fresh.import_extracts([town.write(tmp_path / "monaco.osm.pbf")], load_catalogue())
    places = np.array(town.places)
    np.testing.assert_array_equal(tiles(store, places), tiles(fresh, places))
    assert kills == 50
