import math
import re
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import nn

from loc2vec.errors import ModelError, RunError
from loc2vec.model.folder import load_model
from loc2vec.train.checkpoint import checkpoints
from loc2vec.train.loop import train
from loc2vec.train.objectives.geocell import (
    LEVELS,
    METRICS,
    Cells,
    GeoCellEvaluator,
    GeoCellHead,
    load_head,
)
from loc2vec.train.run import Run, TrainConfig
from loc2vec.train.run_page import table, write_report
from loc2vec.train.runlog import read_log
from tests.loc2vec.memory import MemoryDataset

APART_M = 20_000.0  # so that each place has a town of its own
SMALL = TrainConfig(
    encoder="tiny", places=4, pairs=2, steps=6, warm_up=2, eval_every=6, checkpoint_every=3,
    heads={"geocell": 1.0},
)  # fmt: skip


def cells_of(dataset: MemoryDataset) -> Cells:
    return Cells.of(dataset.lat, dataset.lon)


def test_labels_are_cells_and_their_parents(make_dataset: type[MemoryDataset]) -> None:
    lat, lon = (
        np.array([43.7384, 43.7385, 43.7484, 60.17]),
        np.array([7.4246, 7.4246, 7.4246, 24.94]),
    )
    cells = Cells.of(lat, lon)
    # two countries, two towns, three cells
    assert [len(names) for names in cells.names] == [2, 2, 3]
    labels = cells.labels(lat, lon)
    assert labels[0].tolist() == labels[1].tolist() != labels[2].tolist()
    assert labels[0, :2].tolist() == labels[2, :2].tolist() != labels[3, :2].tolist()
    assert np.array_equal(cells.parents()[labels[:, -1]], labels)


def test_a_cell_that_is_not_known_has_no_number(make_dataset: type[MemoryDataset]) -> None:
    cells = cells_of(make_dataset(spacing_m=APART_M))
    assert (cells.labels(np.array([-33.9]), np.array([18.4])) == -1).all()


def test_loss_is_the_mean_cross_entropy_of_the_levels(make_dataset: type[MemoryDataset]) -> None:
    dataset = make_dataset(spacing_m=APART_M)
    head, vectors = GeoCellHead(16, cells_of(dataset)), torch.randn(8, 16)
    labels = head.cells.labels(dataset.lat, dataset.lon)
    expected = 0.0
    for level, own in zip(head.levels, labels.T.tolist(), strict=True):
        scores = level(vectors).detach().exp()
        expected -= (
            sum(math.log(scores[row, own[row]] / scores[row].sum()) for row in range(8))
            / 8
            / len(LEVELS)
        )
    assert head.loss(vectors, torch.from_numpy(labels)).item() == pytest.approx(expected, rel=1e-5)


def test_a_cell_is_as_likely_as_it_and_its_parents_together(
    make_dataset: type[MemoryDataset],
) -> None:
    head = GeoCellHead(16, cells_of(make_dataset(spacing_m=APART_M)))
    vectors = torch.randn(3, 16)
    probability = [found.exp() for found in head(vectors)]
    product = torch.stack(
        [found[:, own] for found, own in zip(probability, head.parents.T, strict=True)]
    ).prod(0)
    torch.testing.assert_close(head.smallest(vectors).exp(), product / product.sum(1, keepdim=True))


