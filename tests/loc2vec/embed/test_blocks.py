"""Vectors that are read and written block by block are those that are read at once."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from loc2vec.embed.blocks import keep_blocks, read_blocks, read_embeddings
from loc2vec.embed.files import MANIFEST, Vectors, join_vectors, read_vectors, write_vectors
from loc2vec.errors import VectorsError
from tests.service.index.test_index import make_vectors
from tiling.files.atomic import write_json

COUNT = 100


@pytest.fixture
def vectors(monkeypatch: pytest.MonkeyPatch) -> Vectors:
    """Places with names, some without a vector, that are read in blocks of 30."""
    monkeypatch.setattr("loc2vec.embed.blocks.BLOCK", 30)
    embedding = np.random.default_rng(0).standard_normal((COUNT, 4)).astype(np.float32)
    embedding[::7] = np.nan
    table = pa.table({"name": [f"place {n % 5}" for n in range(COUNT)]})
    return replace(make_vectors(embedding), table=table)


def assert_equal(blocks: list[Vectors], expected: Vectors) -> None:
    joined = blocks[0]
    for block in blocks[1:]:
        joined = join_vectors(joined, block)
    for name in ("lat", "lon", "embedding"):
        np.testing.assert_array_equal(getattr(joined, name), getattr(expected, name))
    assert joined.table is not None
    assert joined.table.equals(expected.table)
    assert (joined.model, joined.fingerprint) == (expected.model, expected.fingerprint)


def parts_of(vectors: Vectors, folder: Path, sizes: list[int]) -> None:
    """Write a folder of parts like `loc2vec embed`."""
    folder.mkdir()
    parts, first = [], 0
    for number, size in enumerate(sizes):
        rows = slice(first, first + size)
        assert vectors.table is not None
        part = replace(vectors, lat=vectors.lat[rows], lon=vectors.lon[rows],
                       embedding=vectors.embedding[rows],
                       table=vectors.table.slice(first, size))  # fmt: skip
        path = folder / f"{number}.parquet"
        write_vectors(path, part)
        parts.append({"file": path.name, "bytes": path.stat().st_size})
        first += size
    write_json(folder / MANIFEST, {"parts": parts})


@pytest.mark.parametrize("sizes", [[], [100], [10] * 10, [60, 0, 40]])
def test_blocks_are_the_rows_in_their_order(
    tmp_path: Path, vectors: Vectors, sizes: list[int]
) -> None:
    path = tmp_path / "vectors.parquet"
    if sizes:
        parts_of(vectors, path, sizes)
    else:
        write_vectors(path, vectors)
    blocks = list(read_blocks(path))
    assert len(blocks) > 1
    assert max(map(len, blocks)) < 2 * 30
    assert_equal(blocks, vectors)
    np.testing.assert_array_equal(
        np.concatenate(list(read_embeddings(path))), vectors.embedding[vectors.inside]
    )


def test_what_another_program_wrote_is_one_block(tmp_path: Path, vectors: Vectors) -> None:
    write_vectors(tmp_path / "ours.parquet", vectors)
    table = pq.read_table(tmp_path / "ours.parquet")
    lists = table["embedding"].cast(pa.list_(pa.float32()))
    table = table.set_column(table.schema.get_field_index("embedding"), "embedding", lists)
    pq.write_table(table.replace_schema_metadata(None), tmp_path / "theirs.parquet")
    (block,) = read_blocks(tmp_path / "theirs.parquet", (vectors.model, vectors.fingerprint))
    assert_equal([block], vectors)


def test_blocks_are_kept_as_they_pass(tmp_path: Path, vectors: Vectors) -> None:
    write_vectors(tmp_path / "one.parquet", vectors)
    passed = list(keep_blocks(tmp_path / "two.parquet", read_blocks(tmp_path / "one.parquet")))
    assert_equal(passed, vectors)
    assert_equal([read_vectors(tmp_path / "two.parquet")], vectors)
    assert pq.ParquetFile(tmp_path / "two.parquet").num_row_groups == len(passed)


def test_a_bad_row_is_named_by_its_number_in_the_file(tmp_path: Path, vectors: Vectors) -> None:
    vectors.lat[77] = 91.0
    write_vectors(tmp_path / "bad.parquet", vectors)
    with pytest.raises(VectorsError, match=r"row 78: its place, 91\.0, is none"):
        list(read_blocks(tmp_path / "bad.parquet"))


def test_files_that_are_none_and_parts_that_differ_are_refused(
    tmp_path: Path, vectors: Vectors
) -> None:
    (tmp_path / "none.parquet").write_bytes(b"PAR1" * 20)
    parts_of(vectors, tmp_path / "parts", [50, 50])
    other = replace(vectors, table=pa.table({"beds": range(COUNT)}))
    write_vectors(tmp_path / "parts" / "1.parquet", other)
    size = (tmp_path / "parts" / "1.parquet").stat().st_size
    parts = [{"file": "0.parquet", "bytes": (tmp_path / "parts" / "0.parquet").stat().st_size}]
    write_json(tmp_path / "parts" / MANIFEST,
               {"parts": [*parts, {"file": "1.parquet", "bytes": size}]})  # fmt: skip
    for path, why in (("none.parquet", "is no Parquet file"), ("parts", "has other columns"),
                      ("nothing.parquet", "is not a file")):  # fmt: skip
        with pytest.raises(VectorsError, match=why):
            list(read_blocks(tmp_path / path))


def test_what_was_read_is_not_kept(tmp_path: Path) -> None:
    many = np.arange(1_600_000, dtype=np.float32).reshape(100_000, 16)
    wide = make_vectors(many)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("loc2vec.embed.blocks.BLOCK", 10_000)
        for _ in keep_blocks(tmp_path / "many.parquet", _in_tens(wide)):
            pass
        before, most = pa.total_allocated_bytes(), 0
        for _ in read_embeddings(tmp_path / "many.parquet"):
            most = max(most, pa.total_allocated_bytes() - before)
    assert most < many.nbytes


def _in_tens(vectors: Vectors) -> Iterator[Vectors]:
    for first in range(0, len(vectors), 10_000):
        rows = slice(first, first + 10_000)
        yield replace(vectors, lat=vectors.lat[rows], lon=vectors.lon[rows],
                      embedding=vectors.embedding[rows])  # fmt: skip
