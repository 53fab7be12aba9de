"""OSM objects and ways as values."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class OsmObject(NamedTuple):
    """One OSM object of an extract.

    `kind` is "point", "line" or "area". `drawn` are the channels that it matches, each with the tag
    that matched. `wkb` is its geometry in EPSG:4326.
    """

    kind: str
    tags: dict[str, str]
    drawn: tuple[tuple[int, str], ...]
    wkb: bytes


class OsmWay(NamedTuple):
    """A run of an OSM way whose nodes are all known: their ids and degrees, in order."""

    tags: dict[str, str]
    nodes: tuple[int, ...]
    lon: tuple[float, ...]
    lat: tuple[float, ...]


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
