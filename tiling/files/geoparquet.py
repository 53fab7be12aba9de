"""Points as GeoParquet 1.1 (https://geoparquet.org/releases/v1.1.0/), the same bytes each time."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tiling.files.atomic import replacing

GEOMETRY = "geometry"
# A point as well-known binary: OGC 06-103r4, 8.2.
POINT = np.dtype([("order", "u1"), ("kind", "<u4"), ("lon", "<f8"), ("lat", "<f8")])
LITTLE, KIND = 1, 1


def write_points(
    path: Path,
    table: pa.Table,
    lat: NDArray[np.float64],
    lon: NDArray[np.float64],
    facts: Mapping[str, str],
) -> None:
    """Write `table` with a point geometry column, atomically.

    `facts` go into the file's metadata.
    """
    with replacing(path) as temporary:
        pq.write_table(with_points(table, lat, lon, facts), temporary, compression="zstd")


def with_points(
    table: pa.Table, lat: NDArray[np.float64], lon: NDArray[np.float64], facts: Mapping[str, str]
) -> pa.Table:
    """Return `table` with a point geometry column and the metadata of GeoParquet.

    No point where one is not finite.
    """
    finite = np.isfinite(lat) & np.isfinite(lon)
    metadata = {"geo": json.dumps(_geo(lat[finite], lon[finite])), **facts}
    return _with_geometry(table, lat, lon).replace_schema_metadata(metadata)


class PointsWriter:
    """Writes the rows of `write_points` block by block, not atomically.

    The file does not say in which box its points lie: that is known after its last block only.
    """

    def __init__(self, path: Path, facts: Mapping[str, str]) -> None:
        nowhere = np.empty(0)
        self._path = path
        self._file: pq.ParquetWriter | None = None
        self._metadata = {"geo": json.dumps(_geo(nowhere, nowhere)), **facts}

    def write(self, table: pa.Table, lat: NDArray[np.float64], lon: NDArray[np.float64]) -> None:
        """Append rows, whose columns are the same each time."""
        table = _with_geometry(table, lat, lon).replace_schema_metadata(self._metadata)
        if self._file is None:
            self._file = pq.ParquetWriter(self._path, table.schema, compression="zstd")
        self._file.write_table(table)

    def close(self) -> None:
        """End the file."""
        if self._file is not None:
            self._file.close()


def _with_geometry(table: pa.Table, lat: NDArray[np.float64], lon: NDArray[np.float64]) -> pa.Table:
    """Append the points, made as one array: an object for each takes 50 times as long."""
    finite = np.isfinite(lat) & np.isfinite(lon)
    points = np.empty(int(finite.sum()), POINT)
    points["order"], points["kind"] = LITTLE, KIND
    points["lon"], points["lat"] = lon[finite], lat[finite]
    ends = pa.array(np.append(0, np.cumsum(finite)) * POINT.itemsize).cast(pa.int32())
    buffers = [pa.array(finite).buffers()[1], ends.buffers()[1], pa.py_buffer(points)]
    wkb = pa.Array.from_buffers(pa.binary(), len(finite), buffers)
    return table.append_column(GEOMETRY, wkb)


def parquet_bytes(table: pa.Table, compression: str = "zstd") -> bytes:
    """Return `table` as a Parquet file, the same bytes for the same table."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression=compression)
    return bytes(sink.getvalue())


def _geo(lat: NDArray[np.float64], lon: NDArray[np.float64]) -> dict[str, object]:
    # No "crs" member means OGC:CRS84, longitude first.
    column: dict[str, object] = {"encoding": "WKB", "geometry_types": ["Point"]}
    if len(lat):
        column["bbox"] = [float(lon.min()), float(lat.min()), float(lon.max()), float(lat.max())]
    return {"version": "1.1.0", "primary_column": GEOMETRY, "columns": {GEOMETRY: column}}
