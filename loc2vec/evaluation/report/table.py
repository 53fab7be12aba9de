"""What was measured: plain values for programs, and tables of Markdown for people."""

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from statistics import fmean, pstdev
from typing import Any

from loc2vec.evaluation.intrinsic import Scores, told
from loc2vec.evaluation.measure import Outcome, Score
from loc2vec.evaluation.probes import NEIGHBOURS, Probe, primary
from loc2vec.evaluation.report.summary import COMPACT, SUMMARY, Grid, Values, summary
from loc2vec.evaluation.splits import Split
from tiling.values import ATTRIBUTION

LARGE = "means in 4x4 squares"  # the baseline of 192 numbers that the models are shown beside
WORTHLESS = -1.0  # an R2 below it says no more: the mean alone is better
TITLES: dict[Split, str] = {
    "towns": "Across towns: probes are trained on some towns and tested on others",
    "blocks": "Across blocks: probes are trained on some squares of 1 km and tested on others",
    "random": "Diagnostic only, places mixed at random. It flatters every method, as places have "
    "neighbours on both sides",
}
STRICT: tuple[Split, ...] = ("towns", "blocks")
PROBES: dict[Probe, str] = {
    "linear": "logistic or ridge regression",
    "knn": f"{NEIGHBOURS} nearest neighbours",
}

AHEAD = (
    "How far the models are ahead of the best of the small baselines, which is named, and of the "
    "4x4 means"
)
VIEWS = (
    "Without labels: {queries:,.0f} turned and shifted tiles search their place among "
    "{gallery:,.0f}. Triplets ask whether a tile is nearer to its place than to another one. "
    "That one is 250 m to 1 km away (near), or has the most similar channel means (equal)"
)

# From a score and a metric: one value a seed, none if not measured.
Number = Callable[[Values, str], list[float]]
# How many numbers a vector has, and one value a seed: by (method, task), or at one task.
Found = Mapping[tuple[str, str], tuple[int, list[float]]]
ByMethod = Mapping[str, tuple[int, list[float]]]


def as_values(
    outcomes: Sequence[Outcome], kinds: Mapping[str, str] | None = None, views: Scores | None = None
) -> dict[str, Any]:
    """Return everything as plain values for JSON.

    `kinds`: which methods are a "model" or foreign "vectors"; all others are a "baseline".
    `views`: the scores that need no label.
    """
    methods = dict.fromkeys(
        (score.method for outcome in outcomes for score in outcome.scores), "baseline"
    )
    return {
        "attribution": ATTRIBUTION,
        "methods": methods | dict(kinds or {}),
        "tasks": [_values(outcome) for outcome in outcomes],
        "without_labels": dict(views or {}),
    }


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
        "few_shot": {
            name: {str(n): value for n, value in found.items()}
            for name, found in outcome.few.items()
        },
        "confusion": {name: outcome.confusion(name).tolist() for name in outcome.predicted}
        if task.classes
        else {},
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
        "drawn": score.drawn,
    }


def table(values: Values) -> str:
    """Return the primary metrics as Markdown: a table a split and probe, a row a method."""
    pieces = ["\n".join(f"- {facts(task)}" for task in values["tasks"])]
    pieces += _piece(SUMMARY, summary(values))
    for split, title in TITLES.items():
        for probe, name in PROBES.items():
            pieces += _piece(f"{title} ({name})", grid(values, split, probe))
    pieces += _piece(
        f"The mean of the towns' own scores, as above ({PROBES['linear']})", town_grid(values)
    )
    for split in STRICT:
        pieces += _piece(f"{AHEAD}. {TITLES[split]} ({PROBES['linear']})", margins(values, split))
    pieces += _piece(views_title(values), views_grid(values))
    return "\n\n".join([*pieces, ATTRIBUTION])


def _piece(title: str, rows: Grid) -> list[str]:
    return [f"{title}\n\n{markdown(rows)}"] if rows else []


def markdown(rows: Grid) -> str:
    """Write rows as a table of Markdown, the first one as its head."""
    ruled = [rows[0], ["---", *("---:" for _ in rows[0][1:])], *rows[1:]]
    return "\n".join(f"| {' | '.join(row)} |" for row in ruled)


def facts(task: Values) -> str:
    """Say in a line what a task is and how many places it has."""
    towns = task["towns"]
    town = "town" if towns == 1 else "towns"
    text = f"{task['task']}: {task['about']}. {task['places']:,} places in {towns} {town}"
    counts = ", ".join(f"{name} {count}" for name, count in task["classes"].items())
    return f"{text}: {counts}" if counts and task["primary"] == "macro-F1" else text


def of_seeds(score: Values, metric: str) -> list[float]:
    """Return the metric over all places, one value a seed."""
    seeds: list[float] = score["metrics"][metric]["seeds"]
    return seeds


def of_town(town: str | None = None) -> Number:
    """Return a function for the score of one held-out town, by default for the mean over all.

    Only for classes: within a town a number varies too little for its R2 to mean anything.
    """

    def number(score: Values, metric: str) -> list[float]:
        found = score["by_town"] if metric == "macro-F1" else {}
        chosen = list(found.values()) if town is None else [found[town]] if town in found else []
        return [fmean(chosen)] if chosen else []

    return number


