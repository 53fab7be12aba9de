"""From OSM extracts to a PostGIS store.

osm2pgsql reads each extract into tables of its own (schema `raw`). They are completed and gathered
into the tables of a store (schema `store`). The sea is made and large polygons are cut in Python;
the database sorts.

Both schemas are new. They replace the store before in one transaction, so a reader sees the one or
the other, and a killed import leaves the one before. With `slim` the raw tables stay for updates.
"""

import hashlib
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from tiling.catalogue import Catalogue
from tiling.errors import ExtractError, StoreError, UserError
from tiling.files.atomic import require_file, sha256_of
from tiling.osm.coast import sea_polygons
from tiling.osm.coverage import coverage
from tiling.osm.extract import header_box
from tiling.osm.names import NamedObject, names_of
from tiling.osm.osm2pgsql import require_osm2pgsql, run_osm2pgsql
from tiling.osm.replication import complete_until
from tiling.store.pieces import MAX_VERTICES, cut
from tiling.store.postgis.database import Connection, Database, Rows
from tiling.store.store import ImportSummary
from tiling.values import ATTRIBUTION, Box, TileGeometry

STORE, RAW = "loc2vec", "loc2vec_raw"  # the schemas in use
FRESH = "loc2vec_import_"  # the prefix of schemas that an import fills
LOCK = 0x6C6F6332766563  # "loc2vec" in ASCII: the advisory lock of imports and updates
ROWS_AT_ONCE = 2000  # that are fetched from the database
MEMORY = "256MB"  # for each sort and index

# `part` is the number of an extract; osm_type is N, W or R, and S for the sea.
_TABLES = """
CREATE TABLE extracts (
    id int PRIMARY KEY, name text NOT NULL, sha256 text NOT NULL, fingerprint text NOT NULL,
    attribution text NOT NULL, geom geometry(MultiPolygon, 4326) NOT NULL,
    frame geometry(Polygon, 4326) NOT NULL
);
CREATE TABLE updates (  -- row 0 is the import
    number int PRIMARY KEY, content text NOT NULL, source text NOT NULL, data_until timestamptz,
    applied timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE changed (
    number int NOT NULL REFERENCES updates, reach_m real NOT NULL,
    geom geometry(Geometry, 4326) NOT NULL
);
CREATE TABLE features (
    id bigint GENERATED ALWAYS AS IDENTITY, channel smallint NOT NULL, width_m real NOT NULL,
    osm_type char(1) NOT NULL, osm_id bigint NOT NULL, geom geometry(Geometry, 4326) NOT NULL
);
CREATE TABLE names (  -- made from the tags of an object by tiling/osm/names.py
    osm_type char(1) NOT NULL, osm_id bigint NOT NULL, version int NOT NULL,
    name text NOT NULL, folded text NOT NULL,
    kind text NOT NULL, rank smallint NOT NULL, lat float8 NOT NULL, lon float8 NOT NULL
);
"""
_CATALOGUE = "CREATE TABLE catalogue (toml text NOT NULL); INSERT INTO catalogue VALUES (%s)"
# What becomes features: whole objects, and the pieces of large polygons.
GATHERED = """
CREATE {kind} TABLE gathered (
    part int NOT NULL, osm_type char(1) NOT NULL, area boolean NOT NULL, osm_id bigint NOT NULL,
    version int NOT NULL,
    channel smallint NOT NULL, width_m real NOT NULL, geom geometry(Geometry, 4326) NOT NULL
);
CREATE {kind} TABLE pieces (
    part int NOT NULL, osm_type char(1) NOT NULL, area boolean NOT NULL, osm_id bigint NOT NULL,
    channel smallint NOT NULL, width_m real NOT NULL, piece int NOT NULL,
    geom geometry(Geometry, 4326) NOT NULL
);
"""

