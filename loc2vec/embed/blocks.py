"""Files of vectors block by block, for as many as no memory holds."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from loc2vec.embed.files import (
    EMBEDDING,
    Vectors,
    embedding_in,
    facts_of,
    parts_of,
    readable,
    table_of,
    vectors_in,
)  # fmt: skip
from loc2vec.errors import VectorsError
from tiling.files.atomic import require_file
from tiling.files.geoparquet import PointsWriter

BLOCK = 1 << 18  # rows that are held together


def read_blocks(path: Path, made_by: tuple[str, str] | None = None) -> Iterator[Vectors]:
    """Yield the rows of `read_vectors` in their order, in blocks of about `BLOCK`.

    A copy that another program made is one block: nothing but its rows tells how long they are.
    """
    first = 0
    for table in _tables(path, None):
        yield vectors_in(path, table, made_by, first)
        first += len(table)


def read_embeddings(path: Path) -> Iterator[NDArray[np.float32]]:
    """Yield the vectors [n, D] of the rows that have one, in blocks as `read_blocks` does."""
    first = 0
    for table in _tables(path, [EMBEDDING]):
        column = table[EMBEDDING]
        yield embedding_in(path, column, first)[column.is_valid().to_numpy()]
        first += len(table)


def keep_blocks(path: Path, blocks: Iterable[Vectors]) -> Iterator[Vectors]:
    """Yield blocks, each after it was written to a Parquet file, which is whole after the last."""
    writer = None
    try:
        for block in blocks:
            writer = writer or PointsWriter(path, facts_of(block))
            writer.write(table_of(block), block.lat, block.lon)
            yield block
    finally:
        if writer is not None:
            writer.close()


def _tables(path: Path, columns: list[str] | None) -> Iterator[pa.Table]:
    """Yield the rows of a file, or of a folder of parts, in blocks."""
    waiting, schema = list[pa.Table](), None
    for part in parts_of(path) if path.is_dir() else [path]:
        for table in _batches(part, columns):
            schema = schema or table.schema
            if not schema.equals(table.schema):
                raise VectorsError(f"{part} has other columns than the parts before it")
            waiting.append(table)
            if sum(map(len, waiting)) >= BLOCK:
                yield pa.concat_tables(waiting)
                waiting = []
    if waiting:
        yield pa.concat_tables(waiting)


def _batches(path: Path, columns: list[str] | None) -> Iterator[pa.Table]:
    require_file(path, VectorsError, "make one with `loc2vec embed`")
    # Else all that was read stays in memory until the file is closed.
    with readable(path), pq.ParquetFile(path, pre_buffer=False) as file:
        schema = file.schema_arrow
        at = schema.get_field_index(EMBEDDING)
        if at < 0 or not pa.types.is_fixed_size_list(schema.field(at).type):
            yield file.read(columns)
            return
        if columns is not None:
            schema = pa.schema([schema.field(name) for name in columns], schema.metadata)
        yield schema.empty_table()  # a file without rows has columns
        for batch in file.iter_batches(BLOCK, columns=columns):
            yield pa.Table.from_batches([batch], schema)