def test_measures_of_a_head_that_knows(make_dataset: type[MemoryDataset]) -> None:
    """Vectors that say which place it is, and a head that reads them."""
    dataset = make_dataset(spacing_m=APART_M)
    head = GeoCellHead(8, cells_of(dataset))
    labels = torch.from_numpy(head.cells.labels(dataset.lat, dataset.lon))
    with torch.no_grad():
        for level, own in zip(head.levels, labels.T, strict=True):
            assert isinstance(level, nn.Linear)
            level.bias.zero_()
            level.weight.zero_()
            level.weight[own, torch.arange(8)] = 20.0
    numbers = iter(range(8))
    scores = GeoCellEvaluator(head, dataset)(
        lambda tiles: np.eye(8, dtype=np.float32)[[next(numbers) for _ in tiles]]
    )
    assert (
        scores["top-1 cell"]
        == scores["top-1 town"]
        == scores["top-1 country"]
        == scores["top-5 cell"]
        == 1
    )
    assert scores["within 25 km"] == 1
    assert 0 < scores["median km"] < 1.5  # the middle of a cell
    constant = GeoCellEvaluator(head, dataset)(
        lambda tiles: np.eye(8, dtype=np.float32)[:1].repeat(len(tiles), 0)
    )
    assert constant["top-1 cell"] == 1 / 8
    assert constant["top-5 cell"] == 5 / 8
    assert constant["median km"] > 40
    assert constant["within 25 km"] == 2 / 8  # the place itself and its neighbour, 20 km away