# An extract that was cut out of a larger one lacks nodes and members. osm2pgsql skips a missing
# node and makes what it can of a multipolygon. A store keeps the runs of a line between its gaps,
# and no area that lacks a part, as `tiling.osm.extract` does.
#
# `suspect`: ways whose geometry has fewer points than nodes, and the members of all relations.
# `node`: their nodes, with the number of gaps before each and in all. `run`: the lines between
# the gaps.
_COMPLETE = """
CREATE TEMP TABLE gappy AS
WITH suspect AS (
    SELECT osm_id AS id FROM touched
    WHERE osm_type = 'W' AND nodes <> COALESCE(ST_NPoints(geom), 0)
    UNION SELECT osm_id FROM coastline WHERE nodes <> COALESCE(ST_NPoints(geom), 0)
    UNION SELECT member FROM touched JOIN planet_osm_rels AS r ON osm_type = 'R' AND r.id = osm_id,
        unnest(r.parts[r.way_off + 1 : r.rel_off]) AS member
), node AS (
    SELECT w.id, place, n.id IS NULL AS missing,
        n.lon / 1e7::float8 AS lon, n.lat / 1e7::float8 AS lat,
        count(*) FILTER (WHERE n.id IS NULL) OVER (PARTITION BY w.id ORDER BY place) AS run,
        count(*) FILTER (WHERE n.id IS NULL) OVER (PARTITION BY w.id) AS gaps
    FROM suspect JOIN planet_osm_ways AS w USING (id),
        unnest(w.nodes) WITH ORDINALITY AS u (node, place)
    LEFT JOIN planet_osm_nodes AS n ON n.id = u.node
), run AS (
    SELECT id, run, ST_RemoveRepeatedPoints(ST_SetSRID(
        ST_MakeLine(ST_MakePoint(lon, lat) ORDER BY place) FILTER (WHERE NOT missing), 4326)
    ) AS geom
    FROM node WHERE gaps > 0 GROUP BY id, run
)
SELECT id, ST_Multi(ST_Collect(geom ORDER BY run) FILTER (WHERE ST_Length(geom) > 0)) AS geom
FROM run GROUP BY id;

UPDATE drawn SET geom = gappy.geom FROM gappy
WHERE osm_type = 'W' AND NOT area AND osm_id = gappy.id;
UPDATE drawn SET geom = NULL FROM gappy WHERE osm_type = 'W' AND area AND osm_id = gappy.id;
UPDATE coastline SET geom = gappy.geom FROM gappy WHERE osm_id = gappy.id;
UPDATE drawn SET geom = NULL FROM planet_osm_rels AS r
WHERE osm_type = 'R' AND r.id = osm_id
AND (osm_type, osm_id) IN (SELECT osm_type, osm_id FROM touched)
AND EXISTS (
    SELECT FROM unnest(r.parts[r.way_off + 1 : r.rel_off]) AS member
    WHERE member IN (SELECT id FROM gappy)
    OR NOT EXISTS (SELECT FROM planet_osm_ways AS w WHERE w.id = member)
);
DROP TABLE gappy;
"""

_GATHER = """
INSERT INTO gathered SELECT %(part)s, osm_type, area, osm_id, version, channel, width_m,
    CASE WHEN area THEN ST_Multi(geom) ELSE geom END
FROM touched WHERE geom IS NOT NULL
"""
_SKIPPED = "SELECT count(DISTINCT (osm_type, area, osm_id)) FROM touched WHERE geom IS NULL"

_NAMED = """
CREATE TEMP TABLE incoming (LIKE names);
"""
_INCOMING = """
INSERT INTO incoming SELECT * FROM unnest(
    %s::text[], %s::bigint[], %s::int[], %s::text[], %s::text[], %s::text[], %s::int[],
    %s::float8[], %s::float8[])
"""
# Of an object in several extracts the names of the newest version count, of equal versions those of
# the first extract.
_PUT_NAMES = """
ANALYZE incoming;
DELETE FROM names USING incoming AS new
WHERE (names.osm_type, names.osm_id) = (new.osm_type, new.osm_id) AND names.version < new.version;
INSERT INTO names SELECT * FROM incoming AS new
WHERE NOT EXISTS (SELECT FROM names AS n WHERE (n.osm_type, n.osm_id) = (new.osm_type, new.osm_id));
DROP TABLE incoming;
"""

_RECORD = """
INSERT INTO extracts
VALUES (%s, %s, %s, %s, %s, ST_GeomFromWKB(%s, 4326), ST_MakeEnvelope(%s, %s, %s, %s, 4326))
"""

