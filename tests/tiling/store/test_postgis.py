"""The PostGIS store: equal to a GeoPackage, written whole or not at all, and safe."""

import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psycopg2
import pytest
from click.testing import CliRunner

from service.cli.main import main
from tests.postgres import PASSWORD, Server
from tests.tiling.handmade import GROUND, opl
from tiling.catalogue.catalogue import load_catalogue
from tiling.dataset.job import TileJob
from tiling.dataset.places import sample_places
from tiling.errors import (
    ExtractError,
    FingerprintError,
    StoreError,
    StoreUnavailableError,
    UserError,
)
from tiling.osm.osm2pgsql import lua_string
from tiling.render.renderer import Renderer
from tiling.store.postgis.database import Database
from tiling.store.source import FeatureSource
from tiling.store.store import ImportOptions, Store, without_secrets
from tiling.values import Box, LonLat, Pose

WORLD = Box(-180, -90, 180, 90)
SHARED = Path(__file__).parents[4] / "shared" / "osm"
N_PLACES = 200


def test_both_stores_hold_the_same_in_the_same_order(
    monaco: FeatureSource, monaco_database: str
) -> None:
    ours = monaco.features(WORLD)
    with Store.at(monaco_database).open() as source:
        theirs = source.features(WORLD)
        assert source.coverage.equals_exact(monaco.coverage)
        assert source.fingerprint == monaco.fingerprint
        np.testing.assert_array_equal(source.outline().channel, monaco.outline().channel)
        some = np.array([7, 3, 5])
        np.testing.assert_array_equal(source.geometries(some), monaco.geometries(some))
        assert len(source.features(Box(0, 0, 1, 1))) == 0
        large, rounded = (
            set(store.features(WORLD, 0.001).wkb.tolist()) for store in (source, monaco)
        )
        assert 0 < len(large) < len(ours) / 10
        assert large <= rounded  # SQLite's R-tree holds float32, rounded outwards
        assert len(rounded - large) < 5
    np.testing.assert_array_equal(theirs.channel, ours.channel)
    np.testing.assert_array_equal(theirs.width_m, ours.width_m)
    np.testing.assert_array_equal(theirs.wkb, ours.wkb)
    assert len(Store.at(monaco_database).content_hash()) == 64


def test_the_table_is_indexed_clustered_and_analysed(server: Server, monaco_database: str) -> None:
    index = (
        "SELECT indexdef FROM pg_indexes WHERE schemaname = 'loc2vec' AND tablename = 'features'"
    )
    assert "USING gist (geom)" in server.psql(index, "monaco")
    known = "SELECT reltuples::int FROM pg_class WHERE oid = 'loc2vec.features'::regclass"
    assert server.psql(known, "monaco") == server.psql(
        "SELECT count(*) FROM loc2vec.features", "monaco"
    )
    near = """SELECT avg(ST_Distance(a.geom, b.geom)) < avg(ST_Distance(a.geom, c.geom)) / 10
        FROM loc2vec.features a
        JOIN loc2vec.features b ON b.id = a.id + 1
        JOIN loc2vec.features c ON c.id = (a.id * 7919) % 5000 + 1"""
    assert server.psql(near, "monaco") == "t", "rows that follow each other lie near each other"


