"""Places whose channels cover as much, and whose vectors lie far apart."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loc2vec.errors import ExploreError
from loc2vec.evaluation.baselines import channel_means
from loc2vec.explore.space import Space, Tell
from loc2vec.model.arrays import Floats, Places
from loc2vec.paper.sheet import Sheet
from loc2vec.paper.strips import Cell, Row, Strips, View

AT_ONCE = 256  # tiles
LEAST_COVER = 0.4  # of all channels together: empty tiles are equal, and nothing to look at


@dataclass(frozen=True, eq=False)
class Pair:
    """Two places with equal histograms.

    `difference`: the mean difference of the channels in cover, 0..1. `distance` of their vectors.
    `percentile`: the share of all pairs of places whose vectors are nearer.
    """

    a: View
    b: View
    difference: float
    distance: float
    percentile: float


@dataclass(frozen=True, eq=False)
class EqualHistograms(Sheet):
    """Pairs of places, the farthest apart in the space first."""

    pairs: Sequence[Pair]


def equal_histograms(
    space: Space,
    count: int = 4,
    places: int = 2000,
    tolerance: float = 0.01,
    seed: int = 0,
    tell: Tell = lambda n: None,
) -> EqualHistograms:
    """Among some places, find `count` pairs of equal cover whose vectors lie farthest apart.

    Equal: the mean over the channels of the difference in cover is at most `tolerance`. No place is
    in two pairs. `tell` hears how many tiles were looked at. Raises `ExploreError` when no two
    places are equal.
    """
    rows = np.sort(np.random.default_rng(seed).permutation(len(space.vectors))[:places])
    cover = _covers(space, rows, tell)
    full = cover.sum(1) >= LEAST_COVER
    rows, cover = rows[full], cover[full]
    vectors = space.vectors.embedding[rows].astype(np.float64)
    every = _distances(vectors, *np.triu_indices(min(len(rows), 500), 1))
    first, second = _close(cover, tolerance)
    distance = _distances(vectors, first, second)
    chosen = _farthest(first, second, distance, count)
    if not chosen:
        raise ExploreError(
            f"of {len(rows)} places no two differ by at most {tolerance:.3f} in cover: "
            "allow more, or give more places"
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
    return EqualHistograms(_strips(pairs, space, len(rows), tolerance), pairs)


def _covers(space: Space, rows: Places, tell: Tell) -> NDArray[np.float32]:
    """Return the mean cover of each channel of the tiles of these places: float32 [n, 12]."""
    parts = []
    for start in range(0, len(rows), AT_ONCE):
        tiles = np.stack([view.tile for view in space.rows(rows[start : start + AT_ONCE])])
        parts.append(channel_means(tiles))
        tell(len(tiles))
    return np.concatenate(parts)


def _close(cover: NDArray[np.float32], tolerance: float) -> tuple[Places, Places]:
    """Return pairs of rows that differ by at most `tolerance`: [m] and [m], the lesser first."""
    none = np.empty(0, np.int64)
    firsts, seconds = [none], [none]
    for row in range(len(cover) - 1):
        difference = np.abs(cover[row + 1 :] - cover[row]).mean(1)
        near = row + 1 + np.flatnonzero(difference <= tolerance)
        firsts.append(np.full(len(near), row))
        seconds.append(near)
    return np.concatenate(firsts), np.concatenate(seconds)


def _farthest(first: Places, second: Places, distance: Floats, count: int) -> list[int]:
    """Choose at most `count` pairs, the farthest apart first, of which no two share a place."""
    chosen: list[int] = []
    used: set[int] = set()
    for pair in np.argsort(-distance, kind="stable").tolist():
        ends = {int(first[pair]), int(second[pair])}
        if len(chosen) < count and not used & ends:
            chosen.append(pair)
            used |= ends
    return chosen


def _distances(vectors: Floats, first: Places, second: Places) -> Floats:
    distances: Floats = np.linalg.norm(vectors[first] - vectors[second], axis=1)
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
        f"Each column: two of {places:,} places whose twelve channels cover nearly equal shares of "
        f"the tile (a mean difference of at most {tolerance:.1%}). Channel histograms hardly tell "
        "them apart, their vectors (d) do.",
        [Row("", firsts), Row("", seconds)],
        space.side_m,
        space.channels,
    )