def say_nothing(tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.zeros((len(tiles), 1), np.float32)


def test_a_cell_is_ranked_with_its_parents_and_an_unknown_one_is_missed(
    make_dataset: type[MemoryDataset],
) -> None:
    """The cells by themselves say the second place, their countries the first.

    The third place's is not known.
    """
    first, two, three = (make_dataset(n_places=n, spacing_m=1e6) for n in (1, 2, 3))
    head = GeoCellHead(1, cells_of(two))
    country, town, cell = (cast(nn.Linear, level) for level in head.levels)
    own = torch.from_numpy(head.cells.labels(first.lat, first.lon)[0])
    with torch.no_grad():
        for level in (country, town, cell):
            level.weight.zero_()
            level.bias.zero_()
        country.get_parameter("bias")[own[0]] = 9.0
        cell.get_parameter("bias")[own[2]] = -1.0
    assert GeoCellEvaluator(head, first)(say_nothing)["top-1 cell"] == 1
    scores = GeoCellEvaluator(head, three)(say_nothing)
    assert scores["top-5 cell"] == scores["top-5 town"] == scores["top-5 country"] == 2 / 3
    assert scores["median km"] == pytest.approx(1000, abs=2)


@pytest.mark.parametrize("loss", ["none", "softpn"])
def test_it_learns(tmp_path: Path, make_dataset: type[MemoryDataset], tiny: str, loss: str) -> None:
    data = make_dataset(spacing_m=APART_M)
    config = replace(SMALL, loss=loss, steps=60, eval_every=60, learning_rate=3e-2)
    train(Run(config, data, tmp_path / "run", data), "cpu")
    first, last = (
        line for line in read_log(tmp_path / "run" / "log.jsonl") if "top-1 cell" in line
    )
    assert (first["step"], last["step"]) == (0, 60)
    assert first["top-1 cell"] <= 0.5 < 0.9 <= last["top-1 cell"]
    assert last["median km"] < 2 < first["median km"]


@pytest.mark.parametrize(("loss", "score"), [("none", "top-1 cell"), ("softpn", "recall@1")])
def test_the_best_model_is_judged_by_what_it_learns(
    tmp_path: Path, make_dataset: type[MemoryDataset], tiny: str, loss: str, score: str
) -> None:
    """Where only cells are learned, the best model names cells; finding places is not enough."""
    data = make_dataset(spacing_m=APART_M)
    config = replace(SMALL, loss=loss, steps=30, eval_every=5, learning_rate=3e-2)
    result = train(Run(config, data, tmp_path / "run", data), "cpu")
    log = [line for line in read_log(tmp_path / "run" / "log.jsonl") if "top-1 cell" in line]
    best = max(log, key=lambda line: line[score])  # the first of equal ones
    assert (result.score, result.best, result.best_step) == (score, best[score], best["step"])
    assert load_model(tmp_path / "run" / "best").config.training["step"] == best["step"]


def test_the_report_tells_how_cells_are_named(
    tmp_path: Path, make_dataset: type[MemoryDataset], tiny: str
) -> None:
    data = make_dataset(spacing_m=APART_M)
    train(Run(SMALL, data, tmp_path / "run", data), "cpu")
    scores = write_report(tmp_path / "run", data, validated=True, device="cpu")
    about = load_model(tmp_path / "run" / "best").config.training
    assert {name: scores["run"][name] for name in METRICS} == {
        name: about[name] for name in METRICS
    }
    assert "top-1 cell" not in scores["channel means"]
    page = (tmp_path / "run" / "report.html").read_text()
    assert f"<td>median km</td><td>{about['median km']:,.1f}</td>" in page
    assert re.search(rf"naming the cell, top-5 town +{about['top-5 town']:.3f}\n", table(scores))
    train(Run(replace(SMALL, heads={}), data, tmp_path / "plain", data), "cpu")
    scores = write_report(tmp_path / "plain", data, validated=True, device="cpu")
    assert "naming the cell" not in table(scores)
    assert "Naming the cell" not in (tmp_path / "plain" / "report.html").read_text()


def test_the_model_is_the_encoder_and_the_head_lies_beside_it(
    tmp_path: Path, make_dataset: type[MemoryDataset], tiny: str
) -> None:
    data = make_dataset(spacing_m=APART_M)
    train(Run(SMALL, data, tmp_path / "run", data), "cpu")
    best = tmp_path / "run" / "best"
    assert load_model(best).network(torch.zeros(2, 12, 128, 128)).shape == (2, 16)
    head, saved = (
        load_head(best),
        load_file(checkpoints(tmp_path / "run")[-1] / "objectives.safetensors"),
    )
    assert head.cells == cells_of(data)
    assert torch.equal(head.state_dict()["levels.2.weight"], saved["geocell.head.levels.2.weight"])
    train(Run(replace(SMALL, heads={}), data, tmp_path / "plain", data), "cpu")
    with pytest.raises(ModelError, match="trained without --head geocell"):
        load_head(tmp_path / "plain" / "best")


def test_a_resumed_run_does_what_an_undisturbed_one_does(
    tmp_path: Path, make_dataset: type[MemoryDataset], tiny: str
) -> None:
    data = make_dataset(spacing_m=APART_M)
    train(Run(replace(SMALL, steps=3), data, tmp_path / "two"), "cpu")
    train(Run(SMALL, data, tmp_path / "two"), "cpu", resume=True)
    train(Run(replace(SMALL, steps=3), data, tmp_path / "one"), "cpu")
    train(Run(SMALL, data, tmp_path / "one"), "cpu", resume=True)
    folders = [checkpoints(tmp_path / name)[-1] for name in ("one", "two")]
    for part in ("model", "objectives", "optimizer"):
        one, two = (load_file(folder / f"{part}.safetensors") for folder in folders)
        assert one
        assert one.keys() == two.keys()
        assert all(torch.equal(value, two[name]) for name, value in one.items())


def test_what_cannot_be_trained_says_so(
    tmp_path: Path, make_dataset: type[MemoryDataset], tiny: str
) -> None:
    with pytest.raises(RunError, match="nothing to learn: all 8 places lie in one cell"):
        train(Run(SMALL, make_dataset(spacing_m=0.1, south=1.0), tmp_path / "run"), "cpu")
    with pytest.raises(RunError, match=r"--loss none .* goes with --head geocell"):
        train(Run(replace(SMALL, heads={}, loss="none"), make_dataset(), tmp_path / "run"), "cpu")
    far = make_dataset(spacing_m=APART_M, south=50.0)
    with pytest.raises(RunError, match="no place of --validation lies in a cell"):
        train(Run(SMALL, make_dataset(spacing_m=APART_M), tmp_path / "run", far), "cpu")
    assert not (tmp_path / "run").exists()
