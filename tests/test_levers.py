"""The layers after the trunks, trained without one thing or another."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch
from levers import BEGIN, Answers, Last, Way, table, trained, ways
from longer_vectors import Kept

from tests.loc2vec.memory import MemoryDataset

POOLS, CHANNELS, FEATURES = 192, 12, 816
SHORT = replace(BEGIN, places=12, steps=30, warm_up=4)


@pytest.fixture(scope="module")
def data() -> MemoryDataset:
    shops = np.random.default_rng(0).integers(0, 5, 24).astype(np.float32)
    return MemoryDataset(n_places=24, targets=pa.table({"shop": shops}))


@pytest.fixture(scope="module")
def kept() -> Kept:
    random = np.random.default_rng(0)
    place = random.normal(size=(24, 1, FEATURES))
    features = place + 0.3 * random.normal(size=(24, 3, FEATURES))
    return Kept(features.astype(np.float16), random.random((24, 36)).astype(np.float32))


def test_each_way_changes_one_thing() -> None:
    found = ways(BEGIN)
    assert len(set(map(repr, found.values()))) == len(found)
    assert found["all"] == Way(BEGIN)
    assert found["no covers"].config.heads == {"tags": 2.0}
    assert found["a third of the steps"].config.steps == BEGIN.steps // 3


@pytest.mark.parametrize(
    ("name", "left"),
    [("no 800 m", POOLS + CHANNELS), ("no 200 m", 3 * (POOLS + CHANNELS)), ("all", 0)],
)
def test_what_is_left_out_is_not_seen(name: str, left: int) -> None:
    torch.manual_seed(0)
    layers = Last(ways(BEGIN)[name]).eval()
    features = torch.rand(8, FEATURES, requires_grad=True)
    layers(features).square().sum().backward()
    assert features.grad is not None
    assert int((features.grad.abs().sum(0) == 0).sum()) == left


def test_contrast_brings_the_views_of_a_place_together(data: MemoryDataset, kept: Kept) -> None:
    def apart(steps: int) -> float:
        way = Way(replace(SHORT, heads={}, steps=steps))
        encode = trained(way, 0, data, kept)
        first, second = (encode(kept.features[:, v].astype(np.float32)) for v in (0, 1))
        own, other = (np.linalg.norm(first - to, axis=1).mean() for to in (second, second[::-1]))
        return float(own / other)

    assert apart(60) < 0.9 * apart(1)


def test_the_table_has_means_and_spreads() -> None:
    def answers(recall: float, score: float) -> Answers:
        return {"recall@1": recall, "way, linear": score, "way, knn": -1.0}

    found = {"all": [answers(0.5, 0.6), answers(0.7, 0.8)]}
    assert table(found).splitlines()[2:] == [
        "| all | 0.600 ± 0.141 | 0.700 ± 0.141 / 0.000 ± 0.000 | 0.700 / below 0 |"
    ]
