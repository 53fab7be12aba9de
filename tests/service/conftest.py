import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from fastapi.testclient import TestClient

from loc2vec.embed.batch import Places, embed, places_of_grid
from loc2vec.embed.files import Vectors
from loc2vec.encoder import LocationEncoder
from loc2vec.encoders.registry import build
from loc2vec.model.folder import ModelConfig, save_model
from service.engine.engine import Engine
from service.http.app import create_app
from service.http.server import open_engine
from service.index.index import NeighborIndex
from service.settings import Settings
from tiling.catalogue import load_catalogue
from tiling.values import TileGeometry

GRID_M = 200.0


@pytest.fixture(scope="session", autouse=True)
def two_threads() -> None:
    torch.set_num_threads(2)


def save_fresh_model(
    folder: Path, seed: int, fingerprint: str | None = None, geometry: TileGeometry | None = None
) -> Path:
    """Write a model with untrained weights."""
    geometry = geometry or TileGeometry()
    torch.manual_seed(seed)
    network, catalogue = build("loc2vec", geometry.scales, dim=16), load_catalogue()
    config = ModelConfig(
        name=f"fresh-{seed}",
        encoder="loc2vec",
        options={"dim": 16},
        channels=catalogue.channels,
        geometry=geometry,
        fingerprint=fingerprint or catalogue.fingerprint(geometry),
    )
    save_model(folder, network.eval(), config)
    return folder


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_fresh_model(tmp_path_factory.mktemp("models") / "fresh", seed=0)


@pytest.fixture(scope="session")
def encoder(model_folder: Path) -> LocationEncoder:
    return LocationEncoder.load(model_folder)


@pytest.fixture(scope="session")
def places(monaco_store: Path) -> Places:
    return places_of_grid(str(monaco_store), GRID_M)


@pytest.fixture(scope="session")
def vectors(monaco_store: Path, encoder: LocationEncoder, places: Places) -> Vectors:
    return embed(str(monaco_store), encoder, places, workers=0)


@pytest.fixture(scope="session")
def index_folder(tmp_path_factory: pytest.TempPathFactory, vectors: Vectors) -> Path:
    folder = tmp_path_factory.mktemp("indexes") / "monaco"
    NeighborIndex.build(vectors, folder)
    return folder


@pytest.fixture(scope="session")
def settings(monaco_store: Path, model_folder: Path, index_folder: Path) -> Settings:
    """Of a service that draws in threads: processes take a second to start."""
    return Settings(store=str(monaco_store), model=str(model_folder), index=index_folder, render_processes=0)


@contextlib.contextmanager
def serving(settings: Settings, engine: Engine | None = None) -> Iterator[TestClient]:
    """A client of a service with these settings, and with an engine that stays open when one is given."""

    @contextlib.contextmanager
    def opened(_: Settings) -> Iterator[Engine]:
        assert engine is not None
        yield engine

    opener: Any = open_engine if engine is None else opened
    with TestClient(create_app(settings, opener), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="session")
def engine(settings: Settings) -> Iterator[Engine]:
    """An engine over Monaco, for tests that do not spoil it."""
    with open_engine(settings) as engine:
        yield engine


@pytest.fixture
def client(settings: Settings, engine: Engine) -> Iterator[TestClient]:
    """A client of a service over that engine, which has forgotten what it was asked before."""
    engine.forget()
    with serving(settings, engine) as client:
        yield client