# Of an object in several extracts the newest version counts, of equal versions that of the first
# extract.
_NEWEST = """
DELETE FROM gathered USING (
    SELECT ctid AS row, row_number() OVER (
        PARTITION BY osm_type, area, osm_id, channel ORDER BY version DESC, part) AS rank
    FROM gathered
) AS ranked WHERE gathered.ctid = ranked.row AND rank > 1
"""

_IS_LARGE = "ST_Dimension(geom) = 2 AND ST_NPoints(geom) > %(max_vertices)s"
_LARGE = f"""
SELECT part, osm_type, area, osm_id, channel, width_m, ST_AsBinary(geom, 'NDR')
FROM gathered WHERE {_IS_LARGE}
ORDER BY strpos('NWRS', osm_type), osm_id, area, channel
"""  # noqa: S608 - constants
# The Morton code of the middle of each bounding box, as tiling/store/geopackage/import_.py has it.
_MORTON = """
CREATE FUNCTION pg_temp.spread(v bigint) RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN
    v := (v | (v << 16)) & x'0000FFFF0000FFFF'::bigint;
    v := (v | (v << 8)) & x'00FF00FF00FF00FF'::bigint;
    v := (v | (v << 4)) & x'0F0F0F0F0F0F0F0F'::bigint;
    v := (v | (v << 2)) & x'3333333333333333'::bigint;
    RETURN (v | (v << 1)) & x'5555555555555555'::bigint;
END $$;
CREATE FUNCTION pg_temp.scaled(v float8) RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN
    RETURN pg_temp.spread(trunc(greatest(0, least(1, v)) * 2147483647)::bigint);
END $$;
CREATE FUNCTION pg_temp.morton(g geometry) RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN
    RETURN pg_temp.scaled((ST_XMin(g) + ST_XMax(g) + 360) / 720)
        | (pg_temp.scaled((ST_YMin(g) + ST_YMax(g) + 180) / 720) << 1);
END $$;
"""
_FEATURES = f"""
SELECT channel, width_m, osm_type, CASE osm_type WHEN 'S' THEN 0 ELSE osm_id END AS osm_id, geom
FROM (
    SELECT part, osm_type, area, osm_id, channel, width_m, 0 AS piece, geom
    FROM gathered WHERE NOT ({_IS_LARGE})
    UNION ALL SELECT * FROM pieces
) AS everything
ORDER BY pg_temp.morton(geom), piece > 0, strpos('NWRS', osm_type), osm_id, area, channel, piece
"""  # noqa: S608 - constants
_FINISH = """
DROP TABLE gathered, pieces;
ALTER TABLE features ADD PRIMARY KEY (id);
CREATE INDEX ON features USING gist (geom);
CREATE INDEX ON names USING gin (array_to_tsvector(string_to_array(folded, ' ')));
ANALYZE features, extracts, names;
"""
# With `slim`: indexes that find the features of an object, and triggers on the raw tables that log
# the objects which osm2pgsql touches ('S' is the sea).
_WATCH = """
CREATE INDEX ON loc2vec.features (osm_id, osm_type);
CREATE INDEX ON loc2vec.names (osm_id, osm_type);
CREATE TABLE loc2vec_raw.log (osm_type char(1), osm_id bigint, PRIMARY KEY (osm_type, osm_id));
CREATE FUNCTION loc2vec_raw.note_object() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE object record; BEGIN
    IF TG_OP = 'DELETE' THEN object := OLD; ELSE object := NEW; END IF;
    INSERT INTO loc2vec_raw.log VALUES (object.osm_type, object.osm_id) ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
CREATE FUNCTION loc2vec_raw.note_coastline() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO loc2vec_raw.log VALUES ('S', 0) ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
CREATE TRIGGER note AFTER INSERT OR DELETE ON loc2vec_raw.drawn
    FOR EACH ROW EXECUTE FUNCTION loc2vec_raw.note_object();
CREATE TRIGGER note AFTER INSERT OR DELETE ON loc2vec_raw.named
    FOR EACH ROW EXECUTE FUNCTION loc2vec_raw.note_object();
CREATE TRIGGER note AFTER INSERT OR DELETE ON loc2vec_raw.coastline
    FOR EACH ROW EXECUTE FUNCTION loc2vec_raw.note_coastline();
"""


