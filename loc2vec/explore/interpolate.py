"""The straight way from one vector to another, in equal steps, each shown by the real place that is nearest."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loc2vec.embed.algebra import between
from loc2vec.errors import ExploreError
from loc2vec.explore.space import Space, place_of
from loc2vec.paper.page import page
from loc2vec.paper.plot import Figure, sheet
from loc2vec.paper.strips import Cell, Row, Strips, View
from tiling.values import LonLat


@dataclass(frozen=True, eq=False)
class Interpolation:
    """The ends, the `shares` of the way in between, float64 [n], the places nearest to these, and how far they lie."""

    start: View
    end: View
    shares: NDArray[np.float64]
    nearest: Sequence[View]
    distances: Sequence[float]
    strips: Strips

    def figure(self) -> Figure:
        """Draw the way as strips of tiles."""
        return sheet(self.strips)

    def page(self) -> str:
        """Return the way as a page."""
        return page(self.strips.title, self.strips.lead, [self.strips.rows], self.strips.channels)


def interpolate(
    space: Space, start: LonLat, end: LonLat, steps: int = 7, apart_m: float = 200.0
) -> Interpolation:
    """Go from `start` to `end` in `steps` equal steps between their vectors, both ends counted.

    Each is shown by the indexed place that is nearest and lies at least `apart_m` from both ends.
    Raises `ExploreError` when no place does.
    """
    if steps < 3:
        raise ExploreError(f"steps = {steps}: give at least 3, the two ends and one between")
    ends = space.views([start, end])
    first, last = space.embed(ends)
    shares, way = between(first, last, steps)
    found = [space.nearest(at, 1, [start, end], apart_m) for at in way[1:-1]]
    if not found[0]:
        raise ExploreError(
            f"no indexed place lies {apart_m:.0f} m from both ends: give a larger index"
        )
    distances = [near[0].distance for near in found]
    views = space.views([place_of(near[0]) for near in found])
    strips = _strips(ends, shares[1:-1], views, distances, space)
    return Interpolation(ends[0], ends[1], shares[1:-1], views, distances, strips)


def _strips(
    ends: Sequence[View],
    shares: NDArray[np.float64],
    views: Sequence[View],
    distances: Sequence[float],
    space: Space,
) -> Strips:
    steps = [
        Cell.of(view, f"{share:.0%}", [f"d {distance:.2f}"])
        for share, view, distance in zip(shares.tolist(), views, distances, strict=True)
    ]
    first, last = (
        Cell.of(ends[0], "start", frame="#D55E00"),
        Cell.of(ends[1], "end", frame="#D55E00"),
    )
    return Strips(
        f"From {ends[0].name} to {ends[1].name}",
        "Equal steps along the straight line between two vectors, each shown by the real place whose vector is "
        "nearest; d: how far that lies from the point on the line.",
        [Row("", [first, *steps, last])],
        space.side_m,
        space.channels,
    )
