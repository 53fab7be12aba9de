"""The neighbour index: vectors and their facts are the truth, the FAISS file is a cache."""

import logging
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from loc2vec.vectors import Vectors, read_vectors, write_vectors
from service.errors import SearchIndexError
from tiling.errors import UserError
from tiling.files import read_json, replacing, replacing_folder, sha256_of, write_json
from tiling.values import ATTRIBUTION

VECTORS = "vectors.parquet"
FACTS = "index.json"
CACHE = "index.faiss"
FORMAT = 1
# FAISS sums float32 in an order of its own: distances closer than this may be one and the same.
TIE = 1e-4

log = logging.getLogger(__name__)


class NeighborIndex:
    """Nearest vectors by Euclidean distance, exactly. An id is a row of `vectors.parquet`.

    Rows without an embedding are left out. `lat`, `lon` float64 [rows] hold every row, so that ids
    index them.
    """

    def __init__(self, vectors: Vectors, flat: faiss.Index) -> None:
        self.lat, self.lon = vectors.lat, vectors.lon
        self.model, self.fingerprint = vectors.model, vectors.fingerprint
        self._ids = np.flatnonzero(vectors.inside)  # int64 [count], rising
        self._flat = flat

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def dim(self) -> int:
        return int(self._flat.d)

    @classmethod
    def build(cls, vectors: Vectors, folder: Path) -> "NeighborIndex":
        """Write the index of `vectors` to `folder`, in the place of an older index, and return it."""
        if not vectors.inside.any():
            raise SearchIndexError("no row of the vectors has an embedding: there is nothing to search")
        _check_replaceable(folder)
        flat = _flat_index(vectors)
        with replacing_folder(folder) as temporary:
            write_vectors(temporary / VECTORS, vectors)
            faiss.write_index(flat, str(temporary / CACHE))
            write_json(temporary / FACTS, _facts(vectors, temporary))
        return cls(vectors, flat)

    @classmethod
    def open(cls, folder: Path) -> "NeighborIndex":
        """Open an index folder and make its cache again when it is not as it was written.

        Raises `SearchIndexError` when the folder is not an index or its vectors were altered.
        """
        facts = _read_facts(folder)
        path = folder / VECTORS
        if not path.is_file() or sha256_of(path) != facts["vectors_sha256"]:
            raise SearchIndexError(f"{path} is missing or not as `loc2vec index` wrote it: make the index again")
        vectors = read_vectors(path)
        if (folder / CACHE).is_file() and sha256_of(folder / CACHE) == facts["cache_sha256"]:
            return cls(vectors, faiss.read_index(str(folder / CACHE)))
        return cls(vectors, _rebuild_cache(vectors, folder, facts))

    def search(self, embedding: NDArray[np.float32], k: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the ids and Euclidean distances of the `k` nearest, nearest first, ties by id.

        `embedding` [D] gives [k], [m, D] gives [m, k]; `k` is cut to the size of the index.
        """
        queries = np.ascontiguousarray(np.atleast_2d(embedding), np.float32)
        if queries.shape[1] != self.dim:
            raise SearchIndexError(f"the embedding has {queries.shape[1]} numbers, the index {self.dim}")
        if k < 1:
            raise SearchIndexError(f"k = {k}: ask for at least one neighbour")
        found = [self._search_one(query, min(k, len(self))) for query in queries]
        ids, distances = np.stack([ids for ids, _ in found]), np.stack([d for _, d in found])
        return (ids[0], distances[0]) if np.ndim(embedding) == 1 else (ids, distances)

    def _search_one(self, query: NDArray[np.float32], k: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Let FAISS find the candidates, then measure and order them in float64."""
        rows = self._candidates(query, k)
        distances = np.linalg.norm(self._flat.reconstruct_batch(rows).astype(np.float64) - query, axis=1)
        order = np.lexsort((rows, distances))[:k]
        return self._ids[rows[order]], distances[order]

    def _candidates(self, query: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        """Return enough rows that all which may tie with the k-th, as float32 has it, are among them.

        One query at a time: FAISS then sums squared differences, which is exact for equal vectors,
        and stays in the calling thread.
        """
        count = min(k + 8, len(self))
        while True:
            squared, rows = (found[0] for found in self._flat.search(query[None], count))
            if count == len(self) or squared[-1] > squared[k - 1] * (1 + TIE):
                return np.asarray(rows, np.int64)
            count = min(count * 4, len(self))


def _flat_index(vectors: Vectors) -> faiss.IndexFlatL2:
    embedding = np.ascontiguousarray(vectors.embedding[vectors.inside], np.float32)
    flat = faiss.IndexFlatL2(embedding.shape[1])
    flat.add(embedding)
    return flat


def _facts(vectors: Vectors, folder: Path) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "model": vectors.model,
        "fingerprint": vectors.fingerprint,
        "dim": vectors.embedding.shape[1],
        "count": int(vectors.inside.sum()),
        "vectors_sha256": sha256_of(folder / VECTORS),
        "cache_sha256": sha256_of(folder / CACHE),
        "attribution": ATTRIBUTION,
    }


def _read_facts(folder: Path) -> dict[str, Any]:
    try:
        facts = read_json(folder / FACTS)
    except (UserError, NotADirectoryError) as error:
        raise SearchIndexError(f"{folder} is not an index folder: make one with `loc2vec index`") from error
    if facts.get("format") != FORMAT or not {"vectors_sha256", "cache_sha256"} <= facts.keys():
        raise SearchIndexError(f"{folder / FACTS} is damaged or of another version: make the index again")
    return facts


def _check_replaceable(folder: Path) -> None:
    """Refuse to put an index in the place of somebody's other files."""
    if folder.is_dir() and not any(folder.iterdir()):
        return
    if folder.exists() and not (folder / FACTS).is_file():
        raise SearchIndexError(f"{folder} exists and is not an index folder: choose another name")


def _rebuild_cache(vectors: Vectors, folder: Path, facts: dict[str, Any]) -> faiss.IndexFlatL2:
    flat = _flat_index(vectors)
    log.warning("%s is missing or altered: made again from %s", folder / CACHE, VECTORS)
    try:
        with replacing(folder / CACHE) as temporary:
            faiss.write_index(flat, str(temporary))
        write_json(folder / FACTS, {**facts, "cache_sha256": sha256_of(folder / CACHE)})
    except (UserError, OSError) as error:  # a cache that cannot be kept is no reason not to answer
        log.warning("the new %s was not kept: %s", CACHE, error)
    return flat
