import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.engine.engine import Engine
from service.http.app import create_app
from service.settings import Settings


@pytest.fixture(scope="session")
def settings(monaco_store: Path, model_folder: Path, index_folder: Path) -> Settings:
    """Of a service that draws in threads: processes take a second to start."""
    return Settings(
        store=str(monaco_store), model=str(model_folder), index=index_folder, render_processes=0
    )


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