@pytest.mark.parametrize("name", ["monaco", "helsinki_centre_fi", "liechtenstein"])
def test_both_stores_give_the_same_tiles(
    name: str, server: Server, database: str, monaco_pbf: Path, tmp_path: Path
) -> None:
    extract = monaco_pbf if name == "monaco" else SHARED / f"{name}.osm.pbf"
    if not extract.is_file():
        pytest.skip(f"no {extract}")
    file = tmp_path / "store.gpkg"
    Store.at(file).import_extracts([extract], load_catalogue())
    Store.at(server.url(database)).import_extracts([extract], load_catalogue())
    with Store.at(file).open() as ours, Store.at(server.url(database)).open() as theirs:
        drawn = sample_places([ours], N_PLACES, TileJob(()).margin_m, seed=0)
        places = [LonLat(*p) for p in zip(drawn.lon.tolist(), drawn.lat.tolist(), strict=True)]
        a, b = (
            np.concatenate(
                [renderer.tiles(place, [Pose(place.lat, place.lon)]) for place in places]
            )
            for renderer in (Renderer(ours), Renderer(theirs))
        )
    assert len(places) == N_PLACES
    both, either = (
        np.minimum(a, b).sum((0, 2, 3), np.int64),
        np.maximum(a, b).sum((0, 2, 3), np.int64),
    )
    iou = np.where(either, both / np.maximum(either, 1), 1.0)
    # To be seen with -rP.
    print(
        f"{name}: IoU by channel {iou.round(6).tolist()}, "
        f"{(a == b).all((1, 2, 3)).sum()} of {len(a)} identical"
    )
    assert (either > 0).sum() >= 10, "the channels hold something to compare"
    assert (iou >= 0.999).all()
    assert (a == b).all()


def test_several_extracts_keep_the_newest_version(
    server: Server, database: str, tmp_path: Path
) -> None:
    nodes = "\n".join(
        f"n{n} v1 x{10 + n % 10 / 1000:.4f} y{n // 10 / 1000:.4f}" for n in range(1, 100)
    )
    older, newer = (tmp_path / f"{name}.osm.opl" for name in ("older", "newer"))
    ground = "\n".join(GROUND)
    older.write_text(
        f"{nodes}\n{ground}\nn5100 v1 x10.001 y0.005\nw1 v1 Tbuilding=yes Nn1,n2,n12,n11,n1\n"
        "w2 v3 Thighway=primary Nn31,n36,n9999,n77\n"
        "w3 v1 Tbuilding=yes Nn51,n52,n62,n5100\nw4 v1 Tbuilding=yes Nn71,n72,n73,n74\n"
    )
    newer.write_text(
        f"{nodes}\n{ground}\nw1 v2 Tbuilding=yes Nn1,n3,n23,n21,n1\n"
        "w2 v2 Thighway=primary Nn31,n32\n"
    )
    for paths in ([older, newer], [newer, older]):
        Store.at(tmp_path / "two.gpkg").import_extracts(paths, load_catalogue())
        summary = Store.at(server.url(database)).import_extracts(paths, load_catalogue())
        assert (
            summary.features == len(GROUND) + 3
        )  # w3 is closed by a second node in the place of its first
        with (
            Store.at(tmp_path / "two.gpkg").open() as ours,
            Store.at(server.url(database)).open() as theirs,
        ):
            a, b = ours.features(WORLD), theirs.features(WORLD)
            np.testing.assert_array_equal(a.channel, b.channel)
            np.testing.assert_array_equal(a.wkb, b.wkb)
    with pytest.raises(UserError, match="--slim takes one extract"):
        Store.at(server.url(database)).import_extracts(
            [older, newer], load_catalogue(), options=ImportOptions(slim=True)
        )


def test_a_store_of_another_catalogue_is_refused_also_while_it_is_open(
    server: Server, database: str, monaco_pbf: Path
) -> None:
    Store.at(server.url(database)).import_extracts([monaco_pbf], load_catalogue())
    with Store.at(server.url(database)).open() as source:
        assert len(source.features(WORLD)) > 5000
        server.psql("UPDATE loc2vec.extracts SET fingerprint = 'ffffffffffffffff'", database)
        with pytest.raises(FingerprintError, match="make it again"):
            source.features(Box(0, 0, 1, 1))
    with pytest.raises(FingerprintError):
        Store.at(server.url(database)).open()


# --- made whole or not at all


def schemas(server: Server, database: str) -> set[str]:
    return set(
        server.psql(
            "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'loc2vec%'", database
        ).split()
    )


