"""Updates of a GeoPackage store: its kept extract is changed and imported again.

So the store is that of a fresh import, with two more tables. `updates` has the content hashes of
earlier stores. `changed` says where the features of each differ from those of the next.
"""

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path

import numpy as np
import shapely
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from shapely.geometry.base import BaseGeometry

from tiling.catalogue.catalogue import Catalogue
from tiling.errors import StoreError
from tiling.files.atomic import replacing, sweep
from tiling.files.outputs import claimed
from tiling.osm.apply import apply_changes as apply_to_extract
from tiling.osm.apply import replication_of
from tiling.osm.file import region_name
from tiling.osm.gather.gather import gathered
from tiling.osm.replication import apply_all, complete_until
from tiling.store.changes import Changes, difference
from tiling.store.geopackage.raw import keep_extract, kept_extract, sweep_extracts
from tiling.store.geopackage.source import GeoPackageSource, objects, wkb_of
from tiling.store.geopackage.write import write_gathered
from tiling.store.store import UpdateSummary

_TABLES = """
CREATE TABLE updates (number INTEGER PRIMARY KEY, content TEXT NOT NULL);
CREATE TABLE changed (
    fid INTEGER PRIMARY KEY, number INTEGER NOT NULL, reach_m DOUBLE NOT NULL, wkb BLOB NOT NULL
);
INSERT INTO gpkg_contents (table_name, data_type, identifier)
VALUES ('updates', 'attributes', 'updates'), ('changed', 'attributes', 'changed');
"""
_HAS_UPDATES = "SELECT 1 FROM {schema}.sqlite_master WHERE name = 'updates'"
_PAST = """
INSERT INTO main.updates SELECT * FROM before.updates;
INSERT INTO main.changed SELECT * FROM before.changed;
"""
# The rows of one store that the other lacks, with how often each comes.
_DIFFER = """
SELECT channel, width_m, geom, count(*) FROM {one}.features GROUP BY 1, 2, 3
EXCEPT SELECT channel, width_m, geom, count(*) FROM {other}.features GROUP BY 1, 2, 3
"""
_SINCE = """
SELECT reach_m, wkb FROM changed
WHERE number >= (SELECT min(number) FROM updates WHERE content = :content)
"""

Feature = tuple[int, float, bytes]  # channel, width, the geometry as the file holds it


def apply_changes(
    store: Path, content: str, changes: Path, until: datetime | None = None
) -> UpdateSummary:
    """Apply a file of changes, as `tiling.store.store.Store.update` has it.

    `content`: the content hash of the store. `until`: the time up to which it then is complete.
    """
    with claimed(store):
        sweep(store)
        catalogue, extract = _made_of(store)
        with replacing(store) as temporary:
            after = temporary.parent / f"{region_name(extract)}.osm.pbf"
            apply_to_extract(extract, changes, after, until)
            with gathered([after], catalogue, temporary.parent, allow_loss=True) as found:
                write_gathered(temporary, found, catalogue)
                sha256 = found.extracts[0].sha256
            summary = _note(temporary, store, content)
            keep_extract(store, after, sha256)
        sweep_extracts(store, sha256)
    return summary


def apply_replication(
    store: Path, url: str, apply: Callable[[Path, datetime], UpdateSummary]
) -> UpdateSummary:
    """Apply all changes that a replication server has and the store has not, file by file."""
    until = complete_until(_made_of(store)[1])
    if until is None:
        raise StoreError(f"{store} does not know of when its extract is: give a file of changes")
    return UpdateSummary.of(apply_all(url, until, apply))


def takes_updates(store: Path) -> bool:
    """Tell whether the extract of a store is kept."""
    try:
        _made_of(store)
    except StoreError:
        return False
    return True


def replication_url(store: Path) -> str | None:
    """Return the URL of the replication server that the kept extract names, None without one."""
    return replication_of(_made_of(store)[1])


def _made_of(store: Path) -> tuple[Catalogue, Path]:
    """Return the catalogue of a store, and its kept extract."""
    with closing(GeoPackageSource(store)) as source:
        return source.catalogue, kept_extract(store, source.extract_hashes[0])


