"""The rows of an index: places and the user's columns, in a file that is used where it lies."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from loc2vec.embed.files import Vectors
from tiling.values import Box, LonLat

OF = b"vectors_sha256"  # says in the file which vectors it is of
# The first columns.
OURS = {"lat": pa.float64(), "lon": pa.float64(), "inside": pa.bool_(), "order": pa.int64()}
BAND = 8  # a box whose latitudes hold under 1/8 of the places is searched by latitude
FEW = 1 << 16  # different texts: a column of no more keeps each of them once
SAMPLE = 1 << 17  # rows of which too many different texts tell

Ids = NDArray[np.int64]
Degrees = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Rows:
    """`lat`, `lon` float64 [rows] and `table`, the user's columns, hold every row.

    `inside` bool [rows]: which have a vector. `order` int64 [rows]: by latitude, then longitude.
    An id is the number of a row.
    """

    lat: Degrees
    lon: Degrees
    inside: NDArray[np.bool_]
    order: Ids
    table: pa.Table | None

    @classmethod
    def of(cls, blocks: Iterable[Vectors]) -> "Rows":
        """Return the rows of vectors."""
        parts = [(block.lat, block.lon, block.inside, block.table) for block in blocks]
        lat, lon, inside = (np.concatenate([part[n] for part in parts]) for n in range(3))
        tables = [part[3] for part in parts if part[3] is not None]
        del parts
        table = _in_one_piece(pa.concat_tables(tables)) if tables else None
        return cls(lat, lon, inside, np.lexsort((lon, lat)), table)

    def write(self, path: Path, sha256: str) -> None:
        """Write a file; `sha256` is that of the vectors."""
        arrays = [pa.array(each) for each in (self.lat, self.lon, self.inside, self.order)]
        names, columns = list(OURS), [pa.chunked_array([each]) for each in arrays]
        if self.table is not None:
            names, columns = names + self.table.column_names, columns + self.table.columns
        table = pa.Table.from_arrays(columns, names=names).replace_schema_metadata({OF: sha256})
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)

    @classmethod
    def open(cls, path: Path, sha256: str, count: int, mapped: bool) -> "Rows":
        """Open a file; raises `ValueError`, also of Arrow, unless it can be used safely."""
        source = pa.memory_map(str(path)) if mapped else pa.py_buffer(path.read_bytes())
        table = pa.ipc.open_file(source).read_all()
        table.validate(full=True)
        ours, others = table.select(range(len(OURS))), range(len(OURS), table.num_columns)
        if not ours.schema.equals(pa.schema(OURS)):
            raise ValueError("no rows of an index")
        if (table.schema.metadata or {}).get(OF) != sha256.encode():
            raise ValueError("rows of other vectors")
        table = table.select(others).replace_schema_metadata(None) if others else None
        lat, lon, inside, order = map(_numbers, ours.columns)
        rows = cls(lat, lon, inside, order, table)
        rows._require_sound(count)
        return rows

    def _require_sound(self, count: int) -> None:
        if count != self.count:
            raise ValueError("rows of other vectors")
        for most, degrees in ((90, self.lat), (180, self.lon)):
            if not (degrees.min() >= -most and degrees.max() <= most):
                raise ValueError("places that are none")
        seen = np.zeros(len(self.order), np.bool_)
        seen[self.order] = True
        if self.order.min() < 0 or not seen.all():
            raise ValueError("no order of the rows")

    @cached_property
    def count(self) -> int:
        """How many rows have a vector."""
        return int(np.count_nonzero(self.inside))

    @property
    def whole(self) -> bool:
        """Whether every row has a vector, so that its id is its number among the vectors."""
        return self.count == len(self.lat)

    @cached_property
    def ids(self) -> Ids:
        """The ids of the rows that have a vector, rising."""
        return np.flatnonzero(self.inside)

    def ids_of(self, numbers: Ids) -> Ids:
        """Return the ids of vectors by their numbers."""
        return numbers if self.whole else self.ids[numbers]

    def numbers_of(self, ids: Ids) -> Ids:
        """Return the numbers of vectors by their ids."""
        return ids if self.whole else np.searchsorted(self.ids, ids)

    def at(self, place: LonLat) -> int | None:
        """Return the id of exactly this place, if it has a vector."""
        first, end = self._band(place.lat, place.lat)
        ids = self.order[first:end]
        here = ids[np.flatnonzero((self.lon[ids] == place.lon) & self.inside[ids])]
        return int(here[0]) if len(here) else None

    def ids_in(self, box: Box) -> Ids:
        """Return the ids of the places in a box that have a vector, from south to north."""
        ids = self.order[slice(*self._band(box.south, box.north))]
        kept = _between(self.lon[ids], box)
        found: Ids = ids[kept if self.whole else kept & self.inside[ids]]
        return found

    def in_box(self, box: Box) -> NDArray[np.bool_]:
        """Tell which rows lie in a box: bool [rows]."""
        first, end = self._band(box.south, box.north)
        if end - first < len(self.lat) // BAND:  # else testing all rows is faster
            mask = np.zeros(len(self.lat), np.bool_)
            mask[self.ids_in(box)] = True
            return mask
        found = _between(self.lon, box)
        found &= self.lat >= box.south
        found &= self.lat <= box.north
        return found

    def _band(self, south: float, north: float) -> tuple[int, int]:
        """Return the range, in `order`, of the places between two latitudes."""
        first = np.searchsorted(self.lat, south, "left", self.order)
        return int(first), int(np.searchsorted(self.lat, north, "right", self.order))


def _between(lon: Degrees, box: Box) -> NDArray[np.bool_]:
    west, east = lon >= box.west, lon <= box.east
    found: NDArray[np.bool_] = west | east if box.crosses_antimeridian else west & east
    return found


def _in_one_piece(table: pa.Table) -> pa.Table:
    """Return a table of one piece: taking a few rows of several copies all texts of a column."""
    columns = [_shortened(column) for column in table.columns]
    return pa.table(columns, table.column_names).unify_dictionaries().combine_chunks()


def _shortened(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column of few different texts with each of them once: it is compared faster."""
    kind = column.type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        return column
    if len(column.slice(0, SAMPLE).unique()) > min(FEW, len(column) // 2):
        return column
    short = column.dictionary_encode()
    most = max((len(chunk.dictionary) for chunk in short.chunks), default=0)
    return short if most <= FEW else column


def _numbers(column: pa.ChunkedArray) -> NDArray[Any]:
    """Return a column, numbers as they lie in the file."""
    whole = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()  # that copies
    return np.asarray(whole.to_numpy(zero_copy_only=not pa.types.is_boolean(whole.type)))
