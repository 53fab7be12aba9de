import math

import pytest
import torch
from torch import nn

from loc2vec.encoders.loc2vec import Loc2Vec
from loc2vec.encoders.registry import ENCODERS, build
from loc2vec.errors import EncoderError


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return build("loc2vec")


def random_tiles(n: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, 12, 128, 128), dtype=torch.uint8, generator=generator)


def test_size_is_the_published_one(network: nn.Module) -> None:
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    # scale, shift, running mean and variance
    of_norms = sum(4 * norm.num_features for norm in norms)
    learned = sum(p.numel() for p in network.parameters()) - of_norms // 2
    assert (learned, of_norms) == (302_992, 2_048)
    stored = sum(
        v.numel() for k, v in network.state_dict().items() if not k.endswith("num_batches_tracked")
    )
    assert stored == 305_040


def test_parameters_are_distinct(network: nn.Module) -> None:
    storages = [p.data_ptr() for p in network.parameters()]
    assert len(set(storages)) == len(storages) == 9 * 2 + 8 * 2  # layers and batch norms


def test_weights_begin_with_the_variance_of_he(network: nn.Module) -> None:
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(layers) == 9
    for layer in layers:
        fan_in = layer.weight[0].numel()
        expected = math.sqrt(2 / (1 + 0.01**2) / fan_in)
        assert layer.weight.std().item() == pytest.approx(expected, rel=0.1)
        assert abs(layer.weight.mean().item()) < 0.1 * expected
        assert layer.bias is not None
        assert not layer.bias.any()


def test_first_outputs_are_spread_about_zero(network: nn.Module) -> None:
    with torch.no_grad():
        vectors = network(random_tiles(64))
    assert abs(vectors.mean().item()) < 0.3
    assert 0.5 < vectors.std(0).mean().item() < 2


@pytest.mark.parametrize("n", [0, 1, 2, 7])
def test_any_batch_is_finite(network: nn.Module, n: int) -> None:
    with torch.no_grad():
        vectors = network.eval()(random_tiles(n))
    assert vectors.shape == (n, 16)
    assert vectors.dtype == torch.float32
    assert vectors.isfinite().all()


def test_a_tile_does_not_depend_on_its_batch(network: nn.Module) -> None:
    network(random_tiles(8, seed=1))  # so that the running statistics are not the first ones
    tiles = random_tiles(5)
    with torch.no_grad():
        together = network.eval()(tiles)
        alone = torch.cat([network(tile[None]) for tile in tiles])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_float_tiles_are_already_between_0_and_1(network: nn.Module) -> None:
    tiles = random_tiles(2)
    with torch.no_grad():
        torch.testing.assert_close(network.eval()(tiles), network(tiles.float() / 255))


def test_every_parameter_learns(network: nn.Module) -> None:
    network(random_tiles(4)).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    first = network.get_parameter("features.0.weight").grad
    assert first is not None
    assert first.abs().max() > 0


def test_bfloat16_does_not_reach_the_output(network: nn.Module) -> None:
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        vectors = network.eval()(random_tiles(2))
    assert vectors.dtype == torch.float32
    assert not torch.equal(vectors, vectors.bfloat16().float())


def test_registry_builds_by_name() -> None:
    assert build("loc2vec", dim=8).get_parameter("embedding.weight").shape[0] == 8
    assert ENCODERS["loc2vec"].network is Loc2Vec


def test_registry_names_what_there_is() -> None:
    with pytest.raises(EncoderError, match=r"'loc3vec': choose one of .*loc2vec"):
        build("loc3vec")
    with pytest.raises(EncoderError, match=r"depth"):
        build("loc2vec", depth=3)
