"""Evaluators that need no label; the page of a run and `loc2vec evaluate` use them."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from loc2vec.evaluation.baselines import channel_means
from loc2vec.evaluation.retrieval import APART_M, Retrieval, encode_slots, positive_slots
from loc2vec.model.arrays import Places
from loc2vec.model.compute import Encode
from loc2vec.model.dataset import Dataset
from tiling.geo.geodesy import ground_distance_m

Scores = Mapping[str, Mapping[str, float]]  # by method

NEAR_M = 1000.0  # negatives of the same neighbourhood
COLUMNS = {  # the metrics of a table, and what they are called there
    "recall@1": "recall@1",
    "recall@10": "recall@10",
    "mrr": "mean reciprocal rank",
    "near accuracy": "triplets, near",
    "equal accuracy": "triplets, equal",
    "effective_rank": "effective rank",
}


@dataclass(frozen=True)
class Triplets:
    """Whether a place's turned and shifted tile is nearer to it than another place is.

    The other place of "near" is a random one of the neighbourhood, 250 m to 1 km away. That of
    "equal" is at least 250 m away and has the most similar channel cover, so that only the
    arrangement tells them apart.
    """

    dataset: Dataset
    limit: int | None = None
    seed: int = 0
    primary: ClassVar[str] = "near accuracy"

    def __call__(self, encode: Encode) -> dict[str, float]:
        """Return both accuracies, and how many places have such a negative.

        An accuracy is left out where no place has one.
        """
        places, slots, negatives = self._asked
        anchors = encode_slots(encode, self.dataset, places, np.zeros_like(places))
        positives = encode_slots(encode, self.dataset, places, slots)
        found: dict[str, float] = {}
        for kind, others in negatives.items():
            rows = np.flatnonzero(others >= 0)
            found[f"{kind} places"] = len(rows)
            if len(rows):
                own = np.linalg.norm(anchors[rows] - positives[rows], axis=1)
                other = np.linalg.norm(anchors[rows] - anchors[others[rows]], axis=1)
                # strictly: a constant encoder tells nothing
                found[f"{kind} accuracy"] = float((own < other).mean())
        return found

    @cached_property
    def _asked(self) -> tuple[Places, Places, dict[str, Places]]:
        """The places, slots of their positives, and negatives by kind: int64 [n] each.

        They are the same for every encoder. Negatives are rows of the places, -1 for none.
        """
        rng = np.random.default_rng(self.seed)
        places = rng.permutation(self.dataset.n_places)[: self.limit]
        slots = positive_slots(self.dataset, len(places), rng)
        means = encode_slots(channel_means, self.dataset, places, np.zeros_like(places))
        lat, lon = self.dataset.lat[places], self.dataset.lon[places]
        near, equal = np.full((2, len(places)), -1)
        for row in range(len(places)):
            away = ground_distance_m(lat[row], lon[row], lat, lon)
            apart = away >= APART_M
            ring = np.flatnonzero(apart & (away <= NEAR_M))
            if len(ring):
                near[row] = rng.choice(ring)
            if apart.any():
                equal[row] = np.where(apart, np.square(means - means[row]).sum(1), np.inf).argmin()
        return places, slots, {"near": near, "equal": equal}


def measure_alike(
    methods: Mapping[str, Encode],
    dataset: Dataset,
    limit: int | None = None,
    progress: Callable[[Iterable[str]], Iterable[str]] = lambda names: names,
) -> Scores:
    """Measure encoders by all evaluators that need no label, on at most `limit` places.

    `progress` wraps the names of the methods, as tqdm does.
    """
    retrieval, triplets = Retrieval(dataset, limit), Triplets(dataset, limit)
    return {name: retrieval(methods[name]) | triplets(methods[name]) for name in progress(methods)}


def told(scores: Scores) -> list[list[str]]:
    """Return the cells of a table, its head first; a dash where nothing could be asked."""
    rows = [
        [name, *(f"{row[key]:.3f}" if key in row else "-" for key in COLUMNS)]
        for name, row in scores.items()
    ]
    return [["method", *COLUMNS.values()], *rows]
