"""The summary: one line a method, and who is ahead by two standard errors."""

from typing import Any

import numpy as np
import pytest

from loc2vec.evaluation.report.summary import differences, summary

DRAWN = np.random.default_rng(0).normal(0, 0.01, 200)


def score(method: str, split: str, probe: str, mean: float, numbers: int, **more: Any) -> Any:
    drawn = list(mean + DRAWN * more.get("own", 1)) if split == "blocks" else []
    metrics = {"macro-F1": {"mean": mean, "spread": 0, "seeds": [mean]}}
    return {
        "method": method, "split": split, "probe": probe, "metrics": metrics, "numbers": numbers,
        "drawn": drawn, "by_town": {},
    }  # fmt: skip


def task(name: str, drawn: bool = False, **means: float) -> dict[str, Any]:
    sizes = {"large": 192, "means": 12, "model": 16, "other": 16}
    scores = [
        score(method, split, probe, mean - (probe == "knn") / 10, sizes[method])
        for method, mean in means.items()
        for split in ("blocks", "towns")
        for probe in ("linear", "knn")
    ]
    return {"task": name, "drawn": drawn, "primary": "macro-F1", "scores": scores}


VALUES: dict[str, Any] = {
    "methods": {"model": "model", "other": "vectors", "means": "baseline", "large": "baseline"},
    "tasks": [
        task("first", model=0.6, other=0.5, means=0.5, large=0.9),
        task("second", model=0.4, other=0.5, means=0.5, large=0.9),
        task("third", drawn=True, model=0.1, other=0.1, means=0.1, large=0.1),
    ],
}


def test_means_are_over_the_undrawn_tasks_and_large_baselines_are_no_rivals() -> None:
    head, *rows = summary(VALUES)
    assert head == ["method", "numbers", "linear", "knn", "ahead", "behind"]
    assert rows == [
        ["model", "16", "0.500", "0.400", "1 of 2", "1"],
        ["other", "16", "0.500", "0.400", "0 of 2", "0"],
        ["means", "12", "0.500", "0.400", "", ""],
        ["large", "192", "0.900", "0.800", "", ""],
    ]


def test_the_error_is_of_the_paired_difference() -> None:
    first, second = differences("model", VALUES)
    assert (first.task, first.rival) == ("first", "means")
    assert first.gain == pytest.approx(0.1)
    assert first.error == pytest.approx(0, abs=1e-9)  # both move alike from draw to draw
    assert (first.ahead, first.behind, second.ahead, second.behind) == (True, False, False, True)


def test_without_undrawn_tasks_there_is_no_summary() -> None:
    assert summary({**VALUES, "tasks": VALUES["tasks"][2:]}) == []
