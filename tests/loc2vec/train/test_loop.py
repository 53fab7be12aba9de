import json
import math
import re
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from loc2vec.encoders.base import Options
from loc2vec.encoders.registry import ENCODERS, Family, build
from loc2vec.errors import EncoderError, RunError, TrainingError
from loc2vec.evaluation.retrieval import retrieval
from loc2vec.model.compute import encode_tiles, mixed_precision
from loc2vec.model.folder import load_model
from loc2vec.train.batches import Batches
from loc2vec.train.checkpoint import checkpoints, read_checkpoint
from loc2vec.train.loop import Learner, MeanLoss, learning_rate, train, train_step
from loc2vec.train.objectives.contrastive import Contrastive
from loc2vec.train.run import Run, TrainConfig
from tests.loc2vec.memory import MemoryDataset, Tiny
from tiling.errors import FingerprintError, UserError

SMALL = TrainConfig(
    encoder="tiny", places=4, pairs=2, steps=6, warm_up=2, eval_every=3, checkpoint_every=100
)
TIMING = ("tiles_per_s", "data_wait")


class StopAfter(threading.Event):
    """An event that is set once it was asked so many times, as Ctrl-C in the middle of a run."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.left = times

    def is_set(self) -> bool:
        self.left -= 1
        return self.left < 0


def log_of(out: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in TIMING} for line in lines]


def last(out: Path) -> Path:
    return checkpoints(out)[-1]


def assert_same_tensors(a: Path, b: Path) -> None:
    names = [path.name for path in sorted(a.glob("*.safetensors"))]
    assert names
    assert names == [path.name for path in sorted(b.glob("*.safetensors"))]
    for name in names:
        first, second = load_file(a / name), load_file(b / name)
        assert first.keys() == second.keys()
        assert [key for key in first if not torch.equal(first[key], second[key])] == []


@pytest.fixture(autouse=True)
def small_runs(monkeypatch: pytest.MonkeyPatch, tiny: str) -> None:
    monkeypatch.setattr("loc2vec.train.loop.LOG_EVERY", 2)


@pytest.mark.parametrize("encoder", ["tiny", "loc2vec"])
def test_resumed_run_equals_an_undisturbed_one_bit_for_bit(
    tmp_path: Path, make_dataset: type[MemoryDataset], encoder: str
) -> None:
    config = replace(SMALL, encoder=encoder, steps=4, eval_every=2)
    tiles, validation = make_dataset(), make_dataset(seed=1)
    straight = train(Run(config, tiles, tmp_path / "a" / "run", validation), "cpu")
    stopped = train(
        Run(config, tiles, tmp_path / "b" / "run", validation), "cpu", stop=StopAfter(2)
    )
    assert (stopped.step, stopped.finished) == (2, False)
    resumed = train(Run(config, tiles, tmp_path / "b" / "run", validation), "cpu", resume=True)
    assert resumed.finished
    assert replace(resumed, out=straight.out) == straight
    assert_same_tensors(last(tmp_path / "a" / "run"), last(tmp_path / "b" / "run"))
    assert_same_tensors(tmp_path / "a" / "run" / "best", tmp_path / "b" / "run" / "best")
    scores = [[line for line in log_of(tmp_path / x / "run") if "recall@1" in line] for x in "ab"]
    assert [line["step"] for line in scores[0]] == [0, 2, 4]
    assert scores[0] == scores[1]


def test_a_killed_run_goes_on_from_its_last_checkpoint(
    tmp_path: Path, make_dataset: type[MemoryDataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(SMALL, checkpoint_every=2)
    train(Run(config, make_dataset(), tmp_path / "a"), "cpu")

    def die(*args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(MeanLoss, "__call__", die)  # at step 3, with step 2 saved
        with pytest.raises(KeyboardInterrupt):
            train(Run(config, make_dataset(), tmp_path / "b"), "cpu")
    assert train(Run(config, make_dataset(), tmp_path / "b"), "cpu", resume=True).finished
    assert_same_tensors(last(tmp_path / "a"), last(tmp_path / "b"))
    assert_same_tensors(tmp_path / "a" / "best", tmp_path / "b" / "best")
    assert log_of(tmp_path / "a") == log_of(tmp_path / "b")
    steps = [[line["step"] for line in log_of(tmp_path / x)] for x in "ab"]
    # what was logged after the checkpoint is gone
    assert steps[0] == steps[1] == [2, 3, 3, 4, 6, 6]


def test_a_finished_run_resumes_to_the_same_result(
    tmp_path: Path, make_dataset: type[MemoryDataset]
) -> None:
    finished = train(Run(SMALL, make_dataset(), tmp_path / "run"), "cpu")
    before = log_of(tmp_path / "run")
    assert train(Run(SMALL, make_dataset(), tmp_path / "run"), "cpu", resume=True) == finished
    assert log_of(tmp_path / "run") == before


def test_the_best_model_is_a_model_folder_with_its_facts(
    tmp_path: Path, make_dataset: type[MemoryDataset]
) -> None:
    data, validation = make_dataset(), make_dataset(seed=1)
    result = train(Run(SMALL, data, tmp_path / "first", validation), "cpu")
    model = load_model(tmp_path / "first" / "best")
    assert (model.config.name, model.config.encoder, model.config.options) == (
        "first",
        "tiny",
        {"dim": 16},
    )
    assert model.config.fingerprint == data.fingerprint
    assert model.config.training["step"] == result.best_step
    assert model.config.training["recall@1"] == result.best
    best = max(line["recall@1"] for line in log_of(tmp_path / "first") if "recall@1" in line)
    assert result.best == pytest.approx(best, rel=1e-5)


def test_scores_are_those_of_the_saved_model_at_rest(
    tmp_path: Path, make_dataset: type[MemoryDataset]
) -> None:
    validation = make_dataset(n_places=30, seed=1)
    train(Run(SMALL, make_dataset(), tmp_path / "run", validation), "cpu")
    best = load_model(tmp_path / "run" / "best")
    with mixed_precision(torch.device("cpu")):
        scores = retrieval(lambda tiles: encode_tiles(best.network, tiles), validation)
    assert scores == {name: best.config.training[name] for name in scores}


def test_without_validation_the_least_loss_is_the_best(
    tmp_path: Path, make_dataset: type[MemoryDataset]
) -> None:
    result = train(Run(SMALL, make_dataset(), tmp_path / "run"), "cpu")
    scores = {line["-loss"]: line["step"] for line in log_of(tmp_path / "run") if "-loss" in line}
    assert result.score == "-loss"
    assert result.best_step == scores[max(scores)]


def test_log_tells_how_training_goes(tmp_path: Path, make_dataset: type[MemoryDataset]) -> None:
    train(Run(SMALL, make_dataset(), tmp_path / "run"), "cpu")
    line = json.loads((tmp_path / "run" / "log.jsonl").read_text().splitlines()[0])
    assert line.keys() == {
        "step", "learning_rate", "loss",
        "positive_distance", "nearest_negative_distance", "easy_share",
        "tiles_per_s", "data_wait", "effective_rank", "gradient_norm", "skipped",
    }  # fmt: skip
    assert 0 < line["loss"] < 2
    assert 0 <= line["easy_share"] <= 1
    assert 0 < line["effective_rank"] <= 3


def learning(encoder: str, device: str = "cpu") -> tuple[Learner, torch.optim.Optimizer]:
    learner = Learner(build(encoder), [Contrastive("softpn")])
    learner.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return learner, torch.optim.AdamW(learner.parameters(), fused=True)


def test_loss_of_one_batch_falls(make_dataset: type[MemoryDataset]) -> None:
    torch.manual_seed(0)
    learner, optimizer = learning("loc2vec")
    config = replace(SMALL, steps=100, warm_up=1)
    batch = Batches(make_dataset(), TrainConfig(places=3, pairs=1)).batch(0)
    losses = [
        train_step(learner, optimizer, batch, config, step).scalars["loss"].item()
        for step in range(8)
    ]
    assert sum(losses[-3:]) < 0.5 * sum(losses[:3])


def poisoned_at(monkeypatch: pytest.MonkeyPatch, *steps: int) -> None:
    """Make the vectors of these steps not a number, by way of the batch norm and its statistics."""

    class Poisoned(Tiny):
        def forward(self, tiles: Tensor) -> Tensor:
            values = tiles.float()
            if self.training:
                calls: Tensor = getattr(self, "calls", torch.tensor(-1)) + 1
                self.register_buffer("calls", calls, persistent=False)
                values = torch.where(torch.isin(calls, torch.tensor(steps)), math.nan, values)
            return super().forward(values)

    monkeypatch.setitem(ENCODERS, "tiny", Family(Options, Poisoned))


def test_a_step_whose_loss_is_not_finite_changes_nothing_and_is_counted(
    tmp_path: Path, make_dataset: type[MemoryDataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    poisoned_at(monkeypatch, 2, 4)
    config = replace(SMALL, checkpoint_every=1)
    result = train(Run(config, make_dataset(), tmp_path / "run", make_dataset(seed=1)), "cpu")
    assert (result.finished, result.skipped) == (True, 2)
    assert sum(line.get("skipped", 0) for line in log_of(tmp_path / "run")) == 2
    # none right after a skip
    assert [path.name[-1] for path in checkpoints(tmp_path / "run")] == ["2", "4", "6"]
    saved = load_file(last(tmp_path / "run") / "model.safetensors")
    assert all(value.isfinite().all() for value in saved.values())


@pytest.mark.parametrize("poison", [math.nan, math.inf])
def test_a_gradient_that_is_not_finite_changes_nothing(
    make_dataset: type[MemoryDataset], tiny: str, poison: float
) -> None:
    learner, optimizer = learning("tiny")
    network = learner.encoder
    assert isinstance(network, Tiny)
    batches = Batches(make_dataset(), TrainConfig(places=4, pairs=2))
    train_step(learner, optimizer, batches.batch(0), SMALL, 0)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    hook = network.get_parameter("dense.bias").register_hook(lambda gradient: gradient * poison)
    step = train_step(learner, optimizer, batches.batch(1), SMALL, 1)
    assert step.scalars["loss"].isfinite()
    assert step.taken == 0
    same = [
        name for name, value in network.state_dict().items() if torch.equal(value, before[name])
    ]
    assert same == [name for name in before if "num_batches" not in name]
    hook.remove()
    assert train_step(learner, optimizer, batches.batch(2), SMALL, 2).taken == 1
    assert not torch.equal(network.get_parameter("dense.bias"), before["dense.bias"])


def test_a_few_in_a_row_end_the_run_and_the_last_good_checkpoint_stays(
    tmp_path: Path, make_dataset: type[MemoryDataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(SMALL, steps=20, checkpoint_every=1)
    poisoned_at(monkeypatch, 1, 2, 3, 6, 7, 8, 9, 10, 11)
    with pytest.raises(TrainingError, match=r"at 5 steps in a row before step 11"):
        train(Run(config, make_dataset(), tmp_path / "run"), "cpu")
    assert read_checkpoint(last(tmp_path / "run")).state.step == 6
    saved = load_file(last(tmp_path / "run") / "model.safetensors")
    assert all(value.isfinite().all() for value in saved.values())


def test_a_learning_rate_too_high_ends_the_run(
    tmp_path: Path, make_dataset: type[MemoryDataset]
) -> None:
    config = replace(SMALL, learning_rate=1e30, warm_up=0, steps=20)
    with pytest.raises(TrainingError, match=r"not finite at 5 steps in a row"):
        train(Run(config, make_dataset(), tmp_path / "run"), "cpu")


def test_learning_rate_rises_in_a_line_and_falls_to_nothing() -> None:
    config = TrainConfig(steps=1000, warm_up=100, learning_rate=1e-3)
    rates = [learning_rate(config, step) for step in range(1000)]
    assert rates[0] == pytest.approx(1e-5)
    assert rates[49] == pytest.approx(5e-4)
    assert max(rates) == rates[99] == rates[100] == 1e-3
    assert rates[550] == pytest.approx(5e-4)
    assert 0 < rates[-1] < 1e-8
    assert learning_rate(TrainConfig(steps=1, warm_up=0), 0) == 1e-3


def test_a_run_folder_is_not_written_over(
    tmp_path: Path, make_dataset: type[MemoryDataset]
) -> None:
    (tmp_path / "run").mkdir()
    with pytest.raises(RunError, match="exists: go on with --resume"):
        train(Run(SMALL, make_dataset(), tmp_path / "run"), "cpu")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot write"):
        train(Run(SMALL, make_dataset(), tmp_path / "file" / "run"), "cpu")


def test_only_the_same_run_is_resumed(tmp_path: Path, make_dataset: type[MemoryDataset]) -> None:
    with pytest.raises(RunError, match="nothing to resume"):
        train(Run(SMALL, make_dataset(), tmp_path / "run"), "cpu", resume=True)
    train(Run(SMALL, make_dataset(), tmp_path / "run"), "cpu", stop=StopAfter(0))
    with pytest.raises(RunError, match="seed was 0, is 1"):
        train(Run(replace(SMALL, seed=1), make_dataset(), tmp_path / "run"), "cpu", resume=True)
    with pytest.raises(RunError, match="train_places was 8, is 9"):
        train(Run(SMALL, make_dataset(n_places=9), tmp_path / "run"), "cpu", resume=True)


def test_a_run_is_made_longer_and_says_so(
    tmp_path: Path, make_dataset: type[MemoryDataset]
) -> None:
    out = tmp_path / "run"
    train(Run(SMALL, make_dataset(), out, make_dataset(seed=1)), "cpu")
    longer = replace(SMALL, steps=SMALL.steps + 2)
    before = read_checkpoint(last(out)).state
    assert train(
        Run(longer, make_dataset(), out, make_dataset(seed=1)), "cpu", resume=True
    ).finished
    after = read_checkpoint(last(out)).state
    assert (before.plans, after.plans) == ((SMALL.steps,), (SMALL.steps, longer.steps))
    assert (before.step, after.step) == (SMALL.steps, longer.steps)
    assert learning_rate(longer, SMALL.steps) > 0
    with pytest.raises(RunError, match=f"steps was {longer.steps}, is {SMALL.steps}"):
        train(Run(SMALL, make_dataset(), out, make_dataset(seed=1)), "cpu", resume=True)


def test_the_last_three_checkpoints_are_kept(
    tmp_path: Path, make_dataset: type[MemoryDataset]
) -> None:
    train(Run(replace(SMALL, checkpoint_every=1), make_dataset(), tmp_path / "run"), "cpu")
    assert [path.name for path in checkpoints(tmp_path / "run")] == [
        f"step-0000000{n}" for n in (4, 5, 6)
    ]


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


@pytest.mark.parametrize(
    ("name", "harm"),
    [
        ("model.safetensors", flip),
        ("optimizer.safetensors", cut),
        ("state.json", flip),
        ("state.json", Path.unlink),
        ("sha256.json", Path.unlink),
    ],
)
def test_a_damaged_checkpoint_is_refused_and_the_one_before_is_used(
    tmp_path: Path,
    make_dataset: type[MemoryDataset],
    capsys: pytest.CaptureFixture[str],
    name: str,
    harm: Callable[[Path], None],
) -> None:
    config = replace(SMALL, checkpoint_every=1)
    train(Run(config, make_dataset(), tmp_path / "a"), "cpu")
    train(Run(config, make_dataset(), tmp_path / "b"), "cpu", stop=StopAfter(5))
    harm(last(tmp_path / "b") / name)
    assert train(Run(config, make_dataset(), tmp_path / "b"), "cpu", resume=True).finished
    said = capsys.readouterr().err
    assert re.search(r"step-00000005 is damaged: .*: going on from step 4", said)
    assert_same_tensors(last(tmp_path / "a"), last(tmp_path / "b"))
    assert log_of(tmp_path / "a") == log_of(tmp_path / "b")


def test_without_a_whole_checkpoint_nothing_is_resumed(
    tmp_path: Path, make_dataset: type[MemoryDataset]
) -> None:
    train(Run(SMALL, make_dataset(), tmp_path / "run"), "cpu", stop=StopAfter(0))
    cut(last(tmp_path / "run") / "model.safetensors")
    with pytest.raises(RunError, match=r"nothing to resume.*model.safetensors was altered"):
        train(Run(SMALL, make_dataset(), tmp_path / "run"), "cpu", resume=True)


def test_no_pickle_is_read(
    tmp_path: Path, make_dataset: type[MemoryDataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*args: object, **kwargs: object) -> None:
        raise AssertionError("a pickle was read")

    train(Run(SMALL, make_dataset(), tmp_path / "run"), "cpu", stop=StopAfter(1))
    for name in ("pickle.load", "pickle.loads", "pickle.Unpickler", "torch.load"):
        monkeypatch.setattr(name, never)
    assert train(Run(SMALL, make_dataset(), tmp_path / "run"), "cpu", resume=True).finished
    load_model(tmp_path / "run" / "best")
    suffixes = {path.suffix for path in (tmp_path / "run").rglob("*") if path.is_file()}
    assert suffixes == {".json", ".jsonl", ".safetensors"}


def test_validation_of_other_tiles_is_refused(
    tmp_path: Path, make_dataset: type[MemoryDataset]
) -> None:
    with pytest.raises(FingerprintError, match="validation"):
        train(
            Run(SMALL, make_dataset(), tmp_path / "run", make_dataset(fingerprint="other")), "cpu"
        )
    assert not (tmp_path / "run").exists()


def test_validation_without_positives_is_refused(
    tmp_path: Path, make_dataset: type[MemoryDataset]
) -> None:
    with pytest.raises(RunError, match="--positives"):
        train(Run(SMALL, make_dataset(), tmp_path / "run", make_dataset(positives=0)), "cpu")
    assert not (tmp_path / "run").exists()


def test_an_unknown_encoder_leaves_no_folder(
    tmp_path: Path, make_dataset: type[MemoryDataset]
) -> None:
    with pytest.raises(EncoderError):
        train(Run(replace(SMALL, encoder="nothing"), make_dataset(), tmp_path / "run"), "cpu")
    assert not (tmp_path / "run").exists()


def test_the_other_loss_and_another_size_train(
    tmp_path: Path, make_dataset: type[MemoryDataset]
) -> None:
    config = replace(SMALL, dim=4, loss="nce")
    assert train(
        Run(config, make_dataset(), tmp_path / "run", make_dataset(seed=1)), "cpu"
    ).finished
    network = load_model(tmp_path / "run" / "best").network
    assert isinstance(network, Tiny)
    assert network.dense.out_features == 4


def test_a_run_starts_from_a_model(tmp_path: Path, make_dataset: type[MemoryDataset]) -> None:
    train(Run(SMALL, make_dataset(), tmp_path / "first"), "cpu")
    model = load_model(tmp_path / "first" / "best")
    train(
        Run(
            replace(SMALL, steps=1, warm_up=10**9), make_dataset(), tmp_path / "second", init=model
        ),
        "cpu",
    )
    state = model.network.state_dict()
    second = load_model(tmp_path / "second" / "best")
    assert second.config.training["init"] == model.model_id
    weights = [
        (second.network.state_dict()[name], state[name])
        for name, _ in model.network.named_parameters()
    ]
    assert all(torch.allclose(now, before, atol=1e-6) for now, before in weights)


def test_a_model_of_another_size_or_other_tiles_starts_no_run(
    tmp_path: Path, make_dataset: type[MemoryDataset]
) -> None:
    train(Run(SMALL, make_dataset(), tmp_path / "first"), "cpu")
    model = load_model(tmp_path / "first" / "best")
    with pytest.raises(RunError, match="'dim': 16"):
        train(Run(replace(SMALL, dim=4), make_dataset(), tmp_path / "run", init=model), "cpu")
    with pytest.raises(FingerprintError, match="other"):
        train(Run(SMALL, make_dataset(fingerprint="other"), tmp_path / "run", init=model), "cpu")
    assert not (tmp_path / "run").exists()


def test_bfloat16_steps_follow_float32_steps(make_dataset: type[MemoryDataset]) -> None:
    context = mixed_precision(torch.device("cpu"))
    assert isinstance(context, torch.autocast)
    if not context._enabled:
        pytest.skip("this CPU computes no bfloat16")
    batch = Batches(make_dataset(), TrainConfig(places=4, pairs=2)).batch(0)
    losses = []
    for fast in (True, False):
        torch.manual_seed(0)
        learner, optimizer = learning("loc2vec")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("loc2vec.model.compute.bfloat16_is_fast", lambda device, fast=fast: fast)
            step = train_step(learner, optimizer, batch, SMALL, 0)
            losses.append(step.scalars["loss"].item())
    assert losses[0] == pytest.approx(losses[1], rel=0.05)
    assert losses[0] != losses[1]
    assert math.isfinite(losses[0])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_takes_the_same_steps_as_the_cpu(
    make_dataset: type[MemoryDataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loc2vec.model.compute.bfloat16_is_fast", lambda device: False)
    rows = []
    for device in ("cpu", "cuda"):
        torch.manual_seed(0)
        learner, optimizer = learning("loc2vec", device)
        on_gpu = device == "cuda"
        coming = Batches(make_dataset(), TrainConfig(places=4, pairs=2)).prefetched(
            0, 3, readers=2 if on_gpu else 0, pinned=on_gpu
        )
        rows.append([train_step(learner, optimizer, batch, SMALL, 0) for batch in coming])
    for name, value in rows[0][0].scalars.items():
        other = rows[1][0].scalars[name].cpu()
        torch.testing.assert_close(other, value, rtol=1e-3, atol=1e-5)
    assert rows[0][0].taken == rows[1][0].taken == 1
    losses = [[step.scalars["loss"].item() for step in steps] for steps in rows]
    assert losses[1] == pytest.approx(losses[0], rel=0.05)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_run_is_killed_resumed_and_finished(
    tmp_path: Path, make_dataset: type[MemoryDataset]
) -> None:
    config = replace(SMALL, encoder="loc2vec")
    train(
        Run(config, make_dataset(), tmp_path / "run", make_dataset(seed=1)),
        "cuda",
        stop=StopAfter(3),
    )
    result = train(
        Run(config, make_dataset(), tmp_path / "run", make_dataset(seed=1)), "cuda", resume=True
    )
    assert (result.finished, result.skipped) == (True, 0)
