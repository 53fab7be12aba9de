"""Retrieval: how often a turned and shifted tile finds the anchor of its own place among many.

Training chooses its best model by it. An evaluator is called with a function from tiles to vectors,
returns a dict, and names its primary metric; more of that is better.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
import torch

from loc2vec.errors import RunError
from loc2vec.model.arrays import Flags, Floats, Pixels, Places, Vectors
from loc2vec.model.compute import Encode
from loc2vec.model.dataset import Dataset
from tiling.geo.geodesy import ground_distance_m
from tiling.values import N_CHANNELS

METRES_PER_DEGREE = 110_500  # of latitude, at least
APART_M = 250.0  # nearer places may share ground: another answer would be right, too
READ_TILES = 256  # tiles decoded at once: 50 MB


class Evaluator(Protocol):
    """Measures an encoder; `primary` is the metric to judge it by."""

    @property
    def primary(self) -> str: ...
    def __call__(self, encode: Encode) -> dict[str, float]:
        """Return the metrics of `encode`, tiles uint8 [n, 12, H, W] -> float32 [n, D]."""


@dataclass(frozen=True)
class Retrieval:
    """Whether a turned and shifted tile finds its own place among at most `limit` of a dataset."""

    dataset: Dataset
    limit: int | None = None
    primary: ClassVar[str] = "recall@1"

    def __call__(self, encode: Encode) -> dict[str, float]:
        """Return recall@1, recall@10, mrr, effective_rank and the sizes."""
        return retrieval(encode, self.dataset, limit=self.limit)


def require_positives(dataset: Dataset) -> None:
    """Raise `RunError` for a dataset of anchors alone."""
    if dataset.positives < 1:
        raise RunError(
            "the tiles to measure by hold no positives: "
            "draw some with `loc2vec tile --positives 1` or more"
        )


def positive_slots(dataset: Dataset, count: int, rng: np.random.Generator) -> Places:
    """Return a random positive of each of `count` places: slots int64 [count].

    Raises `RunError` when the dataset has none.
    """
    require_positives(dataset)
    return rng.integers(1, dataset.positives + 1, count)


def retrieval(
    encode: Encode,
    dataset: Dataset,
    queries_seed: int = 0,
    limit: int | None = None,
    min_separation_m: float = APART_M,
    distractors: Sequence[Dataset] = (),
    gallery: int | None = None,
    channels_off: int = 0,
) -> dict[str, float]:
    """Search the anchor of each place by one of its positives, for at most `limit` places.

    The anchors of `distractors` (places elsewhere) join the gallery, up to `gallery` anchors in
    all. No two lie nearer than `min_separation_m`. Returns recall@1, recall@10, mrr (mean
    reciprocal rank), effective_rank of the gallery's vectors, and the sizes gallery and queries.
    With `channels_off`, "recall@1 off" and "recall@10 off" are of queries with so many random
    channels empty. Raises `RunError` when `dataset` has no positives.
    """
    rng = np.random.default_rng(queries_seed)
    order = rng.permutation(dataset.n_places)
    places = order[thinned(dataset.lat[order], dataset.lon[order], min_separation_m, limit)]
    slots = positive_slots(dataset, len(places), rng)
    known = [(dataset, places), *_apart(dataset, places, distractors, min_separation_m, gallery)]
    anchors = np.concatenate(
        [encode_slots(encode, data, rows, np.zeros_like(rows)) for data, rows in known]
    )
    scores = _recalls(encode_slots(encode, dataset, places, slots), anchors)
    if channels_off:
        off = rng.permuted(np.tile(np.arange(N_CHANNELS), (len(places), 1)), axis=1) < channels_off
        off = np.tile(off, (1, dataset.geometry.scales))
        found = _recalls(encode_slots(encode, dataset, places, slots, off), anchors)
        scores |= {f"{name} off": found[name] for name in ("recall@1", "recall@10")}
    return scores | {
        "effective_rank": effective_rank(anchors),
        "gallery": len(anchors),
        "queries": len(places),
    }


def _apart(
    dataset: Dataset,
    places: Places,
    others: Sequence[Dataset],
    min_separation_m: float,
    gallery: int | None,
) -> list[tuple[Dataset, Places]]:
    """Return, of each other dataset, the places that are far from all before, in random order."""
    number = np.repeat(np.arange(len(others)), [data.n_places for data in others])
    row = np.concatenate([np.empty(0, np.int64), *(np.arange(data.n_places) for data in others)])
    mixed = np.random.default_rng(0).permutation(len(row))
    lat, lon = (
        np.concatenate([getattr(dataset, name)[places], *(getattr(data, name) for data in others)])
        for name in ("lat", "lon")
    )
    order = np.concatenate([np.arange(len(places)), len(places) + mixed])
    kept = order[thinned(lat[order], lon[order], min_separation_m, gallery)]
    more = kept[kept >= len(places)] - len(places)
    return [(data, row[more[number[more] == n]]) for n, data in enumerate(others)]


def _recalls(queries: Vectors, anchors: Vectors) -> dict[str, float]:
    ranks = ranks_of_own(queries, anchors)
    return {
        "recall@1": float((ranks == 1).mean()),
        "recall@10": float((ranks <= 10).mean()),
        "mrr": float((1 / ranks).mean()),
    }


def thinned(
    lat: Floats,
    lon: Floats,
    min_separation_m: float,
    limit: int | None = None,
) -> Places:
    """Return the places that are far enough from all kept before, in their order: int64 [n]."""
    kept = np.empty(len(lat), np.int64)
    n = 0
    for place in range(len(lat)):
        if n == limit:
            break
        before = kept[:n]
        # Degrees of latitude alone rule most places out, which saves their sines.
        before = before[np.abs(lat[before] - lat[place]) * METRES_PER_DEGREE < min_separation_m]
        if not (
            ground_distance_m(lat[place], lon[place], lat[before], lon[before]) < min_separation_m
        ).any():
            kept[n] = place
            n += 1
    return kept[:n]


def encode_slots(
    encode: Encode,
    dataset: Dataset,
    places: Places,
    slots: Places,
    off: Flags | None = None,
) -> Vectors:
    """Encode tiles of a dataset, reading a few at a time: float32 [n, D].

    `places`, `slots` [n]; channels `off` [n, 12] are emptied.
    """
    parts = [slice(start, start + READ_TILES) for start in range(0, len(places), READ_TILES)]

    def read(part: slice) -> Pixels:
        tiles = dataset.tiles(places[part], slots[part])
        if off is not None:
            tiles[off[part]] = 0
        return tiles

    return np.concatenate([encode(read(part)) for part in parts])


def ranks_of_own(queries: Vectors, gallery: Vectors) -> Places:
    """Return the rank of gallery[i] for queries[i], 1 the best: [n, D], [m, D] -> int64 [n].

    Ties and vectors that are not finite count against the query: a constant encoder finds nothing.
    """
    ranks = np.empty(len(queries), np.int64)
    exact = "donot_use_mm_for_euclid_dist"  # the matrix product rounds small distances away
    for start in range(0, len(queries), 512):
        part = slice(start, start + 512)
        distances = torch.cdist(
            torch.from_numpy(queries[part]), torch.from_numpy(gallery), compute_mode=exact
        ).numpy()
        own = distances[np.arange(len(distances)), np.arange(len(distances)) + start]
        ranks[part] = (~(distances > own[:, None])).sum(1)
    return ranks


def effective_rank(vectors: Vectors) -> float:
    """Return how many directions the vectors [n, D] use: e^entropy of their singular values.

    Roy and Vetterli: The effective rank, EUSIPCO 2007; the vectors are centred first.
    """
    values = np.linalg.svd(vectors - vectors.mean(0), compute_uv=False).astype(np.float64)
    total = values.sum()
    if total == 0:
        return 0.0
    shares = values[values > 0] / total
    return float(np.exp(-(shares * np.log(shares)).sum()))
