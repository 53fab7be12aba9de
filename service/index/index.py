"""The neighbour index: what it finds, and where."""

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

import faiss
import numpy as np
from numpy.typing import NDArray

from loc2vec.embed.files import Vectors
from loc2vec.errors import VectorsError
from service.errors import SearchIndexError
from service.index import kinds
from service.index.files.caches import open_index, write_index
from service.index.files.facts import FACTS, Facts
from service.index.files.longer import Longer
from service.index.files.rows import Rows
from tiling.files.atomic import replacing_folder
from tiling.machine import one_thread
from tiling.values import Box, LonLat

# FAISS sums float32 in its own order: distances closer than this may be equal.
TIE = 1e-4


class NeighborIndex:
    """Nearest vectors by Euclidean distance. An id is a row of `vectors.parquet`.

    Rows without an embedding are left out. `lat`, `lon` float64 [rows] hold every row, so that ids
    index them, and so does `table`, the user's columns. `name` is the start of the hash of the
    vectors: answers of another index say so. `scale` tells what its distances mean.
    """

    def __init__(self, rows: Rows, found: faiss.Index, facts: Facts) -> None:
        self._rows, self._faiss = rows, found
        self.lat, self.lon, self.table = rows.lat, rows.lon, rows.table
        self.model, self.fingerprint, self.name = facts.model, facts.fingerprint, facts.name
        self.store, self.scale = facts.store, facts.scale
        self.known = 0  # places that were not added, because it held them

    def __len__(self) -> int:
        return self._rows.count

    @property
    def dim(self) -> int:
        return int(self._faiss.d)

    @classmethod
    def build(cls, vectors: Vectors | Iterable[Vectors], folder: Path) -> "NeighborIndex":
        """Write the index of vectors to `folder` and return it; it replaces an older index.

        They may come in blocks, each of which is left before the next is asked for.
        """
        _check_replaceable(folder)
        with replacing_folder(folder) as temporary:
            write_index(temporary, [vectors] if isinstance(vectors, Vectors) else vectors)
        return cls.open(folder)

    @classmethod
    def add(cls, vectors: Vectors | Iterable[Vectors], folder: Path) -> "NeighborIndex":
        """Append vectors to an index, whose ids stay, and return the longer index.

        Places that it holds already are left out; `known` counts them. Raises `SearchIndexError`
        for vectors of another model, and when it holds all places already.
        """
        try:
            rows, found, _ = open_index(folder, keep=False, loose=True)
            more = [vectors] if isinstance(vectors, Vectors) else vectors
            blocks = Longer(folder, rows, more)
            with replacing_folder(folder) as temporary:
                write_index(temporary, blocks, found)
        except (VectorsError, SearchIndexError) as error:
            raise SearchIndexError(f"cannot add to {folder}: {error}") from error
        longer = cls.open(folder)
        longer.known = blocks.known
        return longer

    @classmethod
    def open(cls, folder: Path, keep_cache: bool = True) -> "NeighborIndex":
        """Open an index folder; a missing or altered cache is made again.

        `keep_cache`: also write that cache. Raises `SearchIndexError` when the folder is not an
        index or its vectors were altered.
        """
        return cls(*open_index(folder, keep_cache))

    @property
    def ids(self) -> NDArray[np.int64]:
        """The ids of all places that have an embedding, rising."""
        return self._rows.ids

    def ids_in(self, box: Box) -> NDArray[np.int64]:
        """Return the ids of the places in a box, from south to north."""
        return self._rows.ids_in(box)

    def in_box(self, box: Box) -> NDArray[np.bool_]:
        """Tell which rows lie in a box: bool [rows]."""
        return self._rows.in_box(box)

    def vectors_of(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the vectors [n, D] of ids that have one."""
        return kinds.vectors_of(self._faiss, self._rows.numbers_of(ids))

    def vector(self, place: LonLat) -> NDArray[np.float32] | None:
        """Return the vector [D] of exactly this place, if it is in the index."""
        row = self._rows.at(place)
        return None if row is None else self.vector_of(row)

    def vector_of(self, row: int) -> NDArray[np.float32]:
        """Return the vector [D] of an id that a search gave."""
        vector: NDArray[np.float32] = self.vectors_of(np.array([row]))[0]
        return vector

    def search(
        self, embedding: NDArray[np.float32], k: int, allowed: NDArray[np.bool_] | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the ids and Euclidean distances of the `k` nearest, nearest first, ties by id.

        `embedding` [D] gives [k], [m, D] gives [m, k]. `allowed` bool [rows] leaves the other rows
        out; `k` is cut to how many there are.
        """
        queries = np.ascontiguousarray(np.atleast_2d(embedding), np.float32)
        if queries.shape[1] != self.dim:
            raise SearchIndexError(
                f"the embedding has {queries.shape[1]} numbers, the index {self.dim}"
            )
        if k < 1:
            raise SearchIndexError(f"k = {k}: ask for at least one neighbour")
        if allowed is not None and not self._rows.whole:
            allowed = allowed[self.ids]
        choice = _Choice(len(self), allowed)
        found = [self._search_one(query, min(k, choice.count), choice) for query in queries]
        ids, distances = np.stack([ids for ids, _ in found]), np.stack([d for _, d in found])
        return (ids[0], distances[0]) if np.ndim(embedding) == 1 else (ids, distances)

    def _search_one(
        self, query: NDArray[np.float32], k: int, choice: "_Choice"
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Let FAISS find the candidates, then measure and order them in float64."""
        rows = self._candidates(query, k, choice)
        vectors = kinds.vectors_of(self._faiss, rows).astype(np.float64)
        distances = np.linalg.norm(vectors - query, axis=1)
        if len(rows) > k:  # sorting all takes longer than the rest; equals of the last stay
            near = distances <= np.partition(distances, k - 1)[k - 1]
            rows, distances = rows[near], distances[near]
        order = np.lexsort((rows, distances))[:k]
        return self._rows.ids_of(rows[order]), distances[order]

    def _candidates(
        self, query: NDArray[np.float32], k: int, choice: "_Choice"
    ) -> NDArray[np.int64]:
        """Return candidates that include every row that ties with the k-th in float32.

        One query at a time: FAISS then sums squared differences, which is exact for equal vectors.

        In one thread: with more, a query takes twice as long, and OpenMP keeps threads for every
        thread that ever searched. PyTorch shares that runtime. Once its threads outnumber the
        processors, none waits actively, and encoding one tile takes 1.5x as long.
        """
        if choice.count <= kinds.few(self._faiss):
            return choice.rows()
        count, share = min(k + 8, choice.count), choice.count / len(self)
        while True:
            how = kinds.parameters(self._faiss, count, share, choice.selector)
            with one_thread(faiss.omp_get_max_threads, faiss.omp_set_num_threads):
                squared, rows = (
                    found[0] for found in self._faiss.search(query[None], count, params=how)
                )
            if rows[-1] < 0:  # the lists held fewer than there are
                return choice.rows()
            if count == choice.count or squared[-1] > squared[k - 1] * (1 + TIE):
                return np.asarray(rows, np.int64)
            count = min(count * 4, choice.count)


class _Choice:
    """The rows among which is searched: `mask` bool [total], or all of them."""

    def __init__(self, total: int, mask: NDArray[np.bool_] | None) -> None:
        self.count = total if mask is None else int(np.count_nonzero(mask))
        self._total = total
        self._mask = None if self.count == total else mask

    @cached_property
    def selector(self) -> faiss.IDSelector | None:
        """What tells FAISS of them."""
        if self._mask is None:
            return None
        self._bits = np.packbits(self._mask, bitorder="little")  # FAISS keeps no copy
        return faiss.IDSelectorBitmap(self._bits)

    def rows(self) -> NDArray[np.int64]:
        """Return all of them."""
        return np.arange(self._total) if self._mask is None else np.flatnonzero(self._mask)


def _check_replaceable(folder: Path) -> None:
    """Raise `SearchIndexError` for a folder that holds other files than an index."""
    if folder.is_dir() and not any(folder.iterdir()):
        return
    if folder.exists() and not (folder / FACTS).is_file():
        raise SearchIndexError(f"{folder} exists and is not an index folder: choose another name")
