"""Every shipped model fits the catalogue, names its data and beats untrained weights."""

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest

from loc2vec.encoder import LocationEncoder
from loc2vec.evaluation import baselines
from loc2vec.evaluation.retrieval import retrieval
from loc2vec.model.compute import encode_tiles
from loc2vec.model.folder import load_model, model_path, shipped_names
from tiling.catalogue.catalogue import load_catalogue
from tiling.dataset.dataset import TileDataset
from tiling.dataset.job import TileJob, run_job
from tiling.files.atomic import read_json
from tiling.store.store import Store
from tiling.values import ATTRIBUTION, TileGeometry

Tiles = Callable[[TileGeometry], TileDataset]


@pytest.fixture(scope="module")
def tiles(monaco_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Tiles:
    folder = tmp_path_factory.mktemp("shipped")

    @cache
    def made(geometry: TileGeometry) -> TileDataset:
        out = folder / str(geometry.scales)
        job = TileJob((Store.at(monaco_store),), 1, geometry=geometry, locations=150)
        run_job(job, out)
        return TileDataset.open(out)

    return made


@pytest.mark.parametrize("name", shipped_names())
def test_a_shipped_model_fits_the_catalogue_and_finds_places(name: str, tiles: Tiles) -> None:
    model, facts = load_model(model_path(name)), read_json(model_path(name) / "config.json")
    assert model.config.name == name
    assert model.config.fingerprint == load_catalogue().fingerprint(model.config.geometry)
    assert facts["attribution"] == ATTRIBUTION
    assert "Open Database License" in facts["licence"]

    dataset = tiles(model.config.geometry)
    one = dataset.tiles(np.array([0]), np.array([0]))
    vectors = LocationEncoder(model).encode(one)
    assert vectors.shape == (1, 64 if name == "place-64" else 16)
    if name == "place-64":
        small = LocationEncoder.load("place-16").encode(one)
        np.testing.assert_allclose(vectors[:, :16], small, atol=1e-4)
    family = model.config.encoder
    first = baselines.untrained(
        [family], dataset.tiles(places := np.arange(100), np.zeros_like(places))
    )
    trained, untrained = (
        retrieval(encode, dataset, min_separation_m=50)
        for encode in (partial(encode_tiles, model.network), first[f"untrained {family}"])
    )
    # of wider tiles Monaco has fewer places that lie inside it
    assert trained["gallery"] > (100 if model.config.geometry.scales == 1 else 40)
    assert trained["mrr"] > 0.5
    assert trained["mrr"] > 1.3 * untrained["mrr"]
