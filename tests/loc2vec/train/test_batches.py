import subprocess
import sys

import numpy as np
import pytest
import torch

from loc2vec.errors import RunError
from loc2vec.train.batches import (
    Batches,
    overlapping,
    places_of_step,
    slots_of_step,
)
from loc2vec.train.distributed import World
from loc2vec.train.run import TrainConfig
from tests.commands import ROOT
from tests.loc2vec.memory import MemoryDataset
from tests.loc2vec.train.readers import DAMAGED, Damaged, same
from tiling.errors import DatasetError


def test_every_place_comes_once_an_epoch_in_another_order() -> None:
    stream = np.concatenate([places_of_step(50, 3, step, places=20) for step in range(5)])
    first, second = stream[:50], stream[50:]  # the third batch ends one epoch and begins the next
    assert sorted(first) == sorted(second) == list(range(50))
    assert not np.array_equal(first, second)


def test_slots_are_distinct_positives() -> None:
    slots = slots_of_step(6, 3, step=7, places=20, pairs=5)
    assert slots.shape == (20, 5)
    assert all(len(set(row)) == 5 for row in slots.tolist())
    assert set(slots.reshape(-1).tolist()) == {1, 2, 3, 4, 5, 6}


def test_a_batch_depends_on_seed_and_step_alone(make_dataset: type[MemoryDataset]) -> None:
    data = make_dataset(n_places=8)
    one, other = (
        Batches(data, TrainConfig(seed=1, places=4, pairs=2)),
        Batches(data, TrainConfig(seed=1, places=4, pairs=2)),
    )
    other.batch(0)
    assert same(one.batch(5), other.batch(5))
    assert not same(one.batch(5), one.batch(6))
    assert not same(one.batch(5), Batches(data, TrainConfig(seed=2, places=4, pairs=2)).batch(5))


def test_tiles_of_a_place_lie_together_the_anchor_first(make_dataset: type[MemoryDataset]) -> None:
    data = make_dataset()
    batch = Batches(data, TrainConfig(places=4, pairs=2)).batch(0)
    places = places_of_step(data.n_places, 0, 0, 4)
    slots = slots_of_step(data.positives, 0, 0, 4, 2)
    assert batch.pixels.dtype == torch.uint8
    assert batch.pixels.shape == (4, 3, 12, 128, 128)
    for tiles, place, positives in zip(batch.pixels, places.tolist(), slots.tolist(), strict=True):
        for got, slot in zip(tiles, [0, *positives], strict=True):
            assert np.array_equal(got.numpy(), data.tile(place, slot))


def test_channels_of_positives_are_switched_off(make_dataset: type[MemoryDataset]) -> None:
    batches = Batches(make_dataset(n_places=8, positives=3), TrainConfig(places=8, pairs=3))
    kept = torch.stack([batches.batch(step).kept for step in range(10)])
    assert (~kept[:, :, 1:]).float().mean().item() == pytest.approx(
        TrainConfig().channel_dropout, abs=0.02
    )
    assert kept[:, :, 0].all()


def test_tiles_are_turned_and_mirrored_with_all_their_channels(
    make_dataset: type[MemoryDataset],
) -> None:
    config = TrainConfig(places=8, pairs=3, channel_dropout=0, mirrored=True)
    batches = Batches(make_dataset(n_places=8, positives=3), config)
    assert same(batches.batch(2), batches.batch(2))
    # quarter turns, and whether the tile is mirrored after them
    forms = {0: (0, False), 1: (0, True), 2: (2, True), 3: (2, False)}
    forms |= {4: (3, True), 5: (1, False), 6: (3, False), 7: (1, True)}
    drawn = set()
    for batch in map(batches.batch, range(3)):
        which = batch.symmetry.flatten().tolist()
        for tile, rendered, each in zip(
            batch.seen(), batch.pixels.flatten(0, 1), which, strict=True
        ):
            turns, mirrored = forms[each]
            expected = torch.rot90(rendered, turns, (1, 2))
            assert torch.equal(tile, expected.flip(2) if mirrored else expected)
            drawn.add(each)
    assert drawn == set(forms)


