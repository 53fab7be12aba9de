"""Taking a new index into use under load."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from loc2vec.embed.files import Vectors, write_vectors
from service.engine.engine import Engine
from service.engine.reload import Outcome, stamp, swap
from service.engine.trial import Trials
from service.index.files.caches import VECTORS
from service.index.files.facts import FACTS
from service.index.index import NeighborIndex
from service.settings import Settings
from tests.service.conftest import serving
from tests.service.http.test_access import changed
from tests.service.http.test_app import MONACO


def moved(vectors: Vectors, by: float) -> Vectors:
    """Return the same places with other vectors, so that distances tell the indexes apart."""
    return Vectors(
        vectors.lat,
        vectors.lon,
        vectors.embedding + np.float32(by),
        None,
        vectors.model,
        vectors.fingerprint,
    )


@pytest.mark.parametrize("swaps", [3, pytest.param(200, marks=pytest.mark.soak)])
def test_no_answer_is_lost_or_mixed_while_the_index_changes(
    settings: Settings, vectors: Vectors, tmp_path: Path, swaps: int
) -> None:
    kinds = [moved(vectors, by) for by in (0.0, 100.0)]
    folder = tmp_path / "index"
    names = {
        NeighborIndex.build(kind, folder).name: by
        for kind, by in zip(kinds, (0.0, 100.0), strict=True)
    }
    done = threading.Event()
    zero = {"embedding": vectors.embedding[0].astype(float).tolist(), "k": 5}
    expected = {
        name: np.sort(np.linalg.norm(vectors.embedding + by - vectors.embedding[0], axis=1))[
            :5
        ].tolist()
        for name, by in names.items()
    }
    seen: dict[str, int] = dict.fromkeys(names, 0)

    def ask() -> int:
        count = 0
        while not done.is_set():
            answer = client.post("/neighbors", json=zero)
            assert answer.status_code == 200
            found = answer.json()
            distances = [near["distance"] for near in found["neighbors"]]
            assert distances == pytest.approx(expected[found["index"]], abs=1e-3)
            seen[found["index"]] += 1
            count += 1
        return count

    with (
        Engine.open(changed(settings, index=folder)) as engine,
        serving(changed(settings, index=None), engine) as client,  # which looks for none itself
        ThreadPoolExecutor(3) as pool,
    ):
        askers = [pool.submit(ask) for _ in range(3)]
        try:
            for number in range(swaps):
                NeighborIndex.build(kinds[number % 2], folder)
                assert swap(engine, folder, Trials()) is Outcome.DONE
        finally:
            done.set()
        assert sum(asker.result() for asker in askers) > swaps / 2
    assert all(seen.values()), seen


def test_a_bad_index_leaves_the_old_one(
    settings: Settings, engine: Engine, vectors: Vectors, tmp_path: Path
) -> None:
    before = engine.index_name
    folder = tmp_path / "index"
    assert swap(engine, folder, Trials()) is Outcome.REFUSED
    other = Vectors(
        vectors.lat, vectors.lon, vectors.embedding, None, "other@1", vectors.fingerprint
    )
    NeighborIndex.build(other, folder)
    assert swap(engine, folder, Trials()) is Outcome.REFUSED
    with serving(settings, engine) as client:
        assert "of another model" in client.get("/info").json()["index_refused"]
    NeighborIndex.build(vectors, folder)
    write_vectors(folder / VECTORS, moved(vectors, 1))
    assert swap(engine, folder, Trials()) is Outcome.SAME  # so says its name
    (folder / FACTS).write_text("{")
    assert swap(engine, folder, Trials()) is Outcome.REFUSED
    assert engine.index_name == before
    NeighborIndex.build(vectors, folder)
    assert swap(engine, folder, Trials()) is Outcome.SAME  # it is the one that answers
    assert engine.index_refused is None


def test_a_new_index_is_found_by_itself(
    settings: Settings, vectors: Vectors, tmp_path: Path
) -> None:
    folder = tmp_path / "index"
    first = NeighborIndex.build(vectors, folder)
    with serving(changed(settings, index=folder, reload_s=0.05)) as client:
        assert client.get("/info").json()["index"] == first.name
        north = replace(moved(vectors, 1), lat=vectors.lat + 1)
        longer = NeighborIndex.add(north, folder)
        for _ in range(200):
            info = client.get("/info").json()
            if info["index"] == longer.name:
                break
            threading.Event().wait(0.05)
        assert (info["index"], info["index_count"]) == (longer.name, 2 * len(first))
        assert client.get("/neighbors", params=MONACO).json()["index"] == longer.name


def test_a_folder_that_is_being_replaced_has_no_stamp(tmp_path: Path, vectors: Vectors) -> None:
    assert stamp(tmp_path) is None
    NeighborIndex.build(vectors, tmp_path / "index")
    before = stamp(tmp_path / "index")
    NeighborIndex.build(vectors, tmp_path / "index")
    assert before != stamp(tmp_path / "index") is not None


def test_a_cache_is_not_written_while_serving(tmp_path: Path, vectors: Vectors) -> None:
    NeighborIndex.build(vectors, tmp_path / "index")
    (tmp_path / "index" / "index.faiss").unlink()
    assert len(NeighborIndex.open(tmp_path / "index", keep_cache=False)) == len(vectors)
    assert not (tmp_path / "index" / "index.faiss").exists()


def test_freed_memory_is_given_back_now_and_then(
    settings: Settings, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[float] = []
    monkeypatch.setattr(
        "service.engine.reload.give_back_memory", lambda: given.append(time.monotonic())
    )
    monkeypatch.setattr("service.engine.reload.GIVE_BACK_S", 0.2)
    with serving(changed(settings, reload_s=0.01), engine):
        end = time.monotonic() + 60
        while len(given) < 3:
            assert time.monotonic() < end, "nothing was given back"
            time.sleep(0.01)
    assert min(np.diff(given)) >= 0.2