def import_extracts(
    database: Database,
    paths: Sequence[Path],
    catalogue: Catalogue,
    progress: Callable[[int], object],
    slim: bool,
    reader: str | None,
) -> ImportSummary:
    """Make the store of a database, as `tiling.store.store.Store.import_extracts` has it."""
    if slim and len(paths) > 1:
        raise UserError(
            "--slim takes one extract: merge them first, with `osmium merge` or `osmium extract`"
        )
    require_osm2pgsql()
    for path in paths:
        require_file(path, ExtractError, "give the path of an .osm.pbf extract")
    with (
        opened(database) as connection,
        _fresh_schemas(database, connection) as (store, raw),
    ):
        execute(connection, _TABLES + GATHERED.format(kind="UNLOGGED"))
        skipped = 0
        for part, path in enumerate(paths):
            if part:
                execute(connection, f"DROP SCHEMA {raw} CASCADE; CREATE SCHEMA {raw}")
            connection.commit()  # osm2pgsql sees only what is committed
            options = ["--create", *(["--extra-attributes"] if len(paths) > 1 else [])]
            run_osm2pgsql(path, catalogue, raw, database.environment(), options)
            skipped += _take_part(connection, part, path, catalogue, progress)
        summary = _order(connection, catalogue, len(paths), skipped)
        made_of = [catalogue.fingerprint(TileGeometry()), *_hashes(connection)]
        if catalogue.carried is not None:
            execute(connection, _CATALOGUE, (catalogue.carried,))
            made_of.append(catalogue.carried)
        content = hashlib.sha256(repr(made_of).encode())
        names = ", ".join(path.name for path in paths)
        until = complete_until(paths[0]) if slim else None
        execute(
            connection,
            "INSERT INTO updates VALUES (0, %s, %s, %s)",
            (content.hexdigest(), names, until),
        )
        _put_in_use(connection, store, raw, slim)
        if reader is not None:
            grant(connection, reader)
        connection.commit()
    return summary


@contextmanager
def opened(database: Database) -> Iterator[Connection]:
    """Connect as the owner of the store; `StoreError` while another import or update runs."""
    connection = database.connect()
    try:
        with database.failing():
            if not rows(connection, "SELECT pg_try_advisory_lock(%s)", (LOCK,))[0][0]:
                raise StoreError(
                    f"another import or update of {database.location} is running: wait for it"
                )
            yield connection
    finally:
        connection.close()


def _require_postgis(database: Database, connection: Connection) -> None:
    if rows(connection, "SELECT FROM pg_extension WHERE extname = 'postgis'"):
        return
    try:
        with database.failing():
            execute(connection, "CREATE EXTENSION postgis")
    except StoreError as error:
        advice = (
            "let a superuser run CREATE EXTENSION postgis in it, "
            "or all of tiling/store/postgis/roles.sql"
        )
        raise StoreError(f"{error}: {advice}") from error


@contextmanager
def _fresh_schemas(database: Database, connection: Connection) -> Iterator[tuple[str, str]]:
    """Make two empty schemas, and drop them on any error.

    Those that killed imports have left are dropped first.
    """
    # Before the search path is ours: the extension belongs into the usual schema.
    _require_postgis(database, connection)
    _drop_fresh(connection)
    # The names are random, because an osm2pgsql may outlive its import and go on writing.
    token = secrets.token_hex(4)
    store, raw = f"{FRESH}{token}", f"{FRESH}{token}_raw"
    execute(connection, f"CREATE SCHEMA {store}; CREATE SCHEMA {raw}")
    use(connection, store, raw)
    try:
        yield store, raw
    except BaseException:
        with suppress(Exception):  # the first error counts, and the next import cleans again
            connection.rollback()
            _drop_fresh(connection)
            connection.commit()
        raise


