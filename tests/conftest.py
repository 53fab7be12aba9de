"""Real stores for all tests: Monaco, imported once, and a small region drawn by hand."""

from tests.libraries import collecting  # before all that imports them

# isort: split

import os
import shutil
import signal
from collections.abc import Generator, Iterator
from contextlib import nullcontext
from importlib import resources
from pathlib import Path

import osmium
import pytest
import torch

from loc2vec.embed.batch import Places, embed, places_of_grid
from loc2vec.embed.files import Vectors
from loc2vec.encoder import LocationEncoder
from service.index.index import NeighborIndex
from tests import postgres
from tests.catalogues import OWN
from tests.commands import ROOT
from tests.models import save_fresh_model
from tests.opens import Counts
from tests.tracing import untraced
from tiling.catalogue.catalogue import Catalogue, load_catalogue
from tiling.store.source import FeatureSource
from tiling.store.store import ImportOptions, Store

# Tests stop programs by Ctrl-C: begun in the background, they would inherit that it is ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Files that take longest begin first. Begun last, one would run while other processes have none.
LONG = (
    "tests/loc2vec/encoders/test_families.py",
    "tests/service/page/test_page.py",
    "tests/service/http/test_server.py",
    "tests/tiling/store/test_postgis.py",
    "tests/tiling/store/test_follow.py",
    "tests/tiling/dataset/test_job_stops.py",
    "tests/tiling/dataset/test_ray.py",
    "tests/loc2vec/train/test_distributed.py",
    "tests/test_site.py",
    "tests/test_notebook.py",
    "tests/service/test_shipped.py",
    "tests/loc2vec/evaluation/test_run.py",
    "tests/loc2vec/embed/test_parts.py",
    "tests/loc2vec/predict/test_predict.py",
    "tests/loc2vec/paper/test_every_page.py",
    "tests/test_docs.py",
)
GRID_M = 200.0
MOVED, DELETED = 48807846, 23715051  # buildings of Monaco


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files of `LONG` first; pytest-xdist keeps the order where it is told to."""
    place = {str(ROOT / name): number for number, name in enumerate(LONG)}
    items.sort(key=lambda item: place.get(str(item.path), len(LONG)))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Leave the collection out of the coverage of a worker, which has imported what it measures."""
    with collecting():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Leave a test out of the coverage that is marked so."""
    with untraced() if item.get_closest_marker("untraced") else nullcontext():
        return (yield)


@pytest.fixture(scope="session")
def monaco_pbf() -> Path:
    """The bundled extract."""
    return Path(str(resources.files("service").joinpath("data", "monaco.osm.pbf")))


@pytest.fixture(scope="session")
def monaco_store(monaco_pbf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Monaco as a GeoPackage store."""
    store = tmp_path_factory.mktemp("stores") / "monaco.gpkg"
    Store.at(store).import_extracts([monaco_pbf], load_catalogue())
    return store


@pytest.fixture
def monaco(monaco_store: Path) -> Iterator[FeatureSource]:
    """The Monaco store, open."""
    with Store.at(monaco_store).open() as source:
        yield source


@pytest.fixture(scope="session")
def own_catalogue() -> Catalogue:
    """A catalogue of somebody else."""
    return load_catalogue(OWN)


@pytest.fixture
def own_store(monaco_store: Path, tmp_path: Path) -> Path:
    """A copy of the Monaco store that a test may spoil."""
    return Path(shutil.copy(monaco_store, tmp_path / "own.gpkg"))


@pytest.fixture(scope="session")
def server() -> Iterator[postgres.Server]:
    """A PostgreSQL server with PostGIS.

    Without one the tests that need it are skipped, but never in CI.
    """
    programs = postgres.find_programs()
    if programs is None:
        message = f"no PostgreSQL with PostGIS and osm2pgsql: apt install {postgres.PACKAGES}"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    with postgres.Server(programs) as running:
        yield running


