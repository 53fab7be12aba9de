"""How networks run: devices, batches of tiles, precision, and what is given back."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from loc2vec.errors import DeviceError
from loc2vec.model.compute import (
    BATCH_SIZE,
    BATCH_SIZE_CPU,
    batch_size_on,
    bfloat16_is_fast,
    encode_tiles,
    mixed_precision,
    pick_device,
    to_device,
)

CPU = torch.device("cpu")


class Noting(nn.Module):
    """The sum and the greatest of each tile; it remembers what it was given."""

    def __init__(self, kind: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.kind = kind
        self.given: list[tuple[int, ...]] = []
        self.inference: list[bool] = []

    def forward(self, tiles: Tensor) -> Tensor:
        self.given.append(tuple(tiles.shape))
        self.inference.append(torch.is_inference_mode_enabled())
        flat = tiles.float().flatten(1)
        both = torch.stack([flat.sum(1), flat.amax(1)], 1) * self.scale
        return both.to(self.kind)


def tiles(count: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (count, 12, 8, 8)).astype(np.uint8)


@pytest.mark.parametrize(
    ("count", "at_once", "batches"),
    [(7, 3, [3, 3, 1]), (6, 3, [3, 3]), (1, 64, [1]), (0, 4, [0]), (40, None, [16, 16, 8])],
)
def test_tiles_are_encoded_in_batches_and_in_order(
    count: int, at_once: int | None, batches: list[int]
) -> None:
    network, given = Noting(), tiles(count)
    found = encode_tiles(network, given, at_once)
    assert [shape[0] for shape in network.given] == batches
    assert found.shape == (count, 2)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found[:, 0], given.reshape(count, 768).sum(1))
    np.testing.assert_array_equal(found[:, 1], given.reshape(count, 768).max(1))
    assert all(network.inference), "no gradients are kept"


def test_vectors_are_float32_whatever_the_network_computes_in() -> None:
    assert encode_tiles(Noting(torch.bfloat16), tiles(2)).dtype == np.float32


def test_tiles_of_any_layout_give_the_same_vectors_and_stay_as_they_are() -> None:
    given = tiles(3)
    expected = encode_tiles(Noting(), given)
    turned = np.ascontiguousarray(given[:, ::-1])[:, ::-1]
    fixed = given.copy()
    fixed.flags.writeable = False
    for other in (turned, fixed, np.asfortranarray(given)):
        np.testing.assert_array_equal(encode_tiles(Noting(), other), expected)
    np.testing.assert_array_equal(given, tiles(3))


def test_a_tensor_has_the_numbers_of_its_tiles() -> None:
    given = tiles(2)
    tensor = to_device(given, CPU)
    assert tensor.dtype == torch.uint8
    np.testing.assert_array_equal(tensor.numpy(), given)


@pytest.mark.parametrize("name", ["gpu", "", "cuda:99", "cpu:x", "meta2"])
def test_a_device_that_is_not_there_is_named(name: str) -> None:
    with pytest.raises(DeviceError, match=f"device '{name}' is not usable here .*: try cpu") as e:
        pick_device(name)
    assert "\n" not in str(e.value)


def test_a_device_is_found_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert pick_device("cpu") == CPU
    for there, kind in ((False, "cpu"), (True, "cuda")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert pick_device("auto").type == kind


def test_a_gpu_takes_more_tiles_at_once() -> None:
    assert batch_size_on(CPU) == BATCH_SIZE_CPU
    assert batch_size_on(torch.device("cuda")) == BATCH_SIZE > BATCH_SIZE_CPU


def test_precision_is_mixed_only_where_that_is_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    for fast, kind in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr("loc2vec.model.compute.bfloat16_is_fast", lambda where, fast=fast: fast)
        with mixed_precision(CPU):
            assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == kind
    assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32


def test_emulated_bfloat16_is_not_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    def supported(including_emulation: bool = True) -> bool:
        return including_emulation

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    assert not bfloat16_is_fast(torch.device("cuda"))


def test_one_tile_takes_one_thread_and_many_take_all() -> None:
    used: list[int] = []

    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1))

        def forward(self, given: torch.Tensor) -> torch.Tensor:
            used.append(torch.get_num_threads())
            return given.float().mean((2, 3)) + self.weight

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        for count in (1, 2, 1):
            encode_tiles(Counting(), tiles(count))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert used == [1, 2, 1]
