"""The log of a run, and the means that go into it."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from loc2vec.errors import TrainingError
from loc2vec.train.runlog import MOST_SKIPPED, Log, Meter, Step, read_log
from loc2vec.train.triplets import Sample, Triplet


class Shown:
    """A board that remembers what it was shown."""

    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []

    def begin(self, step: int) -> None:
        self.calls.append(("begin", step))

    def look(self, step: int, seen: Sample, triplets: list[Triplet]) -> None:
        self.calls.append(("look", step))

    def scalars(self, step: int, group: str, values: dict[str, float]) -> None:
        self.calls.append((step, group, values))

    def close(self) -> None:
        self.calls.append(("close",))


def step(loss: float, taken: bool = True, easy: float = 0.5) -> Step:
    scalars = {"loss": torch.tensor(loss), "easy_share": torch.tensor(easy)}
    return Step(scalars, torch.tensor(float(taken)), torch.eye(4, 3))


def test_a_log_has_a_line_a_step_with_six_digits(tmp_path: Path) -> None:
    log = Log(tmp_path / "log.jsonl", 0)
    log.write(10, "training", {"loss": 0.123456789, "rate": 1e-3})
    log.write(20, "training", {"loss": 12345678.9})
    assert read_log(tmp_path / "log.jsonl") == [
        {"step": 10, "loss": 0.123457, "rate": 0.001},
        {"step": 20, "loss": 12345700.0},
    ]


def test_a_resumed_log_drops_what_came_after_its_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    log = Log(path, 0)
    for number in (10, 20, 30):
        log.write(number, "training", {"loss": 1.0 / number})
    Log(path, 20).write(25, "training", {"loss": 0.5})
    assert [line["step"] for line in read_log(path)] == [10, 20, 25]


def test_a_new_run_begins_an_empty_log(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"step": 0, "loss": 1}\n')
    Log(path, 0)
    assert read_log(path) == []


def test_a_line_that_a_kill_cut_short_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"step": 1}\n{"step": 2, "lo')
    assert read_log(path) == [{"step": 1}]
    assert read_log(tmp_path / "none.jsonl") == []


def test_a_board_is_shown_what_is_logged(tmp_path: Path) -> None:
    shown = Shown()
    log = Log(tmp_path / "log.jsonl", 0, shown)
    log.write(10, "validation", {"recall@1": 1 / 3})
    log.close()
    assert shown.calls == [("begin", 0), (10, "validation", {"recall@1": 0.333333}), ("close",)]


def test_without_a_path_nothing_is_written_or_shown() -> None:
    shown = Shown()
    log = Log(None, 0, shown)
    log.write(10, "training", {"loss": 1.0})
    log.close()
    assert shown.calls == []


def test_a_reading_is_the_mean_of_the_steps_since_the_last() -> None:
    meter = Meter()
    for loss, easy in ((1.0, 0.2), (2.0, 0.4), (6.0, 0.9)):
        meter.add(step(loss, easy=easy))
    found = meter.read(3, tiles_a_step=60)
    assert found["loss"] == pytest.approx(3)
    assert found["easy_share"] == pytest.approx(0.5)
    assert found["skipped"] == 0
    assert found["tiles_per_s"] > 0
    assert found["effective_rank"] > 1
    meter.add(step(10.0))
    assert meter.read(4, 60)["loss"] == 10.0


def test_a_step_that_was_skipped_counts_in_no_mean() -> None:
    meter = Meter()
    meter.add(step(1.0))
    meter.add(step(float("nan"), taken=False))
    found = meter.read(2, 60)
    assert (found["loss"], found["skipped"]) == (1.0, 1)
    assert "effective_rank" not in found, "the last anchors may be as broken as the loss"
    meter.add(step(float("inf"), taken=False))
    only = meter.read(3, 60)
    assert "loss" not in only
    assert only["skipped"] == 1


def test_too_many_skipped_steps_in_a_row_end_the_run() -> None:
    meter = Meter()
    for _ in range(MOST_SKIPPED - 1):
        meter.add(step(float("nan"), taken=False))
    meter.read(4, 60)
    meter.add(step(float("nan"), taken=False))
    with pytest.raises(TrainingError, match=f"at {MOST_SKIPPED} steps in a row before step 5"):
        meter.read(5, 60)


def test_a_good_step_ends_the_row_of_skipped_ones() -> None:
    meter = Meter()
    for _ in range(3):
        for _ in range(MOST_SKIPPED - 1):
            meter.add(step(float("nan"), taken=False))
        meter.add(step(1.0))
    assert meter.read(1, 60)["skipped"] == 3 * (MOST_SKIPPED - 1)
    assert meter.skipped_in_a_row == 0


def test_the_losses_since_an_evaluation_go_on_after_a_checkpoint() -> None:
    meter = Meter((6.0, 2))
    meter.add(step(9.0))
    meter.read(1, 60)
    assert meter.losses == (15.0, 3)
    assert meter.take_mean_loss() == 5.0
    assert meter.losses == (0.0, 0)


def test_waiting_is_a_share_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([0.0, 1.0, 4.0, 10.0])
    clock = SimpleNamespace(perf_counter=lambda: next(now))
    monkeypatch.setattr("loc2vec.train.runlog.time", clock)
    meter = Meter()
    with meter.waiting():
        pass
    meter.add(step(1.0))
    found = meter.read(1, 20)
    assert found["data_wait"] == pytest.approx(0.3)
    assert found["tiles_per_s"] == pytest.approx(2)


def test_a_log_is_json_that_other_programs_read(tmp_path: Path) -> None:
    Log(tmp_path / "log.jsonl", 0).write(1, "training", {"loss": float(np.float32(0.1))})
    assert json.loads((tmp_path / "log.jsonl").read_text()) == {"step": 1, "loss": 0.1}
