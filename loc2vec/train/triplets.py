"""Vectors of a sample of places, and the triplets that an encoder gets most wrong."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from loc2vec.evaluation.retrieval import APART_M, encode_slots, positive_slots, thinned
from loc2vec.model.arrays import Pixels, Places, Vectors
from loc2vec.model.compute import Encode
from loc2vec.model.dataset import Dataset
from tiling.values import Palette

GAP = 4  # pixels between pictures


class Sample(NamedTuple):
    """Places of a dataset, no two of them near, with vectors of the anchor and of one positive.

    `places`, `slots` int64 [n]: the places and the slots of their positives.
    `anchors`, `positives` float32 [n, D]: the vectors.
    """

    places: Places
    slots: Places
    anchors: Vectors
    positives: Vectors


class Triplet(NamedTuple):
    """The tiles [C, H, W] of an anchor, its positive and the nearest other anchor.

    `positive_distance` is that of anchor and positive. `negative_distance` is that of the negative
    and the nearer one of the two. Pictures have the colours of `palette`.
    """

    anchor: Pixels
    positive: Pixels
    negative: Pixels
    positive_distance: float
    negative_distance: float
    palette: Palette


def sample(encode: Encode, dataset: Dataset, limit: int) -> Sample:
    """Encode two tiles of at most `limit` places, the same at every call."""
    rng = np.random.default_rng(0)
    order = rng.permutation(dataset.n_places)
    places = order[thinned(dataset.lat[order], dataset.lon[order], APART_M, limit)]
    slots = positive_slots(dataset, len(places), rng)
    anchors = encode_slots(encode, dataset, places, np.zeros_like(places))
    return Sample(places, slots, anchors, encode_slots(encode, dataset, places, slots))


def distances(a: Vectors, b: Vectors) -> Vectors:
    """Return the Euclidean distances of all pairs: float32 [n, D], [m, D] -> [n, m]."""
    found: Vectors = np.sqrt(np.square(a[:, None] - b[None]).sum(-1))
    return found


def hardest(seen: Sample, dataset: Dataset, count: int) -> list[Triplet]:
    """Return the worst triplets, at most one an anchor, the worst first.

    A triplet is the worse, the farther the positive is beyond the nearest negative.
    """
    if len(seen.places) < 2:
        return []
    nearest = np.minimum(
        distances(seen.anchors, seen.anchors), distances(seen.positives, seen.anchors)
    )
    np.fill_diagonal(nearest, np.inf)
    other = nearest.argmin(1)
    negative = nearest.min(1)
    pair = np.sqrt(np.square(seen.anchors - seen.positives).sum(1))
    worst = np.argsort(negative - pair, kind="stable")[:count]
    zeros = np.zeros_like(worst)
    anchors, negatives = (
        dataset.tiles(seen.places[which], zeros) for which in (worst, other[worst])
    )
    positives = dataset.tiles(seen.places[worst], seen.slots[worst])
    rows = zip(
        anchors, positives, negatives, pair[worst].tolist(), negative[worst].tolist(), strict=True
    )
    return [Triplet(*row, dataset.catalogue.palette) for row in rows]


def picture(triplets: list[Triplet]) -> NDArray[np.uint8]:
    """Return one picture of triplets, a row each: anchor, positive, negative; uint8 [H, W, 3]."""
    cells = [[triplet.palette.composite(tile) for tile in triplet[:3]] for triplet in triplets]
    padded = [
        [np.pad(cell, ((0, GAP), (0, GAP), (0, 0)), constant_values=255) for cell in row]
        for row in cells
    ]
    return np.concatenate([np.concatenate(row, axis=1) for row in padded], axis=0)
