"""Writing tables of points by the ending of their name: GeoParquet, CSV, GeoPackage, GeoJSON."""

import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

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
    taken = {name.lower() for name in table.column_names}  # its own columns have other names
    own = {"FID": _free("fid", taken), "GEOMETRY_NAME": _free("geom", taken)}
    _write_gdal(path, table, "GPKG", dataset_metadata=facts, **own)


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
    flat = _flat(table).replace_schema_metadata(None)
    taken = {GEOMETRY}  # GDAL tells no capitals from small letters
    names = [name if name == GEOMETRY else _free(name, taken) for name in flat.column_names]
    with own_gdal_data(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that JSON has no words for what is not finite
        pyogrio.raw.write_arrow(
            flat.rename_columns(names), path, driver=driver, geometry_name=GEOMETRY,
            geometry_type="Point", crs="EPSG:4326", **options,
        )  # fmt: skip


def _free(name: str, taken: set[str]) -> str:
    """Return a name that is not taken, NAME_2 and so on for one that is, and take it."""
    free, number = name, 1
    while free.lower() in taken:
        number += 1
        free = f"{name}_{number}"
    taken.add(free.lower())
    return free


def _flat(table: pa.Table) -> pa.Table:
    """Return a table with a column for each number of a list, and nothing else that is nested."""
    columns: dict[str, pa.ChunkedArray] = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        if pa.types.is_fixed_size_list(column.type):
            numbers = range(column.type.list_size)
            columns |= {f"{name}_{n + 1}": _plain(pc.list_element(column, n)) for n in numbers}
        else:
            columns[name] = column if name == GEOMETRY else _plain(column)
    return pa.table(columns)


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column as every kind of file can hold it; lists and the like become JSON."""
    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        return _plain(column.cast(kind.storage_type))
    if pa.types.is_duration(kind):
        return column.cast(pa.int64())  # in its unit
    if pa.types.is_decimal(kind) or pa.types.is_null(kind) or pa.types.is_string_view(kind):
        return column.cast(pa.string())
    if pa.types.is_timestamp(kind) and kind.tz is not None and not _is_known(kind):
        return column.cast(pa.timestamp(kind.unit, "UTC"))
    if pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return pa.chunked_array([[_json(value) for value in column.to_pylist()]], pa.string())
    return column


def _is_known(kind: pa.TimestampType) -> bool:
    """Tell whether the time zone of a column is one that this machine knows."""
    try:
        pc.local_timestamp(pa.scalar(0, kind))
    except pa.ArrowInvalid:
        return False
    return True


def _json(value: Any) -> str | None:
    """Return a value as JSON; bytes become hexadecimal digits, times what they are in Python."""
    if value is None or isinstance(value, bytes):
        return None if value is None else value.hex()
    return json.dumps(
        value, ensure_ascii=False, default=lambda v: v.hex() if isinstance(v, bytes) else str(v)
    )