def test_a_batch_is_seen_as_it_was_rendered_without_its_channels_that_are_off(
    make_dataset: type[MemoryDataset],
) -> None:
    batch = Batches(make_dataset(), TrainConfig(places=4, pairs=2, channel_dropout=0.4)).batch(0)
    expected = (batch.pixels * batch.kept[..., None, None]).flatten(0, 1)
    assert not batch.symmetry.numel()
    assert torch.equal(batch.seen(), expected)
    assert not torch.equal(expected, batch.pixels.flatten(0, 1))


@pytest.mark.parametrize("size", [2, 4])
def test_processes_share_a_batch_out(make_dataset: type[MemoryDataset], size: int) -> None:
    data = make_dataset()
    whole = Batches(data, TrainConfig(places=4, pairs=2)).batch(3)
    parts = [
        Batches(data, TrainConfig(places=4, pairs=2), World(rank, size)).batch(3)
        for rank in range(size)
    ]
    assert torch.equal(torch.cat([part.pixels for part in parts]), whole.pixels)
    assert torch.equal(torch.cat([part.kept for part in parts]), whole.kept)
    assert all(torch.equal(part.overlapping, whole.overlapping) for part in parts)
    with pytest.raises(
        RunError, match="4 places a batch cannot be shared out evenly to 3 processes"
    ):
        Batches(data, TrainConfig(places=4, pairs=2), World(0, 3))


def test_prefetched_batches_are_the_same_and_begin_anywhere(
    make_dataset: type[MemoryDataset],
) -> None:
    batches = Batches(make_dataset(), TrainConfig(places=4, pairs=2))
    got = list(batches.prefetched(3, 6))
    assert len(got) == 3
    assert all(same(batch, batches.batch(step)) for step, batch in enumerate(got, 3))
    assert list(batches.prefetched(3, 3)) == []


def test_an_error_of_reading_arrives_as_it_is() -> None:
    batches = Batches(Damaged(), TrainConfig(places=4, pairs=2))
    with pytest.raises(DatasetError, match=f"^{DAMAGED}$"):
        next(batches.prefetched(0, 100))


@pytest.mark.parametrize(
    "what",
    [
        "the_same_batches",
        "an_error",
        "a_killed_reader",
        "a_reader_killed_between_two_batches",
        "the_end_of_who_asks",
    ],
)
def test_processes_read_ahead(what: str) -> None:
    command = [sys.executable, "-m", "tests.loc2vec.train.readers", what]
    subprocess.run(command, cwd=ROOT, check=True, timeout=120)


def test_places_overlap_when_a_shifted_tile_may_reach_the_other() -> None:
    reach = (200 + 80) * 2**0.5  # 396 m
    degrees = np.array([0, reach - 1, 2 * reach + 1]) / 111_195  # of latitude
    expected = [[True, True, False], [True, True, False], [False, False, True]]
    assert overlapping(degrees, np.zeros(3), radius_m=100).tolist() == expected


def test_places_overlap_across_the_antimeridian() -> None:
    assert overlapping(np.zeros(2), np.array([179.999, -179.999]), radius_m=100).all()


def test_too_few_places_or_positives_are_refused(make_dataset: type[MemoryDataset]) -> None:
    with pytest.raises(RunError, match="needs 20 places, the tiles hold 8"):
        Batches(make_dataset(), TrainConfig())
    with pytest.raises(RunError, match="needs 5 positives a place, the tiles hold 3"):
        Batches(make_dataset(), TrainConfig(places=4))


def test_tiles_of_one_spot_are_refused(make_dataset: type[MemoryDataset]) -> None:
    with pytest.raises(RunError, match="all 4 places of a batch overlap"):
        Batches(make_dataset(spacing_m=10), TrainConfig(places=4, pairs=2)).batch(0)
