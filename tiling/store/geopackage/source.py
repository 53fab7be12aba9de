"""A GeoPackage store that is open for reading, with SQLite alone.

Layer `features` holds channel, width_m and geometry, sorted along a space-filling curve, with an
R-tree. Layer `extracts` has one row for each extract: its name, its hash and the area it covers.
Table `names` holds the names of places, `names_words` is its full-text index (SQLite's FTS5).
Table `catalogue` holds the text of a user's own catalogue.
"""

import math
import sqlite3
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from tiling.catalogue.catalogue import carried_catalogue
from tiling.errors import StoreError
from tiling.files.atomic import require_file
from tiling.osm.names import MOST
from tiling.store.source import Coverage, Names, Outline, reading
from tiling.values import Box, Features, halves

LAYER = "features"
EXTRACTS = "extracts"
_NO_ENVELOPE_HEADER = 8  # bytes: magic, version, flags, srs id
STEPS = 100_000  # of SQLite's machine between two looks at the clock: a millisecond
LONGEST_VALUE = 500_000_000  # bytes; SQLite's own limit is twice that
_ENVELOPE_BYTES = (0, 32, 48, 48, 64)  # by the envelope code in the flags

_QUERY = f"""
SELECT f.fid, f.channel, f.width_m, f.geom
FROM rtree_{LAYER}_geom AS r JOIN {LAYER} AS f ON f.fid = r.id
WHERE r.minx <= :east AND r.maxx >= :west AND r.miny <= :north AND r.maxy >= :south
AND (:smallest = 0 OR max(r.maxx - r.minx, r.maxy - r.miny) >= :smallest) ORDER BY f.fid
"""  # noqa: S608 - a constant
_OUTLINE = f"""
SELECT f.fid, f.channel, f.width_m, (r.minx + r.maxx) / 2, (r.miny + r.maxy) / 2
FROM {LAYER} AS f JOIN rtree_{LAYER}_geom AS r ON r.id = f.fid ORDER BY f.fid
"""  # noqa: S608 - a constant
_EXTRACTS = f"SELECT fingerprint, sha256, name, geom FROM {EXTRACTS} LIMIT 100000"  # noqa: S608 - a constant
_ONE = f"SELECT geom FROM {LAYER} WHERE fid = ?"  # noqa: S608 - a constant

# Only a store by a user's own catalogue has the table.
_HAS_CATALOGUE = "SELECT 1 FROM sqlite_master WHERE name = 'catalogue'"
_CATALOGUE = "SELECT toml FROM catalogue"
_FIND = """
SELECT n.name, n.folded, n.kind, n.rank, n.lat, n.lon
FROM names_words AS w JOIN names AS n ON n.fid = w.rowid WHERE names_words MATCH :words
ORDER BY
    CASE
        WHEN n.folded = :folded THEN 0
        WHEN substr(n.folded, 1, length(:folded)) = :folded THEN 1
        ELSE 2
    END,
    n.rank, length(n.folded), n.name, n.lat, n.lon LIMIT :most
"""

_NAMES_IN = """
SELECT name, folded, kind, rank, lat, lon FROM names
WHERE rank IN ({}) AND lat BETWEEN :south AND :north AND lon BETWEEN :west AND :east ORDER BY fid
"""


