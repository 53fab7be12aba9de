"""Updates of a PostGIS store: applies a file of changes, and tells where features changed.

osm2pgsql changes its raw tables; triggers log the objects that it touched. Their features are made
again, as by an import. Those that differ replace the old ones in one transaction. An update that
was stopped is resumed by the next one, because its log is still there.
"""

import hashlib
import tempfile
from collections import defaultdict
from contextlib import ExitStack
from datetime import datetime
from functools import partial
from pathlib import Path

import shapely
from shapely.geometry.base import BaseGeometry

from tiling.catalogue.catalogue import Catalogue, carried_catalogue
from tiling.errors import StoreError
from tiling.files.atomic import sha256_of
from tiling.osm.osm2pgsql import require_osm2pgsql, run_osm2pgsql
from tiling.osm.replication import apply_all, tidy_changes
from tiling.store.changes import Changes, difference
from tiling.store.postgis.database import Connection, Database
from tiling.store.postgis.import_ import RAW, STORE, opened, use
from tiling.store.postgis.raw import gather, gather_names, gather_sea, make_features
from tiling.store.postgis.source import CATALOGUE, IS_THERE
from tiling.store.postgis.statements import copy_into, execute, rows
from tiling.store.store import UpdateSummary
from tiling.values import Box, TileGeometry

_FRESH = """
CREATE TEMP VIEW touched AS SELECT drawn.* FROM drawn JOIN log USING (osm_type, osm_id);
CREATE TEMP TABLE fresh (
    channel smallint, width_m real, osm_type char(1), osm_id bigint, geom geometry
);
"""
_FRESH_NAMES = """
CREATE TEMP VIEW renamed AS SELECT named.* FROM named JOIN log USING (osm_type, osm_id);
DELETE FROM names USING log WHERE (names.osm_type, names.osm_id) = (log.osm_type, log.osm_id);
"""
_DIFFER = """
CREATE TEMP TABLE stale AS
    SELECT id, channel, width_m, osm_type, osm_id, geom, ST_AsBinary(geom, 'NDR') AS wkb
    FROM features JOIN log USING (osm_type, osm_id);
ALTER TABLE fresh ADD wkb bytea;
UPDATE fresh SET wkb = ST_AsBinary(geom, 'NDR');
CREATE TEMP TABLE went AS SELECT stale.*
    FROM stale LEFT JOIN fresh USING (channel, width_m, osm_type, osm_id, wkb)
    WHERE fresh.geom IS NULL;
CREATE TEMP TABLE came AS SELECT fresh.*
    FROM fresh LEFT JOIN stale USING (channel, width_m, osm_type, osm_id, wkb)
    WHERE stale.geom IS NULL;
"""
_BEFORE_AND_AFTER = """
WITH differing AS (
    SELECT osm_type, osm_id, channel, width_m FROM went
    UNION SELECT osm_type, osm_id, channel, width_m FROM came
), piece AS (
    SELECT osm_type, osm_id, channel, width_m, false AS after, wkb FROM stale
    UNION ALL SELECT osm_type, osm_id, channel, width_m, true, wkb FROM fresh
)
SELECT osm_type, osm_id, width_m, channel, after, wkb
FROM piece JOIN differing USING (osm_type, osm_id, channel, width_m)
ORDER BY osm_type, osm_id, channel, width_m
"""
_REPLACE = """
DELETE FROM features USING went WHERE features.id = went.id;
INSERT INTO features (channel, width_m, osm_type, osm_id, geom)
SELECT channel, width_m, osm_type, osm_id, geom FROM came;
DELETE FROM log;
"""
_NOTE = """
INSERT INTO updates (number, content, source, data_until)
SELECT number + 1, %s, %s, COALESCE(%s, data_until)
FROM updates ORDER BY number DESC LIMIT 1 RETURNING number
"""