def changes_since(store: Path, content: str) -> Changes | None:
    """Return what updates changed since the store had a content hash, None when it is unknown."""
    location = f"{store.resolve().as_uri()}?mode=ro&immutable=1"
    with closing(sqlite3.connect(location, uri=True)) as connection:
        if not connection.execute(_HAS_UPDATES.format(schema="main")).fetchall():
            return None
        known = "SELECT 1 FROM updates WHERE content = ?"
        if not connection.execute(known, (content,)).fetchall():
            return None
        rows = connection.execute(_SINCE, {"content": content}).fetchall()
    return Changes.of([reach for reach, _ in rows], [wkb for _, wkb in rows])


def _note(fresh: Path, before: Path, content: str) -> UpdateSummary:
    """Write into a fresh store how it differs from the one before."""
    with closing(sqlite3.connect(fresh.as_uri(), uri=True)) as connection, connection:
        location = f"{before.resolve().as_uri()}?mode=ro&immutable=1"
        connection.execute("ATTACH DATABASE ? AS before", (location,))
        connection.executescript(_TABLES)
        if connection.execute(_HAS_UPDATES.format(schema="before")).fetchall():
            connection.executescript(_PAST)
        came = _differing(connection, "main", "before")
        went = _differing(connection, "before", "main")
        changes = _changes(went, came)
        query = "INSERT INTO updates (content) VALUES (?)"
        number = connection.execute(query, (content,)).lastrowid
        connection.executemany(
            "INSERT INTO changed (number, reach_m, wkb) VALUES (?, ?, ?)",
            [(number, *row) for row in zip(changes.reach_m.tolist(), changes.wkb, strict=True)],
        )
    return UpdateSummary((came - went).total(), (went - came).total(), changes)


def _differing(connection: sqlite3.Connection, one: str, other: str) -> Counter[Feature]:
    rows = connection.execute(_DIFFER.format(one=one, other=other))
    return Counter({(channel, width, geom): count for channel, width, geom, count in rows})


def _changes(went: Iterable[Feature], came: Iterable[Feature]) -> Changes:
    """Return where features differ: pairs of which one became the other are compared."""
    reaches: list[float] = []
    changed: list[bytes] = []
    both = [(*feature, False) for feature in went] + [(*feature, True) for feature in came]
    shapes = shapely.from_wkb(objects([wkb_of(geom) for _, _, geom, _ in both]))
    for rows in _neighbours(both, shapes):
        before = [shapes[row] for row in rows if not both[row][3]]
        after = [shapes[row] for row in rows if both[row][3]]
        one = len(before) <= 1 and len(after) <= 1
        found = difference(before, after) if one else [*before, *after]
        parts = shapely.get_parts(shapely.get_parts(found))
        width = both[rows[0]][1]
        reaches += [width if shapely.get_dimensions(shapes[rows[0]]) == 0 else width / 2] * len(
            parts
        )
        changed += [part.wkb for part in parts]
    return Changes.of(reaches, changed)


def _neighbours(
    features: Sequence[tuple[int, float, bytes, bool]], shapes: Sequence[BaseGeometry]
) -> Iterator[list[int]]:
    """Yield the rows of features of one channel, width and dimension whose boxes are connected."""
    kinds = [
        (channel, width, int(shapely.get_dimensions(shape)))
        for (channel, width, _, _), shape in zip(features, shapes, strict=True)
    ]
    boxes = shapely.box(*shapely.bounds(shapes).reshape(-1, 4).T)
    one, other = shapely.STRtree(boxes).query(boxes, predicate="intersects")
    same = [kinds[a] == kinds[b] for a, b in zip(one.tolist(), other.tolist(), strict=True)]
    one, other = one[same], other[same]
    graph = coo_array((np.ones(len(one)), (one, other)), shape=(len(kinds), len(kinds)))
    _, label = connected_components(graph, directed=False)
    order = np.argsort(label, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(label[order])) + 1):
        if len(rows):
            yield rows.tolist()
