"""A store by its location: its kind, what it costs to ask, and that a third kind takes one file."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from loc2vec.embed.files import read_vectors
from service.cli.main import main
from tests.postgres import PASSWORD
from tests.tiling.store.geoparquet import GeoParquetStore, write_geoparquet
from tiling.catalogue.catalogue import load_catalogue
from tiling.dataset.dataset import TileDataset
from tiling.errors import StoreError, StoreReplacedError, UserError
from tiling.store.geopackage.store import GeoPackageStore
from tiling.store.postgis.database import Pool
from tiling.store.postgis.store import PostgisStore
from tiling.store.source import FeatureSource
from tiling.store.store import KINDS, Store, StoreKind
from tiling.values import Box

PLACES = ((43.7384, 7.4246), (43.7311, 7.4202), (43.7396, 7.4277), (43.7277, 7.4157))


@pytest.mark.parametrize(
    ("location", "kind", "name"),
    [
        ("maps/region.gpkg", GeoPackageStore, "region"),
        ("postgresql://me:secret@db/osm?sslmode=require", PostgisStore, "osm"),
        ("postgres://db/osm", PostgisStore, "osm"),
    ],
)
def test_a_location_says_which_kind_of_store_it_is(
    location: str, kind: type[Store], name: str
) -> None:
    store = Store.at(location)
    assert type(store) is kind
    assert store.name == name
    assert store == Store.at(location) == pickle.loads(pickle.dumps(store))  # noqa: S301
    assert store != Store.at("other.gpkg")


def test_a_location_of_no_kind_is_refused_without_its_password() -> None:
    with pytest.raises(StoreError, match="a store is a file") as error:
        Store.at("mysql://me:secret@db/osm")
    assert "secret" not in str(error.value)


def test_no_password_shows_and_all_of_it_is_kept() -> None:
    store = Store.at("postgresql://me:secret@db/osm")
    assert "secret" not in f"{store} {store!r} {store.location}"
    assert dict(store.secrets) == {"PGPASSWORD": "secret"}
    assert store.absolute() == store
    assert not Store.at(store.location).secrets
    assert not Store.at("region.gpkg").secrets


def test_a_file_is_found_from_another_folder(
    own_store: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(own_store.parent)
    store = Store.at(own_store.name)
    here = store.absolute()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert here.revision() == Store.at(own_store).revision()
    with pytest.raises(StoreError, match="is not a file"):
        store.revision()


def test_a_file_is_hashed_once_a_revision(own_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = iter("123")
    monkeypatch.setattr(GeoPackageStore, "hash_of", lambda path: next(numbers))
    assert [Store.at(own_store).content_hash() for _ in range(3)] == ["1", "1", "1"]
    assert not len(Store.at(own_store).changes_since("1"))
    own_store.write_bytes(own_store.read_bytes()[:-1])
    assert Store.at(own_store).content_hash() == "2"
    with pytest.raises(StoreError, match="embed all places again"):
        Store.at(own_store).changes_since("1")


def test_another_revision_than_the_one_that_is_wanted_is_refused(own_store: Path) -> None:
    store = Store.at(own_store)
    store.open(only=store.revision()).close()
    with pytest.raises(StoreReplacedError, match="was replaced while it was opened"):
        store.open(only="of yesterday")


def test_a_database_is_asked_for_its_revision_only_when_it_matters(
    monaco_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    ask = Pool.ask

    def note(pool: Pool, query: str, values: object, patience_s: float) -> object:
        asked.append(query)
        return ask(pool, query, values, patience_s)

    monkeypatch.setattr(Pool, "ask", note)
    store = Store.at(monaco_database)
    store.open().close()
    assert len(asked) == 2
    assert not any("content" in query for query in asked)
    store.open(only=store.content_hash()).close()
    assert len(asked) == 6
    with pytest.raises(StoreReplacedError):
        store.open(only="of yesterday")


# --- a third kind


@pytest.fixture
def parquet(monaco: FeatureSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Monaco as a GeoParquet file, of a kind that one row of the registry adds."""
    row = StoreKind(r".*\.parquet$", "tests.tiling.store.geoparquet:GeoParquetStore")
    monkeypatch.setattr("tiling.store.store.KINDS", [row, *KINDS])
    write_geoparquet(tmp_path / "monaco.parquet", monaco)
    return tmp_path / "monaco.parquet"


@pytest.fixture
def points(tmp_path: Path) -> Path:
    path = tmp_path / "points.csv"
    path.write_text("lat,lon\n" + "".join(f"{lat},{lon}\n" for lat, lon in PLACES))
    return path


def run(*arguments: object) -> None:
    result = CliRunner().invoke(main, [str(each) for each in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output


def test_a_third_kind_of_store_gives_the_same_tiles(
    parquet: Path, monaco_store: Path, points: Path, tmp_path: Path
) -> None:
    tiles = []
    for store in (parquet, monaco_store):
        out = tmp_path / store.suffix
        options = ("--points", points, "--positives", 2, "--workers", 2)  # it is pickled, too
        run("tile", "--store", store, "--out", out, *options)
        dataset = TileDataset.open(out)
        place, view = np.divmod(np.arange(len(PLACES) * 3), 3)
        tiles.append(dataset.tiles(place, view))
    assert tiles[0].any(axis=(2, 3)).sum() > 20
    np.testing.assert_array_equal(tiles[0], tiles[1])


def test_a_third_kind_of_store_gives_the_same_vectors(
    parquet: Path, monaco_store: Path, model_folder: Path, tmp_path: Path
) -> None:
    made = []
    for store in (parquet, monaco_store):
        out = tmp_path / f"of{store.suffix}.parquet"
        options = ("--model", model_folder, "--grid", 300, "--workers", 0)
        run("embed", "--store", store, "--out", out, *options)
        made.append(read_vectors(out))
    np.testing.assert_array_equal(made[0].embedding, made[1].embedding)
    assert len(made[0]) > 20
    assert made[0].store == Store.at(parquet).content_hash()
    assert made[0].store != made[1].store


def test_a_store_that_is_only_read_says_so(parquet: Path, monaco_pbf: Path) -> None:
    store = Store.at(parquet)
    assert isinstance(store, GeoParquetStore)
    assert store.holds([monaco_pbf], load_catalogue())
    with store.open() as source:
        assert source.find("monaco") == []
        assert source.names_in(Box(-180, -90, 180, 90)) == []
    with pytest.raises(UserError, match="a GeoParquet file is only read"):
        store.import_extracts([monaco_pbf], load_catalogue())
    with pytest.raises(UserError, match="a GeoParquet file is not updated"):
        store.update(Path("changes.osc"))
    with pytest.raises(UserError, match="a GeoParquet file is not updated"):
        store.replicate("http://127.0.0.1/")


def test_what_only_a_database_takes_is_refused_by_a_file(tmp_path: Path, monaco_pbf: Path) -> None:
    store = str(tmp_path / "a.gpkg")
    command = ["import", str(monaco_pbf), "--store", store, "--reader", "somebody"]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 2
    assert "--reader goes with --store postgresql://..." in result.stderr
    assert not list(tmp_path.iterdir())


def test_stores_of_different_passwords_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", "")  # restored afterwards
    stores = [f"postgresql://me:{word}@db/osm" for word in (PASSWORD, "an0ther-word")]
    options = [part for store in stores for part in ("--store", store)]
    result = CliRunner().invoke(main, ["tile", *options, "--locations", "3", "--out", "out"])
    assert result.exit_code == 2
    assert "stores have different passwords" in " ".join(result.stderr.split())
    assert PASSWORD not in result.output
