from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from fastapi.testclient import TestClient

from loc2vec.encoder import LocationEncoder
from loc2vec.encoders.registry import build
from loc2vec.model import ModelConfig, save_model
from loc2vec.vectors import Vectors
from service.app import create_app
from service.embed import Places, embed, places_of_grid
from service.engine import Engine, EngineSettings
from service.index import NeighborIndex
from tiling.catalogue import load_catalogue
from tiling.values import TileGeometry

GRID_M = 200.0


@pytest.fixture(scope="session", autouse=True)
def two_threads() -> None:
    torch.set_num_threads(2)


def save_fresh_model(folder: Path, seed: int, fingerprint: str | None = None) -> Path:
    """Write a model with untrained weights."""
    torch.manual_seed(seed)
    network = build("loc2vec", dim=16)
    catalogue, geometry = load_catalogue(), TileGeometry()
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


@pytest.fixture
def settings(monaco_store: Path, model_folder: Path, index_folder: Path) -> EngineSettings:
    return EngineSettings(str(monaco_store), model_folder, index_folder)


@pytest.fixture
def client(settings: EngineSettings) -> Iterator[TestClient]:
    with TestClient(create_app(lambda: Engine.open(settings)), raise_server_exceptions=False) as client:
        yield client
