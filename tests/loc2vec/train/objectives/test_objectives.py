"""The training loop takes any objective: here one that is defined in this file."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from loc2vec.errors import RunError
from loc2vec.evaluation.retrieval import Evaluator
from loc2vec.model.compute import Encode
from loc2vec.model.dataset import Dataset
from loc2vec.model.folder import load_model, save_weights
from loc2vec.train.batches import Batch
from loc2vec.train.checkpoint import checkpoints
from loc2vec.train.loop import train
from loc2vec.train.objectives.objective import Objective, Outcome
from loc2vec.train.objectives.registry import HEADS, objectives_of
from loc2vec.train.run import Run, TrainConfig
from loc2vec.train.runlog import read_log
from tests.loc2vec.memory import MemoryDataset

SMALL = TrainConfig(
    encoder="tiny", places=4, pairs=2, steps=6, warm_up=2, eval_every=3, checkpoint_every=3,
    learning_rate=3e-2, heads={"latitude": 1.0},
)  # fmt: skip


class Latitude(Objective):
    """Tell the latitude of a place from its vector, by way of batch norm and a dense layer."""

    name = "latitude"
    targets: Tensor  # float32 [places of the dataset]

    def __init__(self, size: int, targets: Tensor) -> None:
        super().__init__()
        self.norm, self.dense = nn.BatchNorm1d(size), nn.Linear(size, 1)
        self.register_buffer("targets", targets, persistent=False)

    @classmethod
    def of(cls, run: Run, size: int) -> "Latitude":
        lat = torch.from_numpy(run.tiles.lat).float()
        return cls(size, (lat - lat.mean()) / lat.std())

    def forward(self, vectors: Tensor, batch: Batch) -> Outcome:
        found = self.dense(self.norm(vectors.flatten(0, 1))).view(vectors.shape[:2])  # [P, V]
        off = found - self.targets[batch.places, None]
        return Outcome(off.square().mean(), {"latitude_error": off.abs().mean()})

    def evaluator(self, validation: Dataset) -> Evaluator:
        return Weight(self)

    def save(self, folder: Path) -> None:
        save_weights(self, folder / "latitude.safetensors")


class Weight:
    """Reports the bias of an objective's layer, and how many evaluations there were."""

    primary = "evaluations"

    def __init__(self, objective: Latitude) -> None:
        self.objective, self.calls = objective, 0

    def __call__(self, encode: Encode) -> dict[str, float]:
        self.calls += 1
        return {"bias": self.objective.dense.bias.item(), "evaluations": self.calls}


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch, tiny: str) -> None:
    monkeypatch.setitem(HEADS, "latitude", Latitude.of)
    monkeypatch.setattr("loc2vec.train.loop.LOG_EVERY", 2)


def run(out: Path, make_dataset: type[MemoryDataset], **changes: Any) -> Run:
    return Run(replace(SMALL, **changes), make_dataset(), out, make_dataset(seed=1))


def test_it_trains_beside_the_contrastive_one(
    tmp_path: Path, make_dataset: type[MemoryDataset]
) -> None:
    result = train(run(tmp_path / "run", make_dataset, steps=40, checkpoint_every=40), "cpu")
    log = [line for line in read_log(tmp_path / "run" / "log.jsonl") if "loss" in line]
    assert log[-1]["latitude_loss"] < 0.7 * log[0]["latitude_loss"]
    assert log[-1]["latitude_error"] < log[0]["latitude_error"]
    for line in log:
        parts = line["contrastive_loss"] + line["latitude_loss"]
        assert line["loss"] == pytest.approx(parts, rel=1e-4)
        assert "easy_share" in line
    assert result.score == "recall@1"  # the first objective has no evaluator of its own


def test_its_parameters_learn_and_its_files_lie_beside_the_best_model(
    tmp_path: Path, make_dataset: type[MemoryDataset]
) -> None:
    train(run(tmp_path / "run", make_dataset, loss="none"), "cpu")
    best = tmp_path / "run" / "best"
    saved, fresh = load_file(best / "latitude.safetensors"), Latitude(16, torch.zeros(8))
    fresh.load_state_dict(saved)
    assert saved["dense.weight"].std() > 0
    kept = load_file(checkpoints(tmp_path / "run")[-1] / "objectives.safetensors")
    assert kept.keys() == {f"latitude.{name}" for name in saved}
    # the last evaluation counts most: the best model is that of the last step
    assert all(torch.equal(kept[f"latitude.{name}"], value) for name, value in saved.items())
    biases = [line["bias"] for line in read_log(tmp_path / "run" / "log.jsonl") if "bias" in line]
    assert len(set(biases)) == len(biases) == 3
    assert load_model(best).network(torch.zeros(2, 12, 128, 128)).shape == (2, 16)


