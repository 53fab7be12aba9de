import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

import loc2vec.train.cli
from loc2vec.errors import RunError
from loc2vec.train.checkpoint import checkpoints
from loc2vec.train.cli import train_command
from loc2vec.train.loop import train
from loc2vec.train.run import TrainResult
from tests.loc2vec.memory import MemoryDataset
from tiling.dataset.dataset import TileDataset


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, make_dataset: type[MemoryDataset], tiny: str, tmp_path: Path
) -> Callable[..., Result]:
    """Run the command in this process with datasets in memory; return its result."""
    monkeypatch.setattr(TileDataset, "open", lambda path: make_dataset())
    monkeypatch.setattr(train_command.params[3], "type", click.Choice(["tiny"]))

    def invoke(*arguments: str) -> Result:
        base = [
            "--tiles",
            "t",
            "--out",
            str(tmp_path / "run"),
            "--encoder",
            "tiny",
            "--device",
            "cpu",
        ]
        base += ["--places", "4", "--pairs", "2"]
        return CliRunner().invoke(train_command, [*base, *arguments])

    return invoke


def test_results_on_standard_output_and_progress_on_standard_error(
    run: Callable[..., Result], tmp_path: Path
) -> None:
    result = run("--steps", "2", "--validation", "v")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("trained 2 steps, best recall@1 ")
    assert f"the model is in {tmp_path / 'run' / 'best'}" in result.stdout
    assert result.stdout.strip().endswith(str(tmp_path / "run" / "report.html"))
    assert "train:" in result.stderr
    assert (tmp_path / "run" / "best" / "model.safetensors").is_file()


def test_json(run: Callable[..., Result]) -> None:
    result = json.loads(run("--steps", "2", "--json").stdout)
    assert (result["step"], result["steps"], result["score"]) == (2, 2, "-loss")


def test_options_reach_the_configuration(run: Callable[..., Result], tmp_path: Path) -> None:
    run("--steps", "1", "--seed", "7", "--loss", "nce", "--places", "6", "--pairs", "3")
    state = json.loads((checkpoints(tmp_path / "run")[-1] / "state.json").read_text())
    wanted = {"seed": 7, "loss": "nce", "places": 6, "pairs": 3}
    assert state["step"] == 1
    assert {name: state["run"][name] for name in wanted} == wanted


def test_ctrl_c_saves_and_resume_goes_on(
    run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = train

    def interrupted(*arguments: Any) -> TrainResult:
        os.kill(os.getpid(), signal.SIGINT)
        return real(*arguments)

    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(loc2vec.train.cli, "train", interrupted)
    stopped = run("--steps", "2")
    assert stopped.exit_code == 130
    assert stopped.stdout == "stopped at step 0 of 2: the same command with --resume goes on\n"
    assert "saving a checkpoint" in stopped.stderr
    assert signal.getsignal(signal.SIGINT) == before
    monkeypatch.setattr(loc2vec.train.cli, "train", real)
    assert run("--steps", "2", "--resume").exit_code == 0


def test_a_second_ctrl_c_ends_at_once(
    run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    def impatient(*arguments: object) -> None:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
        pytest.fail("went on")

    monkeypatch.setattr(loc2vec.train.cli, "train", impatient)
    assert run().exit_code == 1  # click's Aborted!


def test_resume_with_other_settings_is_refused(run: Callable[..., Result]) -> None:
    run("--steps", "2")
    refused = run("--steps", "1", "--resume")
    assert isinstance(refused.exception, RunError)
    assert "steps was 2, is 1" in str(refused.exception)


def test_summary_of_a_stopped_run(tmp_path: Path) -> None:
    result = TrainResult(tmp_path, 5, 9, "recall@1", 0.25, 4, 0)
    assert loc2vec.train.cli._summary(result, None) == (
        "stopped at step 5 of 9, best recall@1 0.2500 at step 4: "
        "the same command with --resume goes on"
    )