@pytest.fixture
def filled(server: Server, database: str, monaco_database: str, monaco_pbf: Path) -> str:
    """The name of a database with a store of Monaco."""
    Store.at(server.url(database)).import_extracts([monaco_pbf], load_catalogue())
    return database


def test_a_killed_import_leaves_the_store_before_it(
    server: Server, filled: str, monaco_pbf: Path, tmp_path: Path
) -> None:
    url = server.url(filled)
    before = Store.at(url).content_hash()
    command = [
        sys.executable, "-m", "loc2vec", "import", str(monaco_pbf), "--store", url, "--slim"
    ]  # fmt: skip
    importing = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
    wanted = (
        "SELECT count(*) FROM pg_tables "
        "WHERE schemaname LIKE 'loc2vec_import_%' AND tablename = 'drawn'"
    )
    while server.psql(wanted, filled) == "0":
        assert importing.poll() is None
        time.sleep(0.01)
    importing.send_signal(signal.SIGKILL)  # and osm2pgsql goes on alone
    importing.wait()
    assert Store.at(url).content_hash() == before
    assert len(schemas(server, filled)) == 3
    Store.at(url).import_extracts([monaco_pbf], load_catalogue())
    assert schemas(server, filled) == {"loc2vec"}
    assert Store.at(url).content_hash() == before


