"""From OSM extracts to a PostGIS store.

What was gathered of the extracts is copied into the tables of a store (schema `store`). With `slim`
osm2pgsql reads the extract as well, into raw tables (schema `raw`), which updates need.

Both schemas are new. They replace the store before in one transaction, so a reader sees the one or
the other, and a killed import leaves the one before.
"""

import hashlib
import secrets
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import shapely

from tiling.catalogue.catalogue import Catalogue
from tiling.errors import StoreError
from tiling.osm.apply import replication_of, require_one
from tiling.osm.gather.gather import Gathered, Progress, gathered
from tiling.osm.osm2pgsql import require_osm2pgsql, run_osm2pgsql
from tiling.osm.replication import complete_until
from tiling.store.postgis.database import Connection, Database
from tiling.store.postgis.extensions import require_extension
from tiling.store.postgis.statements import copy_lines, escaped, execute, rows
from tiling.store.store import ImportOptions, ImportSummary
from tiling.values import ATTRIBUTION, TileGeometry

STORE, RAW = "loc2vec", "loc2vec_raw"  # the schemas in use
FRESH = "loc2vec_import_"  # the prefix of schemas that an import fills
LOCK = 0x6C6F6332766563  # "loc2vec" in ASCII: the advisory lock of imports and updates
MEMORY = "256MB"  # for each sort and index
ROLES = ", or all of tiling/store/postgis/roles.sql"  # what else makes the extension

# `part` is the number of an extract; osm_type is N, W or R, and S for the sea.
_TABLES = """
CREATE TABLE extracts (
    id int PRIMARY KEY, name text NOT NULL, sha256 text NOT NULL, fingerprint text NOT NULL,
    attribution text NOT NULL, geom geometry(MultiPolygon, 4326) NOT NULL,
    frame geometry(Polygon, 4326) NOT NULL
);
CREATE TABLE updates (  -- row 0 is the import
    number int PRIMARY KEY, content text NOT NULL, source text NOT NULL, data_until timestamptz,
    replication text,  -- the URL that the extract names
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
_RECORD = """
INSERT INTO extracts
VALUES (%s, %s, %s, %s, %s, ST_GeomFromWKB(%s, 4326), ST_MakeEnvelope(%s, %s, %s, %s, 4326))
"""

_FINISH = """
ALTER TABLE features ADD PRIMARY KEY (id);
CREATE INDEX ON features USING gist (geom);
CREATE INDEX ON names USING gin (array_to_tsvector(string_to_array(folded, ' ')));
CREATE INDEX ON names (rank, lat, lon);
ANALYZE features, extracts, names;
"""
_FEATURES = "features (channel, width_m, osm_type, osm_id, geom)"
# A line in the text format of COPY, made by SQLite.
_FEATURE_LINE = """
channel || char(9) || width_m || char(9) || substr('NWRS', type + 1, 1) || char(9)
|| CASE type WHEN 3 THEN 0 ELSE id END || char(9) || hex(geom)
"""
_NAME = "type, id, version, name, folded, kind, rank, lat, lon"
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
    progress: Progress,
    options: ImportOptions,
) -> ImportSummary:
    """Make the store of a database, as `tiling.store.store.Store.import_extracts` has it."""
    if options.slim:
        require_one(paths)
        require_osm2pgsql()
    with (
        tempfile.TemporaryDirectory(prefix="loc2vec-") as folder,
        opened(database) as connection,
        _fresh_schemas(database, connection) as (store, raw),
    ):
        readers = [options.reader] if options.reader is not None else _readers(connection)
        for reader in readers:
            require_role(connection, reader)
        with gathered(paths, catalogue, Path(folder), progress, options.allow_loss) as found:
            execute(connection, _TABLES)
            _fill(connection, found, catalogue)
            summary = ImportSummary.of(found, catalogue)
        execute(connection, _FINISH)
        if options.slim:
            connection.commit()  # osm2pgsql sees only what is committed
            run_osm2pgsql(paths[0], catalogue, raw, database.environment(), ["--create"])
        _record(connection, paths, catalogue, options.slim)
        _put_in_use(connection, store, raw, options.slim)
        for reader in readers:
            grant(connection, reader)
        connection.commit()
    return summary


def _fill(connection: Connection, found: Gathered, catalogue: Catalogue) -> None:
    """Copy all that was gathered into the tables of a store, in its order."""
    features = found.stage.features(_FEATURE_LINE)
    copy_lines(connection, _FEATURES, (line for some in features for (line,) in some))
    names = (name for some in found.stage.names(_NAME) for name in some)
    lines = ("\t".join(escaped(str(value)) for value in name) for name in names)
    copy_lines(connection, "names", lines)
    for part, (record, frame) in enumerate(zip(found.extracts, found.frames, strict=True)):
        outline = shapely.MultiPolygon(list(shapely.get_parts(record.coverage)))
        fingerprint = catalogue.fingerprint(TileGeometry())
        facts = (part, record.name, record.sha256, fingerprint, ATTRIBUTION)
        execute(connection, _RECORD, (*facts, outline.wkb, *frame))


def _record(
    connection: Connection, paths: Sequence[Path], catalogue: Catalogue, slim: bool
) -> None:
    """Write down what the store was made from, which its content hash is made of."""
    made_of = [catalogue.fingerprint(TileGeometry()), *_hashes(connection)]
    if catalogue.carried is not None:
        execute(connection, _CATALOGUE, (catalogue.carried,))
        made_of.append(catalogue.carried)
    content = hashlib.sha256(repr(made_of).encode()).hexdigest()
    names = ", ".join(path.name for path in paths)
    known = (complete_until(paths[0]), replication_of(paths[0])) if slim else (None, None)
    execute(connection, "INSERT INTO updates VALUES (0, %s, %s, %s, %s)", (content, names, *known))


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


@contextmanager
def _fresh_schemas(database: Database, connection: Connection) -> Iterator[tuple[str, str]]:
    """Make two empty schemas, and drop them on any error.

    Those that killed imports have left are dropped first.
    """
    # Before the search path is ours: the extension belongs into the usual schema.
    require_extension(database, connection, "postgis", ROLES)
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


def _readers(connection: Connection) -> list[str]:
    """Return the roles, other than the owner, that may read the store that is there."""
    query = """
    SELECT DISTINCT grantee FROM information_schema.role_table_grants
    WHERE table_schema = %s AND table_name = 'features' AND privilege_type = 'SELECT'
    AND grantee <> current_user
    """
    return [str(name) for (name,) in rows(connection, query, (STORE,))]


def require_role(connection: Connection, reader: str) -> None:
    """Raise `StoreError` when there is no such role."""
    if not rows(connection, "SELECT FROM pg_roles WHERE rolname = %s", (reader,)):
        raise StoreError(
            f"there is no role {reader!r}: make it with tiling/store/postgis/roles.sql"
        )


def grant(connection: Connection, reader: str) -> None:
    """Let a role read the tables of the store, and nothing else."""
    ((role,),) = rows(connection, "SELECT quote_ident(%s)", (reader,))
    execute(connection, f"GRANT USAGE ON SCHEMA {STORE} TO {role}")
    execute(connection, f"GRANT SELECT ON ALL TABLES IN SCHEMA {STORE} TO {role}")
