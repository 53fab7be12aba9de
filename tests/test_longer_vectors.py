"""Numbers added to the vectors of a model: the first stay, the others learn."""

import copy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
import pyarrow as pa
import pytest
import torch
from longer_vectors import Kept, Longer, train
from torch import Tensor

from loc2vec.encoders.multiscale import Multiscale
from loc2vec.encoders.registry import build
from loc2vec.model.compute import encode_tiles
from loc2vec.model.dataset import Dataset
from loc2vec.model.folder import Model, ModelConfig, load_model, save_model
from loc2vec.train.objectives.cover import root_covers
from loc2vec.train.run import TrainConfig
from tests.loc2vec.memory import GEOMETRY, MemoryDataset
from tiling.values import N_CHANNELS

CONFIG = TrainConfig(
    places=12, pairs=1, steps=40, warm_up=4, learning_rate=1e-2, projector=True, loss="nce",
    heads={"tags": 1.0, "cover": 1.0}, channel_dropout=0.1,
)  # fmt: skip


@pytest.fixture(scope="module")
def model() -> Model:
    torch.manual_seed(0)
    network = build("multiscale", 1, dim=4, hidden=64)
    data = MemoryDataset()
    tiles = torch.from_numpy(data.tiles(np.arange(8), np.zeros(8, np.int64)))
    with torch.no_grad():
        for _ in range(20):  # statistics
            network(tiles)
    options = {"dim": 4, "hidden": 64, "shared": False, "white": True}
    about = ModelConfig("m", "multiscale", options, data.channels, GEOMETRY, data.fingerprint)
    return Model(about, network.eval(), "0" * 64)


@pytest.fixture(scope="module")
def data() -> MemoryDataset:
    shops = np.random.default_rng(0).integers(0, 5, 24).astype(np.float32)
    return MemoryDataset(n_places=24, targets=pa.table({"shop": shops}))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("last") / "kept"


@pytest.fixture(scope="module")
def kept(model: Model, data: MemoryDataset, folder: Path) -> Kept:
    return Kept.of(data, model, folder, CONFIG)


def test_it_keeps_what_the_trunks_see(model: Model, data: MemoryDataset, kept: Kept) -> None:
    anchors = torch.from_numpy(data.tiles(np.arange(24), np.zeros(24, np.int64)))
    assert isinstance(model.network, Multiscale)
    with torch.inference_mode():
        pooled = model.network.pooled(anchors).numpy()
    assert kept.features.shape == (24, 1 + data.positives, pooled.shape[1])
    np.testing.assert_allclose(kept.features[:, 0], pooled, rtol=0.05, atol=0.05)  # bfloat16
    np.testing.assert_array_equal(kept.covers, root_covers(anchors, N_CHANNELS).numpy())


def test_later_views_have_channels_off(data: MemoryDataset, kept: Kept) -> None:
    covers = kept.features[:, :, -3 * N_CHANNELS : -2 * N_CHANNELS]  # of the whole tile
    off = (covers <= 0.0101).mean((0, 2))  # the root of the smallest cover
    assert off[0] == 0
    assert (off[1:] > 0.02).all()


def test_what_is_kept_is_not_made_again(
    model: Model, data: MemoryDataset, kept: Kept, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(*_: object) -> Iterator[None]:
        raise AssertionError("tiles are read again")

    monkeypatch.setattr(MemoryDataset, "tiles", read)
    again = Kept.of(data, model, folder, CONFIG)
    np.testing.assert_array_equal(again.features, kept.features)
    other = Model(model.config, model.network, "1" * 64)
    with pytest.raises(click.ClickException, match="remove it"):
        Kept.of(data, other, folder, CONFIG)


def longer(model: Model, data: Dataset, kept: Kept, steps: int) -> tuple[Multiscale, Tensor]:
    """Return a network that was trained so long, and all pooled features [n * V, F]."""
    assert isinstance(model.network, Multiscale)
    torch.manual_seed(1)
    layers = Longer(copy.deepcopy(model.network), 8, dropout=0.1)
    train(layers, data, kept, [6, 8], replace(CONFIG, steps=steps))
    features = torch.from_numpy(kept.features.astype(np.float32)).flatten(0, 1)
    return layers.network(model.config.options, features), features


def apart(network: Multiscale, features: Tensor, numbers: slice) -> float:
    """Return how far two views of a place are, in distances to views of the next place."""
    with torch.inference_mode():
        vectors = network.joined(features)[:, numbers].unflatten(0, (24, -1))
    first, second = vectors[:, 0], vectors[:, 1]
    own, other = (first - second).norm(dim=1), (first - second.roll(1, 0)).norm(dim=1)
    return float(own.mean() / other.mean())


def test_the_new_numbers_learn(model: Model, data: MemoryDataset, kept: Kept) -> None:
    begin, features = longer(model, data, kept, 1)
    trained, _ = longer(model, data, kept, 60)
    for numbers in (slice(4, 6), slice(4, 8)):
        assert apart(trained, features, numbers) < 0.9 * apart(begin, features, numbers)


def test_the_first_numbers_are_those_of_the_model(
    model: Model, data: MemoryDataset, kept: Kept
) -> None:
    network, features = longer(model, data, kept, 10)
    assert isinstance(model.network, Multiscale)
    tiles = torch.from_numpy(data.tiles(np.arange(8), np.zeros(8, np.int64)))
    with torch.inference_mode():
        found, white = network(tiles), network.joined(features)[:, 4:]
        torch.testing.assert_close(found[:, :4], model.network(tiles), rtol=1e-4, atol=1e-5)
    assert found.shape == (8, 8)
    torch.testing.assert_close(torch.cov(white.T), torch.eye(4), rtol=0, atol=0.2)


def test_a_folder_of_it_is_a_model(
    model: Model, data: MemoryDataset, kept: Kept, tmp_path: Path
) -> None:
    network, _ = longer(model, data, kept, 2)
    options = model.config.options | {"dim": 8, "hidden": network.embedding.in_features}
    save_model(tmp_path / "m", network, replace(model.config, options=options))
    tiles = data.tiles(np.arange(3), np.zeros(3, np.int64))
    found = encode_tiles(load_model(tmp_path / "m").network, tiles)
    np.testing.assert_allclose(found, encode_tiles(network, tiles), rtol=1e-5, atol=1e-6)
