"""The files of an index: every byte is checked; what is mapped answers like what is read."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from loc2vec.embed.files import Vectors
from service.errors import SearchIndexError
from service.index.files.caches import CACHE, ROWS, VECTORS
from service.index.index import NeighborIndex
from tests.service.index.test_index import Floats, make_vectors
from tiling.values import Box

COUNT = 3000


@pytest.fixture(autouse=True)
def lists(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes lists of what is otherwise searched one and all."""
    monkeypatch.setattr("service.index.kinds.LISTS_ABOVE", 1000)


@pytest.fixture
def vectors() -> Vectors:
    embedding = np.random.default_rng(0).standard_normal((COUNT, 8)).astype(np.float32)
    embedding[5::50] = np.nan
    kinds = pa.array(["bar", "shop", None] * 1000)
    return replace(make_vectors(embedding), table=pa.table({"kind": kinds}))


@pytest.fixture
def folder(tmp_path: Path, vectors: Vectors) -> Path:
    NeighborIndex.build(vectors, tmp_path / "index")
    return tmp_path / "index"


def in_blocks(vectors: Vectors, size: int) -> Iterator[Vectors]:
    for first in range(0, len(vectors), size):
        rows = slice(first, first + size)
        assert vectors.table is not None
        yield replace(vectors, lat=vectors.lat[rows], lon=vectors.lon[rows],
                      embedding=vectors.embedding[rows],
                      table=vectors.table.slice(first, size))  # fmt: skip


def answers(index: NeighborIndex, query: Floats) -> list[object]:
    box = Box(7, 43, 7.5, 43.5)
    found = [*index.search(query, 10), index.ids_in(box), index.in_box(box), index.ids]
    vectors = [index.vectors_of(index.ids[:50]), index.vector_of(1)]
    assert index.table is not None
    return [*(part.tolist() for part in [*found, *vectors]), index.table.to_pylist()]


@pytest.mark.parametrize("name", [VECTORS, ROWS, CACHE])
def test_one_altered_bit_anywhere_is_found(folder: Path, vectors: Vectors, name: str) -> None:
    expected = answers(NeighborIndex.open(folder), vectors.embedding[1])
    whole = bytearray((folder / name).read_bytes())
    for at in np.random.default_rng(1).integers(len(whole), size=8).tolist():
        spoilt = whole.copy()
        spoilt[at] ^= 1 << at % 8
        (folder / name).write_bytes(spoilt)
        if name == VECTORS:
            with pytest.raises(SearchIndexError, match="not as `loc2vec index` wrote it"):
                NeighborIndex.open(folder)
        else:
            assert answers(NeighborIndex.open(folder), vectors.embedding[1]) == expected
            assert (folder / name).read_bytes() == whole


def test_a_mapped_index_answers_as_one_that_was_read(
    folder: Path, vectors: Vectors, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = answers(NeighborIndex.open(folder), vectors.embedding[1])
    monkeypatch.setattr("service.index.files.caches.MAPPED_ABOVE", 0)
    mapped = NeighborIndex.open(folder)
    assert answers(mapped, vectors.embedding[1]) == read
    NeighborIndex.build(replace(vectors, embedding=vectors.embedding + 1), folder)
    assert answers(mapped, vectors.embedding[1]) == read  # the files of the old one are held
    shutil.rmtree(folder)
    assert answers(mapped, vectors.embedding[1]) == read


def test_an_index_made_in_blocks_is_that_made_at_once(
    folder: Path, vectors: Vectors, tmp_path: Path
) -> None:
    NeighborIndex.build(in_blocks(vectors, 700), tmp_path / "blocks")
    assert (tmp_path / "blocks" / ROWS).stat().st_size == (folder / ROWS).stat().st_size
    assert (tmp_path / "blocks" / CACHE).read_bytes() == (folder / CACHE).read_bytes()


@pytest.mark.parametrize("mapped_above", [0, 1 << 26])
def test_blocks_are_added_and_places_that_are_known_left_out(
    folder: Path, vectors: Vectors, monkeypatch: pytest.MonkeyPatch, mapped_above: int
) -> None:
    monkeypatch.setattr("service.index.files.caches.MAPPED_ABOVE", mapped_above)
    monkeypatch.setattr("loc2vec.embed.blocks.BLOCK", 500)
    assert vectors.table is not None
    new = replace(vectors, lat=vectors.lat + 2, embedding=vectors.embedding + 9,
                  table=vectors.table.append_column("beds", pa.array(range(COUNT))))  # fmt: skip
    new.lat[:1000] -= 2  # known, as is the first block
    longer = NeighborIndex.add(in_blocks(new, 800), folder)
    assert (longer.known, len(longer.lat)) == (1000, 2 * COUNT - 1000)
    inside = new.inside[1000:]
    np.testing.assert_array_equal(
        longer.vectors_of(COUNT + np.flatnonzero(inside)), new.embedding[1000:][inside]
    )
    assert longer.table is not None
    assert longer.table.slice(COUNT - 1, 2).to_pylist() == [
        {"kind": None, "beds": None},
        {"kind": "shop", "beds": 1000},
    ]


def test_texts_of_a_column_are_kept_once_where_they_are_few(tmp_path: Path) -> None:
    names, kinds = [str(n) for n in range(COUNT)], ["bar", "shop", None] * 1000
    vectors = make_vectors(np.ones((COUNT, 2), np.float32))
    table = pa.table({"name": names, "kind": kinds})
    index = NeighborIndex.build(in_blocks(replace(vectors, table=table), 900), tmp_path / "index")
    assert index.table is not None
    assert pa.types.is_dictionary(index.table.schema.field("kind").type)
    assert pa.types.is_string(index.table.schema.field("name").type)
    assert index.table.to_pydict() == table.to_pydict()