def _drop_fresh(connection: Connection) -> None:
    query = "SELECT quote_ident(nspname) FROM pg_namespace WHERE starts_with(nspname, %s)"
    for (name,) in rows(connection, query, (FRESH,)):
        execute(connection, f"DROP SCHEMA {name} CASCADE")


def use(connection: Connection, store: str, raw: str) -> None:
    """Let the names of tables mean those of two schemas, before the database's search path."""
    execute(
        connection,
        "SELECT set_config('search_path', %s || ', ' || current_setting('search_path'), false), "
        "set_config('maintenance_work_mem', %s, false), set_config('work_mem', %s, false)",
        (f"{store}, {raw}", MEMORY, MEMORY),
    )


def _take_part(
    connection: Connection,
    part: int,
    path: Path,
    catalogue: Catalogue,
    progress: Callable[[int], object],
) -> int:
    """Gather what osm2pgsql read of one extract, its sea, its record and its names.

    Return the number of objects without a geometry.
    """
    execute(connection, "ANALYZE drawn, named, planet_osm_ways, planet_osm_nodes")
    execute(connection, "CREATE TEMP VIEW touched AS SELECT * FROM drawn")
    skipped = gather(connection, part)
    execute(connection, "DROP VIEW touched")
    query = "SELECT ST_AsBinary(geom, 'NDR') FROM gathered WHERE part = %s"
    vertices = []
    for (wkb,) in columns(connection, query, (part,)):
        vertices.append(shapely.get_coordinates(shapely.from_wkb(wkb)))
        progress(len(wkb))
    if not vertices:
        raise ExtractError(
            f"{path} holds nothing that the channel catalogue draws: is it the right extract?"
        )
    declared = header_box(path)
    area = coverage(np.concatenate(vertices), declared)
    outline = shapely.MultiPolygon(list(shapely.get_parts(area)))
    record = (
        part,
        path.name.split(".")[0],
        sha256_of(path),
        catalogue.fingerprint(TileGeometry()),
        ATTRIBUTION,
    )
    frame = declared or Box(*area.bounds)
    execute(connection, _RECORD, (*record, outline.wkb, *frame))
    gather_sea(connection, part, frame, catalogue)
    gather_names(connection, "named", area)
    return skipped


def gather(connection: Connection, part: int) -> int:
    """Complete and gather the objects of the view `touched`; return how many have no geometry."""
    execute(connection, _COMPLETE)
    execute(connection, _GATHER, {"part": part})
    return int(rows(connection, _SKIPPED)[0][0])


def gather_names(connection: Connection, named: str, area: BaseGeometry) -> None:
    """Put the names of those objects of the table `named` that lie in `area` into the store."""
    execute(connection, _NAMED)
    query = f"SELECT osm_type, osm_id, version, tags, ST_AsBinary(geom, 'NDR') FROM {named}"  # noqa: S608 - ours
    for some in columns(connection, query, None):
        objects = [NamedObject(*record) for record in zip(*some, strict=True)]
        found = [
            (item.osm_type, item.osm_id, item.version, *name)
            for item, name in names_of(objects, area)
        ]
        if found:
            execute(connection, _INCOMING, [list(column) for column in zip(*found, strict=True)])
    execute(connection, _PUT_NAMES)


def gather_sea(connection: Connection, part: int, frame: Box, catalogue: Catalogue) -> None:
    """Gather the parts of `frame` that are sea, by the coastline that osm2pgsql read."""
    query = "SELECT ST_AsBinary(geom, 'NDR') FROM coastline WHERE geom IS NOT NULL ORDER BY osm_id"
    sea = sea_polygons([bytes(wkb) for (wkb,) in rows(connection, query)], frame)
    first = part * 1_000_000  # the sea has no OSM ids
    faces = (
        (part, "S", True, first + n, 0, catalogue.sea_channel, 0.0, face)
        for n, face in enumerate(sea)
    )
    copy_into(connection, "gathered", faces)


