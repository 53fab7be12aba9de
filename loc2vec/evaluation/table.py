"""What was measured, as plain values for programs and, made of those, as tables of Markdown for people."""

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any

from loc2vec.evaluation.measure import Outcome, Score
from loc2vec.evaluation.probes import NEIGHBOURS, Probe, primary
from loc2vec.evaluation.splits import Split
from tiling.values import ATTRIBUTION

COMPACT = 16  # numbers; methods of so few or fewer compete with each other
WORTHLESS = -1.0  # of an R2: how far below the mean alone it lies says nothing more
TITLES: dict[Split, str] = {
    "towns": "Across towns: probes are trained on some towns and tested on others",
    "blocks": "Across blocks: probes are trained on some squares of 1 km and tested on others",
    "random": "Diagnostic only, it flatters every method: places mixed at random, neighbours on both sides",
}
PROBES: dict[Probe, str] = {"linear": "logistic or ridge regression", "knn": f"{NEIGHBOURS} nearest neighbours"}

Values = Mapping[str, Any]  # JSON objects
Number = Callable[[Values, str], tuple[float, float] | None]  # of a score and its metric: the mean and its spread
Rows = list[list[str]]


def as_values(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Return everything as plain values for JSON."""
    return {"attribution": ATTRIBUTION, "tasks": [_values(outcome) for outcome in outcomes]}


def _values(outcome: Outcome) -> dict[str, Any]:
    task = outcome.task
    return {
        "task": task.name,
        "about": task.about,
        "drawn": task.drawn,
        "primary": primary(task),
        "places": len(task),
        "towns": len(set(task.place.tolist())),
        "classes": task.counts,
        "scores": [_score(score) for score in outcome.scores],
        "few_shot": {name: {str(n): value for n, value in found.items()} for name, found in outcome.few.items()},
        "confusion": {name: outcome.confusion(name).tolist() for name in outcome.predicted} if task.classes else {},
    }


def _score(score: Score) -> dict[str, Any]:
    return {
        "method": score.method,
        "numbers": score.numbers,
        "split": score.split,
        "probe": score.probe,
        "diagnostic": score.split == "random",
        "metrics": {
            name: {"mean": score.mean(name), "spread": score.spread(name), "seeds": values}
            for name, values in score.metrics.items()
        },
        "by_town": score.by_town,
    }


def table(values: Values) -> str:
    """Return the primary metrics: a table for each split and probe, one row a method, one column a task."""
    pieces = ["\n".join(f"- {facts(task)}" for task in values["tasks"])]
    for split, title in TITLES.items():
        for probe, name in PROBES.items():
            pieces += _piece(f"{title} ({name})", grid(values, split, probe))
    pieces += _piece(f"The mean of the towns' own scores, as above ({PROBES['linear']})", town_grid(values))
    return "\n\n".join([*pieces, ATTRIBUTION])


def _piece(title: str, rows: Rows) -> list[str]:
    return [f"{title}\n\n{markdown(rows)}"] if rows else []


def markdown(rows: Rows) -> str:
    """Write rows as a table of Markdown, the first one as its head."""
    ruled = [rows[0], ["---", *("---:" for _ in rows[0][1:])], *rows[1:]]
    return "\n".join(f"| {' | '.join(row)} |" for row in ruled)


def facts(task: Values) -> str:
    """Say in a line what a task is and how many places it has."""
    towns = task["towns"]
    text = f"{task['task']}: {task['about']}; {task['places']} places in {towns} town{'s' * (towns != 1)}"
    counts = ", ".join(f"{name} {count}" for name, count in task["classes"].items())
    return f"{text} ({counts})" if counts and task["primary"] == "macro-F1" else text


def grid(values: Values, split: Split, probe: Probe) -> Rows:
    """Return the cells of a table of means over the seeds, its head first; empty when nothing was measured so."""

    def mean(score: Values, metric: str) -> tuple[float, float] | None:
        found = score["metrics"][metric]
        return found["mean"], found["spread"] if len(found["seeds"]) > 1 else 0.0

    return _grid(values, split, probe, mean)


def town_grid(values: Values, town: str | None = None) -> Rows:
    """Return the cells of a table of one held-out town's scores, by default of the mean over all such towns.

    Of classes alone: within a town a number varies too little for its R2 to mean anything.
    """

    def mean(score: Values, metric: str) -> tuple[float, float] | None:
        found = score["by_town"]
        if metric != "macro-F1":
            return None
        chosen = list(found.values()) if town is None else [found[town]] if town in found else []
        return (fmean(chosen), 0.0) if chosen else None

    return _grid(values, "towns", "linear", mean)


def _grid(values: Values, split: Split, probe: Probe, number: Number) -> Rows:
    found = {
        (score["method"], task["task"]): (score["numbers"], cell)
        for task in values["tasks"]
        for score in task["scores"]
        if (score["split"], score["probe"]) == (split, probe) and (cell := number(score, task["primary"])) is not None
    }
    names = {task["task"]: task["primary"] for task in values["tasks"] if any(key[1] == task["task"] for key in found)}
    best = {
        name: max((cell[0] for key, (size, cell) in found.items() if key[1] == name and size <= COMPACT), default=None)
        for name in names
    }
    if not found:
        return []
    rows = [["method", "numbers", *(f"{name}, {metric}" for name, metric in names.items())]]
    for method in dict.fromkeys(key[0] for key in found):
        sizes = [size for key, (size, _) in found.items() if key[0] == method]
        low, high = min(sizes), max(sizes)
        cells = [_cell(*found[method, name], best[name]) if (method, name) in found else "" for name in names]
        rows.append([method, str(low) if low == high else f"{low}-{high}", *cells])
    return rows


def _cell(size: int, cell: tuple[float, float], best: float | None) -> str:
    mean, spread = cell
    if mean < WORTHLESS:
        return f"< {WORTHLESS:.0f}"
    text = f"{mean:.3f} ± {spread:.3f}" if spread else f"{mean:.3f}"
    return f"**{text}**" if size <= COMPACT and mean == best else text
