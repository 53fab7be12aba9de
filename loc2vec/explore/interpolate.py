"""The straight line from one vector to another; the real place nearest to each step shows it."""

from collections.abc import Sequence
from dataclasses import dataclass

from loc2vec.embed.algebra import between
from loc2vec.errors import ExploreError
from loc2vec.explore.space import Space, place_of
from loc2vec.model.arrays import Floats
from loc2vec.paper.sheet import Sheet
from loc2vec.paper.strips import END, Cell, Row, Strips, View
from tiling.values import LonLat


@dataclass(frozen=True, eq=False)
class Interpolation(Sheet):
    """The ends, and the places nearest to some vectors between theirs.

    `shares` float64 [n]: how far along the line each vector lies; `distances` of the places from
    the vectors.
    """

    start: View
    end: View
    shares: Floats
    nearest: Sequence[View]
    distances: Sequence[float]


def interpolate(
    space: Space, start: LonLat, end: LonLat, steps: int = 7, apart_m: float = 200.0
) -> Interpolation:
    """Go from `start` to `end` in `steps` equal steps between their vectors, both ends counted.

    The nearest indexed place at least `apart_m` from both ends shows a step. Raises `ExploreError`
    when there is none.
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
    cells = [
        Cell.of(view, f"{share:.0%}", [f"d {distance:.2f}"])
        for share, view, distance in zip(shares[1:-1].tolist(), views, distances, strict=True)
    ]
    strips = _strips(ends, cells, space)
    return Interpolation(strips, ends[0], ends[1], shares[1:-1], views, distances)


def _strips(ends: Sequence[View], steps: Sequence[Cell], space: Space) -> Strips:
    first = Cell.of(ends[0], "start", frame=END)
    last = Cell.of(ends[1], "end", frame=END)
    return Strips(
        f"From {ends[0].name} to {ends[1].name}",
        "Equal steps along the straight line between two vectors. Each is shown by the real place "
        "whose vector is nearest; d: how far that lies from the step.",
        [Row("", [first, *steps, last])],
        space.side_m,
        space.channels,
    )