def _order(connection: Connection, catalogue: Catalogue, parts: int, skipped: int) -> ImportSummary:
    """Make the features of all that was gathered, and their indexes."""
    if parts > 1:
        execute(connection, _NEWEST)
    make_features(connection, "features (channel, width_m, osm_type, osm_id, geom)")
    execute(connection, _FINISH)
    counts: dict[int, int] = dict(
        rows(connection, "SELECT channel, count(*) FROM features GROUP BY channel")
    )
    areas = [
        bytes(wkb) for (wkb,) in rows(connection, "SELECT ST_AsBinary(geom, 'NDR') FROM extracts")
    ]
    return ImportSummary(
        sum(counts.values()),
        {name: counts.get(channel, 0) for channel, name in enumerate(catalogue.channels)},
        skipped,
        Box(*shapely.total_bounds(shapely.from_wkb(areas)).tolist()),
    )


def make_features(connection: Connection, target: str) -> None:
    """Fill a table with what was gathered: large polygons are cut, and all is sorted."""
    execute(connection, "ANALYZE gathered")
    execute(connection, _MORTON)
    for *key, wkb in columns(connection, _LARGE, {"max_vertices": MAX_VERTICES}):
        whole = shapely.make_valid(shapely.from_wkb(wkb))
        pieces = (
            (*of, n, piece)
            for *of, g in zip(*key, whole, strict=True)
            for n, piece in enumerate(cut(g), 1)
        )
        copy_into(connection, "pieces", pieces)
    execute(connection, f"INSERT INTO {target} {_FEATURES}", {"max_vertices": MAX_VERTICES})


def _hashes(connection: Connection) -> list[str]:
    return [row[0] for row in rows(connection, "SELECT sha256 FROM extracts ORDER BY id")]


def _put_in_use(connection: Connection, store: str, raw: str, slim: bool) -> None:
    """Replace the store before by the fresh schemas; others see it when the transaction ends."""
    execute(
        connection, f"DROP SCHEMA IF EXISTS {STORE} CASCADE; DROP SCHEMA IF EXISTS {RAW} CASCADE"
    )
    execute(connection, f"ALTER SCHEMA {store} RENAME TO {STORE}")
    if slim:
        execute(connection, f"ALTER SCHEMA {raw} RENAME TO {RAW}")
        execute(connection, _WATCH)
    else:
        execute(connection, f"DROP SCHEMA {raw} CASCADE")


def grant(connection: Connection, reader: str) -> None:
    """Let a role read the tables of the store, and nothing else; `StoreError` for no role."""
    if not rows(connection, "SELECT FROM pg_roles WHERE rolname = %s", (reader,)):
        raise StoreError(
            f"there is no role {reader!r}: make it with tiling/store/postgis/roles.sql"
        )
    ((role,),) = rows(connection, "SELECT quote_ident(%s)", (reader,))
    execute(connection, f"GRANT USAGE ON SCHEMA {STORE} TO {role}")
    execute(connection, f"GRANT SELECT ON ALL TABLES IN SCHEMA {STORE} TO {role}")


def execute(connection: Connection, query: str, values: object = None) -> None:
    """Execute a statement and return nothing."""
    with connection.cursor() as cursor:
        cursor.execute(query, values)


def rows(connection: Connection, query: str, values: object = None) -> Rows:
    """Return all rows of a query."""
    with connection.cursor() as cursor:
        cursor.execute(query, values)
        found: Rows = cursor.fetchall()
    return found


def columns(connection: Connection, query: str, values: object) -> Iterator[list[list[Any]]]:
    """Yield the columns of `ROWS_AT_ONCE` rows at a time; the last column is WKB."""
    with connection.cursor(f"columns_{secrets.token_hex(4)}") as cursor:
        cursor.execute(query, values)
        while some := cursor.fetchmany(ROWS_AT_ONCE):
            *others, wkb = (list(column) for column in zip(*some, strict=True))
            yield [*others, [bytes(geometry) for geometry in wkb]]


def copy_into(connection: Connection, table: str, records: Iterable[tuple[Any, ...]]) -> None:
    """Append rows of plain values; the last value is a geometry."""
    lines = [
        "\t".join((*map(str, plain), shapely.to_wkb(geometry, hex=True)))
        for *plain, geometry in records
    ]
    if lines:
        with connection.cursor() as cursor:
            cursor.copy_expert(f"COPY {table} FROM STDIN", StringIO("\n".join(lines)))
