"""A PostGIS store that is open for reading.

The schema `loc2vec` has five tables, and a sixth with a user's own catalogue:

- `features`: channel, width_m and geometry, sorted along a space-filling curve, with a GiST index
- `extracts`: the name, hash, fingerprint and area of each extract
- `updates`: the import and the updates since, with the content hash after each
- `changed`: where each update changed features
- `names`: the names of places
- `catalogue`: the text of a user's own catalogue
"""

from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import Any, Self

import numpy as np
import shapely
from numpy.typing import NDArray

from tiling.catalogue.catalogue import carried_catalogue
from tiling.errors import StoreError, StoreReplacedError
from tiling.osm.gather.curve import morton
from tiling.osm.names import MOST
from tiling.store.postgis.database import Pool, Rows
from tiling.store.source import Coverage, Names, Outline
from tiling.values import Box, Features, check_fingerprint, halves

TYPES = "NWRS"  # in the order of a store

# An import may replace the whole store while it is open. So each row also has the catalogue's
# fingerprint and the content hash, read in one statement with the features. The LEFT JOIN returns
# them even where there are no features.
_QUERY = """
SELECT made.fingerprint, made.content, channel, width_m, ST_AsBinary(geom, 'NDR'), id,
    number, osm_type, osm_id
FROM (
    SELECT (SELECT min(fingerprint) FROM loc2vec.extracts) AS fingerprint, content, number
    FROM loc2vec.updates ORDER BY number DESC LIMIT 1
) AS made
LEFT JOIN loc2vec.features
    ON geom && ST_MakeEnvelope(%(west)s, %(south)s, %(east)s, %(north)s, 4326)
"""
_LARGE = """
AND greatest(ST_XMax(geom) - ST_XMin(geom), ST_YMax(geom) - ST_YMin(geom)) >= %(smallest)s
"""
_OUTLINE = """
SELECT id, channel, width_m,
    (ST_XMin(geom) + ST_XMax(geom)) / 2, (ST_YMin(geom) + ST_YMax(geom)) / 2
FROM loc2vec.features ORDER BY id
"""
_SOME = """
SELECT ST_AsBinary(geom, 'NDR') FROM unnest(%s::bigint[]) WITH ORDINALITY AS asked (id, place)
JOIN loc2vec.features USING (id) ORDER BY place
"""
# The index of `names` is of plain words, because folded names need no dictionary of a language.
_FIND = """
SELECT name, folded, kind, rank, lat, lon FROM loc2vec.names
WHERE array_to_tsvector(string_to_array(folded, ' ')) @@ %(words)s::tsquery
ORDER BY
    CASE
        WHEN folded = %(folded)s THEN 0
        WHEN starts_with(folded, %(folded)s) THEN 1
        ELSE 2
    END,
    rank, length(folded), name COLLATE "C", lat, lon LIMIT %(most)s
"""
_NAMES_IN = """
SELECT name, folded, kind, rank, lat, lon FROM loc2vec.names
WHERE rank = ANY(%(ranks)s)
AND lat BETWEEN %(south)s AND %(north)s AND lon BETWEEN %(west)s AND %(east)s
ORDER BY folded COLLATE "C", name COLLATE "C", lat, lon
"""
# Only a store by a user's own catalogue has the table `catalogue`.
IS_THERE = """
SELECT to_regclass('loc2vec.extracts') IS NOT NULL, to_regclass('loc2vec.catalogue') IS NOT NULL
"""
CATALOGUE = "SELECT toml FROM loc2vec.catalogue"
_EXTRACTS = (
    "SELECT fingerprint, sha256, name, ST_AsBinary(geom, 'NDR') FROM loc2vec.extracts ORDER BY id"
)


