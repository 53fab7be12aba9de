"""Real stores for all tests: Monaco, imported once, and a small region drawn by hand."""

import shutil
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest

from tiling.catalogue import load_catalogue
from tiling.importer import import_extracts
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
