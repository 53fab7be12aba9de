"""Vectors in a table of a real PostgreSQL."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

import loc2vec.embed.into_table
import loc2vec.embed.parts
from loc2vec.embed.batch import embed, places_of_file
from loc2vec.embed.files import write_vectors
from loc2vec.embed.into_table import embed_table, update_table
from loc2vec.embed.parts import EmbedJob
from loc2vec.embed.table import VectorTable
from loc2vec.encoder import LocationEncoder
from loc2vec.errors import VectorsError
from service.cli.main import main
from tests.commands import ROOT
from tests.postgres import PASSWORD, Server
from tiling.errors import StoreError
from tiling.store.postgis.statements import rows
from tiling.store.store import Store

ODD = "a\tb\\c\nd"
BLOCK = re.compile(r"^```sql\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.fixture
def points(tmp_path: Path) -> Path:
    """Twelve places of Monaco and one outside, with columns of many types."""
    path = tmp_path / "shops.parquet"
    n = 13
    columns: dict[str, Any] = {
        "lat": [43.7384 - 0.0008 * k for k in range(n - 1)] + [48.8566],
        "lon": [7.4246 - 0.0005 * k for k in range(n - 1)] + [2.3522],
        "kind": ["bakery", "bar"] * 6 + [None],
        'odd "name"': [ODD] * n,
        "price": [1.5, float("inf")] + [None] * 11,
        "rooms": list(range(n)),
        "open": [True] * n,
        "tags": [["x", None]] * n,
        "since": pa.array([1_700_000_000_123_456_789] * n, pa.timestamp("ns", "UTC")),
    }
    pq.write_table(pa.table(columns), path)
    return path


@pytest.fixture
def table(server: Server, database: str) -> VectorTable:
    return VectorTable(f"{server.url(database)}/places")


@pytest.fixture
def pgvector(server: Server, database: str) -> str:
    """A database with pgvector; the test is skipped where the server has none."""
    query = "SELECT count(*) FROM pg_available_extensions WHERE name = 'vector'"
    if server.psql(query) == "0":
        pytest.skip("no pgvector beside this PostgreSQL")
    server.psql("CREATE EXTENSION vector", database)
    return database


@pytest.fixture
def job(monaco_store: Path, model_folder: Path, points: Path) -> EmbedJob:
    return EmbedJob(Store.at(monaco_store), str(model_folder), points=points)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_a_table_holds_what_a_file_would(
    server: Server, database: str, table: VectorTable, job: EmbedJob, points: Path
) -> None:
    done = embed_table(job, table, 0)
    assert (done.places, done.embedded, done.outside) == (13, 13, 1)
    with job.store.open() as source:
        wanted = embed(source, LocationEncoder.load(job.model), places_of_file(points), 0)
    query = "SELECT embedding FROM places WHERE embedding IS NOT NULL ORDER BY place"
    texts = server.psql(query, database).split("\n")
    found = np.array([list(map(float, text.strip("()").split(","))) for text in texts])
    np.testing.assert_array_equal(found.astype(np.float32), wanted.embedding[:-1])
    row = r"""SELECT place, lat, kind, odd = E'a\tb\\c\nd', price, rooms, open, tags->>0, since,
        ST_X(geometry) = lon FROM (TABLE places) AS p (place, lat, lon, kind, odd)
        WHERE place = 1"""
    assert server.psql(row, database) == (
        "1|43.7376|bar|t|Infinity|1|t|x|2023-11-14 22:13:20.123456+00|t"
    )
    assert server.psql("SELECT to_regclass('places_loading') IS NULL", database) == "t"


def test_the_index_answers_as_numpy_does(
    server: Server, database: str, table: VectorTable, job: EmbedJob, points: Path
) -> None:
    embed_table(job, table, 0)
    with job.store.open() as source:
        vectors = embed(source, LocationEncoder.load(job.model), places_of_file(points), 0)
    distances = np.linalg.norm(vectors.embedding[:-1] - vectors.embedding[0], axis=1)
    query = """SET enable_seqscan = off; {} SELECT place FROM places WHERE embedding IS NOT NULL
        ORDER BY embedding <-> (SELECT embedding FROM places WHERE place = 0) LIMIT 5"""
    places = server.psql(query.format(""), database).split()
    assert list(map(int, places)) == np.argsort(distances, kind="stable")[:5].tolist()
    assert "places_loading_embedding_idx" in server.psql(query.format("EXPLAIN"), database)


def test_pgvector_holds_the_same_and_answers_the_same(
    server: Server, pgvector: str, table: VectorTable, job: EmbedJob, points: Path
) -> None:
    embed_table(job, table, 0)
    with job.store.open() as source:
        wanted = embed(source, LocationEncoder.load(job.model), places_of_file(points), 0).embedding
    query = "SELECT embedding FROM places ORDER BY place"
    texts = server.psql(query, pgvector).split("\n")  # nothing at the end: the place outside
    found = np.array([json.loads(text) for text in texts], np.float32)
    np.testing.assert_array_equal(found, wanted[:-1])
    nearest = """SET enable_seqscan = off; {} SELECT place FROM places
        ORDER BY embedding <-> (SELECT embedding FROM places WHERE place = 0) LIMIT 5"""
    places = server.psql(nearest.format(""), pgvector).split()
    distances = np.linalg.norm(wanted[:-1] - wanted[0], axis=1)
    assert list(map(int, places)) == np.argsort(distances, kind="stable")[:5].tolist()
    assert "places_loading_embedding_idx" in server.psql(nearest.format("EXPLAIN"), pgvector)
    mean = json.loads(server.psql("SELECT avg(embedding) FROM places", pgvector))
    np.testing.assert_allclose(mean, wanted[:-1].mean(axis=0), atol=1e-5)


def test_a_stopped_job_goes_on_and_ends_the_same(
    server: Server, database: str, table: VectorTable, job: EmbedJob,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    for module in (loc2vec.embed.parts, loc2vec.embed.into_table):
        monkeypatch.setattr(module, "PLACES_PER_PART", 5)

    def stop(done: int) -> None:
        raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            embed_table(job, table, 0, stop)
    assert server.psql("SELECT count(*) FROM places_loading", database) == "5"
    assert server.psql("SELECT to_regclass('places') IS NULL", database) == "t"
    assert embed_table(job, table, 0).embedded == 8
    once = VectorTable(f"{server.url(database)}/once")
    embed_table(job, once, 0)
    query = "SELECT count(*) FROM (TABLE places EXCEPT TABLE once) AS differing"
    assert (
        server.psql(query.replace("TABLE", "SELECT place, embedding::text FROM"), database) == "0"
    )
    assert embed_table(job, table, 0).embedded == 0, "it is there"


def test_what_is_there_is_never_lost(
    server: Server, database: str, table: VectorTable, job: EmbedJob, monaco_store: Path
) -> None:
    other = EmbedJob(job.store, job.model, metres=500.0)
    embed_table(job, table, 0)
    with pytest.raises(VectorsError, match="places exists: drop it, or update it"):
        embed_table(other, table, 0)
    server.psql("CREATE TABLE mine (a int)", database)
    server.psql("CREATE TABLE ours_loading (a int)", database)
    for name in ("mine", "ours"):
        with pytest.raises(VectorsError, match="that loc2vec did not make"):
            embed_table(job, VectorTable(f"{server.url(database)}/{name}"), 0)
    with table.opened(), pytest.raises(StoreError, match="another command is writing"):
        embed_table(job, table, 0)


def test_updates_reach_only_the_rows_whose_tiles_changed(
    server: Server, database: str, slim: str, change_file: Path, model_folder: Path
) -> None:
    table = VectorTable(f"{server.url(database)}/places")
    store = Store.at(slim)
    grid = EmbedJob(store, str(model_folder), metres=150.0)
    count = embed_table(grid, table, 0).places
    server.psql("CREATE TABLE before AS TABLE places", database)
    store.update(change_file)
    done = update_table(EmbedJob(store, str(model_folder)), table, 0)
    assert 0 < done.embedded < count == done.places
    embed_table(grid, VectorTable(f"{server.url(database)}/fresh"), 0)
    differing = """SELECT count(*) FROM places JOIN {} AS other USING (place)
        WHERE places.embedding <-> other.embedding > 0.005"""  # batches of other sizes differ less
    assert server.psql(differing.format("fresh"), database) == "0"
    assert 0 < int(server.psql(differing.format("before"), database)) <= done.embedded
    assert update_table(EmbedJob(store, str(model_folder)), table, 0).embedded == 0


def test_the_command_says_what_it_did_and_hides_the_password(
    server: Server, database: str, job: EmbedJob, points: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", "")
    url = f"{server.url(database)}/places"
    things = ("embed", "--store", job.store, "--model", job.model, "--workers", "0")
    done = run(*things, "--points", points, "--out", url)
    assert done.exit_code == 0, done.output
    assert f"13 places in {url.replace(f':{PASSWORD}', '')}, 13 embedded now" in done.stdout
    assert PASSWORD not in done.output
    again = run(*things, "--only-changed", url, "--out", url)
    assert "0 embedded now" in again.stdout, again.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--grid", "50", "--out", "postgresql://h/osm"], "is no URL of a table"),
        (["--grid", "50", "--out", "postgresql://h/osm/Bad-Name"], "with small letters"),
        (["--out", "postgresql://h/osm/t"], "give one of --points"),
        (["--grid", "50", "--out", "postgresql://h/osm/t", "--shard", "1/2"], "go with a folder"),
        (["--only-changed", "postgresql://h/a/t", "--out", "postgresql://h/b/t"], "in place"),
        (["--only-changed", "postgresql://h/a/t", "--out", "t.parquet"], "give --out postgres"),
    ],
)
def test_options_that_do_not_fit_are_said_at_once(arguments: list[str], said: str) -> None:
    done = run("embed", "--store", "none.gpkg", *arguments)
    assert done.exit_code == 2
    assert said in done.stderr


@pytest.mark.parametrize(("given", "taken"), [("64MB", "256MB"), ("300MB", "300MB")])
def test_indexes_get_the_memory_that_the_server_gives(
    server: Server, database: str, table: VectorTable, given: str, taken: str
) -> None:
    server.psql(f"ALTER DATABASE {database} SET maintenance_work_mem = '{given}'", database)
    with table.opened() as opened:
        assert rows(opened._connection, "SHOW maintenance_work_mem") == [(taken,)]


def test_the_sql_of_the_docs_runs(
    server: Server, database: str, table: VectorTable, job: EmbedJob
) -> None:
    embed_table(job, table, 0)
    server.psql(
        """CREATE TABLE districts AS SELECT name, ST_MakeEnvelope(w, 43.7, e, 43.8, 4326) AS geom
        FROM (VALUES ('Old Town', 7.0, 7.4222), ('New Town', 7.4222, 8.0)) AS t (name, w, e)""",
        database,
    )
    said = [server.psql(sql, database) for sql in BLOCK.findall((ROOT / "docs/sql.md").read_text())]
    assert len(said) == 6
    assert len(said[1].splitlines()) == 10
    assert {int(line.partition("|")[0]) % 2 for line in said[2].splitlines()} == {0}, "bakeries"
    assert said[4].startswith("New Town|")
    seen = "SELECT count(*) FROM places_seen WHERE embedding_1 IS NOT NULL"
    assert int(server.psql(seen, database)) > 0
    mean = server.psql(
        """SELECT cube_ll_coord(v.embedding, 3) = (
            SELECT avg(cube_ll_coord(p.embedding, 3)) FROM places AS p, districts AS d
            WHERE d.name = v.name AND ST_Covers(d.geom, p.geometry))
        FROM district_vectors AS v""",
        database,
    )
    assert mean.split() == ["t", "t"]


def test_duckdb_reads_the_parquet_as_the_docs_say(
    job: EmbedJob, points: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    with job.store.open() as source:
        vectors = embed(source, LocationEncoder.load(job.model), places_of_file(points), 0)
    write_vectors(tmp_path / "vectors.parquet", vectors)
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs/sql.md").read_text()
    (code,) = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    exec(code, {})  # noqa: S102 - of our own docs
    shown = capsys.readouterr().out
    assert "10 rows" in shown
    assert "43.7384" in shown
