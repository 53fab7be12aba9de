"""The objective of tags: targets, what is not known, and that it learns."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from loc2vec.errors import RunError
from loc2vec.train.batches import Batches
from loc2vec.train.loop import train
from loc2vec.train.objectives.tags import TagsObjective, known_targets
from loc2vec.train.run import Run, TrainConfig
from loc2vec.train.runlog import read_log
from tests.loc2vec.memory import MemoryDataset

SMALL = TrainConfig(
    encoder="tiny", places=4, pairs=2, steps=40, warm_up=2, eval_every=40, checkpoint_every=40,
    learning_rate=3e-2, heads={"tags": 2.0},
)  # fmt: skip


class TwoTowns(MemoryDataset):
    """The first half of the places lies in another town than the second."""

    @property
    def store(self) -> list[str]:
        return [f"town {place >= self.n_places // 2}" for place in range(self.n_places)]


def targets(**columns: list[float]) -> pa.Table:
    return pa.table({name: np.array(values, np.float32) for name, values in columns.items()})


FOUND = targets(
    shop=[0, 1, 2, 3, 1, 0, 2, 1],
    bench=[0, 0, 0, 0, 1, 0, 2, 1],  # none in the first town
    nothing=[0.0] * 8,
    levels=[1, np.nan, 2, np.nan, np.nan, np.nan, 1, 3],
)


def test_a_tag_that_a_town_lacks_is_not_known_there() -> None:
    known = known_targets(TwoTowns(targets=FOUND))
    assert known.shape == (8, 3)  # `nothing` never varies
    assert np.isfinite(known[:, 0]).all()
    assert np.isnan(known[:4, 1]).all()
    assert known[4:, 1].tolist() == [1, 0, 2, 1]
    assert np.isnan(known[:, 2]).tolist() == [False, True, False, True, True, True, False, False]


def test_what_is_not_known_does_not_count() -> None:
    data = TwoTowns(targets=FOUND)
    objective = TagsObjective(torch.nn.Linear(5, 3), known_targets(data))
    batch = Batches(data, TrainConfig(places=4, pairs=2)).batch(0)
    torch.manual_seed(0)
    vectors = torch.randn(4, 3, 5)
    expected, count = 0.0, 0
    for row, place in enumerate(batch.places.tolist()):
        for column in range(3):
            if objective.known[place, column]:
                off = objective.head(vectors[row])[:, column] - objective.targets[place, column]
                expected, count = expected + off.square().sum().item(), count + len(off)
    assert objective(vectors, batch).loss.item() == pytest.approx(expected / count, rel=1e-5)


def test_targets_have_mean_0_and_deviation_1_where_known() -> None:
    objective = TagsObjective(torch.nn.Linear(5, 3), known_targets(TwoTowns(targets=FOUND)))
    for values, known in zip(objective.targets.T, objective.known.T, strict=True):
        seen = values[known > 0]
        assert seen.mean().abs() < 1e-6
        assert seen.std(correction=0) == pytest.approx(1, abs=1e-5)


def test_it_learns_and_leaves_nothing_beside_the_model(tmp_path: Path, tiny: str) -> None:
    data = MemoryDataset(targets=FOUND)
    train(Run(SMALL, data, tmp_path / "run"), "cpu")
    log = [line for line in read_log(tmp_path / "run" / "log.jsonl") if "tags_loss" in line]
    assert log[-1]["tags_loss"] < 0.8 * log[0]["tags_loss"]
    assert log[0]["loss"] == pytest.approx(
        log[0]["contrastive_loss"] + 2 * log[0]["tags_loss"], rel=1e-4
    )
    best = {path.name for path in (tmp_path / "run" / "best").iterdir()}
    assert best == {"config.json", "model.safetensors"}


def test_tiles_without_targets_are_refused_with_the_way_out(tmp_path: Path, tiny: str) -> None:
    with pytest.raises(RunError, match=r"--targets EXTRACT"):
        train(Run(SMALL, MemoryDataset(), tmp_path / "run"), "cpu")
    nothing = MemoryDataset(targets=targets(shop=[0.0] * 8))
    with pytest.raises(RunError, match="nothing to learn"):
        train(Run(replace(SMALL, steps=1), nothing, tmp_path / "other"), "cpu")
    assert not (tmp_path / "run").exists()
