"""Files of vectors: GeoParquet with one row a place, in the order they were asked for."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import shapely
from numpy.typing import NDArray

from loc2vec.errors import VectorsError
from tiling.files.atomic import require_file
from tiling.files.geoparquet import GEOMETRY, write_points
from tiling.values import ATTRIBUTION

EMBEDDING = "embedding"
OURS = ("lat", "lon", EMBEDDING, GEOMETRY)  # columns that `Vectors` itself holds


@dataclass(frozen=True, slots=True, eq=False)
class Vectors:
    """Places and their vectors.

    `lat`, `lon` float64 [n]; `embedding` float32 [n, D], NaN where a place lies outside the store;
    `table`: other columns of the user; `model`: the model's id; `fingerprint`: of catalogue and
    tiles; `store`: the content hash of the store they were drawn from, "" where it is not known.
    """

    lat: NDArray[np.float64]
    lon: NDArray[np.float64]
    embedding: NDArray[np.float32]
    table: pa.Table | None
    model: str
    fingerprint: str
    store: str = ""

    def __post_init__(self) -> None:
        rows = [len(self.lat), len(self.lon), len(self.embedding)]
        rows += [] if self.table is None else [self.table.num_rows]
        if len(set(rows)) > 1:
            raise ValueError(f"lengths differ: {rows}")

    def __len__(self) -> int:
        return len(self.lat)

    @property
    def inside(self) -> NDArray[np.bool_]:
        """Tell which rows have a vector: bool [n]."""
        finite: NDArray[np.bool_] = np.logical_and.reduce(np.isfinite(self.embedding), axis=1)
        return finite


def write_vectors(path: Path, vectors: Vectors) -> None:
    """Write GeoParquet, atomically: lat, lon, the user's columns, embedding, geometry.

    The embedding is null outside the store. Our columns replace the user's of the same name.
    """
    columns = {"lat": pa.array(vectors.lat), "lon": pa.array(vectors.lon)}
    if vectors.table is not None:
        others = (name for name in vectors.table.column_names if name not in OURS)
        columns |= {name: vectors.table[name] for name in others}
    flat = pa.array(np.ascontiguousarray(vectors.embedding).reshape(-1), pa.float32())
    columns[EMBEDDING] = pa.FixedSizeListArray.from_arrays(
        flat, vectors.embedding.shape[1], mask=pa.array(~vectors.inside)
    )
    facts = {
        "model": vectors.model,
        "fingerprint": vectors.fingerprint,
        "store": vectors.store,
        "attribution": ATTRIBUTION,
    }
    write_points(path, pa.table(columns), vectors.lat, vectors.lon, facts)


def read_vectors(path: Path) -> Vectors:
    """Read what `write_vectors` wrote, or raise `VectorsError`."""
    table = _read_table(path)
    facts = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
    lacking = [name for name in OURS if name not in table.column_names]
    lacking += [name for name in ("model", "fingerprint") if name not in facts]
    if lacking or not pa.types.is_fixed_size_list(table.schema.field(EMBEDDING).type):
        raise VectorsError(
            f"{path} is no file of vectors (no {', '.join(lacking) or 'fixed-size embedding'}): "
            "make one with `loc2vec embed`"
        )
    others = table.drop_columns(list(OURS)).replace_schema_metadata(None)
    return Vectors(
        lat=table["lat"].to_numpy(),
        lon=table["lon"].to_numpy(),
        embedding=_embedding(table[EMBEDDING]),
        table=others if others.num_columns else None,
        model=facts["model"],
        fingerprint=facts["fingerprint"],
        store=facts.get("store", ""),
    )


def join_vectors(first: Vectors, second: Vectors) -> Vectors:
    """Return the rows of both.

    `VectorsError` when another model made them. A column that one lacks is null there.
    """
    if (first.model, first.fingerprint) != (second.model, second.fingerprint):
        raise VectorsError(
            f"vectors of {first.model} and of {second.model} do not go together: "
            "embed them with one model"
        )
    return Vectors(
        lat=np.concatenate([first.lat, second.lat]),
        lon=np.concatenate([first.lon, second.lon]),
        embedding=np.concatenate([first.embedding, second.embedding]),
        table=_join_tables(first, second),
        model=first.model,
        fingerprint=first.fingerprint,
        store=first.store if first.store == second.store else "",
    )


def _join_tables(first: Vectors, second: Vectors) -> pa.Table | None:
    known = [vectors.table for vectors in (first, second) if vectors.table is not None]
    if not known:
        return None
    schema = known[0].schema  # of both, where one has no table
    tables = [
        pa.table([pa.nulls(len(v), field.type) for field in schema], schema)
        if v.table is None
        else v.table
        for v in (first, second)
    ]
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException as error:
        raise VectorsError(f"the columns do not go together: {error}") from error


def read_foreign(path: Path) -> Vectors:
    """Read vectors that other programs made: Parquet with places and lists in `embedding`.

    Places are lat and lon, or point geometries as WKB. Rows without a vector are left out. Raises
    `VectorsError`, which names the row or the column at fault.
    """
    table = _read_table(path)
    lon_lat = _coordinates(path, table)
    if EMBEDDING not in table.column_names or not _is_list(table.schema.field(EMBEDDING).type):
        raise VectorsError(
            f"{path} has no column {EMBEDDING!r} of lists of numbers: "
            f"it has {', '.join(table.column_names)}"
        )
    lists = table[EMBEDDING].to_pylist()
    held = [row for row, numbers in enumerate(lists) if numbers is not None]
    if not held:
        raise VectorsError(f"{path} holds no vector: every {EMBEDDING!r} is empty")
    length = len(lists[held[0]])
    for row in held:
        if len(lists[row]) != length or not length:
            raise VectorsError(
                f"{path}, row {row + 1}: {len(lists[row])} numbers, "
                f"row {held[0] + 1} has {length}: vectors must be of one length"
            )
    embedding = np.array([lists[row] for row in held], np.float32)
    bad = np.flatnonzero(~np.isfinite(embedding).all(1) | ~np.isfinite(lon_lat[held]).all(1))
    if len(bad):
        raise VectorsError(f"{path}, row {held[bad[0]] + 1}: its vector or place is not finite")
    facts = table.schema.metadata or {}
    return Vectors(
        lat=lon_lat[held, 1],
        lon=lon_lat[held, 0],
        embedding=embedding,
        table=None,
        model=facts.get(b"model", path.name.encode()).decode(),
        fingerprint=facts.get(b"fingerprint", b"").decode(),
    )


def _coordinates(path: Path, table: pa.Table) -> NDArray[np.float64]:
    """Return (lon, lat) float64 [n, 2]."""
    try:
        if {"lat", "lon"} <= set(table.column_names):
            return np.stack(
                [table[name].to_numpy().astype(np.float64) for name in ("lon", "lat")], axis=1
            )
        if GEOMETRY in table.column_names:
            middles = shapely.centroid(shapely.from_wkb(table[GEOMETRY].to_pylist()))
            return np.stack([shapely.get_x(middles), shapely.get_y(middles)], axis=1)
    except (ValueError, TypeError, shapely.errors.GEOSException) as error:
        raise VectorsError(f"{path}: its coordinates cannot be read: {error}") from error
    raise VectorsError(f"{path} has no coordinates: give it the columns lat and lon, or a geometry")


def _is_list(kind: pa.DataType) -> bool:
    lists = (
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )
    return bool(
        lists and (pa.types.is_floating(kind.value_type) or pa.types.is_integer(kind.value_type))
    )


def _read_table(path: Path) -> pa.Table:
    require_file(path, VectorsError, "make one with `loc2vec embed`")
    try:
        return pq.read_table(path, partitioning=None)
    except (OSError, pa.ArrowException) as error:
        raise VectorsError(f"{path} is no Parquet file, or is damaged: {error}") from error


def _embedding(column: pa.ChunkedArray) -> NDArray[np.float32]:
    """Return float32 [n, D], NaN where the column is null."""
    embedding = np.full((len(column), column.type.list_size), np.nan, np.float32)
    inside = column.is_valid().to_numpy()
    embedding[inside] = pc.list_flatten(column).to_numpy().reshape(-1, column.type.list_size)
    return embedding
