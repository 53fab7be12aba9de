"""Evaluators that need no label."""

import numpy as np
import pytest
from numpy.typing import NDArray

from loc2vec.evaluation.baselines import channel_means
from loc2vec.evaluation.intrinsic import Triplets
from loc2vec.evaluation.retrieval import Retrieval
from tests.loc2vec.memory import MemoryDataset


@pytest.mark.parametrize("evaluator", [Retrieval, Triplets])
def test_an_evaluator_names_its_primary_metric(
    make_dataset: type[MemoryDataset], evaluator: type[Retrieval | Triplets]
) -> None:
    evaluate = evaluator(make_dataset(n_places=20, spacing_m=400))
    assert evaluate.primary in evaluate(channel_means)


def test_a_pose_blind_encoder_tells_places_apart_and_a_constant_one_does_not(
    make_dataset: type[MemoryDataset],
) -> None:
    data = make_dataset(n_places=30, spacing_m=400)  # the mean cover is the same in every pose
    assert Triplets(data)(channel_means)["near accuracy"] == 1
    found = Triplets(data)(lambda tiles: np.ones((len(tiles), 4), np.float32))
    assert found["near accuracy"] == found["equal accuracy"] == 0
    assert found["near places"] == found["equal places"] == 30


def test_near_negatives_are_near_and_apart(make_dataset: type[MemoryDataset]) -> None:
    alone = Triplets(make_dataset(n_places=10, spacing_m=1500))(channel_means)
    assert alone["near places"] == 0
    assert "near accuracy" not in alone
    crowded = Triplets(make_dataset(n_places=10, spacing_m=20))(channel_means)  # all within 250 m
    assert crowded["near places"] == crowded["equal places"] == 0


def test_the_equal_pair_is_the_most_similar_histogram() -> None:
    """Places are twins of one histogram, 4 km apart: only their arrangement tells them apart."""

    class Twins(MemoryDataset):
        def tile(self, place: int, slot: int) -> NDArray[np.uint8]:
            tile = super().tile(place % 10, 0)
            return tile if place < 10 else tile[:, ::-1].copy()

    data = Twins(n_places=20, spacing_m=400)
    assert Triplets(data)(channel_means)["equal accuracy"] == 0  # both at distance 0
    assert Triplets(data)(
        lambda tiles: tiles[:, :, :2, 0].reshape(len(tiles), -1).astype(np.float32)
    )["equal accuracy"] == pytest.approx(1, abs=0.2)
    assert Triplets(data)(channel_means)["near accuracy"] == 1


def test_limit_and_seed(make_dataset: type[MemoryDataset]) -> None:
    data = make_dataset(n_places=30, spacing_m=400)
    assert Triplets(data, limit=12)(channel_means)["equal places"] == 12
    assert Triplets(data)(channel_means) == Triplets(data)(channel_means)
