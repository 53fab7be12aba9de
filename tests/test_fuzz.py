"""Random damage to stores, indexes and model folders: one line of error, no signal, no hang.

FUZZ_S=3600 pytest -m soak tests/test_fuzz.py -rP
"""

import contextlib
import os
import random
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from loc2vec.embed.files import Vectors
from service.index.index import NeighborIndex
from tests.models import save_fresh_model
from tiling.errors import Loc2VecError
from tiling.files.atomic import json_bytes, parse_json, sha256_of
from tiling.render.pool import Worker
from tiling.render.thread import open_renderer
from tiling.store.store import Store
from tiling.values import Box, Pose, TileGeometry

FUZZ_S = int(os.environ.get("FUZZ_S", "3600"))
DURATIONS = [
    pytest.param(0.0, id="short"),
    pytest.param(
        FUZZ_S / 3, marks=[pytest.mark.soak, pytest.mark.timeout(FUZZ_S + 900)], id="soak"
    ),
]
HANG_S = 60.0
MOST_MB = 1000  # of memory
FEWEST = 40  # damaged things, the same ones on every machine
Use = Callable[[Path], None]
Spoil = Callable[[Path, random.Random], None]
Fuzz = Callable[[Use, Spoil, Path, float], None]
Wrong = tuple[str, int]  # what was raised ("" for nothing), and the peak memory, kB


def use_store(path: Path) -> None:
    """Use all of a store that the service uses."""
    with open_renderer(Store.at(path), TileGeometry(), None) as renderer:
        inside = renderer.source.coverage.representative_point()
        renderer.tile(Pose(inside.y, inside.x))
        renderer.source.find("monaco", 3)
        renderer.source.names_in(Box(7, 43, 8, 44))
        assert renderer.source.regions is not None


def use_index(path: Path) -> None:
    """Open an index, search it and look into it."""
    index = NeighborIndex.open(path, keep_cache=False)
    index.search(index.vector_of(int(index.ids[0])), 3)
    index.ids_in(Box(7, 43, 8, 44))


def use_lists(path: Path) -> None:
    """The same, of an index whose FAISS file holds lists, as those of millions do."""
    import service.index.kinds

    service.index.kinds.LISTS_ABOVE = 10
    use_index(path)


def use_model(path: Path) -> None:
    """Load a model and encode a tile."""
    import numpy as np

    from loc2vec.encoder import LocationEncoder

    LocationEncoder.load(path).encode(np.zeros((1, 12, 128, 128), np.uint8))


def peak_kb() -> int:
    """The peak memory of this program; `getrusage` counts that of its parent, too."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


@contextlib.contextmanager
def using(use: Use) -> Iterator[Callable[[Path], Wrong]]:
    """In a process of its own: use what is damaged, and say what was raised."""

    def tried(path: Path) -> Wrong:
        wrong = ""
        try:
            use(path)
        except Loc2VecError as error:
            wrong = "refused" if "\n" not in str(error).strip() else f"lines: {error}"
        except Exception as error:
            wrong = f"{type(error).__name__}: {error}"
        return wrong, peak_kb()

    yield tried


def damage(data: bytes, rng: random.Random) -> bytes:
    """Return bytes with a few flipped, cut out, put in or repeated."""
    spoilt = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 5, 20])):
        at = rng.randrange(len(spoilt) + 1)
        kind = rng.randrange(5)
        if kind == 0 and at < len(spoilt):
            spoilt[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            spoilt[at : at + rng.randrange(1, 64)] = rng.randbytes(rng.randrange(64))
        elif kind == 2:
            del spoilt[at:]
        elif kind == 3:
            spoilt[at : at + 4] = rng.choice([b"\xff" * 4, b"\x00" * 4, b"\x7f\xff\xff\xff"])
        else:
            spoilt[at : at + 64] = spoilt[max(0, at - 64) : at]
    return bytes(spoilt)


def damaged_store(good: Path, path: Path, rng: random.Random) -> None:
    path.write_bytes(damage(good.read_bytes(), rng))


def damaged_folder(good: Path, path: Path, rng: random.Random, about: str) -> None:
    """Damage one file of a folder; in half of the cases the hashes in `about` fit it again."""
    shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(good, path)
    file = rng.choice(sorted(path.iterdir()))
    file.write_bytes(damage(file.read_bytes(), rng))
    if rng.random() < 0.5 and file.name != about:
        facts = parse_json((path / about).read_bytes(), about)
        hashes = {"model.safetensors": "sha256", "vectors.parquet": "vectors_sha256",
                  "index.faiss": "cache_sha256"}  # fmt: skip
        facts[hashes[file.name]] = sha256_of(file)
        (path / about).write_bytes(json_bytes(facts))


@pytest.fixture
def fuzz(record_property: Callable[[str, object], None]) -> Fuzz:
    """The loop below, whose tries the report counts."""

    def loop(use: Use, spoil: Spoil, path: Path, seconds: float) -> None:
        tried = attack(use, spoil, path, seconds)
        record_property("tries", tried)

    return loop


def attack(use: Use, spoil: Spoil, path: Path, seconds: float) -> int:
    """Use one spoilt thing after the other, and fail with all that was wrong.

    Returns how many there were.
    """
    told: Counter[str] = Counter()
    faults: Counter[str] = Counter()
    worker: Worker[Path, Wrong] = Worker(partial(using, use), patience_s=HANG_S)
    end, seed = time.monotonic() + seconds, 0
    with contextlib.closing(worker):
        while time.monotonic() < end or seed < FEWEST:
            spoil(path, random.Random(seed := seed + 1))
            try:
                wrong, peak = worker.ask(path)
            except Loc2VecError as error:  # a signal, or a hang
                wrong, peak = str(error), 0
            told[wrong if wrong in ("", "refused") else "fault"] += 1
            if wrong not in ("", "refused"):
                faults[f"seed {seed}: {wrong[:200]}"] += 1
            if peak > 1000 * MOST_MB:
                faults[f"seed {seed}: {peak / 1000:.0f} MB"] += 1
    print(dict(told))
    assert not faults, "\n".join(faults)
    assert not worker.retried, "a process was ended by a signal"
    assert told["refused"] > 0
    return seed


@pytest.mark.parametrize("seconds", DURATIONS)
def test_damaged_stores(fuzz: Fuzz, monaco_store: Path, tmp_path: Path, seconds: float) -> None:
    fuzz(use_store, partial(damaged_store, monaco_store), tmp_path / "s.gpkg", seconds)


@pytest.mark.parametrize("seconds", DURATIONS)
def test_damaged_indexes(fuzz: Fuzz, index_folder: Path, tmp_path: Path, seconds: float) -> None:
    spoil = partial(damaged_folder, index_folder, about="index.json")
    fuzz(use_index, spoil, tmp_path / "index", seconds)


@pytest.mark.parametrize("seconds", DURATIONS)
def test_damaged_lists(
    fuzz: Fuzz, vectors: Vectors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    monkeypatch.setattr("service.index.kinds.LISTS_ABOVE", 10)
    NeighborIndex.build(vectors, tmp_path / "good")
    spoil = partial(damaged_folder, tmp_path / "good", about="index.json")
    fuzz(use_lists, spoil, tmp_path / "index", seconds)


@pytest.mark.parametrize("seconds", DURATIONS)
def test_damaged_models(fuzz: Fuzz, tmp_path: Path, seconds: float) -> None:
    good = save_fresh_model(tmp_path / "good", seed=0)
    spoil = partial(damaged_folder, good, about="config.json")
    fuzz(use_model, spoil, tmp_path / "model", seconds)
