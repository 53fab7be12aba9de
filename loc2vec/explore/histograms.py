"""Places with as much of everything, and yet of another kind: equal channel histograms, far vectors."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loc2vec.errors import ExploreError
from loc2vec.evaluation.baselines import channel_means
from loc2vec.explore.space import Space, Tell
from loc2vec.paper.page import page
from loc2vec.paper.plot import Figure, sheet
from loc2vec.paper.strips import Cell, Row, Strips, View

AT_ONCE = 256  # tiles
LEAST_COVER = 0.4  # of all channels together: empty tiles are equal, and nothing to look at


@dataclass(frozen=True, eq=False)
class Pair:
    """Two places: how much their channels differ in cover on the average (0..1), and how far their vectors lie.

    `percentile`: the share of all pairs of places whose vectors are nearer.
    """

    a: View
    b: View
    difference: float
    distance: float
    percentile: float


@dataclass(frozen=True, eq=False)
class EqualHistograms:
    """Pairs of places, those whose vectors lie farthest apart first."""

    pairs: Sequence[Pair]
    strips: Strips

    def figure(self) -> Figure:
        """Draw the pairs side by side."""
        return sheet(self.strips)

    def page(self) -> str:
        """Return the pairs as a page."""
        return page(self.strips.title, self.strips.lead, [self.strips.rows], self.strips.channels)


def equal_histograms(
    space: Space,
    count: int = 4,
    places: int = 2000,
    tolerance: float = 0.01,
    seed: int = 0,
    tell: Tell = lambda n: None,
) -> EqualHistograms:
    """Among some places, find `count` pairs whose channels cover as much, and whose vectors lie farthest apart.

    As much: the mean over the channels of the difference in cover is at most `tolerance`. No place
    is in two pairs. Raises `ExploreError` when there are too few such pairs.
    """
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.permutation(len(space.vectors))[:places])
    cover = _covers(space, rows, tell)
    full = cover.sum(1) >= LEAST_COVER
    rows, cover = rows[full], cover[full]
    vectors = space.vectors.embedding[rows].astype(np.float64)
    every = _distances(vectors, *np.triu_indices(min(len(rows), 500), 1))
    first, second = _close(cover, tolerance)
    distance = _distances(vectors, first, second)
    chosen: list[int] = []
    used: set[int] = set()
    for pair in np.argsort(-distance, kind="stable").tolist():
        ends = {int(first[pair]), int(second[pair])}
        if not used & ends:
            chosen.append(pair)
            used |= ends
        if len(chosen) == count:
            break
    if not chosen:
        raise ExploreError(
            f"of {len(rows)} places no two differ by at most {tolerance:.3f} in cover: allow more, or give more places"
        )
    pairs = [
        Pair(
            space.rows(rows[first[n : n + 1]])[0],
            space.rows(rows[second[n : n + 1]])[0],
            float(np.abs(cover[first[n]] - cover[second[n]]).mean()),
            float(distance[n]),
            float((every < distance[n]).mean()),
        )
        for n in chosen
    ]
    return EqualHistograms(pairs, _strips(pairs, space, len(rows), tolerance))


def _covers(space: Space, rows: NDArray[np.int64], tell: Tell) -> NDArray[np.float32]:
    """Return the mean cover of each channel of the tiles of these places: float32 [n, 12]."""
    parts = []
    for start in range(0, len(rows), AT_ONCE):
        tiles = np.stack([view.tile for view in space.rows(rows[start : start + AT_ONCE])])
        parts.append(channel_means(tiles))
        tell(len(tiles))
    return np.concatenate(parts)


def _close(
    cover: NDArray[np.float32], tolerance: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the pairs of rows that differ by at most `tolerance`: int64 [m] and [m], the lesser row first."""
    found = [
        (np.full(len(near), row), near)
        for row in range(len(cover) - 1)
        if len(
            near := row
            + 1
            + np.flatnonzero(np.abs(cover[row + 1 :] - cover[row]).mean(1) <= tolerance)
        )
    ]
    if not found:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    first, second = zip(*found, strict=True)
    return np.concatenate(first), np.concatenate(second)


def _distances(
    vectors: NDArray[np.float64], first: NDArray[np.int64], second: NDArray[np.int64]
) -> NDArray[np.float64]:
    distances: NDArray[np.float64] = np.linalg.norm(vectors[first] - vectors[second], axis=1)
    return distances


def _strips(pairs: Sequence[Pair], space: Space, places: int, tolerance: float) -> Strips:
    firsts = [
        Cell.of(
            pair.a, f"d {pair.distance:.1f}", [f"farther than {pair.percentile:.0%} of all pairs"]
        )
        for pair in pairs
    ]
    seconds = [Cell.of(pair.b, "", [f"cover differs by {pair.difference:.1%}"]) for pair in pairs]
    return Strips(
        "As much of everything, and yet of another kind",
        f"Each column: two of {places:,} places whose twelve channels cover nearly equal shares of the tile (a mean "
        f"difference of at most {tolerance:.1%}): channel histograms hardly tell them apart, their vectors (d) do.",
        [Row("", firsts), Row("", seconds)],
        space.side_m,
        space.channels,
    )
