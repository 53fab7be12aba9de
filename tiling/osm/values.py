"""OSM objects and ways as values."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class OsmObject(NamedTuple):
    """One OSM object as it stands in an extract.

    `kind` is "point", "line" or "area"; `drawn` are the channels it is drawn in, each with the tag
    that says so; `wkb` is its geometry in EPSG:4326.
    """

    kind: str
    tags: dict[str, str]
    drawn: tuple[tuple[int, str], ...]
    wkb: bytes


class OsmWay(NamedTuple):
    """A run of an OSM way whose nodes are all known: their ids and their degrees, one after another."""

    tags: dict[str, str]
    nodes: tuple[int, ...]
    lon: tuple[float, ...]
    lat: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class WayGraph:
    """The ways that one mode may use.

    `lon_lat` float64 [n, 2] of the nodes, degrees; `xy` the same in metres about the extract's
    middle; `edges` int64 [m, 2] of node numbers, each passable both ways; `own` bool [m]: the
    mode's, not shared with others; `widest_turn_deg`: how sharply it may turn at a node.
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