class PostgisSource(Coverage, Names):
    """A PostGIS store that is open for reading; each query takes a connection from the pool."""

    def __init__(self, pool: Pool, patience_s: float, content: str | None) -> None:
        """Open the store.

        `content`: the only content hash that is accepted; None accepts any.

        Raises `StoreError` when there is none, `StoreUnavailableError` when nobody answers.
        """
        self._content, self._pool, self._patience_s = content, pool, patience_s
        self.location = self._pool.database.location
        self.name = self._pool.database.name
        is_there, has_catalogue = self._ask(IS_THERE)[0]  # first: no error in the server's log
        if not is_there:
            raise self._pool.database.holds_no_store()
        extracts = self._ask(_EXTRACTS)
        if not extracts:
            raise StoreError(f"{self.location} holds no extract: import it again")
        fingerprints = {fingerprint for fingerprint, _, _, _ in extracts}
        if len(fingerprints) != 1:
            raise StoreError(
                f"{self.location} holds extracts of several catalogues: import it again"
            )
        (self.fingerprint,) = fingerprints
        text = str(self._ask(CATALOGUE)[0][0]) if has_catalogue else None
        self.catalogue = carried_catalogue(text, self.location)
        self.extract_hashes = tuple(sha256 for _, sha256, _, _ in extracts)
        super().__init__(
            [bytes(area) for _, _, _, area in extracts], [name for _, _, name, _ in extracts]
        )

    def features(self, box: Box, smallest_deg: float = 0.0) -> Features:
        """Return the features whose bounding boxes meet `box`, in the order of the store.

        Those whose boxes are less than `smallest_deg` degrees wide and high are left out.
        """
        query = _QUERY + (_LARGE if smallest_deg else "") + "ORDER BY id"
        answer = [
            row
            for part in halves(box)
            for row in self._ask(query, {**_edges(part), "smallest": smallest_deg})
        ]
        for made_by, content in {(row[0], row[1]) for row in answer}:
            check_fingerprint(self.location, made_by, self.fingerprint)
            if self._content not in (None, content):
                raise StoreReplacedError(
                    f"{self.location} was replaced or updated while it was open"
                )
        # A multipolygon may lie on both sides of 180 degrees: it comes once.
        rows = [row for _, row in sorted({row[5]: row for row in answer if row[5]}.items())]
        if any(row[6] for row in rows[:1]):
            rows = _as_imported(rows)
        return Features(
            np.array([row[2] for row in rows], np.int8),
            np.array([row[3] for row in rows], np.float32),
            _objects([row[4] for row in rows]),
        )

    def outline(self) -> Outline:
        """Return the ids, channels, widths and middles of all features."""
        ids, channel, width, x, y = zip(*self._ask(_OUTLINE), strict=True)
        middle = np.stack([np.array(x, np.float64), np.array(y, np.float64)], axis=1)
        return Outline(
            np.array(ids, np.int64), np.array(channel, np.int8), np.array(width, np.float32), middle
        )

    def geometries(self, ids: NDArray[np.int64]) -> NDArray[np.object_]:
        """Return the WKB, object [n] of bytes, of the features with these ids."""
        return _objects([row[0] for row in self._ask(_SOME, (ids.tolist(),))])

    def _called(self, words: Sequence[str], folded: str) -> Iterable[Sequence[Any]]:
        match = " & ".join(f"'{word}'" for word in words) + ":*"
        return self._ask(_FIND, {"words": match, "folded": folded, "most": MOST})

    def _called_in(self, box: Box, ranks: Sequence[int]) -> Iterable[Sequence[Any]]:
        return self._ask(_NAMES_IN, {**_edges(box), "ranks": list(ranks)})

    def _ask(self, query: str, values: Any = None) -> Rows:
        return self._pool.ask(query, values, self._patience_s)

    def close(self) -> None:
        """Do nothing: the connections stay in the pool."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _as_imported(rows: Rows) -> Rows:
    """Return the rows of `_QUERY` in the order of an import; updates append what they change.

    Where shapes overlap, the order decides how edges are rounded.
    """
    shapes = shapely.from_wkb([bytes(row[4]) for row in rows])
    curve = morton(shapely.bounds(shapes)).tolist()
    area = (shapely.get_dimensions(shapes) == 2).tolist()
    keys = [
        (curve[n], TYPES.index(row[7]), row[8], area[n], row[2], row[5])
        for n, row in enumerate(rows)
    ]
    return [row for _, row in sorted(zip(keys, rows, strict=True), key=itemgetter(0))]


def _edges(box: Box) -> dict[str, float]:
    # psycopg2 writes a number of numpy as "np.float64(...)".
    return {edge: float(degrees) for edge, degrees in box._asdict().items()}


def _objects(values: list[memoryview]) -> NDArray[np.object_]:
    array = np.empty(len(values), object)
    array[:] = [bytes(value) for value in values]
    return array
