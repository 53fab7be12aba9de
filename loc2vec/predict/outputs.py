"""Predictions as files; the ending of the name says which."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from loc2vec.embed.batch import Places
from loc2vec.embed.raster import RasterGrid, write_bands
from loc2vec.errors import PredictorError
from loc2vec.predict.predictor import Predictions
from tiling.files.geoparquet import GEOMETRY
from tiling.files.outputs import require_output
from tiling.files.write import require_ending, write_table
from tiling.values import ATTRIBUTION

RASTER = ".tif"
ADDED = ("low", "high", "probability", "likeness", "extrapolated")


def check_out(out: Path, on_grid: bool, *inputs: Path | None) -> None:
    """Raise an error for a file that cannot be written, before work begins."""
    require_ending(out, RASTER)
    require_output(out, *inputs)
    if out.suffix.lower() == RASTER and not on_grid:
        raise click.UsageError(f"--out {out}: a raster is of a --grid, not of --points")


def check_columns(table: pa.Table | None, target: str | None) -> None:
    """Raise `PredictorError` where a column of the user's has the name of one that is added."""
    taken = [name for name in (target, *ADDED) if table is not None and name in table.column_names]
    if taken:
        raise PredictorError(f"--points has a column {taken[0]!r} already: rename it")


def columns_of(found: Predictions) -> dict[str, NDArray[Any]]:
    """Return the columns of predictions, [n] each.

    NaN, or an empty text, where a place lies outside the store.
    """
    target = found.target
    if target.kind == "number":
        assert found.low is not None and found.high is not None  # noqa: S101, PT018
        values = {target.name: found.value, "low": found.low, "high": found.high}
        return {**values, "extrapolated": found.far}
    assert found.probability is not None  # noqa: S101
    if target.kind == "alike":
        return {"likeness": found.probability[:, 1], "extrapolated": found.far}
    names = np.array(target.classes, object)
    shares = {f"p_{name}": found.probability[:, n] for n, name in enumerate(target.classes)}
    likeliest = found.probability.max(1)
    return {
        target.name: names[found.value], "probability": likeliest, **shares,
        "extrapolated": found.far,
    }  # fmt: skip


def write_places(
    out: Path, places: Places, inside: NDArray[np.bool_], found: Predictions,
    about: Mapping[str, str],
) -> None:  # fmt: skip
    """Write places with the columns of their predictions, which are null outside the store."""
    lon, lat = places.lon_lat.T
    columns = {"lat": pa.array(lat), "lon": pa.array(lon)}
    if places.table is not None:
        names = [name for name in places.table.column_names if name != GEOMETRY]
        columns |= {name: places.table[name] for name in names}
    for name, values in columns_of(found).items():
        columns[name] = pa.array(_spread(values, inside), mask=~inside)
    write_table(out, pa.table(columns), lat, lon, {**about, "attribution": ATTRIBUTION})


def write_raster(
    out: Path, grid: RasterGrid, inside: NDArray[np.bool_], found: Predictions,
    about: Mapping[str, str],
) -> None:  # fmt: skip
    """Write a band a column; classes are their numbers, which the tags of the file name."""
    columns = columns_of(found)
    if found.target.kind == "classes":
        columns[found.target.name] = np.asarray(found.value)
    bands = {
        name: _spread(np.asarray(values, np.float64), inside, np.nan)
        for name, values in columns.items()
    }
    names = {f"class_{n}": name for n, name in enumerate(found.target.classes)}
    write_bands(out, grid, bands, {**about, **names})


def _spread(values: NDArray[Any], inside: NDArray[np.bool_], nothing: float = 0) -> NDArray[Any]:
    """Return values of the places inside at all places [n], `nothing` at the others."""
    spread = np.full(len(inside), nothing, values.dtype)
    spread[inside] = values
    return spread
