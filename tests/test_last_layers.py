"""The last layers of `multiscale`, trained on what its trunks keep of each view."""

from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import pyarrow as pa
import pytest
import torch
from last_layers import Kept, first_numbers, train

from loc2vec.encoders.multiscale import Multiscale
from loc2vec.encoders.registry import build
from loc2vec.model.dataset import Dataset
from loc2vec.model.folder import Model, ModelConfig
from loc2vec.train.objectives.cover import root_covers
from loc2vec.train.run import TrainConfig
from tests.loc2vec.memory import GEOMETRY, MemoryDataset
from tiling.values import N_CHANNELS

SIZES = [3, 6]
CONFIG = TrainConfig(
    places=12, pairs=1, steps=40, warm_up=4, learning_rate=1e-2, projector=True, loss="nce",
    heads={"tags": 1.0, "cover": 1.0}, channel_dropout=0.1,
)  # fmt: skip


@pytest.fixture(scope="module")
def model() -> Model:
    torch.manual_seed(0)
    network = build("multiscale", 1, dim=4, hidden=8).eval()
    data = MemoryDataset()
    options = {"dim": 4, "hidden": 8, "shared": False, "white": True}
    about = ModelConfig("m", "multiscale", options, data.channels, GEOMETRY, data.fingerprint)
    return Model(about, network, "0" * 64)


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
    np.testing.assert_allclose(kept.features[:, 0], pooled, rtol=0.05, atol=0.02)
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


def loss_of_places(network: Multiscale, kept: Kept, size: int) -> float:
    """Return how far views of a place are, in distances to the views of another one."""
    with torch.inference_mode():
        views = network.joined(
            torch.from_numpy(kept.features[:, :2].astype(np.float32)).flatten(0, 1)
        )
    first, second = views[:, :size].unflatten(0, (-1, 2)).unbind(1)
    return float(
        (first - second).norm(dim=1).mean() / (first - second.roll(1, 0)).norm(dim=1).mean()
    )


def test_it_learns_at_every_size(model: Model, data: Dataset, kept: Kept) -> None:
    trained = train(model, data, kept, SIZES, CONFIG)
    begin = train(model, data, kept, SIZES, TrainConfig(**(vars(CONFIG) | {"steps": 1})))
    for size in SIZES:
        assert loss_of_places(trained, kept, size) < 0.9 * loss_of_places(begin, kept, size)


def test_the_small_vector_is_the_beginning_of_the_large_one(
    model: Model, data: MemoryDataset, kept: Kept
) -> None:
    trained = train(model, data, kept, SIZES, TrainConfig(**(vars(CONFIG) | {"steps": 3})))
    old = model.network.state_dict()
    tiles = torch.from_numpy(data.tiles(np.arange(8), np.zeros(8, np.int64)))
    for size in SIZES:
        small = first_numbers(trained, model, size)
        for name, value in small.state_dict().items():
            if name.startswith("trunks."):
                assert torch.equal(value, old[name]), name
        with torch.inference_mode():
            found, whole = small(tiles), trained(tiles)
        assert found.shape == (8, size)
        torch.testing.assert_close(found, whole[:, :size], rtol=1e-4, atol=1e-5)