@pytest.fixture
def database(server: postgres.Server, request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of an empty database with the roles of a store, for one test."""
    name = f"test_{abs(hash(request.node.nodeid))}"
    server.create(name)
    yield name
    server.psql(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture(scope="session")
def monaco_database(server: postgres.Server, monaco_pbf: Path) -> str:
    """Monaco as a PostGIS store, imported once.

    Its location for the role that reads, password and all.
    """
    server.create("monaco")
    Store.at(server.url("monaco")).import_extracts(
        [monaco_pbf], load_catalogue(), options=ImportOptions(reader="loc2vec_api")
    )
    return server.url("monaco", "loc2vec_api")


def way_nodes(path: Path, way_id: int) -> list[tuple[int, float, float]]:
    """Return (id, lon, lat) of the nodes of a way, each once."""
    for way in osmium.FileProcessor(str(path), osmium.osm.NODE | osmium.osm.WAY).with_locations():
        if isinstance(way, osmium.osm.Way) and way.id == way_id:
            return [(n.ref, n.lon, n.lat) for n in list(way.nodes)[:-1]]
    raise AssertionError(way_id)


@pytest.fixture(scope="session")
def change_file(monaco_pbf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One building moved 40 m to the north-east, one deleted, one added."""
    moved = "".join(
        f'<node id="{i}" version="99"'
        f' lat="{lat + 28 / 111_000:.7f}" lon="{lon + 28 / 80_000:.7f}"/>'
        for i, lon, lat in way_nodes(monaco_pbf, MOVED)
    )
    corners = [(7.4190, 43.7300), (7.4192, 43.7300), (7.4192, 43.7302), (7.4190, 43.7302)]
    added = "".join(
        f'<node id="{10**11 + n}" version="1" lat="{lat}" lon="{lon}"/>'
        for n, (lon, lat) in enumerate(corners)
    )
    refs = "".join(f'<nd ref="{10**11 + n}"/>' for n in (0, 1, 2, 3, 0))
    path = tmp_path_factory.mktemp("changes") / "changes.osc"
    path.write_text(
        f'<osmChange version="0.6"><modify>{moved}</modify>'
        f'<create>{added}<way id="{10**11}" version="1">{refs}'
        f'<tag k="building" v="yes"/></way></create>'
        f'<delete><way id="{DELETED}" version="99"/></delete></osmChange>'
    )
    return path


@pytest.fixture(scope="session")
def slim_template(server: postgres.Server, monaco_pbf: Path) -> str:
    """Monaco as a store that can be updated; a database to be copied."""
    server.create("slim")
    Store.at(server.url("slim")).import_extracts(
        [monaco_pbf], load_catalogue(), options=ImportOptions(slim=True, reader="loc2vec_api")
    )
    return "slim"


@pytest.fixture
def slim(server: postgres.Server, slim_template: str, tmp_path: Path) -> Iterator[str]:
    """A store of Monaco that a test may update; its location for the owner."""
    name = f"slim_{abs(hash(tmp_path))}"
    server.psql(f"CREATE DATABASE {name} TEMPLATE {slim_template} OWNER loc2vec")
    yield server.url(name)
    server.psql(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Several would wait for each other, and for those of another process of tests."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_fresh_model(tmp_path_factory.mktemp("models") / "fresh", seed=0)


@pytest.fixture(scope="session")
def encoder(model_folder: Path) -> LocationEncoder:
    return LocationEncoder.load(model_folder)


@pytest.fixture(scope="session")
def places(monaco_store: Path) -> Places:
    with Store.at(monaco_store).open() as source:
        return places_of_grid(source, GRID_M)


@pytest.fixture(scope="session")
def vectors(monaco_store: Path, encoder: LocationEncoder, places: Places) -> Vectors:
    with Store.at(monaco_store).open() as source:
        return embed(source, encoder, places, workers=0)


@pytest.fixture(scope="session")
def index_folder(tmp_path_factory: pytest.TempPathFactory, vectors: Vectors) -> Path:
    folder = tmp_path_factory.mktemp("indexes") / "monaco"
    NeighborIndex.build(vectors, folder)
    return folder


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> Counts:
    """How often stores are opened and hashed."""
    found = Counts()
    found.watch(monkeypatch)
    return found
