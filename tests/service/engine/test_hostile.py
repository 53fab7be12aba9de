"""Stores and indexes that were made to stop the watch: each is refused, counted, and survived."""

import json
import os
import shutil
import signal
import sqlite3
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import faiss
import numpy as np
import pytest
import shapely
from starlette.datastructures import State

from loc2vec.embed.files import Vectors, write_vectors
from service.engine.engine import Engine
from service.engine.reload import Reloader
from service.index.files.caches import CACHE, VECTORS
from service.index.files.facts import FACTS, checksum
from service.index.index import NeighborIndex
from service.observe.metrics import STORES, SWAPS
from service.settings import Settings
from tests.disk import fill_disk, free_disk
from tests.service.engine.test_reload import moved
from tests.service.http.test_access import changed
from tiling.files.atomic import sha256_of

HEADER = b"GP\x00\x01\xe6\x10\x00\x00"
ONE, NO_NUMBER = struct.pack("<d", 1.0), struct.pack("<d", np.nan)
NAN = (HEADER + shapely.box(0, 0, 1, 1).wkb.replace(ONE, NO_NUMBER)).hex()
EMPTY = (HEADER + shapely.Polygon().wkb).hex()
ENDLESS = (
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT '', '', '', i FROM n"
)
SQL = {
    "coverage nan": f"UPDATE extracts SET geom = x'{NAN}'",  # noqa: S608 - a constant
    "coverage empty": f"UPDATE extracts SET geom = x'{EMPTY}'",  # noqa: S608 - a constant
    "coverage null": "UPDATE extracts SET geom = NULL",
    "coverage a number": "UPDATE extracts SET geom = 5",
    "coverage short": "UPDATE extracts SET geom = x'4750'",
    "coverage cut": "UPDATE extracts SET geom = substr(geom, 1, 40)",
    "no extract": "DELETE FROM extracts",
    "no features": "DROP TABLE features",
    "geometry null": "UPDATE features SET geom = NULL",
    "geometry cut": "UPDATE features SET geom = substr(geom, 1, 60)",
    "channel unknown": "UPDATE features SET channel = 99",
    "channel text": "UPDATE features SET channel = 'road'",
    "channel huge": "UPDATE features SET channel = 99999999999999999999",
    "width text": "UPDATE features SET width_m = 'wide'",
    "no names": "DROP TABLE names",
    "catalogue": "CREATE TABLE catalogue (toml TEXT); INSERT INTO catalogue VALUES ('x = [')",
    "endless": f"DROP TABLE extracts; CREATE VIEW extracts (fingerprint, sha256, name, geom) "
    f"AS {ENDLESS}",
    "slow": "DROP TABLE extracts; CREATE VIEW extracts (fingerprint, sha256, name, geom) "
    "AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "
    "SELECT '', '', '', max(i) FROM n",
}


@pytest.fixture
def watched(
    settings: Settings, engine: Engine, own_store: Path, tmp_path: Path
) -> Iterator[tuple[Reloader, State]]:
    """A watch over a store and an index, whose engine is that of the session."""
    state = State()
    state.engine, state.store_refused = engine, None
    own = changed(settings, store=str(own_store), index=tmp_path / "index")
    reloader = Reloader(state, own)
    reloader._tried = own.store.revision()  # the copy is the one that is served
    before = engine.index_refused
    yield reloader, state
    engine.index_refused = before


def refused(counter: object) -> float:
    return float(counter.labels("refused")._value.get())  # type: ignore[attr-defined]


def spoil(store: Path, sql: str) -> None:
    """Change a store in its place, by a rename."""
    copy = shutil.copy(store, store.with_name("copy.gpkg"))
    with sqlite3.connect(copy) as connection:
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
        for (name,) in names.fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        connection.executescript(sql)
    connection.close()
    Path(copy).replace(store)


