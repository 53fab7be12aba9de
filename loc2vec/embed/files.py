"""Files of vectors: GeoParquet with one row a place, in the order they were asked for."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from loc2vec.errors import VectorsError
from tiling.files.atomic import read_json, require_file
from tiling.files.geoparquet import GEOMETRY
from tiling.files.write import write_table
from tiling.values import ATTRIBUTION
from tiling.words import in_one_line

EMBEDDING = "embedding"
MANIFEST = "vectors.json"  # of a folder of parts
OURS = ("lat", "lon", EMBEDDING, GEOMETRY)  # columns that `Vectors` itself holds


@dataclass(frozen=True, slots=True, eq=False)
class Vectors:
    """Places and their vectors.

    `lat`, `lon` float64 [n]; `embedding` float32 [n, D], NaN where a place lies outside the store.
    `table`: other columns of the user. `model`: the model's id; `fingerprint`: of catalogue and
    tiles. `store`: the content hash of the store they were drawn from, "" where it is not known.
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
    """Write a file by its ending, atomically: lat, lon, the user's columns, embedding, geometry.

    The embedding is null outside the store. Raises `UserError` for an ending of no kind.
    """
    facts = facts_of(vectors)
    write_table(path, table_of(vectors), vectors.lat, vectors.lon, facts)


def table_of(vectors: Vectors) -> pa.Table:
    """Return one row a place: lat, lon, the user's columns, embedding."""
    columns = {"lat": pa.array(vectors.lat), "lon": pa.array(vectors.lon)}
    if vectors.table is not None:
        require_free(vectors.table.column_names)
        columns |= {name: vectors.table[name] for name in vectors.table.column_names}
    flat = pa.array(np.ascontiguousarray(vectors.embedding).reshape(-1), pa.float32())
    columns[EMBEDDING] = pa.FixedSizeListArray.from_arrays(
        flat, vectors.embedding.shape[1], mask=pa.array(~vectors.inside)
    )
    return pa.table(columns)


def facts_of(vectors: Vectors) -> dict[str, str]:
    """Return what a file of vectors says about all of them."""
    return {
        "model": vectors.model,
        "fingerprint": vectors.fingerprint,
        "store": vectors.store,
        "attribution": ATTRIBUTION,
    }


def require_free(names: Sequence[str]) -> None:
    """Raise `VectorsError` for a column of the user that has the name of one of ours."""
    for name in names:
        if name in OURS:
            raise VectorsError(
                f"the column {name!r} of your file would be replaced: rename or drop it"
            )


def read_vectors(path: Path, made_by: tuple[str, str] | None = None) -> Vectors:
    """Read the vectors of `loc2vec embed`: a Parquet file, or a folder of parts.

    A copy that another program made of a file will do.
    Other programs drop what is said about all rows: `made_by` are then the id and the fingerprint
    of the model. Raises `VectorsError`.
    """
    return vectors_in(path, read_parquet(path), made_by)


def said_by(schema: pa.Schema) -> dict[str, str]:
    """Return what a file of vectors says about all of its rows."""
    return {key.decode(): value.decode() for key, value in (schema.metadata or {}).items()}


def vectors_in(
    path: Path, table: pa.Table, made_by: tuple[str, str] | None, first: int = 0
) -> Vectors:
    """Return the vectors in a table, whose rows follow `first` others of the file."""
    facts = said_by(table.schema)
    lacking = [name for name in ("lat", "lon", EMBEDDING) if name not in table.column_names]
    if lacking or not is_list(table.schema.field(EMBEDDING).type):
        raise VectorsError(
            f"{path} is no file of vectors (no {', '.join(lacking) or 'lists in embedding'}): "
            "make one with `loc2vec embed`"
        )
    if not {"model", "fingerprint"} <= facts.keys():
        if made_by is None:
            raise VectorsError(
                f"{path} does not say which model made its vectors: give that --model"
            )
        facts |= dict(zip(("model", "fingerprint"), made_by, strict=True))
    others = table.select([name for name in table.column_names if name not in OURS])
    others = others.replace_schema_metadata(None)
    return Vectors(
        lat=_degrees(path, table["lat"], 90.0, first),
        lon=_degrees(path, table["lon"], 180.0, first),
        embedding=embedding_in(path, table[EMBEDDING], first),
        table=others if others.num_columns else None,
        model=facts["model"],
        fingerprint=facts["fingerprint"],
        store=facts.get("store", ""),
    )


