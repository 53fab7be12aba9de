"""Writing tables of points by the ending of their name: GeoParquet, CSV, GeoPackage, GeoJSON."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyogrio
from numpy.typing import NDArray

from tiling.errors import UserError
from tiling.files.atomic import replacing
from tiling.files.geoparquet import GEOMETRY, parquet_bytes, with_points
from tiling.files.tables import own_gdal_data

Write = Callable[[Path, pa.Table], None]


def _write_parquet(path: Path, table: pa.Table) -> None:
    path.write_bytes(parquet_bytes(table))


def _write_csv(path: Path, table: pa.Table) -> None:
    pyarrow.csv.write_csv(_flat(table).drop_columns([GEOMETRY]), path)


def _write_geopackage(path: Path, table: pa.Table) -> None:
    facts = {key.decode(): value.decode() for key, value in table.schema.metadata.items()}
    del facts["geo"]
    _write_gdal(path, table, "GPKG", dataset_metadata=facts)


def _write_geojson(path: Path, table: pa.Table) -> None:
    _write_gdal(path, table, "GeoJSON", RFC7946="YES", COORDINATE_PRECISION="15")


WRITERS: dict[str, Write] = {
    ".parquet": _write_parquet,
    ".csv": _write_csv,
    ".gpkg": _write_geopackage,
    ".geojson": _write_geojson,
}


def require_ending(path: Path, *more: str) -> None:
    """Raise `UserError` unless the name ends as a file that can be written, or in one of `more`."""
    endings = [*WRITERS, *more]
    if path.suffix.lower() not in endings:
        raise UserError(f"{path}: its name must end in {', '.join(endings)}")


def write_table(
    path: Path,
    table: pa.Table,
    lat: NDArray[np.float64],
    lon: NDArray[np.float64],
    facts: Mapping[str, str],
) -> None:
    """Write rows and their points, atomically; raises `UserError` for an ending of no kind.

    `facts` go into the metadata of Parquet and GeoPackage. Where a cell holds numbers in a list,
    other kinds have a column for each: `embedding_1` and so on.
    """
    require_ending(path)
    with replacing(path) as temporary:
        WRITERS[path.suffix.lower()](temporary, with_points(table, lat, lon, facts))


def _write_gdal(path: Path, table: pa.Table, driver: str, **options: object) -> None:
    with own_gdal_data():
        pyogrio.raw.write_arrow(
            _flat(table).replace_schema_metadata(None), path, driver=driver, geometry_name=GEOMETRY,
            geometry_type="Point", crs="EPSG:4326", **options,
        )  # fmt: skip


def _flat(table: pa.Table) -> pa.Table:
    """Return a table with a column for each number of a list."""
    columns: dict[str, pa.ChunkedArray] = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        if pa.types.is_fixed_size_list(column.type):
            numbers = range(column.type.list_size)
            columns |= {f"{name}_{n + 1}": pc.list_element(column, n) for n in numbers}
        else:
            columns[name] = column
    return pa.table(columns)