@pytest.mark.parametrize("name", SQL)
def test_a_hostile_store_is_refused_and_the_watch_goes_on(
    watched: tuple[Reloader, State], own_store: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    reloader, state = watched
    monkeypatch.setattr("tiling.store.store.HANGS_S", 1.0)
    before, count = state.engine, refused(STORES)
    spoil(own_store, SQL[name])
    reloader.look()
    assert state.engine is before
    assert refused(STORES) == count + 1
    assert "A newer store was refused" in state.store_refused
    reloader.look()  # it is not tried again
    assert refused(STORES) == count + 1


def test_a_store_that_comes_while_the_disk_is_full_is_taken_later(
    watched: tuple[Reloader, State], settings: Settings, vectors: Vectors, own_store: Path,
    tmp_path: Path,
) -> None:  # fmt: skip
    reloader, state = watched
    with Engine.open(changed(settings, store=str(own_store))) as before:
        state.engine = before  # it is retired, and closed
        spoil(own_store, "DELETE FROM features WHERE channel = 4")
        NeighborIndex.build(moved(vectors, 1.0), tmp_path / "index")
        fill_disk(os.getpid())
        try:
            reloader.look()
            assert "A newer store waits, because this machine lacks disk" in state.store_refused
            assert "A newer index waits, because this machine lacks" in str(before.index_refused)
        finally:
            free_disk(os.getpid())
        reloader.look()
        assert (state.store_refused, before.index_refused) == (None, None)
        assert state.engine is not before
        reloader.close()


def killed(*_: object) -> None:
    """End this process as a system without memory does."""
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_store_or_index_whose_trial_is_killed_is_not_called_damaged(
    watched: tuple[Reloader, State], vectors: Vectors, own_store: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("tiling.render.pool.MAX_LOSSES", 0)
    monkeypatch.setattr("service.engine.trial._open_store", killed)
    monkeypatch.setattr("service.engine.trial._open_index", killed)
    reloader, state = watched
    spoil(own_store, "DELETE FROM features WHERE channel = 4")
    NeighborIndex.build(moved(vectors, 1.0), tmp_path / "index")
    reloader.look()
    said = "was refused, because what tried it was killed, as for lack of memory"
    assert said in state.store_refused
    assert said in str(state.engine.index_refused)


def test_a_fifo_or_a_folder_is_no_store(watched: tuple[Reloader, State], own_store: Path) -> None:
    reloader, state = watched
    before = state.engine
    for make in (os.mkfifo, os.mkdir):
        own_store.unlink()
        make(own_store)
        reloader.look()
        assert state.engine is before
        if make is os.mkdir:
            return


def altered(folder: Path, **facts: object) -> None:
    known = json.loads((folder / FACTS).read_text())
    (folder / FACTS).write_text(json.dumps(known | facts))


def rehashed(folder: Path) -> None:
    """Write the hashes of what the folder holds, as who made it by hand would."""
    known = json.loads((folder / FACTS).read_text())["checksums"]
    checksums = {name: checksum(folder / name) for name in known}
    altered(folder, vectors_sha256=sha256_of(folder / VECTORS), checksums=checksums)


def of(vectors: Vectors, **values: object) -> Vectors:
    names = ("lat", "lon", "embedding", "table", "model", "fingerprint")
    return Vectors(**({name: getattr(vectors, name) for name in names} | values))


def facts(content: bytes) -> "Damage":
    def write(folder: Path, _: Vectors) -> None:
        (folder / FACTS).write_bytes(content)

    return write


def file(name: str, content: Callable[[bytes], bytes]) -> "Damage":
    def write(folder: Path, _: Vectors) -> None:
        (folder / name).write_bytes(content((folder / name).read_bytes()))
        rehashed(folder)

    return write


def fifo(name: str) -> "Damage":
    def make(folder: Path, _: Vectors) -> None:
        altered(folder, vectors_sha256="0" * 64)
        (folder / name).unlink()
        os.mkfifo(folder / name)

    return make


def made_of(change: Callable[[Vectors], Vectors]) -> "Damage":
    def write(folder: Path, vectors: Vectors) -> None:
        write_vectors(folder / VECTORS, change(vectors))
        rehashed(folder)

    return write


Damage = Callable[[Path, Vectors], None]
INDEXES: dict[str, Damage] = {
    "facts cut": facts(b"{"),
    "facts a list": facts(b"[]"),
    "facts deep": facts(b"[" * 50_000),
    "facts long": facts(b" " * 200_000 + b"{}"),
    "facts in latin": facts(b'{"\xe9": 1}'),
    "facts of numbers": lambda folder, _: altered(folder, vectors_sha256=5),
    "facts fifo": fifo(FACTS),
    "vectors fifo": fifo(VECTORS),
    "vectors garbage": file(VECTORS, lambda _: b"PAR1" * 100),
    "vectors cut": file(VECTORS, lambda content: content[:-100]),
    "other dimension": made_of(lambda v: of(v, embedding=v.embedding[:, :8])),
    "nan": made_of(lambda v: of(v, embedding=v.embedding * np.nan)),
    "latitude 900": made_of(lambda v: of(v, lat=v.lat + 900)),
    "latitude nan": made_of(lambda v: of(v, lat=v.lat * np.nan)),
    "other model": made_of(lambda v: of(v, model="other@1")),
}


@pytest.mark.parametrize("name", INDEXES)
def test_a_hostile_index_is_refused_and_the_watch_goes_on(
    watched: tuple[Reloader, State], vectors: Vectors, tmp_path: Path, name: str
) -> None:
    reloader, state = watched
    engine: Engine = state.engine
    before, count, folder = engine.index_name, refused(SWAPS), tmp_path / "index"
    NeighborIndex.build(of(vectors, embedding=vectors.embedding + 1), folder)
    INDEXES[name](folder, vectors)
    reloader.look()
    assert engine.index_name == before
    assert refused(SWAPS) == count + 1
    assert "A newer index was refused" in str(engine.index_refused)
    reloader.look()
    assert refused(SWAPS) == count + 1


@pytest.mark.parametrize("rows", [0, 3])
def test_a_cache_of_other_vectors_is_made_again(
    vectors: Vectors, tmp_path: Path, rows: int
) -> None:
    folder = tmp_path / "index"
    built = NeighborIndex.build(vectors, folder)
    expected = built.search(vectors.embedding[0], 3)
    other = faiss.IndexFlatL2(vectors.embedding.shape[1] + (rows == 0))
    if rows:
        other.add(vectors.embedding[:rows])
    faiss.write_index(other, str(folder / CACHE))
    rehashed(folder)
    found = NeighborIndex.open(folder, keep_cache=False).search(vectors.embedding[0], 3)
    assert [part.tolist() for part in found] == [part.tolist() for part in expected]


def test_an_unexpected_error_does_not_end_the_watch(
    settings: Settings, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = State()
    state.engine, state.store_refused = engine, None
    reloader = Reloader(state, changed(settings, reload_s=0.01, index=None))
    looks: list[int] = []

    def look() -> None:
        looks.append(1)
        raise MemoryError

    monkeypatch.setattr(reloader, "look", look)
    reloader.start()
    for _ in range(200):
        if len(looks) > 2:
            break
        reloader._closed.wait(0.05)
    reloader.close()
    assert len(looks) > 2