def join_vectors(first: Vectors, second: Vectors) -> Vectors:
    """Return the rows of both.

    `VectorsError` when another model made them. A column that one lacks is null there.
    """
    both = (first, second)
    if len({(each.model, each.fingerprint, each.embedding.shape[1]) for each in both}) > 1:
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
        raise VectorsError(f"the columns do not go together: {in_one_line(error)}") from error


def is_list(kind: pa.DataType) -> bool:
    """Tell whether a column holds lists of numbers."""
    lists = (
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )
    return bool(
        lists and (pa.types.is_floating(kind.value_type) or pa.types.is_integer(kind.value_type))
    )


def read_parquet(path: Path) -> pa.Table:
    """Read a file, or the parts of a folder."""
    if path.is_dir():
        return pa.concat_tables([read_parquet(part) for part in parts_of(path)])
    require_file(path, VectorsError, "make one with `loc2vec embed`")
    with readable(path):
        return pq.read_table(path, partitioning=None)


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Say of a file that cannot be read what it is."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise VectorsError(
            f"{path} is no Parquet file, or is damaged: {in_one_line(error)}"
        ) from error


def parts_of(folder: Path) -> list[Path]:
    """Return the files of a complete folder of parts."""
    if not (folder / MANIFEST).is_file():
        raise VectorsError(
            f"{folder} holds no {MANIFEST}: run the `loc2vec embed` that makes it to its end"
        )
    parts = read_json(folder / MANIFEST).get("parts", [])
    for part in parts:
        path = folder / part["file"]
        if not path.is_file() or path.stat().st_size != part["bytes"]:
            raise VectorsError(
                f"{path} is missing, or not as it was made: run the same `loc2vec embed` again"
            )
    return [folder / part["file"] for part in parts]


def _degrees(path: Path, column: pa.ChunkedArray, most: float, first: int) -> NDArray[np.float64]:
    try:
        values = np.asarray(column.cast(pa.float64()).to_numpy(), np.float64)
    except pa.ArrowException as error:
        raise VectorsError(
            f"{path}: its coordinates cannot be read: {in_one_line(error)}"
        ) from error
    for row in np.flatnonzero(~(np.abs(values) <= most))[:1].tolist():
        raise VectorsError(
            f"{path}, row {first + row + 1}: its place, {values[row]}, is none on Earth"
        )
    return values


def embedding_in(path: Path, column: pa.ChunkedArray, first: int) -> NDArray[np.float32]:
    """Return float32 [n, D], NaN where the column is null; its rows follow `first` others."""
    lengths = pc.unique(pc.drop_null(pc.list_value_length(column))).to_pylist()
    if len(lengths) > 1 or 0 in lengths:
        raise VectorsError(f"{path}: its vectors have {sorted(lengths)} numbers, not as many each")
    dim = lengths[0] if lengths else getattr(column.type, "list_size", 1)
    embedding = np.full((len(column), dim), np.nan, np.float32)
    inside = column.is_valid().to_numpy()
    numbers = pc.list_flatten(pc.drop_null(column)).cast(pa.float32(), safe=False)
    embedding[inside] = numbers.to_numpy().reshape(-1, dim)
    broken = inside & ~np.isfinite(embedding).all(axis=1)
    for row in np.flatnonzero(broken)[:1].tolist():
        raise VectorsError(f"{path}, row {first + row + 1}: its vector is not finite")
    return embedding
