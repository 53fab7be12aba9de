"""The kinds of FAISS index: one measures every vector, the other those in the nearest lists.

Lists, also called IVF: each vector stands in the list of the nearest of some centroids. A query
looks into the lists of the nearest centroids alone (Jegou, Douze, Schmid: Product Quantization for
Nearest Neighbor Search, PAMI 33(1), 2011). A graph (HNSW) of a million of these vectors takes 10
times as long to build and 3 times as long to search (docs/log/052-lists.md).
"""

from collections.abc import Callable, Iterable
from pathlib import Path

import faiss
import numpy as np
from numpy.typing import NDArray

LISTS_ABOVE = 300_000  # vectors; up to here search is exact
LISTS = 4.0  # times the root of the number of vectors
MOST_LISTS = 16_384  # as building takes vectors times lists
SAMPLE, ROUNDS = 64, 10  # vectors a centroid, and rounds, of k-means
PROBES = 128  # lists that a search looks into; 32 hold all ten nearest of a million places
MOST_ROWS = 200_000  # that are measured one by one
OVER = 32  # candidates for each neighbour that is asked for

Floats = NDArray[np.float32]
Blocks = Callable[[], Iterable[Floats]]


def build(blocks: Blocks, count: int, old: faiss.Index | None = None) -> faiss.Index:
    """Return the index of `count` vectors that suits their number.

    `blocks()` gives them as [n, D], the same at each call: lists are filled in passes, so that the
    vectors are in memory once. `old`: an index of the first of them, which grows if it suits.
    """
    if old is not None and suits(old, count):
        return _grown(old, blocks)
    dim = next(iter(blocks())).shape[1]
    found = faiss.IndexFlatL2(dim)
    if lists := lists_of(count):
        found = faiss.IndexIVFFlat(found, dim, lists)
        found.cp.max_points_per_centroid, found.cp.niter = SAMPLE, ROUNDS
        found.cp.min_points_per_centroid = 1  # else it warns of few
        found.train(_some(blocks, count, lists * SAMPLE))
        _fill(found, blocks)
        return found
    for block in blocks():
        found.add(block)
    return found


def _grown(old: faiss.Index, blocks: Blocks) -> faiss.Index:
    there = old.ntotal
    for block in blocks():
        old.add(block[there:])
        there = max(0, there - len(block))
    return old


def _some(blocks: Blocks, count: int, wanted: int) -> Floats:
    """Return vectors drawn evenly: one at random of each few that follow each other."""
    step = max(1, count // wanted)
    rows = np.arange(0, count - step + 1, step)
    rows += np.random.default_rng(0).integers(step, size=len(rows))
    some, first = list[Floats](), 0
    for block in blocks():
        start, end = np.searchsorted(rows, [first, first + len(block)])
        some.append(block[rows[start:end] - first])
        first += len(block)
    return np.concatenate(some)


def _fill(found: faiss.IndexIVFFlat, blocks: Blocks) -> None:
    """Put vectors into lists that have room for them: lists that grow take twice the memory."""
    lists = [found.quantizer.search(block, 1)[1][:, 0].astype(np.int32) for block in blocks()]
    sizes = sum(np.bincount(part, minlength=found.nlist) for part in lists)
    for number, size in enumerate(np.asarray(sizes).tolist()):
        found.invlists.resize(number, size)
        found.invlists.resize(number, 0)  # it keeps the room
    for block, part in zip(blocks(), lists, strict=True):
        into = part.astype(np.int64)
        found.add_core(len(block), faiss.swig_ptr(block), None, faiss.swig_ptr(into))
    found.make_direct_map()  # tells where a vector lies, by its number


def read(path: Path, mapped: bool) -> faiss.Index:
    """Read an index; of a mapped one, lists stay in the file, and nothing can be added to it."""
    found = faiss.read_index(str(path), faiss.IO_FLAG_MMAP if mapped else 0)
    if mapped and isinstance(found, faiss.IndexIVF):
        # Else each search starts threads that read ahead.
        faiss.downcast_InvertedLists(found.invlists).prefetch_nthread = 0
    return found


def write(found: faiss.Index, path: Path) -> None:
    """Write an index to a file."""
    faiss.write_index(found, str(path))


def lists_of(count: int) -> int:
    """Return into how many lists so many vectors are put; 0: all are measured."""
    return min(round(LISTS * count**0.5), MOST_LISTS) if count > LISTS_ABOVE else 0


def suits(found: faiss.Index, count: int) -> bool:
    """Tell whether an index may grow to so many vectors, or had better be built again."""
    lists = found.nlist if isinstance(found, faiss.IndexIVF) else 0
    return bool(lists <= lists_of(count) <= 2 * lists)


def few(found: faiss.Index) -> int:
    """Return up to how many rows measuring them all is faster than asking FAISS for the nearest.

    More than `MOST_ROWS` lie all over a file that memory may not hold; lists are read in a row.
    """
    return min(int(found.ntotal // 50), MOST_ROWS)


def vectors_of(found: faiss.Index, numbers: NDArray[np.int64]) -> Floats:
    """Return the vectors [n, D] of these numbers.

    They are read in the order of the file: memory may not hold it, and a disk reads in a row.
    """
    vectors = np.empty((len(numbers), found.d), np.float32)
    order = np.arange(len(numbers))
    if isinstance(found, faiss.IndexIVF):
        lies_at = faiss.rev_swig_ptr(found.direct_map.array.data(), found.ntotal)
        order = np.argsort(lies_at[numbers])
    vectors[order] = found.reconstruct_batch(numbers[order])
    return vectors


def parameters(
    found: faiss.Index, count: int, share: float, selector: faiss.IDSelector | None
) -> faiss.SearchParameters:
    """Return how to search for `count` neighbours among a `share` of the vectors."""
    if not isinstance(found, faiss.IndexIVF):
        return faiss.SearchParameters(sel=selector)
    probes = max(PROBES, OVER * count * found.nlist // found.ntotal) / share
    return faiss.SearchParametersIVF(nprobe=min(round(probes), found.nlist), sel=selector)