def apply_changes(
    database: Database, path: Path, complete_until: datetime | None = None
) -> UpdateSummary:
    """Apply a file of changes, as `tiling.store.store.Store.update` has it.

    `complete_until`: the time up to which the store then has all changes.
    """
    require_osm2pgsql()
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="loc2vec-"))
        tidy = Path(folder) / path.name  # the name that an error tells
        tidy_changes(path, tidy)
        connection = stack.enter_context(opened(database))
        catalogue = _catalogue(connection, database)
        connection.commit()  # so that nothing is locked for osm2pgsql
        run_osm2pgsql(tidy, catalogue, RAW, database.environment(), ["--append"])
        use(connection, STORE, RAW)
        summary = _renew(connection, catalogue)
        content = hashlib.sha256(f"{_content(connection)} {sha256_of(path)}".encode()).hexdigest()
        ((number,),) = rows(connection, _NOTE, (content, path.name, complete_until))
        changed = zip(
            summary.changes.reach_m.tolist(), shapely.from_wkb(summary.changes.wkb), strict=True
        )
        copy_into(connection, "changed", ((number, reach, geometry) for reach, geometry in changed))
        connection.commit()
    return summary


def apply_replication(database: Database, url: str) -> UpdateSummary:
    """Apply all changes that a replication server has and the store has not."""
    apply = partial(apply_changes, database)
    return UpdateSummary.of(apply_all(url, _complete_until(database), apply))


def _complete_until(database: Database) -> datetime:
    with opened(database) as connection:
        ((until,),) = rows(connection, "SELECT max(data_until) FROM loc2vec.updates")
        if until is None:
            raise StoreError(
                f"{database.location} does not know of when its extract is: give a file of changes"
            )
        found: datetime = until
        return found


def _catalogue(connection: Connection, database: Database) -> Catalogue:
    """Return the catalogue of a store that can be updated."""
    ((is_there, has_catalogue),) = rows(connection, IS_THERE)
    if not is_there:
        raise database.holds_no_store()
    text = str(rows(connection, CATALOGUE)[0][0]) if has_catalogue else None
    catalogue = carried_catalogue(text, database.location)
    ((fingerprint,),) = rows(connection, "SELECT min(fingerprint) FROM loc2vec.extracts")
    catalogue.check(database.location, fingerprint, TileGeometry())
    if not rows(connection, "SELECT WHERE to_regclass(%s) IS NOT NULL", (f"{RAW}.named",)):
        raise StoreError(
            f"{database.location} cannot be updated: import its extract again, with --slim"
        )
    return catalogue


def _content(connection: Connection) -> str:
    return str(rows(connection, "SELECT content FROM updates ORDER BY number DESC LIMIT 1")[0][0])


def _renew(connection: Connection, catalogue: Catalogue) -> UpdateSummary:
    """Make the features of the logged objects again, and replace those that differ."""
    execute(connection, _FRESH)
    gather(connection)
    if rows(connection, "SELECT FROM log WHERE osm_type = 'S'"):
        query = (
            "SELECT ST_XMin(frame), ST_YMin(frame), ST_XMax(frame), ST_YMax(frame) FROM extracts"
        )
        gather_sea(connection, Box(*rows(connection, query)[0]), catalogue)
    execute(connection, _FRESH_NAMES)
    gather_names(connection, "renamed", _area(connection))
    make_features(connection, "fresh")
    execute(connection, _DIFFER)
    ((came, went),) = rows(
        connection, "SELECT (SELECT count(*) FROM came), (SELECT count(*) FROM went)"
    )
    changes = _changes(connection)
    execute(connection, _REPLACE)
    return UpdateSummary(came, went, changes)


def _area(connection: Connection) -> BaseGeometry:
    # A store with `slim` has one extract.
    ((wkb,),) = rows(connection, "SELECT ST_AsBinary(geom, 'NDR') FROM extracts")
    return shapely.from_wkb(bytes(wkb))


def _changes(connection: Connection) -> Changes:
    """Return where the old and the new features of each object differ, channel by channel."""
    before: dict[tuple[object, ...], list[BaseGeometry]] = defaultdict(list)
    after: dict[tuple[object, ...], list[BaseGeometry]] = defaultdict(list)
    for osm_type, osm_id, width, channel, is_after, wkb in rows(connection, _BEFORE_AND_AFTER):
        geometry = shapely.from_wkb(bytes(wkb))
        dimension = int(shapely.get_dimensions(geometry))
        reach = width if dimension == 0 else width / 2
        (after if is_after else before)[osm_type, osm_id, channel, dimension, reach].append(
            geometry
        )
    reaches: list[float] = []
    changed: list[bytes] = []
    for key in before.keys() | after.keys():
        parts = shapely.get_parts(shapely.get_parts(difference(before[key], after[key])))
        reaches += [float(str(key[-1]))] * len(parts)
        changed += [part.wkb for part in parts]
    return Changes.of(reaches, changed)
