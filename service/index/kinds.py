"""The kinds of FAISS index: one measures every vector, the other those in the nearest lists.

Lists, also called IVF: each vector stands in the list of the nearest of some centroids. A query
looks into the lists of the nearest centroids alone (Jegou, Douze, Schmid: Product Quantization for
Nearest Neighbor Search, PAMI 33(1), 2011). A graph (HNSW) of a million of these vectors takes 10
times as long to build and 3 times as long to search (docs/log/052-lists.md).
"""

import faiss
import numpy as np
from numpy.typing import NDArray

LISTS_ABOVE = 300_000  # vectors; up to here search is exact
LISTS = 4.0  # times the root of the number of vectors
SAMPLE, ROUNDS = 64, 10  # vectors a centroid, and rounds, of k-means
PROBES = 128  # lists that a search looks into; 32 hold all ten nearest of a million places
OVER = 32  # candidates for each neighbour that is asked for


def build(embedding: NDArray[np.float32]) -> faiss.Index:
    """Return the index of vectors [n, D] that suits their number."""
    count, dim = embedding.shape
    found = faiss.IndexFlatL2(dim)
    if lists := lists_of(count):
        found = faiss.IndexIVFFlat(found, dim, lists)
        found.cp.max_points_per_centroid, found.cp.niter = SAMPLE, ROUNDS
        found.cp.min_points_per_centroid = 1  # else it warns of few
        found.train(embedding)
        found.make_direct_map()  # tells where a vector lies, by its number
    found.add(embedding)
    return found


def lists_of(count: int) -> int:
    """Return into how many lists so many vectors are put; 0: all are measured."""
    return round(LISTS * count**0.5) if count > LISTS_ABOVE else 0


def suits(found: faiss.Index, count: int) -> bool:
    """Tell whether an index may grow to so many vectors, or had better be built again."""
    lists = found.nlist if isinstance(found, faiss.IndexIVF) else 0
    return bool(lists <= lists_of(count) <= 2 * lists)


def few(found: faiss.Index) -> int:
    """Return up to how many rows measuring them all is faster than asking FAISS for the nearest."""
    return int(found.ntotal // 50)


def parameters(
    found: faiss.Index, count: int, share: float, selector: faiss.IDSelector | None
) -> faiss.SearchParameters:
    """Return how to search for `count` neighbours among a `share` of the vectors."""
    if not isinstance(found, faiss.IndexIVF):
        return faiss.SearchParameters(sel=selector)
    probes = max(PROBES, OVER * count * found.nlist // found.ntotal) / share
    return faiss.SearchParametersIVF(nprobe=min(round(probes), found.nlist), sel=selector)
