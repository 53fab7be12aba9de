"""Evaluators (`loc2vec.retrieval.Evaluator`) that need no label but more libraries than training has."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from loc2vec.compute import Encode
from loc2vec.data import Dataset, Places
from loc2vec.evaluation.baselines import channel_means
from loc2vec.evaluation.splits import on_the_globe
from loc2vec.retrieval import APART_M, encode_slots

Floats = NDArray[np.float32]

NEAR_M = 1000.0  # negatives of the same neighbourhood
CANDIDATES = 64  # nearest histograms among which one is sought that lies apart


@dataclass(frozen=True)
class Triplets:
    """Whether a place's turned and shifted tile is nearer to it than another place is.

    near: the other place is one at random 250 m to 1 km away, of the same neighbourhood.
    equal: it is the one at least 250 m away whose mean channel cover is most alike, so only the arrangement tells.
    """

    dataset: Dataset
    limit: int | None = None
    seed: int = 0
    primary: ClassVar[str] = "near accuracy"

    def __call__(self, encode: Encode) -> dict[str, float]:
        """Return both accuracies (NaN where no place has such a negative) and how many places were asked for each."""
        rng = np.random.default_rng(self.seed)
        places = rng.permutation(self.dataset.n_places)[: self.limit]
        zeros = np.zeros_like(places)
        anchors = encode_slots(encode, self.dataset, places, zeros)
        slots = rng.integers(1, self.dataset.positives + 1, len(places))
        positives = encode_slots(encode, self.dataset, places, slots)
        means = encode_slots(channel_means, self.dataset, places, zeros)
        tree = cKDTree(on_the_globe(self.dataset.lat[places], self.dataset.lon[places]))
        near, equal = self._near(tree, rng), self._equal(tree, means)
        return {
            "near accuracy": _accuracy(anchors, positives, near),
            "equal accuracy": _accuracy(anchors, positives, equal),
            "near places": float((near >= 0).sum()),
            "equal places": float((equal >= 0).sum()),
        }

    def _near(self, tree: cKDTree, rng: np.random.Generator) -> Places:
        """Return a place 250 m to 1 km from each, -1 where there is none: int64 [n]."""
        around, within = tree.query_ball_point(tree.data, NEAR_M), tree.query_ball_point(tree.data, APART_M)
        rings = [np.setdiff1d(outer, inner) for outer, inner in zip(around, within, strict=True)]
        return np.array([rng.choice(ring) if len(ring) else -1 for ring in rings], np.int64)

    def _equal(self, tree: cKDTree, means: Floats) -> Places:
        """Return the place of the most similar histogram that lies apart, -1 where none of the first ones does."""
        _, alike = cKDTree(means).query(means, k=min(CANDIDATES, len(means)))
        found = np.full(len(means), -1, np.int64)
        for row, candidates in enumerate(alike):
            away = np.linalg.norm(tree.data[candidates] - tree.data[row], axis=1)
            apart = candidates[away >= APART_M]
            if len(apart):
                found[row] = apart[0]
        return found


def _accuracy(anchors: Floats, positives: Floats, negatives: Places) -> float:
    """Return how often the positive is strictly nearer than the negative, over the places that have one."""
    rows = np.flatnonzero(negatives >= 0)
    if not len(rows):
        return float("nan")
    own = np.linalg.norm(anchors[rows] - positives[rows], axis=1)
    other = np.linalg.norm(anchors[rows] - anchors[negatives[rows]], axis=1)
    return float((own < other).mean())
