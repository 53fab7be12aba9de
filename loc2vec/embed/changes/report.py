"""The changes of a grid of places: found, sorted, written."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from loc2vec.embed.changes.compare import Moves, compare, shared_area
from loc2vec.embed.changes.sentences import Told, tell
from loc2vec.embed.raster import RasterGrid, raster_grid, require_extra, write_bands
from loc2vec.encoder import LocationEncoder
from tiling.errors import OutsideError
from tiling.files.write import write_table
from tiling.geo.geodesy import MetresPerDegree
from tiling.geo.grid import grid
from tiling.store.source import FeatureSource
from tiling.values import ATTRIBUTION, Box


class Where(NamedTuple):
    """A grid of places so many metres apart in a box; `raster`: as cells of a raster."""

    metres: float
    box: Box | None = None
    raster: bool = False


STILL = Told("", "", ())  # where nothing changed


@dataclass(frozen=True, slots=True, eq=False)
class Changes:
    """Places (lon, lat) float64 [n, 2], how they moved, and what is told of each.

    `names` are those of the channels, `about` is what is said of all places. `raster`: the cells
    that the places are the middles of. `radius_m`: of a tile.
    """

    lon_lat: NDArray[np.float64]
    moves: Moves
    told: list[Told]
    names: tuple[str, ...]
    about: dict[str, str]
    raster: RasterGrid | None
    radius_m: float

    def __len__(self) -> int:
        return len(self.lon_lat)

    @property
    def changed(self) -> int:
        """Return at how many places the tile changed."""
        return sum(told is not STILL for told in self.told)

    def strongest_rows(self, count: int) -> list[int]:
        """Return the rows that moved farthest, the farthest first, whose tiles share no ground."""
        kept: list[int] = []
        scale = np.array(MetresPerDegree.at(float(np.abs(self.lon_lat[:, 1]).max())))
        for row in np.argsort(-self.moves.distance, kind="stable").tolist():
            if len(kept) == count or self.told[row] is STILL:
                break
            apart = np.abs(self.lon_lat[kept] - self.lon_lat[row]) * scale
            if (apart.max(axis=1) >= 2 * self.radius_m).all():
                kept.append(row)
        return kept

    def strongest(self, count: int) -> list[dict[str, Any]]:
        """Return what is told of the strongest changes."""
        return [self._facts(row) for row in self.strongest_rows(count)]

    def _facts(self, row: int) -> dict[str, Any]:
        lon, lat = self.lon_lat[row].tolist()
        told = self.told[row]
        return {
            "lat": lat,
            "lon": lon,
            "distance": float(self.moves.distance[row]),
            "sentence": told.sentence,
            "kind": told.kind,
            "channels": [self.names[channel] for channel in told.channels],
        }


def changes_between(
    sources: tuple[FeatureSource, FeatureSource],
    encoder: LocationEncoder,
    where: Where,
    workers: int,
    progress: Callable[[int], object] = lambda n: None,
) -> Changes:
    """Compare places of a grid that both stores cover.

    Raises `OutsideError` when the stores share no ground, `GridError` when the grid holds no place.
    """
    area = shared_area(sources)
    if area.is_empty:
        old, new = (source.location for source in sources)
        raise OutsideError(f"{old} and {new} share no ground: give two states of one region")
    raster = None
    if where.raster:
        require_extra()
        raster = raster_grid(area, where.metres, where.box)
    lon_lat = grid(area, where.metres, where.box) if raster is None else raster.lon_lat
    moves = compare(sources, encoder, lon_lat, workers, progress)
    catalogue = sources[1].catalogue
    wide = [f" within {radius:g} m" for radius in encoder.geometry.wider_m]
    names = tuple(f"{name}{more}" for more in ("", *wide) for name in catalogue.channels)
    moved = (moves.lost + moves.gained).sum(axis=1) > 0
    land = (*catalogue.with_role("land use"), catalogue.sea_channel)
    told = [tell(moves, row, names, land) if moved[row] else STILL for row in range(len(lon_lat))]
    about = {
        "model": encoder.model_id,
        "old": sources[0].store.content_hash(),
        "new": sources[1].store.content_hash(),
        "attribution": ATTRIBUTION,
    }
    return Changes(lon_lat, moves, told, names, about, raster, encoder.geometry.radius_m)


def write_changes(path: Path, found: Changes) -> None:
    """Write a row or a cell a place, by the ending of the name, atomically."""
    effect = found.moves.effect.astype(np.float32)
    if found.raster is not None:
        bands = {"distance": found.moves.distance, **dict(zip(found.names, effect.T, strict=True))}
        write_bands(path, found.raster, bands, found.about)
        return
    lon, lat = found.lon_lat.T
    columns = {
        "lat": pa.array(lat),
        "lon": pa.array(lon),
        "distance": pa.array(found.moves.distance),
        "sentence": pa.array([told.sentence or None for told in found.told], pa.string()),
        "kind": pa.array([told.kind or None for told in found.told], pa.string()),
        **{
            f"effect of {name}": pa.array(part)
            for name, part in zip(found.names, effect.T, strict=True)
        },
    }
    write_table(path, pa.table(columns), lat, lon, found.about)
