"""Files of FAISS with forged numbers: none that would end the process is taken for sound."""

import random
from pathlib import Path

import faiss
import numpy as np
import pytest

from service.index import kinds
from service.index.files.sound import is_sound

COUNT, DIM = 600, 8
VECTORS = np.random.default_rng(0).normal(size=(COUNT, DIM)).astype(np.float32)


@pytest.fixture(params=["flat", "lists", "lists, most of them empty"])
def file(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    if request.param != "flat":
        monkeypatch.setattr("service.index.kinds.LISTS_ABOVE", 100)
    few = request.param.endswith("empty")
    vectors = VECTORS[np.arange(COUNT) % 3] if few else VECTORS
    index = kinds.build(lambda: [vectors[:200], vectors[200:]], COUNT)
    path = tmp_path / "index.faiss"
    faiss.write_index(index, str(path))
    return path


def test_what_faiss_wrote_is_sound(file: Path) -> None:
    assert is_sound(file, COUNT, DIM)
    assert not is_sound(file, COUNT, DIM + 1)
    assert not is_sound(file, COUNT - 1, DIM)


def test_a_file_of_another_length_is_not(file: Path) -> None:
    whole = file.read_bytes()
    for content in (whole[:-1], whole + b"0", whole[: len(whole) // 2], whole[:20], b"IxF2", b"x"):
        file.write_bytes(content)
        assert not is_sound(file, COUNT, DIM)


def test_a_forged_number_is_found_or_does_no_harm(file: Path) -> None:
    whole = file.read_bytes()
    rng, sound = random.Random(0), 0
    for _ in range(300):
        spoilt = bytearray(whole)
        at = rng.choice([rng.randrange(200), rng.randrange(len(whole) - 4)])
        spoilt[at : at + 4] = rng.choice([b"\xff" * 4, b"\0" * 4, b"\xff\xff\xff\x7f", b"\1\0\0\0"])
        file.write_bytes(spoilt)
        if is_sound(file, COUNT, DIM):
            sound += 1
            index = faiss.read_index(str(file))
            index.search(VECTORS[:20], 5, params=kinds.parameters(index, 5, 0.1, None))
            index.reconstruct_batch(np.arange(COUNT))
    assert 0 < sound < 300  # a number of a vector may be any
