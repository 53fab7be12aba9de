"""The encoder that opens a store: in threads, in processes, and until it is closed."""

import multiprocessing
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from joblib.externals.loky import get_reusable_executor

import loc2vec
from loc2vec.encoder import LocationEncoder, StoreRenderer
from loc2vec.errors import InputError
from loc2vec.model.arrays import Vectors
from loc2vec.model.names import DEFAULT_MODEL
from tests.models import save_fresh_model
from tiling.errors import FingerprintError, OutsideError, StoreError

STREET, LIKE_IT = (43.7384, 7.4246), (43.7420, 7.4275)
PAIR = [STREET, LIKE_IT]


@pytest.fixture
def opened(model_folder: Path, monaco_store: Path) -> Iterator[LocationEncoder]:
    with LocationEncoder.load(model_folder, monaco_store, "cpu") as encoder:
        yield encoder


@pytest.fixture
def expected(opened: LocationEncoder) -> Vectors:
    return opened.encode(PAIR)


def open_stores(encoder: LocationEncoder) -> int:
    """Return in how many threads an encoder holds its store open."""
    assert isinstance(encoder._renderer, StoreRenderer)
    return sum(end.alive for end in encoder._renderer._ends)


def test_the_package_has_the_encoder_and_is_light_until_it_is_asked_for() -> None:
    program = (
        "import sys, loc2vec; assert 'torch' not in sys.modules; "
        "from loc2vec import LocationEncoder; assert 'torch' in sys.modules; "
        "print(LocationEncoder.__module__)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "loc2vec.encoder\n", done.stderr
    assert loc2vec.LocationEncoder is LocationEncoder
    with pytest.raises(AttributeError, match="no attribute 'Encoder'"):
        _ = loc2vec.Encoder


def test_a_store_by_its_location_is_enough(monaco_store: Path) -> None:
    with LocationEncoder.load(store=str(monaco_store)) as encoder:
        vectors = encoder.encode(PAIR)
    assert encoder.name == DEFAULT_MODEL
    assert vectors.shape == (2, 16)
    assert np.isfinite(vectors).all()


def test_a_store_of_postgis_does_as_well(monaco_database: str, expected: Vectors) -> None:
    with LocationEncoder.load(DEFAULT_MODEL, monaco_database) as encoder:
        with ThreadPoolExecutor(2) as threads:
            one, other = threads.map(encoder.encode, PAIR)
        np.testing.assert_allclose([one, other], encoder.encode(PAIR), rtol=1e-4, atol=1e-5)


def test_a_bad_store_shows_at_once(model_folder: Path, monaco_store: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"nowhere\.gpkg"):
        LocationEncoder.load(model_folder, tmp_path / "nowhere.gpkg")
    other = save_fresh_model(tmp_path / "other", seed=1, fingerprint="0" * 16)
    with pytest.raises(FingerprintError, match="model fresh-1"):
        LocationEncoder.load(other, monaco_store)


def test_places_outside_the_store_are_refused_before_any_is_rendered(
    opened: LocationEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StoreRenderer, "north_up", lambda *_: pytest.fail("rendered"))
    with pytest.raises(OutsideError, match=r"lat 48\.8566"):
        opened.encode([STREET, (48.8566, 2.3522)])


def test_threads_open_the_store_for_themselves_and_close_it_when_they_end(
    opened: LocationEncoder, expected: Vectors
) -> None:
    barrier = threading.Barrier(4)

    def encode(_: int) -> tuple[Vectors, int]:
        vectors = opened.encode(PAIR)
        barrier.wait(60)
        count = open_stores(opened)
        barrier.wait(60)
        return vectors, count

    with ThreadPoolExecutor(4) as threads:
        for vectors, count in threads.map(encode, range(4)):
            assert (vectors == expected).all()
            assert count == 1 + 4  # this thread's, too
    assert open_stores(opened) == 1


def test_an_encoder_closes_its_store_in_every_thread(opened: LocationEncoder) -> None:
    with ThreadPoolExecutor(1) as thread:
        thread.submit(opened.encode, STREET).result()
        sources = [opened._renderer._renderer.source]  # type: ignore[union-attr]
        sources.append(thread.submit(lambda: opened._renderer._renderer.source).result())  # type: ignore[union-attr]
        opened.close()
        assert open_stores(opened) == 0
        for source in sources:
            with pytest.raises(StoreError, match="closed"):
                source.outline()
        for encode in (opened.encode, lambda place: thread.submit(opened.encode, place).result()):
            with pytest.raises(InputError, match="closed"):
                encode(STREET)
    opened.close()  # again does no harm
    assert opened.encode(np.zeros((12, 128, 128), np.uint8)).shape == (16,)


def test_a_pickle_holds_the_model_and_reopens_the_store(
    opened: LocationEncoder, expected: Vectors, tmp_path: Path
) -> None:
    content = pickle.dumps(opened)
    opened.close()
    with pickle.loads(content) as again:  # noqa: S301 - made here
        assert again.model_id == opened.model_id
        assert (again.encode(PAIR) == expected).all()
    assert len(content) < 2_000_000


def test_a_pickle_without_a_store_takes_tiles(encoder: LocationEncoder) -> None:
    again = pickle.loads(pickle.dumps(encoder))  # noqa: S301 - made here
    tile = np.random.default_rng(0).integers(0, 256, (12, 128, 128), np.uint8)
    assert (again.encode(tile) == encoder.encode(tile)).all()
    again.close()


# Forking while threads run is what Python 3.12 and later warn of.
forks = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")


@forks
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_pools_of_processes_take_an_encoder(
    opened: LocationEncoder, expected: Vectors, method: str
) -> None:
    context: Any = multiprocessing.get_context(method)
    # a spawned process loads PyTorch, so there is one
    with ProcessPoolExecutor(2 if method == "fork" else 1, context) as processes:
        for vectors in processes.map(opened.encode, [PAIR] * 3, timeout=120):
            np.testing.assert_allclose(vectors, expected, rtol=1e-4, atol=1e-5)
    with context.Pool(1) as pool:
        (vectors,) = pool.map_async(opened.encode, [PAIR]).get(120)
    np.testing.assert_allclose(vectors, expected, rtol=1e-4, atol=1e-5)


def _put(encoder: LocationEncoder, answers: Any) -> None:
    answers.put((encoder.encode(PAIR), open_stores(encoder)))


@forks
def test_a_forked_process_opens_the_store_for_itself(
    opened: LocationEncoder, expected: Vectors
) -> None:
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    process = context.Process(target=_put, args=(opened, answers))
    process.start()
    vectors, count = answers.get(timeout=120)
    process.join()
    np.testing.assert_allclose(vectors, expected, rtol=1e-4, atol=1e-5)
    assert count == 1  # that of the parent was let go
    assert (opened.encode(PAIR) == expected).all()


@forks
@pytest.mark.parametrize("backend", ["threading", "multiprocessing", "loky"])
def test_joblib_takes_an_encoder(opened: LocationEncoder, expected: Vectors, backend: str) -> None:
    run = joblib.Parallel(2, backend=backend, timeout=120)
    try:
        for vectors in run(joblib.delayed(opened.encode)(PAIR) for _ in range(4)):
            np.testing.assert_allclose(vectors, expected, rtol=1e-4, atol=1e-5)
    finally:
        if backend == "loky":
            get_reusable_executor().shutdown(kill_workers=True)
