"""A store that is replaced under a running service is put to use, and never mixed with the old."""

import gc
import os
import shutil
import sqlite3
import threading
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import shapely
from fastapi.testclient import TestClient

from loc2vec.embed.batch import Places, embed
from loc2vec.encoder import LocationEncoder
from loc2vec.model.arrays import Vectors
from service.settings import Settings
from tests.service.conftest import figure, serving
from tests.service.http.test_access import changed
from tests.service.http.test_app import check_problem
from tiling.errors import StoreReplacedError
from tiling.store.store import Store
from tiling.values import Box


def embedding_of(store: Path, encoder: LocationEncoder, some: Places) -> Vectors:
    with Store.at(store).open() as source:
        return embed(source, encoder, some, 0).embedding


def otherwise(store: Path, path: Path) -> Path:
    """A copy of a store in which everything is drawn in the next channel."""
    shutil.copy(store, path)
    with sqlite3.connect(path) as connection:
        for (name,) in connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'trigger'"
        ).fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute("UPDATE features SET channel = (channel + 1) % 12")
    connection.close()
    return path


def asked(places: Places, count: int) -> dict[str, object]:
    return {"locations": [{"lat": lat, "lon": lon} for lon, lat in places.lon_lat[:count].tolist()]}


def vectors_of(client: TestClient, places: Places, count: int) -> np.ndarray:
    answer = client.post("/embed", json=asked(places, count))
    assert answer.status_code == 200, answer.text
    return np.array([item["embedding"] for item in answer.json()["embeddings"]], np.float32)


@pytest.fixture
def stores(own_store: Path, tmp_path: Path) -> tuple[Path, Path]:
    """The store that is served, and one to take its place."""
    return own_store, otherwise(own_store, tmp_path / "other.gpkg")


@pytest.fixture
def some(places: Places) -> Places:
    """Some of the grid, on land."""
    land = shapely.Point(7.4246, 43.7384).buffer(0.006)
    return Places(places.lon_lat[shapely.contains_xy(land, *places.lon_lat.T)][:12])


def test_a_new_store_is_taken_into_use_and_no_answer_mixes_two(
    settings: Settings, stores: tuple[Path, Path], encoder: LocationEncoder, some: Places
) -> None:
    served, other = stores
    before, after = (embedding_of(store, encoder, some) for store in stores)
    assert (np.abs(before - after).max(1) > 0.01).all()
    seen, done = [0, 0], threading.Event()

    def ask(client: TestClient, seed: int) -> None:
        rng = np.random.default_rng(seed)
        while not done.is_set():
            count = int(rng.integers(1, len(some)))  # some of them in the cache, some not
            found = vectors_of(client, some, count)
            is_old, is_new = (
                np.allclose(found, known[:count], atol=1e-3) for known in (before, after)
            )
            assert is_old != is_new, "an answer is of neither, or of both"
            seen[int(is_new)] += 1

    own = changed(settings, store=str(served), index=None, reload_s=0.05, cache_places=4)
    with serving(own) as client, ThreadPoolExecutor(2) as pool:
        askers = [pool.submit(ask, client, seed) for seed in range(2)]
        end = time.monotonic() + 60
        while not seen[0] and time.monotonic() < end:
            time.sleep(0.01)
        other.replace(served)
        while not seen[1] and time.monotonic() < end and not any(asker.done() for asker in askers):
            time.sleep(0.01)
        done.set()
        for asker in askers:
            asker.result()
    assert all(seen)


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Free memory by reference counts alone: the cycle collector may not run for an hour."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collector")
def test_an_engine_and_all_it_held_go_soon_after_its_last_answer(
    settings: Settings, own_store: Path
) -> None:
    threads = threading.active_count()
    with serving(changed(settings, store=str(own_store), reload_s=0.02, timeout_s=3.0)) as client:
        engines = []
        for _ in range(3):
            engines.append(weakref.ref(client.app.state.engine))  # type: ignore[attr-defined]
            place = "lat=43.7384001&lon=7.4246&"
            for question in (
                "embed?",
                "neighbors?k=2&",
                "tile.png?",
                "compare?to_lat=43.7347&to_lon=7.4213&",
            ):
                assert client.get(f"/{question}{place}").status_code == 200
            assert client.get("/map/pca/15/17059/11931.png").status_code == 200
            assert client.get("/embed?lat=0&lon=0").status_code == 404
            if len(engines) < 3:
                os.utime(own_store, ns=(len(engines), len(engines)))  # another revision
            end = time.monotonic() + 30
            while len(engines) < 3 and client.app.state.engine is engines[-1]():  # type: ignore[attr-defined]
                assert time.monotonic() < end, "the new store was not taken into use"
                time.sleep(0.02)
        while ((first := engines[0]()) is not None and first.index is not None) or engines[
            1
        ]() is not None:
            assert time.monotonic() < end, "an engine that nobody asks any more is still there"
            time.sleep(0.02)
        if first is not None:  # the application was started with it
            assert not first._known
            assert not first._pictures
        del first
    assert threading.active_count() == threads


