"""The encoder that joins several scales of a place."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from loc2vec.encoders.inception import Inception, trunk
from loc2vec.encoders.multiscale import Multiscale
from loc2vec.encoders.registry import build, vector_size
from tiling.values import N_CHANNELS


def tiles(n: int = 6, scales: int = 2) -> Tensor:
    """Blocks of full cover, as a map has them."""
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 2, (n, scales * N_CHANNELS, 8, 8), np.uint8) * 255
    return torch.from_numpy(np.kron(blocks, np.ones((1, 1, 16, 16), np.uint8)))


def made(scales: int = 2, **options: object) -> nn.Module:
    torch.manual_seed(0)
    network = build("multiscale", scales, dim=5, **options)
    with torch.no_grad():
        for _ in range(3):
            network(tiles(32, scales))
    return network.eval()


@pytest.mark.parametrize("scales", [1, 2, 3])
def test_one_vector_a_place_whatever_the_number_of_scales(scales: int) -> None:
    assert made(scales)(tiles(4, scales)).shape == (4, 5)
    assert vector_size("multiscale", 5, scales) == 5
    assert vector_size("inception", 5, scales) == 5 * scales


@pytest.mark.parametrize("first", [0, N_CHANNELS])
def test_every_scale_counts(first: int) -> None:
    network, seen = made(), tiles()
    other = seen.clone()
    other[:, first : first + N_CHANNELS] = 0
    assert ((network(seen) - network(other)).abs().amax(1) > 1e-2).all()


def test_what_stands_in_the_middle_counts_more_than_what_stands_at_the_edge() -> None:
    network, empty = made(), torch.zeros(1, 2 * N_CHANNELS, 128, 128, dtype=torch.uint8)
    middle, edge = empty.clone(), empty.clone()
    middle[:, 4, 56:72, 56:72] = 255
    edge[:, 4, 8:24, 8:24] = 255
    moved = [(network(each) - network(empty)).norm().item() for each in (middle, edge)]
    assert moved[0] > 1.5 * moved[1]


def test_trunks_start_from_a_network_of_one_scale() -> None:
    torch.manual_seed(9)
    model = build("inception", dim=16)
    assert isinstance(model, Inception)
    for shared, count in ((False, 2), (True, 1)):
        network = build("multiscale", 2, shared=shared)
        assert isinstance(network, Multiscale)
        network.start_from(model)
        assert len(network.trunks) == count
        for each in network.trunks:
            for name, value in model.layers.state_dict().items():
                assert torch.equal(each.state_dict()[name], value)


def test_a_shared_trunk_has_half_of_the_layers() -> None:
    sizes = [
        sum(value.numel() for value in made(shared=shared).parameters()) for shared in (True, False)
    ]
    assert sizes[1] - sizes[0] == sum(value.numel() for value in trunk().parameters())


def test_vectors_of_training_are_white() -> None:
    network = made().train()
    torch.manual_seed(1)
    random = torch.randint(0, 256, (64, 2 * N_CHANNELS, 128, 128), dtype=torch.uint8)
    for scale, level in enumerate(torch.rand(64)):
        random[scale] = (random[scale] * level).to(torch.uint8)
    vectors = network(random)
    apart = torch.cov(vectors.T) - torch.eye(5)
    assert apart.abs().max() < 0.05
    plain = made(white=False).train()(random)
    assert (torch.cov(plain.T) - torch.eye(5)).abs().max() > 0.2