class GeoPackageSource(Coverage, Names):
    """A GeoPackage store that is open for reading.

    It belongs to one thread, as its SQLite connection does.
    """

    def __init__(self, path: Path, answer_s: float = math.inf) -> None:
        """Open the file; a query that takes longer than `answer_s` seconds is given up."""
        self.location = str(path)
        self.name = path.stem
        self._answer_s, self._end_s = answer_s, math.inf
        self._connection = _connect(path)
        self._connection.set_progress_handler(self._is_late, STEPS)
        try:
            with reading(self.location):
                self._open(path)
        except BaseException:
            self.close()
            raise

    def _is_late(self) -> bool:
        return time.monotonic() > self._end_s

    def _open(self, path: Path) -> None:
        try:
            rows = self._ask(_EXTRACTS, ())
        except sqlite3.DatabaseError as error:
            raise StoreError(
                f"{path} is not a feature store ({error}): make one with `loc2vec import`"
            ) from error
        if not rows:
            raise StoreError(f"{path} holds no extract: make it again with `loc2vec import`")
        self.fingerprint = str(rows[0][0])
        self.extract_hashes = tuple(str(sha256) for _, sha256, _, _ in rows)
        text = self._select(_CATALOGUE, ())[0][0] if self._select(_HAS_CATALOGUE, ()) else None
        self.catalogue = carried_catalogue(text, self.location)
        super().__init__(
            [wkb_of(blob) for _, _, _, blob in rows], [str(name) for _, _, name, _ in rows]
        )

    def features(self, box: Box, smallest_deg: float = 0.0) -> Features:
        """Return the features whose bounding boxes meet `box`, in the order of the store.

        Those whose boxes are less than `smallest_deg` degrees wide and high are left out.
        """
        found = (
            row
            for part in halves(box)
            for row in self._select(_QUERY, {**part._asdict(), "smallest": smallest_deg})
        )
        # A multipolygon may lie on both sides of 180 degrees: it comes once.
        rows = [row for _, row in sorted({row[0]: row for row in found}.items())]
        with reading(self.location):
            return Features(
                np.array([row[1] for row in rows], np.int8),
                np.array([row[2] for row in rows], np.float32),
                objects([wkb_of(row[3]) for row in rows]),
            )

    def outline(self) -> Outline:
        """Return the ids, channels, widths and middles of all features."""
        ids, channel, width, x, y = zip(*self._select(_OUTLINE, ()), strict=True)
        middle = np.stack([np.array(x, np.float64), np.array(y, np.float64)], axis=1)
        return Outline(
            np.array(ids, np.int64), np.array(channel, np.int8), np.array(width, np.float32), middle
        )

    def geometries(self, ids: NDArray[np.int64]) -> NDArray[np.object_]:
        """Return the WKB, object [n] of bytes, of the features with these ids."""
        return objects([wkb_of(self._select(_ONE, (fid,))[0][0]) for fid in ids.tolist()])

    def _called(self, words: Sequence[str], folded: str) -> Iterable[Sequence[Any]]:
        match = " AND ".join(f'"{word}"' for word in words) + "*"
        return self._select(_FIND, {"words": match, "folded": folded, "most": MOST})

    def _called_in(self, box: Box, ranks: Sequence[int]) -> Iterable[Sequence[Any]]:
        return self._select(_NAMES_IN.format(", ".join(map(str, ranks))), box._asdict())

    def _select(
        self, query: str, values: Mapping[str, Any] | tuple[int, ...]
    ) -> list[tuple[Any, ...]]:
        try:
            return self._ask(query, values)
        except sqlite3.DatabaseError as error:
            raise StoreError(f"cannot read {self.location}: {error}") from error

    def _ask(
        self, query: str, values: Mapping[str, Any] | tuple[int, ...]
    ) -> list[tuple[Any, ...]]:
        self._end_s = time.monotonic() + self._answer_s
        return self._connection.execute(query, values).fetchall()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _connect(path: Path) -> sqlite3.Connection:
    require_file(
        path, StoreError, f"make a store with `loc2vec import REGION.osm.pbf --store {path}`"
    )
    location = f"{path.resolve().as_uri()}?mode=ro&immutable=1"
    # A source still belongs to one thread, but another one may close it.
    connection = sqlite3.connect(location, uri=True, check_same_thread=False)
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST_VALUE)
    connection.execute("PRAGMA mmap_size = 1073741824")
    return connection


def wkb_of(blob: bytes) -> bytes:
    """Return the WKB inside a GeoPackage geometry (OGC 12-128r19, clause 2.1.3)."""
    return blob[_NO_ENVELOPE_HEADER + _ENVELOPE_BYTES[blob[3] >> 1 & 0b111] :]


def objects(values: list[bytes]) -> NDArray[np.object_]:
    """Return an object array; numpy would make an array of fixed-length strings."""
    array = np.empty(len(values), object)
    array[:] = values
    return array
