"""Retrieval: how often a turned and shifted tile finds the anchor of its own place among many."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from loc2vec.data import Dataset, Pixels, Places
from tiling.geodesy import ground_distance_m

Encode = Callable[[Pixels], NDArray[np.float32]]  # tiles uint8 [n, 12, H, W] -> float32 [n, D]

PRIMARY = "recall@1"
READ_TILES = 256  # tiles decoded at once: 50 MB


def retrieval(
    encode: Encode,
    dataset: Dataset,
    queries_seed: int = 0,
    limit: int | None = None,
    min_separation_m: float = 250.0,
    distractors: Dataset | None = None,
) -> dict[str, float]:
    """Search the anchor of each place by one of its positives.

    Takes at most `limit` places of which no two are nearer than `min_separation_m`; the anchors of
    `distractors` (places elsewhere) join the gallery. Returns recall@1, recall@10, mrr (mean reciprocal
    rank), effective_rank of the gallery's vectors, gallery and queries (sizes).
    """
    rng = np.random.default_rng(queries_seed)
    places = thinned(dataset, rng.permutation(dataset.n_places), min_separation_m, limit)
    slots = rng.integers(1, dataset.positives + 1, len(places))
    gallery = encode_slots(encode, dataset, places, np.zeros_like(places))
    queries = encode_slots(encode, dataset, places, slots)
    if distractors is not None:
        others = np.arange(distractors.n_places)
        more = encode_slots(encode, distractors, others, np.zeros_like(others))
        gallery = np.concatenate([gallery, more])
    ranks = ranks_of_own(queries, gallery)
    return {
        "recall@1": float((ranks == 1).mean()),
        "recall@10": float((ranks <= 10).mean()),
        "mrr": float((1 / ranks).mean()),
        "effective_rank": effective_rank(gallery),
        "gallery": len(gallery),
        "queries": len(queries),
    }


def thinned(dataset: Dataset, order: Places, min_separation_m: float, limit: int | None = None) -> Places:
    """Go through places in this order and keep those far enough from all kept before: int64 [n]."""
    kept = np.empty(len(order), np.int64)
    n = 0
    for place in order:
        if n == limit:
            break
        lat, lon = dataset.lat[kept[:n]], dataset.lon[kept[:n]]
        distances = ground_distance_m(dataset.lat[place], dataset.lon[place], lat, lon)
        if not (distances < min_separation_m).any():
            kept[n] = place
            n += 1
    return kept[:n]


def encode_slots(encode: Encode, dataset: Dataset, places: Places, slots: Places) -> NDArray[np.float32]:
    """Encode these tiles of a dataset, reading a few at a time: float32 [n, D]."""
    starts = range(0, len(places), READ_TILES)
    parts = [slice(start, start + READ_TILES) for start in starts]
    return np.concatenate([encode(dataset.tiles(places[part], slots[part])) for part in parts])


def ranks_of_own(queries: NDArray[np.float32], gallery: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the rank of gallery[i] for queries[i], 1 the best: [n, D], [m, D] -> int64 [n].

    Ties and vectors that are not finite count against the query: a constant encoder finds nothing.
    """
    ranks = np.empty(len(queries), np.int64)
    exact = "donot_use_mm_for_euclid_dist"  # the matrix product rounds small distances away
    for start in range(0, len(queries), 512):
        part = slice(start, start + 512)
        distances = torch.cdist(torch.from_numpy(queries[part]), torch.from_numpy(gallery), compute_mode=exact).numpy()
        own = distances[np.arange(len(distances)), np.arange(len(distances)) + start]
        ranks[part] = (~(distances > own[:, None])).sum(1)
    return ranks


def effective_rank(vectors: NDArray[np.float32]) -> float:
    """Return how many directions the vectors [n, D] use: e^entropy of their singular values.

    Roy and Vetterli: The effective rank, EUSIPCO 2007; the vectors are centred first.
    """
    values = np.linalg.svd(vectors - vectors.mean(0), compute_uv=False).astype(np.float64)
    total = values.sum()
    if total == 0:
        return 0.0
    shares = values[values > 0] / total
    return float(np.exp(-(shares * np.log(shares)).sum()))


def channel_means(tiles: Pixels) -> NDArray[np.float32]:
    """The histogram baseline: mean coverage of each channel, uint8 [n, 12, H, W] -> float32 [n, 12]."""
    means: NDArray[np.float32] = tiles.mean((2, 3), dtype=np.float32) / 255
    return means