def refusals(client: TestClient) -> float:
    """Return how many new stores were refused."""
    return figure(client, 'loc2vec_store_swaps_total{outcome="refused"}')


def wait_for_refusals(client: TestClient, count: float) -> None:
    end = time.monotonic() + 60
    while refusals(client) < count:
        assert time.monotonic() < end, "the new store was not refused"
        time.sleep(0.05)


def test_a_bad_new_store_leaves_the_old_one(
    settings: Settings, stores: tuple[Path, Path], some: Places
) -> None:
    served, other = stores
    with serving(
        changed(settings, store=str(served), index=None, reload_s=0.05, cache_places=0)
    ) as client:
        before = vectors_of(client, some, 3)
        refused = refusals(client)
        for content in (b"no store", other.read_bytes()[:60_000], b""):
            (served.parent / "bad").write_bytes(content)
            (served.parent / "bad").replace(served)
            wait_for_refusals(client, refused := refused + 1)
            assert (vectors_of(client, some, 3) == before).all()
            ready = client.get("/readyz").json()
            assert ready["status"] == "degraded"
            assert "A newer store was refused" in ready["reasons"][0]
        served.unlink()
        time.sleep(0.2)
        assert (vectors_of(client, some, 3) == before).all()
        other.replace(served)
        end = time.monotonic() + 30
        while np.allclose(vectors_of(client, some, 3), before, atol=1e-3):
            assert time.monotonic() < end, "the good store was not taken into use"
            time.sleep(0.05)


def test_a_render_process_that_is_started_again_does_not_render_another_map(
    settings: Settings, stores: tuple[Path, Path], some: Places
) -> None:
    served, other = stores
    own = changed(
        settings, store=str(served), index=None, reload_s=3600, render_processes=1, cache_places=0
    )
    with serving(own) as client:
        before = vectors_of(client, some, 2)
        other.replace(served)
        assert (vectors_of(client, some, 2) == before).all()
        (renderer,) = client.app.state.engine._idle.queue  # type: ignore[attr-defined]
        renderer._worker.process.kill()
        refused = client.post("/embed", json=asked(some, 2))
        check_problem(refused, 503)
        assert refused.json()["type"].endswith("store-replaced")
        assert refused.headers["retry-after"] == "1"
        assert str(served) not in refused.text


def test_the_vectors_of_an_index_stand_in_only_for_the_store_they_were_made_of(
    settings: Settings, stores: tuple[Path, Path], encoder: LocationEncoder, some: Places
) -> None:
    other = stores[1]
    after = embedding_of(other, encoder, some)
    with serving(changed(settings, store=str(other), cache_places=0)) as client:
        np.testing.assert_allclose(vectors_of(client, some, 5), after[:5], atol=1e-3)
        lon, lat = some.lon_lat[0].tolist()
        assert client.get("/neighbors", params={"lat": lat, "lon": lon, "k": 2}).status_code == 200


def test_an_updated_database_is_not_mixed_with_what_it_was(
    settings: Settings, slim: str, change_file: Path, some: Places
) -> None:
    with serving(
        changed(settings, store=slim, index=None, reload_s=0.2, cache_places=100)
    ) as client:
        before = vectors_of(client, some, 3)
        with Store.at(slim).open(only=Store.at(slim).revision()) as source:
            source.features(Box(7.41, 43.72, 7.43, 43.75))
            Store.at(slim).update(change_file)
            with pytest.raises(
                StoreReplacedError, match="was replaced or updated while it was open"
            ):
                source.features(Box(0, 0, 1, 1))
        end = time.monotonic() + 60
        while (answer := client.post("/embed", json=asked(some, 6))).status_code != 200:
            check_problem(answer, 503)
            assert answer.json()["type"].endswith("store-replaced")
            assert time.monotonic() < end
            time.sleep(0.05)
        # nothing changed there
        np.testing.assert_allclose(vectors_of(client, some, 3), before, atol=1e-3)
        assert client.app.state.engine.revision == Store.at(slim).revision()  # type: ignore[attr-defined]
