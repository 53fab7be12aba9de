"""The places of a dataset: sampled from the stores, or the user's own.

Two thirds are sampled where people go, one third along their ways.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray

from tiling.errors import DatasetError
from tiling.geo.geodesy import MetresPerDegree
from tiling.osm.gather.coverage import shrink
from tiling.store.source import FeatureSource, Outline

VISITED, WAY = ("building", "civic", "stop"), "way"  # roles of channels
VISITED_SHARE = 2 / 3
CELL_M = 200.0  # side of a ground cell
# A cell counts as one with so many features at most: town centres do not take all places, and empty
# land gets fewer.
DENSE_CELL = 10
VISITED_PLACE, WAY_PLACE, GIVEN_PLACE = "visited", "way", "given"  # kinds of places


@dataclass(frozen=True, slots=True, eq=False)
class Places:
    """Places to tile, in their order.

    `store` int64 [n]: number of the store. `lat`, `lon` float64 [n], degrees. `kind` object [n] of
    str: "visited", "way", or "given" by the user. `more`: other columns of the user's file.
    """

    store: NDArray[np.int64]
    lat: NDArray[np.float64]
    lon: NDArray[np.float64]
    kind: NDArray[np.object_]
    more: pa.Table | None = None

    def __len__(self) -> int:
        return len(self.lat)


def sample_places(
    sources: Sequence[FeatureSource], count: int, margin_m: float, seed: int
) -> Places:
    """Sample `count` places from the stores, in proportion to their built area.

    The same seed gives the same places. Every place lies at least `margin_m` inside the data. There
    are fewer places when the stores have no more. Raises `DatasetError` when they have none.
    """
    for source in sources:
        if not source.catalogue.with_role(*VISITED):
            raise DatasetError(
                f"the catalogue of {source.location} has no channel with the role "
                f"{', '.join(VISITED[:-1])} or {VISITED[-1]}. Places are sampled near these: "
                "give one that role, or bring places of your own"
            )
    candidates = [Candidates(source, margin_m) for source in sources]
    built = np.array([each.built_cells for each in candidates], np.float64)
    if not built.sum():
        raise DatasetError(
            f"no place lies {margin_m:.0f} m inside the data of the stores: use larger extracts"
        )
    sampled = [
        each.sample(share, np.random.default_rng([seed, number]))
        for number, (each, share) in enumerate(zip(candidates, _shares(count, built), strict=True))
    ]
    store = np.repeat(
        np.arange(len(sampled)), [len(visited) + len(along) for visited, along in sampled]
    )
    lonlat = np.concatenate([part for parts in sampled for part in parts])
    lengths = [len(part) for parts in sampled for part in parts]
    kind = np.repeat(np.array([VISITED_PLACE, WAY_PLACE] * len(sampled), object), lengths)
    # Shuffled, so that every shard samples all stores.
    order = np.random.default_rng([seed, len(candidates)]).permutation(len(store))
    return Places(store[order], lonlat[order, 1], lonlat[order, 0], kind[order])


def _shares(count: int, weight: NDArray[np.float64]) -> list[int]:
    """Split `count` in proportion to `weight` [n], into n whole numbers that sum to it."""
    edges = np.round(np.cumsum(weight) / weight.sum() * count).astype(int)
    return [int(share) for share in np.diff(edges, prepend=0)]


class Candidates:
    """What places of one store are sampled from: visited places and ways inside the margin."""

    def __init__(self, source: FeatureSource, margin_m: float) -> None:
        """Read the outline of the store and drop what lies less than `margin_m` inside its data."""
        self._source = source
        self._outline = source.outline()
        self._inner = shrink(source.coverage, margin_m)
        shapely.prepare(self._inner)
        self._inside = shapely.contains_xy(self._inner, *self._outline.middle.T)
        channel, catalogue = self._outline.channel, source.catalogue
        is_line = (self._outline.width_m > 0) & np.isin(channel, catalogue.with_role(WAY))
        self._visited = np.flatnonzero(
            self._inside & np.isin(channel, catalogue.with_role(*VISITED)) & ~is_line
        )
        self._ways = np.flatnonzero(self._inside & is_line)
        self.built_cells = len(np.unique(_cells(self._outline, self._visited), axis=0))

    def sample(
        self, count: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Sample `count` places: those visited and those along ways, float64 [n, 2] of (lon, lat).

        Twice as many ways are tried as are wanted, because some points fall outside the margin.
        Visited places make up for missing ones. There are fewer when the store has no more.
        """
        wanted = count - round(count * VISITED_SHARE)
        along = self._along(self._choose(self._ways, 2 * wanted, rng), rng)[:wanted]
        visited = self._choose(self._visited, count - len(along), rng)
        return self._outline.middle[visited], along

    def _choose(
        self, rows: NDArray[np.int64], count: int, rng: np.random.Generator
    ) -> NDArray[np.int64]:
        """Choose up to `count` of the features `rows` [n], weighted by how full their cells are.

        The weight of a cell is its number of features, at most `DENSE_CELL`.
        """
        if not len(rows):
            return rows
        _, cell, size = np.unique(
            _cells(self._outline, rows), axis=0, return_inverse=True, return_counts=True
        )
        weight = np.minimum(size, DENSE_CELL)[cell] / size[cell]
        return rng.choice(rows, min(count, len(rows)), replace=False, p=weight / weight.sum())

    def _along(self, rows: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.float64]:
        """Return a random point along each way that lies inside the margin, float64 [n, 2]."""
        lines = shapely.from_wkb(self._source.geometries(self._outline.id[rows]))
        # Stops and stations are points.
        lines = shapely.get_geometry(lines[shapely.get_dimensions(lines) == 1], 0)
        xy = shapely.get_coordinates(
            shapely.line_interpolate_point(lines, rng.random(len(lines)), normalized=True)
        )
        inside: NDArray[np.float64] = xy[shapely.contains_xy(self._inner, *xy.T)]
        return inside


def _cells(outline: Outline, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the ground cell of each feature, int64 [n, 2]: column and row of `CELL_M` metres."""
    middle = outline.middle[rows]
    if not len(middle):
        return np.zeros((0, 2), np.int64)
    scale = np.array(MetresPerDegree.at(float(np.median(middle[:, 1]))))
    cells: NDArray[np.int64] = np.floor(middle * scale / CELL_M).astype(np.int64)
    return cells
