import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from fastapi.testclient import TestClient

from service.cli.main import main
from service.engine.engine import Engine
from service.http.app import create_app
from service.settings import Settings
from tests.catalogues import OWN


@pytest.fixture(scope="session")
def settings(monaco_store: Path, model_folder: Path, index_folder: Path) -> Settings:
    """Of a service that draws in threads: processes take a second to start."""
    return Settings(
        store=str(monaco_store), model=str(model_folder), index=index_folder, render_processes=0
    )


@pytest.fixture(scope="session")
def own_settings(monaco_pbf: Path, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Of a service by somebody's own catalogue, which `import` alone was told of."""
    folder = tmp_path_factory.mktemp("own")
    store, tiles, run, vectors, index = (
        folder / name for name in ("own.gpkg", "tiles", "run", "vectors.parquet", "index")
    )
    small = [
        "--steps",
        "3",
        "--places",
        "4",
        "--pairs",
        "1",
        "--device",
        "cpu",
        "--encoder",
        "vit",
        "--dim",
        "8",
    ]
    for command in (
        ["import", monaco_pbf, "--catalogue", OWN, "--store", store],
        ["tile", "--store", store, "--locations", 24, "--positives", 2, "--out", tiles],
        ["train", "--tiles", tiles, "--out", run, *small],
        ["embed", "--store", store, "--model", run / "best", "--grid", 300, "--out", vectors],
        ["index", vectors, "--out", index],
    ):
        result = CliRunner().invoke(main, list(map(str, command)))
        assert result.exit_code == 0, result.output
    return Settings(store=str(store), model=str(run / "best"), index=index, render_processes=0)


@contextlib.contextmanager
def serving(settings: Settings, engine: Engine | None = None) -> Iterator[TestClient]:
    """Yield a client of a service; an engine that is given stays open."""

    @contextlib.contextmanager
    def opened(_: Settings) -> Iterator[Engine]:
        assert engine is not None
        yield engine

    opener: Any = Engine.open if engine is None else opened
    with TestClient(create_app(settings, opener), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="session")
def engine(settings: Settings) -> Iterator[Engine]:
    """An engine over Monaco, for tests that do not spoil it."""
    with Engine.open(settings) as engine:
        yield engine


@pytest.fixture
def client(settings: Settings, engine: Engine) -> Iterator[TestClient]:
    """A client of a service over that engine, which has forgotten what it was asked before."""
    engine.forget()
    with serving(settings, engine) as client:
        yield client


def figure(client: TestClient, name: str) -> float:
    """Return a figure of `/metrics`, 0 where there is none yet."""
    found = re.search(rf"^{re.escape(name)} (\S+)$", client.get("/metrics").text, re.MULTILINE)
    return float(found[1]) if found else 0.0