def test_a_failed_import_leaves_the_store_before_it(
    server: Server, filled: str, monaco_pbf: Path, tmp_path: Path
) -> None:
    url = server.url(filled)
    before = Store.at(url).content_hash()
    whole = monaco_pbf.read_bytes()
    bad = {"text": b"hello", "empty": b"", "cut": whole[: len(whole) // 2]}
    for name, data in bad.items():
        path = tmp_path / f"{name}.osm.pbf"
        path.write_bytes(data)
        with pytest.raises(ExtractError, match=f"cannot read .*{name}"):
            Store.at(url).import_extracts([path], load_catalogue())
    bare = tmp_path / "bare.osm.opl"
    bare.write_text("n1 v1 x10 y0\n")
    for path, message in ((bare, "holds nothing"), (tmp_path / "none.osm.pbf", "is not a file")):
        with pytest.raises(ExtractError, match=message):
            Store.at(url).import_extracts([path], load_catalogue())
    with pytest.raises(StoreError, match="no role 'nobody here'"):
        Store.at(url).import_extracts(
            [monaco_pbf], load_catalogue(), options=ImportOptions(reader="nobody here")
        )
    assert schemas(server, filled) == {"loc2vec"}
    assert Store.at(url).content_hash() == before


def test_what_is_missing_is_named(
    server: Server, database: str, monaco_pbf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = server.url(database)
    with pytest.raises(StoreError, match="holds no store: make one with `loc2vec import"):
        Store.at(url).open()
    server.psql("DROP EXTENSION postgis CASCADE", database)
    with pytest.raises(StoreError, match="let a superuser run CREATE EXTENSION postgis"):
        Store.at(url).import_extracts([monaco_pbf], load_catalogue())
    superuser = f"postgresql://postgres@/{database}?host={server.folder}&port={server.port}"
    for _ in range(2):  # what it needs it makes, once and not in the store's own schema
        Store.at(superuser).import_extracts([monaco_pbf], load_catalogue())
    assert (
        server.psql(
            "SELECT extnamespace::regnamespace FROM pg_extension WHERE extname = 'postgis'",
            database,
        )
        == "public"
    )
    with pytest.raises(StoreError, match=r'database "nowhere" does not exist'):
        Store.at(server.url("nowhere")).open()
    with pytest.raises(StoreError, match="authentication failed") as wrong:
        Store.at(server.url(database).replace(PASSWORD, "wr0ng-word")).open()
    assert "wr0ng-word" not in str(wrong.value)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(UserError, match="apt install osm2pgsql"):
        Store.at(url).import_extracts(
            [monaco_pbf], load_catalogue(), options=ImportOptions(slim=True)
        )


def test_a_database_that_is_away_is_named_and_waited_for_so_long() -> None:
    start = time.monotonic()
    with pytest.raises(StoreUnavailableError, match="does not answer"):
        Store.at("postgresql://127.0.0.1:9/none").open(patience_s=0.5)
    assert 0.2 < time.monotonic() - start < 5


# --- of no use to an intruder


REFUSED = (
    "INSERT INTO loc2vec.extracts SELECT * FROM loc2vec.extracts",
    "UPDATE loc2vec.features SET channel = 1",
    "DELETE FROM loc2vec.features",
    "TRUNCATE loc2vec.features",
    "DROP TABLE loc2vec.features",
    "ALTER TABLE loc2vec.features ADD extra int",
    "CREATE TABLE public.mine (a int)",
    "CREATE TABLE loc2vec.mine (a int)",
    "CREATE TEMP TABLE mine (a int)",
    "CREATE SCHEMA mine",
    "CREATE FUNCTION public.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "COPY loc2vec.features TO PROGRAM 'cat'",
    "COPY loc2vec.features FROM PROGRAM 'echo'",
    "COPY loc2vec.features TO '/tmp/features'",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT pg_ls_dir('/')",
    "SELECT lo_import('/etc/passwd')",
    "SELECT lo_creat(-1)",
    "SELECT lo_from_bytea(0, 'mine')",
    "SELECT * FROM pg_authid",
    "SELECT count(*) FROM loc2vec_raw.drawn",
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE usename = 'postgres' AND pid <> pg_backend_pid()",
    "SET ROLE loc2vec",
    "SET SESSION AUTHORIZATION postgres",
    "ALTER ROLE loc2vec_api SUPERUSER",
    "ALTER SYSTEM SET jit = on",
    "SET temp_file_limit = -1",
    "CREATE EXTENSION dblink",
)


@pytest.fixture
def intruder(server: Server, slim_template: str) -> psycopg2.extensions.connection:
    """A session of the reader that has freed itself of what it may free itself of."""
    connection = psycopg2.connect(server.url(slim_template, "loc2vec_api"))
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM loc2vec.features")
        assert cursor.fetchone()[0] > 5000
        cursor.execute("SHOW default_transaction_read_only")
        assert cursor.fetchone() == ("on",)
        cursor.execute("SET default_transaction_read_only = off; SET statement_timeout = 0")
    yield connection
    connection.close()


@pytest.mark.parametrize("statement", REFUSED)
def test_the_reader_may_look_and_nothing_else(
    intruder: psycopg2.extensions.connection, statement: str
) -> None:
    with (
        intruder.cursor() as cursor,
        pytest.raises(psycopg2.Error, match=r"permission denied|must be"),
    ):
        cursor.execute(statement)


def seen_by_reader(server: Server, database: str) -> int:
    """Open a store as the reader, with no password but its own, and count the features."""
    with Store.at(server.url(database, "loc2vec_api")).open() as source:
        return len(source.features(WORLD))


def test_the_reader_keeps_its_right_when_the_store_is_made_again(
    server: Server, database: str, tmp_path: Path
) -> None:
    path, store = opl(tmp_path / "ground.osm.opl", GROUND), Store.at(server.url(database))
    store.import_extracts([path], load_catalogue())
    with pytest.raises(StoreError, match="permission denied"):
        seen_by_reader(server, database)
    for reader in ("loc2vec_api", None, None):
        store.import_extracts([path], load_catalogue(), options=ImportOptions(reader=reader))
        assert seen_by_reader(server, database) == len(GROUND)


def test_the_commands_of_the_docs_make_the_roles_on_a_fresh_cluster(server: Server) -> None:
    encoding = "SELECT pg_encoding_to_char(encoding) FROM pg_database WHERE datname = "
    assert server.psql(f"{encoding}'postgres'") == "SQL_ASCII", "this cluster has no locale"
    page = Path("docs/postgis.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"^sudo -u postgres (env (?:.*\\\n)*.*roles\.sql)$", page, re.MULTILINE)
    here = {"PGHOST": str(server.folder), "PGPORT": str(server.port), "PGUSER": "postgres"}
    for _ in range(2):
        subprocess.run(  # noqa: S602 - as the page says it
            command.replace("PASSWORD=...", f"PASSWORD={PASSWORD}"),
            shell=True, check=True, env={**os.environ, **here}, stdout=subprocess.DEVNULL,
        )  # fmt: skip
    assert server.psql(f"{encoding}'loc2vec'") == "UTF8"
    with pytest.raises(StoreError, match="holds no store"):
        Store.at(server.url("loc2vec", "loc2vec_api")).open()
    server.psql("DROP DATABASE loc2vec WITH (FORCE)")


def test_the_benchmark_of_stores_replaces_no_store(
    server: Server, monaco_database: str, monaco_pbf: Path
) -> None:
    owned = server.url("monaco")
    before = Store.at(monaco_database).content_hash()
    benchmark = runpy.run_path("benchmarks/stores.py")["main"]
    result = CliRunner().invoke(benchmark, ["--database", owned, str(monaco_pbf)])
    assert result.exit_code == 1
    assert "holds a store, which the benchmark would replace: give an empty data" in result.output
    assert Store.at(monaco_database).content_hash() == before


def test_the_reader_s_statements_end_in_time(server: Server, monaco_database: str) -> None:
    ended = (
        "SELECT pg_sleep(30)",
        "SELECT count(*) FROM generate_series(1, 1e12)",
        "SELECT count(*) FROM loc2vec.features a, loc2vec.features b, loc2vec.features c",
    )
    assert server.psql("SELECT rolconnlimit FROM pg_roles WHERE rolname = 'loc2vec_api'") == "64"
    limits = server.psql(
        "SELECT setconfig FROM pg_db_role_setting WHERE setrole = 'loc2vec_api'::regrole"
    )
    assert "statement_timeout=10s" in limits
    server.psql("ALTER ROLE loc2vec_api SET statement_timeout = '200ms'")
    try:
        with psycopg2.connect(monaco_database) as connection:
            for statement in ended:
                with connection.cursor() as cursor, pytest.raises(psycopg2.errors.QueryCanceled):
                    cursor.execute(statement)
                connection.rollback()
            server.psql("ALTER ROLE loc2vec_api CONNECTION LIMIT 1")
            with pytest.raises(psycopg2.OperationalError, match="too many connections for role"):
                psycopg2.connect(monaco_database)
        connection.close()
    finally:
        server.psql(
            "ALTER ROLE loc2vec_api SET statement_timeout = '10s'; "
            "ALTER ROLE loc2vec_api CONNECTION LIMIT 64"
        )


HOSTILE = (
    "'; DROP SCHEMA loc2vec CASCADE; --",
    '"] = true } } } os.execute("touch PWNED") --',
    "]] .. os.exit(1) .. [[",
    "%(part)s {0} $$ \\",
    "\\065\n\t\u0001",
    "naïve 地図",
)


def test_a_hostile_catalogue_is_only_data(server: Server, database: str, tmp_path: Path) -> None:
    text = (Path(load_catalogue.__code__.co_filename).parent / "catalogue.toml").read_text(
        encoding="utf-8"
    )
    marker = tmp_path / "pwned"
    words = [word.replace("PWNED", str(marker)) for word in HOSTILE]
    rules = "\n".join(
        f"    {{ on = 'area', width_m = 0, tags = {{ {quoted(word)} = [{quoted(word)}, 'b'] }},"
        f" without = {{ {quoted(word)} = ['c'] }} }},"
        for word in words
    )
    named, ruled = text.split('name = "buildings"')
    text = f"{named}name = {quoted(words[0])}" + ruled.replace(
        "rules = [", f"rules = [\n{rules}", 1
    )
    path = tmp_path / "hostile.toml"
    path.write_text(text, encoding="utf-8")
    catalogue = load_catalogue(path)
    escaped = ["".join(f"%{ord(c):x}%" for c in word) for word in words]
    nodes = "\n".join(
        f"n{n} v1 x{10 + n % 10 / 1000:.4f} y{n // 10 / 1000:.4f}" for n in range(1, 100)
    )
    ways = "\n".join(
        f"w{n} v1 T{word}={word if n % 2 else 'c'} Nn{n},n{n + 1},n{n + 11},n{n + 10},n{n}"
        for n, word in enumerate([*escaped, *escaped, "building"], 1)
    )
    extract = tmp_path / "hand.osm.opl"
    ground = "\n".join(GROUND)
    extract.write_text(
        f"{nodes}\n{ground}\n{ways.replace('building=c', 'building=yes')}\n", encoding="utf-8"
    )
    Store.at(tmp_path / "hand.gpkg").import_extracts([extract], catalogue)
    Store.at(server.url(database)).import_extracts([extract], catalogue)
    with (
        Store.at(tmp_path / "hand.gpkg").open() as ours,
        Store.at(server.url(database)).open() as theirs,
    ):
        a, b = ours.features(WORLD), theirs.features(WORLD)
    assert len(a) == len(words) + 1 + len(GROUND)
    np.testing.assert_array_equal(a.channel, b.channel)
    np.testing.assert_array_equal(a.wkb, b.wkb)
    assert not marker.exists()
    assert schemas(server, database) == {"loc2vec"}


def quoted(text: str) -> str:
    """Return a TOML string."""
    return '"' + "".join(f"\\u{ord(c):04x}" for c in text) + '"'


def test_lua_strings_are_letters_and_numbers() -> None:
    assert lua_string('a"\n]]é') == '"a\\034\\010\\093\\093\\195\\169"'
    assert set(lua_string("".join(map(chr, range(1, 500))))) <= set("\\\"_" + "".join(
        chr(c) for c in range(128) if chr(c).isalnum()))  # fmt: skip


# --- passwords


def test_no_password_shows(
    server: Server, monaco_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", "")  # restored afterwards
    assert PASSWORD in monaco_database
    out = tmp_path / "tiles"
    tile = [
        "tile",
        "--store",
        monaco_database,
        "--locations",
        "3",
        "--positives",
        "1",
        "--workers",
        "0",
    ]
    result = CliRunner().invoke(main, [*tile, "--out", str(out)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    told = result.output + "".join(path.read_text() for path in out.glob("*.json"))
    assert '"name": "monaco"' in told
    wrong = monaco_database.replace("/monaco", "/nothing")
    failed = CliRunner().invoke(
        main, ["tile", "--store", wrong, "--locations", "3", "--out", str(out)]
    )
    assert failed.exit_code == 2
    assert PASSWORD not in told + failed.output
    with Store.at(monaco_database).open() as source:
        assert PASSWORD not in source.location + source.name + repr(source)
        again = Store.at(source.location)  # the password is known to this process
        again.open().close()
        assert again.content_hash() == Store.at(monaco_database).content_hash()


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("postgresql://me:secret@db:5432/osm", "postgresql://me@db:5432/osm"),
        ("postgres://db/osm?user=me&pass%77ord=secret", "postgres://db/osm?user=me"),
        ("postgresql:///osm?host=/run/pg", "postgresql:///osm?host=/run/pg"),
        ("postgresql://me:se:cr:et@[::1]:5432", "postgresql://me@[::1]:5432"),
    ],
)
def test_urls_are_shown_without_secrets(given: str, shown: str) -> None:
    assert without_secrets(given) == shown
    assert Database(given).location == shown


def test_a_malformed_url_is_refused_without_showing_it() -> None:
    with pytest.raises(StoreError, match="no URL of a database") as error:
        Database("postgresql://me:sec ret@db/osm?nonsense=1")
    assert "ret" not in str(error.value).replace("secret", "").replace("postgresql", "")
    assert os.environ.get("PGPASSWORD") != "sec ret"