def test_its_evaluator_judges_where_it_is_the_first(
    tmp_path: Path, make_dataset: type[MemoryDataset]
) -> None:
    result = train(run(tmp_path / "run", make_dataset, loss="none"), "cpu")
    assert (result.score, result.best, result.best_step) == ("evaluations", 3, 6)
    line = read_log(tmp_path / "run" / "log.jsonl")[0]
    assert {"recall@1", "evaluations"} <= line.keys()  # retrieval is measured in any case


def lines_of(out: Path) -> list[dict[str, float]]:
    """Return the log without what a process counts or times by itself."""
    own = ("tiles_per_s", "data_wait", "evaluations")
    lines = read_log(out / "log.jsonl")
    return [{key: value for key, value in line.items() if key not in own} for line in lines]


def test_a_resumed_run_equals_an_undisturbed_one(
    tmp_path: Path, make_dataset: type[MemoryDataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = Weight.__call__

    def dying(self: Weight, encode: Encode) -> dict[str, float]:
        if self.calls == 2:  # at step 6, with step 3 saved
            raise KeyboardInterrupt
        return measured(self, encode)

    train(run(tmp_path / "a" / "run", make_dataset), "cpu")
    with monkeypatch.context() as patch:
        patch.setattr(Weight, "__call__", dying)
        with pytest.raises(KeyboardInterrupt):
            train(run(tmp_path / "b" / "run", make_dataset), "cpu")
    assert train(run(tmp_path / "b" / "run", make_dataset), "cpu", resume=True).finished
    straight, resumed = (checkpoints(tmp_path / name / "run")[-1] for name in "ab")
    for part in ("model", "objectives", "optimizer"):
        one, two = (load_file(at / f"{part}.safetensors") for at in (straight, resumed))
        assert one
        assert one.keys() == two.keys()
        assert [name for name in one if not torch.equal(one[name], two[name])] == []
    assert lines_of(tmp_path / "a" / "run") == lines_of(tmp_path / "b" / "run")


def test_a_checkpoint_of_other_objectives_is_refused(
    tmp_path: Path, make_dataset: type[MemoryDataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    train(run(tmp_path / "run", make_dataset, steps=2), "cpu")
    monkeypatch.setitem(HEADS, "latitude", lambda run, size: Latitude(4, torch.zeros(8)))
    with pytest.raises(RunError, match="is of another network"):
        train(run(tmp_path / "run", make_dataset, steps=3), "cpu", resume=True)


def test_a_step_that_is_not_finite_leaves_an_objective_as_it_was(
    tmp_path: Path, make_dataset: type[MemoryDataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Once(Latitude):
        """Not a number at the third step."""

        calls = 0

        def forward(self, vectors: Tensor, batch: Batch) -> Outcome:
            self.calls += 1
            return super().forward(vectors * (torch.nan if self.calls == 3 else 1), batch)

    monkeypatch.setitem(HEADS, "latitude", Once.of)
    result = train(run(tmp_path / "run", make_dataset), "cpu")
    assert (result.finished, result.skipped) == (True, 1)
    saved = load_file(checkpoints(tmp_path / "run")[-1] / "objectives.safetensors")
    assert all(value.isfinite().all() for value in saved.values())


def test_objectives_follow_the_configuration(
    tmp_path: Path, make_dataset: type[MemoryDataset]
) -> None:
    def names(**changes: Any) -> list[str]:
        return [each.name for each in objectives_of(run(tmp_path, make_dataset, **changes))]

    assert names(heads={}) == ["contrastive"]
    assert names() == names(loss="nce") == ["contrastive", "latitude"]
    assert names(loss="none") == ["latitude"]
    with pytest.raises(RunError, match="leaves nothing to learn"):
        names(loss="none", heads={})
