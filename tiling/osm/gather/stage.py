"""A file that holds what was read of extracts until a store is made of it: SQLite, which sorts."""

import os
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from tiling.osm.gather.curve import morton
from tiling.osm.gather.pieces import MAX_VERTICES, cut
from tiling.osm.names import NamedObject, names_of
from tiling.osm.sieve import DrawnObject

CACHE_KB = 64 * 1024  # that SQLite keeps of the file, and sorts at once
AT_ONCE = 10_000  # rows

# `part` is the number of an extract. `piece` is 0 for a whole object, else the number of a piece.
_TABLES = """
PRAGMA page_size = 16384;
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
CREATE TABLE features (
    curve INTEGER, piece INTEGER, type INTEGER, id INTEGER, area INTEGER, channel INTEGER,
    version INTEGER, part INTEGER, width_m REAL, geom BLOB
);
CREATE TABLE names (
    part INTEGER, type TEXT, id INTEGER, version INTEGER,
    name TEXT, folded TEXT, kind TEXT, rank INTEGER, lat REAL, lon REAL
);
"""
_PUT = "INSERT INTO features VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_PUT_NAME = "INSERT INTO names VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
# Rows that follow one another in a store lie near one another. `id` orders those at one place.
_FEATURES = """
SELECT {columns} FROM features ORDER BY curve, piece > 0, type, id, area, channel, piece
"""
_NAMES = "SELECT {columns} FROM names ORDER BY name, folded, kind, rank, lat, lon"
# Of an object in several extracts the newest version counts, of equal versions the first extract.
_OLD = """
DELETE FROM {table} WHERE rowid IN (
    SELECT rowid FROM (
        SELECT rowid, rank() OVER (PARTITION BY {key} ORDER BY version DESC, part) AS place
        FROM {table}
    ) WHERE place > 1
)
"""


class Shapes(NamedTuple):
    """The geometries of some objects: WKB, shapely's objects, and their bounds, float64 [n, 4]."""

    wkb: list[bytes]
    geometry: NDArray[np.object_]
    bounds: NDArray[np.float64]

    @classmethod
    def of(cls, objects: Sequence[DrawnObject]) -> Self:
        """Parse the geometries of objects."""
        wkb = [bytes.fromhex(item.wkb) for item in objects]
        geometry = shapely.from_wkb(wkb)
        return cls(wkb, geometry, shapely.bounds(geometry))


class Stage:
    """Features and names of some extracts, in one file of a scratch folder."""

    def __init__(self, path: Path) -> None:
        """Open the file, or make it."""
        os.environ["SQLITE_TMPDIR"] = str(path.parent)  # what it sorts may be large
        fresh = not path.exists()
        self._connection = sqlite3.connect(path, isolation_level=None)
        # SQLite counts pages, so their size must be known before.
        self._connection.executescript(_TABLES * fresh + f"PRAGMA cache_size = -{CACHE_KB};")
        self._connection.execute("BEGIN")

    def put(self, part: int, objects: Sequence[DrawnObject], shapes: Shapes) -> None:
        """Append objects that are drawn; large polygons are cut."""
        large = (shapely.get_dimensions(shapes.geometry) == 2) & (
            shapely.get_num_coordinates(shapes.geometry) > MAX_VERTICES
        )
        curve = morton(shapes.bounds).tolist()
        self._connection.executemany(
            _PUT,
            [
                (code, 0, kind, osm_id, area, channel, version, part, width, wkb)
                for (kind, area, osm_id, version, drawn, _), code, wkb, is_large in zip(
                    objects, curve, shapes.wkb, large.tolist(), strict=True
                )
                if not is_large
                for channel, width in drawn
            ],
        )
        for number in np.flatnonzero(large).tolist():
            self._put_pieces(
                part, objects[number], cut(shapely.make_valid(shapes.geometry[number]))
            )

    def _put_pieces(self, part: int, item: DrawnObject, pieces: Sequence[BaseGeometry]) -> None:
        curve = morton(shapely.bounds(pieces).reshape(-1, 4)).tolist()
        self._connection.executemany(
            _PUT,
            [
                (code, n, item.type, item.id, item.area, channel, item.version, part, width, g.wkb)
                for n, (code, g) in enumerate(zip(curve, pieces, strict=True), 1)
                for channel, width in item.drawn
            ],
        )

    def put_names(self, part: int, objects: Sequence[NamedObject]) -> None:
        """Append the names of objects."""
        self._connection.executemany(
            _PUT_NAME,
            [
                (part, item.osm_type, item.osm_id, item.version, *name)
                for item, name in names_of(objects)
            ],
        )

    def keep_names_in(self, part: int, area: BaseGeometry) -> None:
        """Remove the names of an extract that lie outside its area, in degrees."""
        shapely.prepare(area)
        outside: list[tuple[int]] = []
        query = "SELECT rowid, lon, lat FROM names WHERE part = ?"
        for rows in self._select(query, (part,)):
            ids, lon, lat = zip(*rows, strict=True)
            inside = shapely.intersects_xy(area, lon, lat)
            outside += [(row,) for row, within in zip(ids, inside, strict=True) if not within]
        self._connection.executemany("DELETE FROM names WHERE rowid = ?", outside)

    def keep_newest(self) -> None:
        """Of an object that was read twice keep the newest version."""
        self._connection.execute(_OLD.format(table="features", key="type, id, area, channel"))
        self._connection.execute(_OLD.format(table="names", key="type, id"))

    def counts(self) -> dict[int, int]:
        """Return the number of features in each channel."""
        query = "SELECT channel, count(*) FROM features GROUP BY channel"
        return dict(self._connection.execute(query).fetchall())

    def features(self, columns: str) -> Iterator[list[tuple[Any, ...]]]:
        """Yield some columns of all features, up to `AT_ONCE` rows at a time, in order."""
        return self._select(_FEATURES.format(columns=columns))

    def names(self, columns: str) -> Iterator[list[tuple[Any, ...]]]:
        """Yield some columns of all names, up to `AT_ONCE` rows at a time, in order."""
        return self._select(_NAMES.format(columns=columns))

    def _select(self, query: str, values: Sequence[Any] = ()) -> Iterator[list[tuple[Any, ...]]]:
        cursor = self._connection.execute(query, values)
        while rows := cursor.fetchmany(AT_ONCE):
            yield rows

    def close(self) -> None:
        """Write what was put, and close the file."""
        self._connection.execute("COMMIT")
        self._connection.close()
