"""Trips made of extracts, or read from a file; the tiles of their points, rendered and encoded."""

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from loc2vec.encoder import LocationEncoder
from loc2vec.errors import LabelsError
from loc2vec.evaluation.baselines import channel_means
from loc2vec.evaluation.run import by_geometry, covered_by, empty_channels
from loc2vec.model.arrays import Vectors
from loc2vec.trips.trip import Trips
from loc2vec.trips.walk import make_trips
from tiling.files.points import read_points
from tiling.files.tables import scalars_in
from tiling.files.write import write_table
from tiling.osm.file import region_names
from tiling.osm.ways import MODES, read_graphs
from tiling.render.batch import render_all
from tiling.store.source import FeatureSource
from tiling.values import ATTRIBUTION, TILE_RADIUS_M

WAY = "way"  # the role of the channels of roads, paths and rail
COLUMNS = ("trip", "mode", "town")


class TripPlan(NamedTuple):
    """What trips to make: up to `trips` of each mode in each town, of `points` points."""

    trips: int
    points: int
    seed: int


def walk_towns(
    extracts: Sequence[Path],
    source: FeatureSource,
    plan: TripPlan,
    progress: Callable[[int], object],
) -> pa.Table:
    """Make trips of each mode in each town, one row a point: trip, mode, town, lat, lon.

    The tile of every point lies whole in the store. A town's trips depend on its extract and the
    seed, not on other towns. Raises `LabelsError` when no trip can be made.
    """
    covered = covered_by(source)
    found: list[tuple[NDArray[np.float64], str, str]] = []
    for town, path in zip(region_names(extracts), extracts, strict=True):
        found += _walk_town(town, path, plan, lambda trip: bool(covered(*trip.T).all()))
        progress(1)
    if not found:
        raise LabelsError(
            "no trip can be made: the extracts hold no ways within the store, give others or more"
        )
    lon_lat = np.concatenate([trip for trip, _, _ in found])
    lengths = [len(trip) for trip, _, _ in found]
    columns = {
        "trip": np.repeat(np.arange(len(found)), lengths),
        "mode": np.repeat(np.array([mode for _, mode, _ in found]), lengths),
        "town": np.repeat(np.array([town for _, _, town in found]), lengths),
        "lat": lon_lat[:, 1],
        "lon": lon_lat[:, 0],
    }
    return pa.table(columns)


def _walk_town(
    town: str, path: Path, plan: TripPlan, whole: Callable[[NDArray[np.float64]], bool]
) -> Iterator[tuple[NDArray[np.float64], str, str]]:
    """Yield the trips of a town, (lon, lat) float64 [points, 2], with their mode and town."""
    graphs = read_graphs(path)
    for number, mode in enumerate(MODES):
        if mode.name in graphs:
            rng = np.random.default_rng([plan.seed, zlib.crc32(town.encode()), number])
            for trip in make_trips(graphs[mode.name], plan.trips, plan.points, rng, whole):
                yield trip, mode.name, town


def write_trips(path: Path, table: pa.Table) -> None:
    """Write trips by the ending of the name, one row a point."""
    lat, lon = table["lat"].to_numpy(), table["lon"].to_numpy()
    write_table(path, table, lat, lon, {"attribution": ATTRIBUTION})


def read_trips(
    path: Path,
    source: FeatureSource,
    warn: Callable[[str], object],
    radius_m: float = TILE_RADIUS_M,
) -> Trips:
    """Read trips: rows in the order of travel with lat, lon, trip, mode and town.

    A trip with a point whose tile of `radius_m` does not lie whole in the store is left out, and
    told to `warn`. Raises `PointsError` for bad coordinates, `LabelsError` for what else is wrong.
    """
    points = read_points(path)
    lacking = [name for name in COLUMNS if name not in points.table.column_names]
    if lacking:
        raise LabelsError(
            f"{path} has no column {', '.join(map(repr, lacking))}: "
            "it needs lat, lon, trip, mode, town"
        )
    trip, mode, town = (np.array(scalars_in(path, points.table, name), object) for name in COLUMNS)
    lon_lat = np.stack([points.lon, points.lat], axis=1)
    inside = covered_by(source, radius_m=radius_m)(points.lon, points.lat)
    rows_of: dict[tuple[str, str], list[int]] = {}
    for row, key in enumerate(zip(town.tolist(), trip.tolist(), strict=True)):
        rows_of.setdefault(key, []).append(row)
    for (_, name), rows in rows_of.items():
        if len(modes := {mode[row] for row in rows}) > 1 or None in modes:
            raise LabelsError(
                f"{path}: trip {name!r} has the modes {', '.join(sorted(map(str, modes)))}: "
                "it needs one"
            )
    kept = [rows for rows in rows_of.values() if inside[rows].all()]
    if not kept:
        raise LabelsError(
            f"{path}: no trip lies in the store {source.location} with all its points: "
            "give the store of that area"
        )
    if len(kept) < len(rows_of):
        warn(
            f"{path}: {len(rows_of) - len(kept)} of {len(rows_of)} trips "
            "leave the store and are left out"
        )
    first = [rows[0] for rows in kept]
    return Trips.of(
        [lon_lat[rows] for rows in kept], [mode[row] for row in first], [town[row] for row in first]
    )


def ways_of(source: FeatureSource) -> tuple[int, ...]:
    """Return the channels of a store that show ways; `LabelsError` when its catalogue has none."""
    ways = source.catalogue.with_role(WAY)
    if not ways:
        raise LabelsError(
            f"the catalogue of {source.location} has no channel with the role {WAY!r}: "
            "leave out --without-ways"
        )
    return ways


def encode_points(
    source: FeatureSource,
    lon_lat: NDArray[np.float64],
    encoders: Mapping[str, LocationEncoder],
    blank: Sequence[int] = (),
    workers: int = 1,
    progress: Callable[[int], object] = lambda n: None,
) -> dict[str, Vectors]:
    """Return the vectors of places, float32 [n, D], of each model and of the channel means.

    Every model reads tiles of its own radii, the means those of the first one. The channels `blank`
    are empty in every tile, in each of its scales. `progress` is told how many tiles are done since
    it was told last.
    """
    methods = by_geometry(encoders, source.catalogue)
    next(iter(methods.values()))["channel means"] = channel_means
    parts: dict[str, list[Vectors]] = {name: [] for each in methods.values() for name in each}
    for geometry, of_geometry in methods.items():
        for tiles in render_all(source, lon_lat, workers, geometry):
            empty_channels(tiles, blank)
            for name, encode in of_geometry.items():
                parts[name].append(encode(tiles))
            progress(len(tiles))
    return {name: np.concatenate(parts[name]) for name in (*encoders, "channel means")}