def grid(values: Values, split: Split, probe: Probe) -> Grid:
    """Return the cells of a table of means over the seeds; empty when nothing was measured."""
    return _grid(values, split, probe, of_seeds)


def town_grid(values: Values, town: str | None = None) -> Grid:
    """Return the scores of one held-out town as cells, by default the mean over all such towns."""
    return _grid(values, "towns", "linear", of_town(town))


def views_title(values: Values) -> str:
    """Say what was asked without labels."""
    first: Mapping[str, float] = next(
        iter(values["without_labels"].values()), {"queries": 0, "gallery": 0}
    )
    return VIEWS.format(**first)


def views_grid(values: Values) -> Grid:
    """Return the scores that need no label as cells; empty when they were not measured."""
    return told(values["without_labels"]) if values["without_labels"] else []


def margins(values: Values, split: Split, number: Number = of_seeds) -> Grid:
    """Return how far each model is ahead of the best small baseline, and of the 4x4 means.

    By the linear probe, seed by seed, as all methods have the same folds. The last column counts
    the tasks whose labels the tiles do not show. Empty when nothing was measured.
    """
    measured = [(task, _by_method(task, split, number)) for task in values["tasks"]]
    tasks = [(task, found) for task, found in measured if found]
    models = [name for name, kind in values["methods"].items() if kind == "model"]
    if not tasks or not models:
        return []
    baselines = {name for name, kind in values["methods"].items() if kind == "baseline"}
    head = ["model", "ahead of", *(task["task"] for task, _ in tasks), "undrawn tasks ahead"]
    rivals = (f"best of {COMPACT} numbers or fewer", LARGE)
    return [
        head,
        *(_margins(tasks, model, rival, baselines) for model in models for rival in rivals),
    ]


def _margins(
    tasks: Sequence[tuple[Values, ByMethod]], model: str, rival: str, baselines: AbstractSet[str]
) -> list[str]:
    """Return the row of one model beside one rival, which may be another one at each task."""
    cells, ahead = [], []
    for task, found in tasks:
        best = rival if rival == LARGE else _best_small(found, baselines)
        gain = [a - b for a, b in zip(found[model][1], found[best][1], strict=True)]
        cells.append(_gain(gain) + f" ({best})" * (best != rival))
        ahead += [] if task["drawn"] else [fmean(gain) > 0]
    return [model, rival, *cells, f"{sum(ahead)} of {len(ahead)}"]


def _best_small(found: ByMethod, baselines: AbstractSet[str]) -> str:
    small = [name for name in found if name in baselines and found[name][0] <= COMPACT]
    return max(small, key=lambda name: fmean(found[name][1]))


def _by_method(task: Values, split: Split, number: Number) -> ByMethod:
    """Return the methods of a task, as the linear probe read them on a split."""
    return {
        score["method"]: (score["numbers"], found)
        for score in task["scores"]
        if (score["split"], score["probe"]) == (split, "linear")
        and (found := number(score, task["primary"]))
    }


def _grid(values: Values, split: Split, probe: Probe, number: Number) -> Grid:
    found = {
        (score["method"], task["task"]): (score["numbers"], cell)
        for task in values["tasks"]
        for score in task["scores"]
        if (score["split"], score["probe"]) == (split, probe)
        and (cell := number(score, task["primary"]))
    }
    if not found:
        return []
    measured = {name for _, name in found}
    tasks = [task for task in values["tasks"] if task["task"] in measured]
    head = ["method", "numbers", *(f"{task['task']}, {task['primary']}" for task in tasks)]
    names = [task["task"] for task in tasks]
    methods = dict.fromkeys(method for method, _ in found)
    return [head, *(_row(found, method, names) for method in methods)]


def _row(found: Found, method: str, tasks: Sequence[str]) -> list[str]:
    """Return the cells of one method, a task each."""
    sizes = [size for (name, _), (size, _) in found.items() if name == method]
    low, high = min(sizes), max(sizes)
    cells = [
        _cell(*found[method, task], _best(found, task)) if (method, task) in found else ""
        for task in tasks
    ]
    return [method, str(low) if low == high else f"{low}-{high}", *cells]


def _best(found: Found, task: str) -> float | None:
    """Return the best mean of the compact methods at a task."""
    means = [
        fmean(cell) for (_, name), (size, cell) in found.items() if name == task and size <= COMPACT
    ]
    return max(means, default=None)


def _cell(size: int, values: Sequence[float], best: float | None) -> str:
    mean = fmean(values)
    if mean < WORTHLESS:
        return f"< {WORTHLESS:.0f}"
    text = _text(values)
    return f"**{text}**" if size <= COMPACT and mean == best else text


def _gain(values: Sequence[float]) -> str:
    """Write a difference; beyond 1 one of the two R2 is worthless, and so is the figure."""
    mean = fmean(values)
    return _text(values, "+") if abs(mean) <= 1 else "> +1" if mean > 1 else "< -1"


def _text(values: Sequence[float], sign: str = "") -> str:
    """Write the mean over the seeds, and their standard deviation where there are several."""
    mean = f"{fmean(values):{sign}.3f}"
    return f"{mean} ± {pstdev(values):.3f}" if len(values) > 1 else mean
