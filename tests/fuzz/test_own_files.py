"""Random damage to stores, indexes and model folders: one line of error, no signal, no hang.

FUZZ_S=3600 pytest -m soak tests/fuzz -rP
"""

import random
import shutil
from functools import partial
from pathlib import Path

import pytest

from loc2vec.embed.files import Vectors
from service.index.files.facts import checksum
from service.index.index import NeighborIndex
from tests.fuzz.attack import DURATIONS, Attack, damage, use_store
from tests.models import save_fresh_model
from tiling.files.atomic import json_bytes, parse_json, sha256_of
from tiling.values import Box


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
        hashes = {"model.safetensors": "sha256", "vectors.parquet": "vectors_sha256"}
        if file.name in hashes:
            facts[hashes[file.name]] = sha256_of(file)
        if "checksums" in facts:
            facts["checksums"][file.name] = checksum(file)
        (path / about).write_bytes(json_bytes(facts))


@pytest.mark.parametrize("seconds", DURATIONS)
def test_damaged_stores(fuzz: Attack, monaco_store: Path, tmp_path: Path, seconds: float) -> None:
    fuzz(use_store, partial(damaged_store, monaco_store), tmp_path / "s.gpkg", seconds)


@pytest.mark.parametrize("seconds", DURATIONS)
def test_damaged_indexes(fuzz: Attack, index_folder: Path, tmp_path: Path, seconds: float) -> None:
    spoil = partial(damaged_folder, index_folder, about="index.json")
    fuzz(use_index, spoil, tmp_path / "index", seconds)


@pytest.mark.parametrize("seconds", DURATIONS)
def test_damaged_lists(
    fuzz: Attack, vectors: Vectors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    monkeypatch.setattr("service.index.kinds.LISTS_ABOVE", 10)
    NeighborIndex.build(vectors, tmp_path / "good")
    spoil = partial(damaged_folder, tmp_path / "good", about="index.json")
    fuzz(use_lists, spoil, tmp_path / "index", seconds)


@pytest.mark.parametrize("seconds", DURATIONS)
def test_damaged_models(fuzz: Attack, tmp_path: Path, seconds: float) -> None:
    good = save_fresh_model(tmp_path / "good", seed=0)
    spoil = partial(damaged_folder, good, about="config.json")
    fuzz(use_model, spoil, tmp_path / "model", seconds)
