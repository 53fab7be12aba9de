"""The neighbour index: vectors and their facts are the truth, the FAISS file is a cache."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from loc2vec.embed.files import Vectors, join_vectors, read_vectors, write_vectors
from loc2vec.errors import VectorsError
from service.errors import SearchIndexError
from service.index import kinds
from service.index.scale import Scale
from service.index.sound import is_sound
from tiling.errors import UserError
from tiling.files.atomic import read_json, replacing, replacing_folder, sha256_of, write_json
from tiling.machine import one_thread
from tiling.values import ATTRIBUTION, Box, LonLat
from tiling.words import in_one_line

VECTORS = "vectors.parquet"
FACTS = "index.json"
CACHE = "index.faiss"
FORMAT = 1
MOST_FACTS = 100_000  # bytes
NAME_DIGITS = 12  # of the hash of the vectors
# FAISS sums float32 in its own order: distances closer than this may be equal.
TIE = 1e-4
BAND = 8  # a box whose latitudes hold under 1/8 of the places is searched by latitude

log = logging.getLogger(__name__)


class NeighborIndex:
    """Nearest vectors by Euclidean distance. An id is a row of `vectors.parquet`.

    Rows without an embedding are left out. `lat`, `lon` float64 [rows] hold every row, so that ids
    index them, and so does `table`, the user's columns. `name` is the start of the hash of the
    vectors: answers of another index say so. `scale` tells what its distances mean.
    """

    def __init__(self, vectors: Vectors, found: faiss.Index, sha256: str, scale: Scale) -> None:
        self.lat, self.lon = vectors.lat, vectors.lon
        self.model, self.fingerprint, self.name = (
            vectors.model,
            vectors.fingerprint,
            sha256[:NAME_DIGITS],
        )
        self.store, self.scale = vectors.store, scale
        # In one piece: taking a few rows of several pieces copies all texts of a column.
        self.table = None if vectors.table is None else vectors.table.combine_chunks()
        self.known = 0  # places that were not added, because it held them
        self._ids = np.flatnonzero(vectors.inside)  # int64 [count], rising
        self._faiss = found
        places = _key(vectors.lat[self._ids], vectors.lon[self._ids])
        self._by_place = np.argsort(places, kind="stable")
        self._places = places[self._by_place]

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def dim(self) -> int:
        return int(self._faiss.d)

    @classmethod
    def build(cls, vectors: Vectors, folder: Path) -> "NeighborIndex":
        """Write the index of `vectors` to `folder` and return it; it replaces an older index."""
        if not vectors.inside.any():
            raise SearchIndexError(
                "no row of the vectors has an embedding: there is nothing to search"
            )
        _check_replaceable(folder)
        return cls._write(vectors, kinds.build(_embedding(vectors)), folder)

    @classmethod
    def add(cls, vectors: Vectors, folder: Path) -> "NeighborIndex":
        """Append vectors to an index, whose ids stay, and return the longer index.

        Places that it holds already are left out; `known` counts them. Raises `SearchIndexError`
        for vectors of another model, and when it holds all places already.
        """
        try:
            before = read_vectors(folder / VECTORS)
            known = np.isin(_key(vectors.lat, vectors.lon), _key(before.lat, before.lon))
            vectors = _rows(vectors, ~known)
            joined = join_vectors(before, vectors)
        except VectorsError as error:
            raise SearchIndexError(f"cannot add to {folder}: {error}") from error
        if known.all():
            raise SearchIndexError(f"{folder} holds all of these places already: nothing to add")
        longer = cls._longer(cls.open(folder), joined, vectors, folder)
        longer.known = int(known.sum())
        return longer

    @classmethod
    def _longer(
        cls, old: "NeighborIndex", joined: Vectors, vectors: Vectors, folder: Path
    ) -> "NeighborIndex":
        if not kinds.suits(old._faiss, int(joined.inside.sum())):
            return cls._write(joined, kinds.build(_embedding(joined)), folder)
        old._faiss.add(_embedding(vectors))
        return cls._write(joined, old._faiss, folder)

    @classmethod
    def _write(cls, vectors: Vectors, found: faiss.Index, folder: Path) -> "NeighborIndex":
        with replacing_folder(folder) as temporary:
            write_vectors(temporary / VECTORS, vectors)
            faiss.write_index(found, str(temporary / CACHE))
            scale = Scale.of(_embedding(vectors))
            facts = {**_facts(vectors, temporary), "pair_distances": scale.steps.tolist()}
            write_json(temporary / FACTS, facts)
        return cls(vectors, found, facts["vectors_sha256"], scale)

    @classmethod
    def open(cls, folder: Path, keep_cache: bool = True) -> "NeighborIndex":
        """Open an index folder; a missing or altered cache is made again.

        `keep_cache`: also write that cache. Raises `SearchIndexError` when the folder is not an
        index or its vectors were altered.
        """
        facts, scale = _read_facts(folder)
        vectors = _read_vectors(folder / VECTORS, facts["vectors_sha256"])
        found = _cached(vectors, folder / CACHE, facts["cache_sha256"])
        if found is None:
            found = kinds.build(_embedding(vectors))
            log.warning(
                "%s is missing, altered or of other vectors: made again from %s",
                folder / CACHE,
                VECTORS,
            )
            if keep_cache:
                _keep_cache(found, folder, facts)
        return cls(vectors, found, facts["vectors_sha256"], scale)

    @property
    def ids(self) -> NDArray[np.int64]:
        """The ids of all places that have an embedding, rising."""
        return self._ids

    def ids_in(self, box: Box) -> NDArray[np.int64]:
        """Return the ids of the places in a box, from south to north."""
        first, end = self._band(box)
        lon = self._places[first:end].imag
        if box.crosses_antimeridian:
            inside = (lon >= box.west) | (lon <= box.east)
        else:
            inside = (lon >= box.west) & (lon <= box.east)
        ids: NDArray[np.int64] = self._ids[self._by_place[first:end][inside]]
        return ids

    def _band(self, box: Box) -> NDArray[np.int64]:
        """Return the range, in the order of latitude, of the places between south and north."""
        edges = np.searchsorted(
            self._places, [complex(box.south, -np.inf), complex(box.north, np.inf)]
        )
        return np.asarray(edges, np.int64)

    def in_box(self, box: Box) -> NDArray[np.bool_]:
        """Tell which rows lie in a box: bool [rows]."""
        first, end = self._band(box)
        if end - first < len(self.lat) // BAND:  # else testing all rows is faster
            mask = np.zeros(len(self.lat), np.bool_)
            mask[self.ids_in(box)] = True
            return mask
        if box.crosses_antimeridian:
            in_lon = (self.lon >= box.west) | (self.lon <= box.east)
        else:
            in_lon = (self.lon >= box.west) & (self.lon <= box.east)
        found: NDArray[np.bool_] = in_lon & (self.lat >= box.south) & (self.lat <= box.north)
        return found

    def vectors_of(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the vectors [n, D] of ids that have one."""
        vectors: NDArray[np.float32] = self._faiss.reconstruct_batch(
            np.searchsorted(self._ids, ids)
        )
        return vectors

    def vector(self, place: LonLat) -> NDArray[np.float32] | None:
        """Return the vector [D] of exactly this place, if it is in the index."""
        key = _key(np.float64(place.lat), np.float64(place.lon))
        position = int(np.searchsorted(self._places, key))
        if position == len(self._places) or self._places[position] != key:
            return None
        vector: NDArray[np.float32] = self._faiss.reconstruct(int(self._by_place[position]))
        return vector

    def vector_of(self, row: int) -> NDArray[np.float32]:
        """Return the vector [D] of an id that a search gave."""
        vector: NDArray[np.float32] = self._faiss.reconstruct(int(np.searchsorted(self._ids, row)))
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
        if allowed is not None and len(self) < len(allowed):
            allowed = allowed[self._ids]
        choice = _Choice(len(self), allowed)
        found = [self._search_one(query, min(k, choice.count), choice) for query in queries]
        ids, distances = np.stack([ids for ids, _ in found]), np.stack([d for _, d in found])
        return (ids[0], distances[0]) if np.ndim(embedding) == 1 else (ids, distances)

    def _search_one(
        self, query: NDArray[np.float32], k: int, choice: "_Choice"
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Let FAISS find the candidates, then measure and order them in float64."""
        rows = self._candidates(query, k, choice)
        distances = np.linalg.norm(
            self._faiss.reconstruct_batch(rows).astype(np.float64) - query, axis=1
        )
        if len(rows) > k:  # sorting all takes longer than the rest; equals of the last stay
            near = distances <= np.partition(distances, k - 1)[k - 1]
            rows, distances = rows[near], distances[near]
        order = np.lexsort((rows, distances))[:k]
        return self._ids[rows[order]], distances[order]

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
        self._bits = None if self._mask is None else np.packbits(self._mask, bitorder="little")
        self.selector = None if self._bits is None else faiss.IDSelectorBitmap(self._bits)

    def rows(self) -> NDArray[np.int64]:
        """Return all of them."""
        return np.arange(self._total) if self._mask is None else np.flatnonzero(self._mask)


def name_of(folder: Path) -> str:
    """Return the name of the index in a folder; `SearchIndexError` when it is none."""
    facts, _ = _read_facts(folder)
    return str(facts["vectors_sha256"])[:NAME_DIGITS]


def _key(lat: Any, lon: Any) -> Any:
    """Return sort keys of places: complex128 sorts by its real part, then its imaginary part."""
    return lat + 1j * lon


def _rows(vectors: Vectors, kept: NDArray[np.bool_]) -> Vectors:
    table = None if vectors.table is None else vectors.table.filter(kept)
    lat, lon, embedding = vectors.lat[kept], vectors.lon[kept], vectors.embedding[kept]
    return replace(vectors, lat=lat, lon=lon, embedding=embedding, table=table)


def _embedding(vectors: Vectors) -> NDArray[np.float32]:
    return np.ascontiguousarray(vectors.embedding[vectors.inside], np.float32)


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


def _read_vectors(path: Path, sha256: str) -> Vectors:
    """Return the vectors of an index; `SearchIndexError` unless they are whole and on Earth."""
    if not path.is_file() or sha256_of(path) != sha256:
        raise SearchIndexError(
            f"{path} is missing or not as `loc2vec index` wrote it: make the index again"
        )
    try:
        vectors = read_vectors(path)
        places = np.array([vectors.lat, vectors.lon], np.float64)
    except (VectorsError, LookupError, TypeError, ValueError) as error:
        raise SearchIndexError(
            f"{path} is damaged ({in_one_line(error)}): make the index again"
        ) from error
    if not (np.abs(places) <= [[90], [180]]).all():
        raise SearchIndexError(f"{path} holds places that are none: make the index again")
    if not vectors.inside.any():
        raise SearchIndexError(f"{path} holds no vector: there is nothing to search")
    return vectors


def _cached(vectors: Vectors, path: Path, sha256: str) -> faiss.Index | None:
    """Return the FAISS index in a file, None unless it is the one of these vectors."""
    shape = (int(vectors.inside.sum()), vectors.embedding.shape[1])
    if not path.is_file() or sha256_of(path) != sha256 or not is_sound(path, *shape):
        return None
    return faiss.read_index(str(path))


def _read_facts(folder: Path) -> tuple[dict[str, Any], Scale]:
    path = folder / FACTS
    try:
        if not path.is_file() or path.stat().st_size > MOST_FACTS:
            raise UserError(f"{path} is missing or holds something else")
        facts = read_json(path)
    except (UserError, OSError) as error:
        raise SearchIndexError(
            f"{folder} is not an index folder: make one with `loc2vec index`"
        ) from error
    hashes = [facts.get("vectors_sha256"), facts.get("cache_sha256")]
    if facts.get("format") != FORMAT or not all(isinstance(value, str) for value in hashes):
        raise _damaged(folder)
    try:
        return facts, Scale.read(facts.get("pair_distances"))
    except (TypeError, ValueError) as error:
        raise _damaged(folder) from error


def _damaged(folder: Path) -> SearchIndexError:
    return SearchIndexError(
        f"{folder / FACTS} is damaged or of another version: make the index again"
    )


def _check_replaceable(folder: Path) -> None:
    """Raise `SearchIndexError` for a folder that holds other files than an index."""
    if folder.is_dir() and not any(folder.iterdir()):
        return
    if folder.exists() and not (folder / FACTS).is_file():
        raise SearchIndexError(f"{folder} exists and is not an index folder: choose another name")


def _keep_cache(found: faiss.Index, folder: Path, facts: dict[str, Any]) -> None:
    try:
        with replacing(folder / CACHE) as temporary:
            faiss.write_index(found, str(temporary))
        write_json(folder / FACTS, {**facts, "cache_sha256": sha256_of(folder / CACHE)})
    except (UserError, OSError) as error:  # a cache that cannot be kept is no reason not to answer
        log.warning("the new %s was not kept: %s", CACHE, error)
