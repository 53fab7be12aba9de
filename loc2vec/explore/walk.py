"""Random walks through the space: each step leads to a similar place far away on the ground."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from loc2vec.embed.algebra import Neighbor, walk
from loc2vec.errors import ExploreError
from loc2vec.explore.space import Space, place_of
from loc2vec.model.arrays import Vector
from loc2vec.paper.sheet import Sheet
from loc2vec.paper.strips import END, Cell, Row, Strips, View
from tiling.geo.geodesy import ground_distance_m
from tiling.values import LonLat


@dataclass(frozen=True, eq=False)
class Step:
    """A place of a walk, and its distance from the one before: in the space, and on the ground."""

    view: View
    distance: float
    ground_m: float


@dataclass(frozen=True, eq=False)
class Walks(Sheet):
    """Walks from one place; the first step of each is the start.

    `ends`: why each walk is shorter than it was asked to be, "" where it is not.
    """

    walks: Sequence[Sequence[Step]]
    ends: Sequence[str]


def random_walks(
    space: Space,
    start: LonLat,
    steps: int = 6,
    k: int = 5,
    apart_m: float = 1000.0,
    walks: int = 3,
    seed: int = 0,
) -> Walks:
    """Walk at random from `start`, `walks` times: each step to one of the `k` nearest in the space.

    No two places of a walk lie nearer than `apart_m` to each other on the ground. Raises
    `ExploreError` when fewer than `k` places are indexed, or there is nowhere to go.
    """
    space.require(k)
    view = space.view(start)
    (vector,) = space.embed([view])

    def nearest(at: Vector, count: int, visited: Sequence[LonLat]) -> Sequence[Neighbor]:
        return space.nearest(at, count, [start, *visited], apart_m)

    found = []
    for number in range(walks):
        way = walk(
            nearest, lambda row: space.vectors.embedding[row], vector, steps, k, seed + number
        )
        if not way:
            raise ExploreError(
                f"no indexed place lies {apart_m:.0f} m from the start: "
                "take a smaller distance, or a larger index"
            )
        found.append(_steps(view, vector, way, space))
    ends = [_end(way, steps, apart_m) for way in found]
    return Walks(_strips(found, ends, space, k, apart_m), found, ends)


def _end(way: Sequence[Step], steps: int, apart_m: float) -> str:
    """Say why a walk ends before its last step."""
    gone = len(way) - 1
    if gone == steps:
        return ""
    far = kilometres(apart_m)
    return f"ends after {gone} of {steps} steps: no other indexed place lies {far} from all before"


def _steps(start: View, vector: Vector, way: Sequence[Neighbor], space: Space) -> list[Step]:
    views = [start, *space.views([place_of(step) for step in way])]
    vectors = np.stack([vector, *(space.vectors.embedding[step.id] for step in way)])
    moved = np.diff(vectors.astype(np.float64), axis=0)
    distances = [0.0, *np.linalg.norm(moved, axis=1).tolist()]
    lon, lat = np.array([view.place for view in views]).T
    ground = [0.0, *ground_distance_m(lat[:-1], lon[:-1], lat[1:], lon[1:]).tolist()]
    return [Step(*row) for row in zip(views, distances, ground, strict=True)]


def _strips(
    walks: Sequence[Sequence[Step]], ends: Sequence[str], space: Space, k: int, apart_m: float
) -> Strips:
    rows = [
        Row(end, [_cell(step, number) for number, step in enumerate(walk)])
        for walk, end in zip(walks, ends, strict=True)
    ]
    return Strips(
        f"Random walks from {walks[0][0].view.name}",
        f"Each step goes to one of the {k} places nearest in the space that lie at least "
        f"{kilometres(apart_m)} from all before. Below each: its distance from the one before in "
        "the space (d), and on the ground.",
        rows,
        space.side_m,
        space.channels,
    )


def _cell(step: Step, number: int) -> Cell:
    if number == 0:
        return Cell.of(step.view, "start", frame=END)
    return Cell.of(step.view, f"d {step.distance:.2f}, {kilometres(step.ground_m)}")


def kilometres(metres: float) -> str:
    """Return a distance for people.

    >>> kilometres(1234567.0), kilometres(1234.0), kilometres(250.0)
    ('1,235 km', '1.2 km', '250 m')
    """
    if metres < 1000:
        return f"{metres:.0f} m"
    return f"{metres / 1000:.1f} km" if metres < 10_000 else f"{metres / 1000:,.0f} km"
