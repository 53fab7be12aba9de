"""Models of wider tiles, and of several radii, on the way from the store to an answer."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from numpy.typing import NDArray
from PIL import Image

from loc2vec.embed.batch import Places, embed
from loc2vec.encoder import LocationEncoder
from loc2vec.encoders.registry import build
from loc2vec.evaluation.run import Methods, encode_tasks
from loc2vec.evaluation.tasks.task import Task
from loc2vec.model.folder import ModelConfig, save_model
from service.cli.main import main
from service.engine.engine import Engine
from service.settings import Settings
from tests.service.conftest import serving
from tiling.catalogue.catalogue import load_catalogue
from tiling.errors import FingerprintError
from tiling.render.renderer import Renderer
from tiling.store.source import FeatureSource
from tiling.store.store import Store
from tiling.values import LonLat, Pose, TileGeometry

PLACE = LonLat(7.4246, 43.7384)
NARROW, BOTH = TileGeometry(), TileGeometry(wider_m=(400.0,))


def model_of(folder: Path, geometry: TileGeometry, fingerprint: str | None = None) -> Path:
    torch.manual_seed(0)
    catalogue = load_catalogue()
    config = ModelConfig(
        name=folder.name,
        encoder="vit",
        options={"dim": 8},
        channels=catalogue.channels_of(geometry),
        geometry=geometry,
        fingerprint=fingerprint or catalogue.fingerprint(geometry),
    )
    save_model(folder, build("vit", geometry.scales, dim=8), config)
    return folder


@pytest.fixture
def expected(monaco: FeatureSource, tmp_path: Path) -> tuple[Path, NDArray[np.float32]]:
    """Where a model of two radii is, and the vector of a place."""
    folder = model_of(tmp_path / "both", BOTH)
    encoder = LocationEncoder.load(folder, device="cpu")
    (vector,) = encoder.encode(Renderer(monaco, BOTH).north_up([PLACE]))
    assert vector.shape == (16,)
    return folder, vector


def test_embed_draws_the_radii_of_the_model(
    monaco: FeatureSource, expected: tuple[Path, NDArray[np.float32]]
) -> None:
    folder, vector = expected
    vectors = embed(monaco, LocationEncoder.load(folder), Places(np.array([PLACE])), workers=0)
    np.testing.assert_allclose(vectors.embedding[0], vector, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("processes", [0, 1])
def test_the_service_draws_the_radii_of_the_model(
    monaco_store: Path, expected: tuple[Path, NDArray[np.float32]], processes: int
) -> None:
    folder, vector = expected
    settings = Settings(store=Store.at(monaco_store), model=str(folder), render_processes=processes)
    with Engine.open(settings) as engine:
        np.testing.assert_allclose(engine.embed([PLACE])[0], vector, rtol=1e-4, atol=1e-5)
        assert engine.dim == 16
        assert engine.tile(Pose(PLACE.lat, PLACE.lon)).png()
        found, shares = engine.compare(PLACE, LonLat(7.4213, 43.7347))
        assert found.effect.shape == (24,)
        assert shares.shape == (2, 24)


def test_the_picture_of_each_scale_can_be_seen(
    monaco_store: Path, expected: tuple[Path, NDArray[np.float32]]
) -> None:
    folder, _ = expected
    settings = Settings(store=Store.at(monaco_store), model=str(folder), render_processes=0)
    with serving(settings) as client:
        at = {"lat": PLACE.lat, "lon": PLACE.lon}
        assert client.get("/info").json()["radii_m"] == [100.0, 400.0]
        near, wide = (client.get("/tile.png", params={**at, "scale": n}) for n in (0, 1))
        assert near.content == client.get("/tile.png", params=at).content
        assert _shares(near.content, wide.content) > 0.5
        grey = client.get("/tile.png", params={**at, "scale": 1, "channel": 4})
        assert Image.open(BytesIO(grey.content)).mode == "L"
        missing = client.get("/tile.png", params={**at, "scale": 2})
        assert missing.status_code == 422
        assert "reads 2, numbered from 0" in missing.json()["detail"]


def _shares(near: bytes, wide: bytes) -> float:
    """How alike a tile and the middle of the wider one are, which is the same ground."""
    pictures = (Image.open(BytesIO(png)).convert("L") for png in (near, wide))
    small, whole = (np.asarray(each, np.float64) for each in pictures)
    middle = whole[48:80, 48:80]
    return float(
        np.corrcoef(small.reshape(32, 4, 32, 4).mean((1, 3)).ravel(), middle.ravel())[0, 1]
    )


def test_a_model_whose_fingerprint_is_of_other_tiles_is_refused(
    monaco_store: Path, monaco: FeatureSource, tmp_path: Path
) -> None:
    narrow = load_catalogue().fingerprint(NARROW)
    encoder = LocationEncoder.load(model_of(tmp_path / "wrong", BOTH, narrow))
    with pytest.raises(FingerprintError, match="wrong"):
        embed(monaco, encoder, Places(np.array([PLACE])), workers=0)
    with pytest.raises(FingerprintError, match="wrong"):
        Engine.open(
            Settings(
                store=Store.at(monaco_store), model=str(tmp_path / "wrong"), render_processes=0
            )
        )


def test_models_of_several_radii_are_evaluated_side_by_side(
    monaco: FeatureSource,
    tmp_path: Path,
    expected: tuple[Path, NDArray[np.float32]],
) -> None:
    folder, _ = expected
    models = {"narrow": model_of(tmp_path / "narrow", NARROW), "both": folder}
    encoders = {name: LocationEncoder.load(path) for name, path in models.items()}
    lat, lon = np.full(3, PLACE.lat), PLACE.lon + np.arange(3, dtype=np.float64) * 1e-3
    task = Task(
        "t", "", lat, lon, np.array([0, 1, 1]), ("a", "b"), np.zeros(3, int), ("m",), blank=(4,)
    )
    (found,) = encode_tasks(monaco, [task], Methods(encoders))
    places = [LonLat(*place) for place in zip(lon.tolist(), lat.tolist(), strict=True)]
    tile = Renderer(monaco, BOTH).north_up(places)[0]
    tile[[4, 16]] = 0  # in both scales
    np.testing.assert_allclose(
        found["both"][0], encoders["both"].encode(tile), rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(
        found["narrow"][0], encoders["narrow"].encode(tile[:12]), rtol=1e-4, atol=1e-5
    )
    assert found["channel means"].shape == (3, 12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--encoder", "mamba"), "'mamba' is not one of 'densenet', 'inception'"),
        (
            ("--encoder", "resnet", "--option", "growth=3"),
            "has no option 'growth': its options are dim=16, norm",
        ),
        (("--encoder", "vit", "--option", "positions=none"), "positions='none'"),
        (("--option", "norm"), "'norm' is not NAME=VALUE"),
        (("--dim", "0"), "--dim"),
        (("--head", "cells"), "'cells' is not one of cover, geocell, tags"),
    ],
)
def test_wrong_options_of_training_are_told_before_anything_is_read(
    tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    base = ["train", "--tiles", str(tmp_path / "no-tiles"), "--out", str(tmp_path / "run")]
    result = CliRunner().invoke(main, [*base, *arguments])
    assert result.exit_code == 2
    assert message in result.stderr
