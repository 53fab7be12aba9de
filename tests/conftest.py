"""Real stores for all tests: Monaco, imported once, and a small region drawn by hand."""

import os
import shutil
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest

from tests import postgres
from tiling.catalogue import load_catalogue
from tiling.importer import import_extracts
from tiling.postgis import import_extracts as import_into_database
from tiling.sources.base import FeatureSource
from tiling.sources.registry import open_source


@pytest.fixture(scope="session")
def monaco_pbf() -> Path:
    """The bundled extract."""
    return Path(str(resources.files("service").joinpath("data", "monaco.osm.pbf")))


@pytest.fixture(scope="session")
def monaco_store(monaco_pbf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Monaco as a GeoPackage store."""
    store = tmp_path_factory.mktemp("stores") / "monaco.gpkg"
    import_extracts([monaco_pbf], store, load_catalogue())
    return store


@pytest.fixture
def monaco(monaco_store: Path) -> Iterator[FeatureSource]:
    """The Monaco store, open."""
    with open_source(monaco_store) as source:
        yield source


@pytest.fixture
def own_store(monaco_store: Path, tmp_path: Path) -> Path:
    """A copy of the Monaco store that a test may spoil."""
    return Path(shutil.copy(monaco_store, tmp_path / "own.gpkg"))


@pytest.fixture(scope="session")
def server() -> Iterator[postgres.Server]:
    """A PostgreSQL server with PostGIS; without one the tests that need it are skipped, but never in CI."""
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
    """Monaco as a PostGIS store, imported once; its location for the role that reads, password and all."""
    server.create("monaco")
    import_into_database([monaco_pbf], server.url("monaco"), load_catalogue(), reader="loc2vec_api")
    return server.url("monaco", "loc2vec_api")
