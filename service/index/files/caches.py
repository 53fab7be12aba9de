"""An index folder: its vectors are the truth; its rows and its FAISS file are made of them."""

import logging
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from loc2vec.embed.blocks import keep_blocks, read_blocks, read_embeddings
from loc2vec.embed.files import Vectors, said_by
from loc2vec.errors import VectorsError
from service.errors import SearchIndexError
from service.index import kinds
from service.index.files.facts import Facts, checksum, read_facts
from service.index.files.rows import Rows
from service.index.files.sound import is_sound
from service.index.scale import Scale
from tiling.errors import UserError
from tiling.files.atomic import replacing, sha256_of
from tiling.machine import give_back_memory
from tiling.words import in_one_line

VECTORS, ROWS, CACHE = "vectors.parquet", "rows.arrow", "index.faiss"
# A longer file is mapped, not read: it stays on the disk, and processes share what they use of it.
# Short ones are read, because writing over a mapped file ends the process that uses it.
MAPPED_ABOVE = 1 << 26
DAMAGE = (ValueError, OSError, LookupError, pa.ArrowException)

log = logging.getLogger(__name__)
Found = Any  # a FAISS index
Opened = tuple[Rows, Found, Facts]


def write_index(folder: Path, blocks: Iterable[Vectors], old: Found = None) -> None:
    """Write the files of an index into an empty folder, from blocks of its vectors.

    `old`: the FAISS index of the first of them, which grows if it suits. Raises `SearchIndexError`
    where no row has a vector.
    """
    rows = _rows(keep_blocks(folder / VECTORS, blocks))
    sha256, count = sha256_of(folder / VECTORS), rows.count
    rows.write(folder / ROWS, sha256)
    del rows  # of many, they take as much memory as half of their vectors
    give_back_memory()
    found = kinds.build(partial(read_embeddings, folder / VECTORS), count, old)
    kinds.write(found, folder / CACHE)
    _facts(folder, sha256, found).write(folder)


def open_index(folder: Path, keep: bool, loose: bool = False) -> Opened:
    """Return what an index folder holds, all of it checked.

    What is missing or altered is made again from the vectors; `keep`: and written. `loose`: more
    vectors can be added to the FAISS index. Raises `SearchIndexError` when the folder is not an
    index or its vectors were altered.
    """
    facts = read_facts(folder)
    if not facts.fit(folder / VECTORS):
        raise SearchIndexError(
            f"{folder / VECTORS} is missing or not as `loc2vec index` wrote it: "
            "make the index again"
        )
    return _opened(folder, facts, loose) or _made_again(folder, facts, keep)


def _opened(folder: Path, facts: Facts, loose: bool) -> Opened | None:
    """Return the rows and the FAISS index, None unless both are sound and of the vectors."""
    rows, cache = folder / ROWS, folder / CACHE
    if not (facts.fit(rows) and facts.fit(cache) and is_sound(cache, facts.count, facts.dim)):
        return None
    try:
        opened = Rows.open(rows, facts.sha256, facts.count, _is_long(rows))
    except DAMAGE:
        return None
    return opened, kinds.read(cache, _is_long(cache) and not loose), facts


def _made_again(folder: Path, facts: Facts, keep: bool) -> Opened:
    path = folder / VECTORS
    log.warning("%s, %s are missing, altered or of other vectors: made again from %s",
                folder / ROWS, CACHE, VECTORS)  # fmt: skip
    try:
        rows = _rows(read_blocks(path))
    except (VectorsError, *DAMAGE) as error:
        raise SearchIndexError(
            f"{path} is damaged ({in_one_line(error)}): make the index again"
        ) from error
    found = kinds.build(partial(read_embeddings, path), rows.count)
    if keep:
        _keep(folder, rows, found, facts.sha256)
    return rows, found, _facts(folder, facts.sha256, found)


def _keep(folder: Path, rows: Rows, found: Found, sha256: str) -> None:
    try:
        with replacing(folder / ROWS) as temporary:
            rows.write(temporary, sha256)
        with replacing(folder / CACHE) as temporary:
            kinds.write(found, temporary)
        _facts(folder, sha256, found).write(folder)
    except (UserError, OSError) as error:  # a cache that cannot be kept is no reason not to answer
        log.warning("the new %s and %s were not kept: %s", ROWS, CACHE, error)


def _rows(blocks: Iterable[Vectors]) -> Rows:
    rows = Rows.of(blocks)
    if not rows.count:
        raise SearchIndexError("no row of the vectors has an embedding: there is nothing to search")
    return rows


def _facts(folder: Path, sha256: str, found: Found) -> Facts:
    said = said_by(pq.read_schema(folder / VECTORS))
    names = [name for name in (VECTORS, ROWS, CACHE) if (folder / name).is_file()]
    return Facts(
        model=said["model"],
        fingerprint=said["fingerprint"],
        store=said.get("store", ""),
        sha256=sha256,
        dim=found.d,
        count=found.ntotal,
        checksums={name: checksum(folder / name) for name in names},
        scale=Scale.of(found.ntotal, partial(kinds.vectors_of, found)),
    )


def _is_long(path: Path) -> bool:
    return path.stat().st_size > MAPPED_ABOVE
