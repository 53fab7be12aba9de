"""The ways of an extract as graphs: one each for trains, cars, cyclists and walkers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tiling.geo.geodesy import MetresPerDegree
from tiling.osm.extract import OsmWay, read_ways

KEYS = ("highway", "railway", "bicycle", "tunnel")

Conditions = Mapping[str, frozenset[str]]


def _any_of(**tags: str) -> Conditions:
    return {key: frozenset(values.split()) for key, values in tags.items()}


@dataclass(frozen=True)
class Mode:
    """A mode of travel: the ways that are its `own`, and those that it `shares` with others.

    `widest_turn_deg`: how sharply it may turn at a node.
    """

    name: str
    own: Conditions
    shared: Conditions
    widest_turn_deg: float = 180.0


MODES = (
    Mode(
        "rail", _any_of(railway="rail light_rail tram narrow_gauge subway"), {}, widest_turn_deg=45
    ),
    Mode(
        "road",
        _any_of(
            highway="motorway motorway_link trunk trunk_link primary primary_link "
            "secondary secondary_link tertiary tertiary_link"
        ),
        _any_of(highway="residential unclassified living_street service"),
        widest_turn_deg=120,
    ),
    Mode(
        "cycle",
        _any_of(highway="cycleway", bicycle="designated"),
        _any_of(highway="tertiary residential unclassified living_street path track"),
        widest_turn_deg=120,
    ),
    Mode(
        "foot",
        _any_of(highway="footway pedestrian steps path"),
        _any_of(highway="residential living_street service track"),
        widest_turn_deg=150,
    ),
)


@dataclass(frozen=True, eq=False)
class WayGraph:
    """The ways that one mode of travel may use, as a graph.

    - `lon_lat`: the nodes, float64 [n, 2], degrees.
    - `xy`: the same in metres about the middle of the extract.
    - `edges`: pairs of node numbers, int64 [m, 2], passable in both directions.
    - `own`: bool [m], False for edges that the mode shares with others.
    - `widest_turn_deg`: how sharply the mode may turn at a node.
    """

    lon_lat: NDArray[np.float64]
    xy: NDArray[np.float64]
    edges: NDArray[np.int64]
    own: NDArray[np.bool_]
    widest_turn_deg: float

    @property
    def length(self) -> NDArray[np.float64]:
        """Return the length of each edge in metres, float64 [m]."""
        step: NDArray[np.float64] = np.linalg.norm(
            self.xy[self.edges[:, 1]] - self.xy[self.edges[:, 0]], axis=1
        )
        return step


def read_graphs(path: Path) -> dict[str, WayGraph]:
    """Read the graph of each mode that has ways of its own in an extract.

    Tunnels are left out, because no position is received there.
    """
    ways = [way for way in read_ways(path, KEYS) if way.tags.get("tunnel", "no") == "no"]
    graphs = ((mode.name, graph_of(ways, mode)) for mode in MODES)
    return {name: graph for name, graph in graphs if graph.own.any()}


def graph_of(ways: Sequence[OsmWay], mode: Mode) -> WayGraph:
    """Return the graph of the ways that a mode may use."""
    used = [(way, own) for way in ways if (own := _fits(way, mode.own)) or _fits(way, mode.shared)]
    ids = np.array([node for way, _ in used for node in way.nodes], np.int64)
    degrees = np.array(
        [pair for way, _ in used for pair in zip(way.lon, way.lat, strict=True)]
    ).reshape(-1, 2)
    _, first, number = np.unique(ids, return_index=True, return_inverse=True)
    # An edge joins neighbouring nodes of one way; the last node of a way begins none.
    ends = np.cumsum([len(way.nodes) for way, _ in used], dtype=np.int64) - 1
    starts = np.setdiff1d(np.arange(len(ids)), ends)
    is_own = np.repeat(
        np.array([own for _, own in used], bool), [len(way.nodes) - 1 for way, _ in used]
    )
    edges = np.stack([number[starts], number[starts + 1]], axis=1)
    lon_lat = degrees[first]
    return WayGraph(lon_lat, metres(lon_lat), edges, is_own, mode.widest_turn_deg)


def metres(lon_lat: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return positions in metres about their mean, float64 [n, 2], true to 1 % within 50 km."""
    if not len(lon_lat):
        return lon_lat
    middle = lon_lat.mean(0)
    xy: NDArray[np.float64] = (lon_lat - middle) * np.array(MetresPerDegree.at(float(middle[1])))
    return xy


def _fits(way: OsmWay, conditions: Conditions) -> bool:
    return any(way.tags.get(key) in values for key, values in conditions.items())
