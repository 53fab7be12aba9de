"""Synthetic trips: random walks over the real ways of an extract, with a GPS receiver's errors.

Only the ways tell the modes apart. Every trip has the same number of points; their spacing and the
errors have the same distributions for every mode. There is no time and no speed.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tiling.geo.geodesy import MetresPerDegree
from tiling.osm.ways import WayGraph

Points = NDArray[np.float64]

OWN_SHARE = 0.5  # of a trip's length, at least, lies on ways that are its mode's own
PREFERENCE = 4.0  # how much rather a traveller takes such a way at a crossing
STRAIGHT_DEG = 45.0  # a turn by so much is e times less likely than none
TRIES = 40  # walks begun for each trip that is asked for
SPACING_M = (40.0, 90.0)  # between two points of a trip; drawn once a trip
JITTER = 0.2  # of the spacing, from point to point
# standard deviation of the receiver's error along each axis; drawn once a trip
ERROR_M = (3.0, 12.0)
MEMORY = 0.8  # of the error from point to point: receivers drift rather than jump
OUTLIERS, OUTLIER_M = 0.02, 40.0  # share of the points that lie far off, and the deviation of these


@dataclass(frozen=True, eq=False)
class Roads:
    """A mode's graph with the edges at each node, and the length of each edge in metres."""

    graph: WayGraph
    at_node: list[list[int]]
    length: NDArray[np.float64]

    @classmethod
    def of(cls, graph: WayGraph) -> "Roads":
        """Index the edges by their nodes."""
        at_node: list[list[int]] = [[] for _ in graph.lon_lat]
        for number, (a, b) in enumerate(graph.edges.tolist()):
            at_node[a].append(number)
            at_node[b].append(number)
        return cls(graph, at_node, graph.length)


def make_trips(
    graph: WayGraph,
    count: int,
    points: int,
    rng: np.random.Generator,
    whole: Callable[[Points], bool],
) -> list[Points]:
    """Return up to `count` trips of `points` positions (lon, lat), float64 [points, 2].

    Fewer where ways are short. `whole` tells whether a trip lies in the store.
    """
    roads = Roads.of(graph)
    found: list[Points] = []
    for _ in range(count * TRIES):
        if len(found) == count:
            break
        spacing = rng.uniform(*SPACING_M) * rng.uniform(1 - JITTER, 1 + JITTER, points - 1)
        path = walk(roads, float(spacing.sum()), rng)
        if path is not None:
            trip = received(along(path, np.concatenate([[0.0], np.cumsum(spacing)])), rng)
            found += [trip] if whole(trip) else []
    return found


def walk(roads: Roads, length_m: float, rng: np.random.Generator) -> Points | None:
    """Walk `length_m` at random from an edge of the mode's own, and never twice along an edge.

    Returns the nodes' (lon, lat) [n, 2]. Own ways and straight ones are likelier at a crossing.
    Returns `None` where the way ends too early, or too much of it is shared with other modes.
    """
    graph, length = roads.graph, roads.length
    weight = np.where(graph.own, length, 0)
    edge = int(rng.choice(len(weight), p=weight / weight.sum()))
    start, node = rng.permutation(graph.edges[edge]).tolist()
    nodes, walked, on_own, used = [start, node], float(length[edge]), float(length[edge]), {edge}
    while walked < length_m:
        edges = [one for one in roads.at_node[node] if one not in used]
        chances = _chances(roads, nodes[-2], node, edges)
        if not chances.sum():
            return None
        edge = edges[int(rng.choice(len(edges), p=chances / chances.sum()))]
        used.add(edge)
        a, b = graph.edges[edge].tolist()
        node = b if a == node else a
        nodes.append(node)
        walked += float(length[edge])
        on_own += float(length[edge]) * bool(graph.own[edge])
    return graph.lon_lat[nodes] if on_own >= OWN_SHARE * walked else None


def _chances(roads: Roads, before: int, node: int, edges: list[int]) -> NDArray[np.float64]:
    """Return how likely each edge is to be taken at a node, float64 [n], not normalised."""
    graph = roads.graph
    ends = graph.edges[edges].reshape(-1, 2)
    ahead = graph.xy[np.where(ends[:, 0] == node, ends[:, 1], ends[:, 0])] - graph.xy[node]
    came = graph.xy[node] - graph.xy[before]
    turn = np.degrees(np.abs(_angle(ahead) - _angle(came[None])))
    turn = np.minimum(turn, 360 - turn)
    likely = np.exp(-turn / STRAIGHT_DEG) * np.where(graph.own[edges], PREFERENCE, 1.0)
    return np.where(turn <= graph.widest_turn_deg, likely, 0.0)


def _angle(steps: Points) -> NDArray[np.float64]:
    angle: NDArray[np.float64] = np.arctan2(steps[:, 1], steps[:, 0])
    return angle


def along(path: Points, distances: NDArray[np.float64]) -> Points:
    """Return the positions so many metres along a path of (lon, lat): float64 [n, 2]."""
    scale = np.array(MetresPerDegree.at(float(path[0, 1])))
    at = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(path, axis=0) * scale, axis=1))])
    return np.stack([np.interp(distances, at, path[:, axis]) for axis in (0, 1)], axis=1)


def received(places: Points, rng: np.random.Generator) -> Points:
    """Add a receiver's errors to positions (lon, lat): autoregressive drift, and a few outliers."""
    sigma = rng.uniform(*ERROR_M)
    fresh = rng.normal(0, sigma, places.shape)
    error = np.empty_like(fresh)
    error[0] = fresh[0]
    for number in range(1, len(fresh)):
        error[number] = MEMORY * error[number - 1] + np.sqrt(1 - MEMORY**2) * fresh[number]
    far = rng.random(len(places)) < OUTLIERS
    error[far] += rng.normal(0, OUTLIER_M, (int(far.sum()), 2))
    seen: Points = places + error / np.array(MetresPerDegree.at(float(places[0, 1])))
    return seen
