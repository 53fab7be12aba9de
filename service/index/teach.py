"""From a few examples to scores for all indexed places, while somebody gives more of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from loc2vec.model.arrays import Floats, Pixels, Vectors
from loc2vec.paper.colours import CLASSES, VIRIDIS, from_hex, ramp
from service.errors import LessonError
from service.index.index import NeighborIndex
from service.index.spread import first_apart
from service.patience import left_s

if TYPE_CHECKING:
    from loc2vec.predict.estimators import PlaceClassifier

REST = 300  # indexed places that stand for all others where one kind is taught
WEIGHT = 100  # rows that examples of a kind count as: each is repeated, as if there were as many
CHUNK = 20_000  # vectors that are scored together: they stay in the cache of a CPU
FIRST = 5000  # places among which the best are looked for at first
SHADES = 256
PALE = 235.0  # of a place that is sure to be of no kind

Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Lesson:
    """What was learned from examples.

    `kinds`: the labels in the order they were given. `one`: a single kind was taught, and told from
    the rest of the index. A probability then counts the examples as a quarter of all places.
    """

    kinds: tuple[str, ...]
    one: bool
    estimator: "PlaceClassifier"

    @classmethod
    def of(cls, vectors: Vectors, labels: Sequence[str | None], index: NeighborIndex) -> "Lesson":
        """Learn from the vectors float [n, D] of examples; None is the label of none of the kinds.

        One kind is told from what else is indexed, beside the examples of none. Raises
        `LessonError` without a kind.
        """
        # scikit-learn takes a third of a service's start, and few services are taught
        from loc2vec.predict.estimators import PlaceClassifier

        kinds = tuple(dict.fromkeys(label for label in labels if label is not None))
        if not kinds:
            raise LessonError("no example has a label: give a place that is like what you look for")
        number = np.array([len(kinds) if one is None else kinds.index(one) for one in labels])
        times = max(1, WEIGHT // int(np.count_nonzero(number == 0)))
        x, y = np.repeat(vectors.astype(np.float64), times, 0), np.repeat(number, times)
        one = len(kinds) == 1
        if one:
            some = np.sort(np.random.default_rng(0).permutation(index.ids)[:REST])
            x = np.concatenate([x, index.vectors_of(some)])
            y = np.append(y, np.ones(len(some), int))
        groups = np.unique(x, axis=0, return_inverse=True)[1].reshape(-1)  # repeated ones together
        return cls(kinds, one, PlaceClassifier(families=("linear",)).fit(x, y, groups))

    @property
    def colours(self) -> list[str]:
        """The colours of the kinds, #rrggbb; of one kind a scale from unlike to like."""
        if self.one:
            return list(VIRIDIS)
        return [CLASSES[number % len(CLASSES)] for number in range(len(self.kinds))]

    def probabilities(self, vectors: NDArray[np.floating]) -> Floats:
        """Return the probability of each kind for vectors [n, D]: float64 [n, K].

        What is missing to 1 is that of none of them.
        """
        from scipy.special import expit, softmax

        weights, bias = self._line
        logits = vectors @ weights + bias
        every = softmax(logits, axis=1) if logits.shape[1] > 1 else _both(expit(logits[:, 0]))
        found: Floats = every[:, : len(self.kinds)].astype(np.float64)
        return found

    @cached_property
    def _line(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The scaling and the linear model of the estimator as one: [D, K] and [K].

        The estimator gives the same in four times as long, because it checks and copies.
        """
        scaler, linear = (step for _, step in self.estimator.model_.steps)
        weights = (linear.coef_ / scaler.scale_).T
        bias = linear.intercept_ - scaler.mean_ @ weights
        return weights.astype(np.float32), bias.astype(np.float32)


def _both(second: Floats) -> Floats:
    """Return the probabilities of two classes, [n, 2], by that of the second."""
    return np.stack([1 - second, second], axis=1)


@dataclass(frozen=True, eq=False)
class Scores:
    """What a lesson says of every indexed place.

    `kind` uint8 [rows]: the likeliest; `probability` float32 [rows]: of that one; `doubt` float32
    [rows]: 1 where it might as well be another one, or none. `name` tells it from other scores.
    """

    name: str
    lesson: Lesson
    kind: NDArray[np.uint8]
    probability: NDArray[np.float32]
    doubt: NDArray[np.float32]

    @classmethod
    def of(cls, lesson: Lesson, index: NeighborIndex, name: str) -> "Scores":
        """Score all places of an index. Raises `SlowError` when nobody waits any more."""
        rows = len(index.lat)
        nothing = np.zeros(rows, np.float32)
        found = cls(name, lesson, np.zeros(rows, np.uint8), nothing, nothing.copy())
        for start in range(0, len(index), CHUNK):
            left_s()
            ids = index.ids[start : start + CHUNK]
            found._fill(ids, lesson.probabilities(index.vectors_of(ids)))
        return found

    def _fill(self, ids: NDArray[np.int64], each: Floats) -> None:
        self.kind[ids] = each.argmax(1)
        self.probability[ids] = each.max(1)
        none = np.clip(1 - each.sum(1, keepdims=True), 0, 1)
        every = np.concatenate([each, none], axis=1)
        first, second = np.partition(every, every.shape[1] - 2, axis=1)[:, :-3:-1].T
        self.doubt[ids] = 1 - (first - second)

    def best(
        self, index: NeighborIndex, kind: int, k: int, allowed: Mask, spread_m: float
    ) -> list[int]:
        """Return the ids of the `k` places that are likeliest of a kind, at least so far apart."""
        mine = allowed if self.lesson.one else allowed & (self.kind == kind)
        return self._first(index, 1 - self.probability, k, mine, spread_m)

    def asked(self, index: NeighborIndex, k: int, allowed: Mask, spread_m: float) -> list[int]:
        """Return the ids of the `k` places whose answer would tell most: the most doubtful."""
        return self._first(index, 1 - self.doubt, k, allowed, spread_m)

    def _first(
        self, index: NeighborIndex, cost: NDArray[np.float32], k: int, allowed: Mask, metres: float
    ) -> list[int]:
        ids = index.ids[allowed[index.ids]]
        # The first of a million are found faster than all are sorted; mostly they are enough.
        for count in (min(FIRST, len(ids)), len(ids)):
            some = np.argpartition(cost[ids], count - 1)[:count] if count else np.empty(0, int)
            order = ids[some[np.lexsort((some, cost[ids[some]]))]]
            found: list[int] = first_apart(order, index.lat, index.lon, k, metres).tolist()
            if len(found) == k:
                break
        return found

    @cached_property
    def colours(self) -> Pixels:
        """The colour of each row, uint8 [rows, 3].

        Of one kind, a scale from unlike to like; of several, their colours, paler with doubt.
        """
        if self.lesson.one:
            shade: Pixels = ramp(SHADES)[(self.probability * (SHADES - 1)).astype(int)]
            return shade
        full = from_hex(CLASSES).astype(np.float64)[self.kind % len(CLASSES)]
        share = self.probability[:, None].astype(np.float64)
        mixed: Pixels = (share * full + (1 - share) * PALE).round().astype(np.uint8)
        return mixed
