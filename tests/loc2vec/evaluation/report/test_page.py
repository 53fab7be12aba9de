"""The report of an evaluation: its page, and the places for a GIS."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from loc2vec.evaluation.measure import Outcome, measure
from loc2vec.evaluation.report.figures import MAPS, error, error_map, few_label_curves
from loc2vec.evaluation.report.page import page, write_report
from loc2vec.evaluation.report.table import LARGE, as_values
from loc2vec.evaluation.tasks.labels import read_labels
from tests.loc2vec.evaluation.test_measure import make, telling


@pytest.fixture(scope="module")
def outcomes() -> list[Outcome]:
    """A task with classes and a regression, each in eight towns."""
    task = make(towns=8)
    number = replace(make(towns=8, classes=()), name="a number")
    return [
        measure(one, {"model": telling(one), "poor <3>": telling(one, 3.0), LARGE: telling(one)}, 1)
        for one in (task, number)
    ]


def test_the_page_has_tables_curves_matrices_and_maps(outcomes: list[Outcome]) -> None:
    text = page(outcomes, as_values(outcomes, {"model": "model"}), "model")
    assert text.count("<svg") == 3  # no curve from few labels for a regression
    assert text.count('<table class="matrix">') == 1
    assert text.count('diagnostic">') == 1
    assert "poor &lt;3&gt;" in text
    assert not re.findall(r'(?:src|href)="(?!#|data:)', text)
    shares = [int(share) for share in re.findall(r'places">(\d+) %', text)]
    assert np.array(shares).reshape(3, 3).sum(1) == pytest.approx(100, abs=2)


def test_curves_have_a_line_for_each_method(outcomes: list[Outcome]) -> None:
    svg = few_label_curves(outcomes[0])
    assert svg.startswith("<svg")
    for text in ("model", "poor &lt;3&gt;", "labels a class, at most", "macro-F1", "30"):
        assert f">{text}</text>" in svg


def test_maps_show_the_largest_towns_and_how_often_they_are_right(outcomes: list[Outcome]) -> None:
    outcome = outcomes[0]
    titles = re.findall(r">(town \d): (\d+)% right</text>", error_map(outcome, "model"))
    assert len(titles) == MAPS
    wrong = error(outcome, "model")
    for name, share in titles:
        here = outcome.task.place == outcome.task.places.index(name)
        assert int(share) == pytest.approx(100 * (wrong[here] == 0).mean(), abs=0.51)
    assert ">absolute error</text>" in error_map(outcomes[1], "model")


def test_places_are_labels_again(outcomes: list[Outcome], tmp_path: Path) -> None:
    values = as_values(outcomes)
    write_report(tmp_path, outcomes, values, "model")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "places",
        "report.html",
        "results.json",
        "table.md",
    ]
    assert json.loads((tmp_path / "results.json").read_text()) == json.loads(json.dumps(values))
    task = outcomes[0].task
    labels = read_labels(tmp_path / "places" / "test.parquet", "label")
    assert labels.values == [task.classes[number] for number in task.target]
    np.testing.assert_allclose(labels.lat, task.lat)
    table = pq.read_table(tmp_path / "places" / "a-number.parquet")
    np.testing.assert_allclose(table["error"], error(outcomes[1], "model"))
