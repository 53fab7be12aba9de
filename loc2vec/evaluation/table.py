"""What was measured, as plain values for programs and, made of those, as tables of Markdown for people."""

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean, pstdev
from typing import Any

from loc2vec.evaluation.intrinsic import Scores, told
from loc2vec.evaluation.measure import Outcome, Score
from loc2vec.evaluation.probes import NEIGHBOURS, Probe, primary
from loc2vec.evaluation.splits import Split
from tiling.values import ATTRIBUTION

LARGE = "means in 4x4 squares"  # the baseline of 192 numbers that the models are shown beside
COMPACT = 16  # numbers; methods of so few or fewer compete with each other
WORTHLESS = -1.0  # of an R2: how far below the mean alone it lies says nothing more
TITLES: dict[Split, str] = {
    "towns": "Across towns: probes are trained on some towns and tested on others",
    "blocks": "Across blocks: probes are trained on some squares of 1 km and tested on others",
    "random": "Diagnostic only, it flatters every method: places mixed at random, neighbours on both sides",
}
STRICT: tuple[Split, ...] = ("towns", "blocks")
PROBES: dict[Probe, str] = {
    "linear": "logistic or ridge regression",
    "knn": f"{NEIGHBOURS} nearest neighbours",
}

AHEAD = "How far the models are ahead of the best of the small baselines, which is named, and of the 4x4 means"
VIEWS = (
    "Without labels: {queries:,.0f} turned and shifted tiles search their place among {gallery:,.0f}; triplets ask "
    "whether they are nearer to it than a place 250 m to 1 km away is (near), or the place of the most similar "
    "channel means (equal)"
)

Values = Mapping[str, Any]  # JSON objects
# of a score and its metric: one value a seed, none if not measured
Number = Callable[[Values, str], list[float]]
Rows = list[list[str]]


def as_values(
    outcomes: Sequence[Outcome], kinds: Mapping[str, str] | None = None, views: Scores | None = None
) -> dict[str, Any]:
    """Return everything as plain values for JSON.

    `kinds`: which methods are a "model", and which "vectors" of somebody else; all others are a
    "baseline". `views`: the scores that need no label.
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
    }


def table(values: Values) -> str:
    """Return the primary metrics: a table for each split and probe, one row a method, one column a task."""
    pieces = ["\n".join(f"- {facts(task)}" for task in values["tasks"])]
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


def of_seeds(score: Values, metric: str) -> list[float]:
    """Return the metric over all places, one value a seed."""
    seeds: list[float] = score["metrics"][metric]["seeds"]
    return seeds


def of_town(town: str | None = None) -> Number:
    """Return a function for the score of one held-out town, by default for the mean over all such towns.

    Of classes alone: within a town a number varies too little for its R2 to mean anything.
    """

    def number(score: Values, metric: str) -> list[float]:
        found = score["by_town"] if metric == "macro-F1" else {}
        chosen = list(found.values()) if town is None else [found[town]] if town in found else []
        return [fmean(chosen)] if chosen else []

    return number


def grid(values: Values, split: Split, probe: Probe) -> Rows:
    """Return the cells of a table of means over the seeds, its head first.

    Empty when nothing was measured so.
    """
    return _grid(values, split, probe, of_seeds)


def town_grid(values: Values, town: str | None = None) -> Rows:
    """Return the cells of a table of one held-out town's scores, by default of the mean over all such towns."""
    return _grid(values, "towns", "linear", of_town(town))


def views_title(values: Values) -> str:
    """Say what was asked without labels."""
    first: Mapping[str, float] = next(
        iter(values["without_labels"].values()), {"queries": 0, "gallery": 0}
    )
    return VIEWS.format(**first)


def views_grid(values: Values) -> Rows:
    """Return the cells of the table of what needs no label; empty when it was not measured."""
    return told(values["without_labels"]) if values["without_labels"] else []


def margins(values: Values, split: Split, number: Number = of_seeds) -> Rows:
    """Return how far each model is ahead of the best of its small rivals, and of the 4x4 means, at each task.

    By the linear probe, seed by seed, as all methods have the same folds. Rivals are the baselines,
    not peers. The last column counts the tasks that are not drawn. Empty when nothing was measured
    so.
    """
    measured = [(task, _by_method(task, split, number)) for task in values["tasks"]]
    tasks = [(task, found) for task, found in measured if found]
    rows = [["model", "ahead of", *(task["task"] for task, _ in tasks), "undrawn tasks ahead"]]
    for model in (name for name, kind in values["methods"].items() if kind == "model"):
        for rival in (f"best of {COMPACT} numbers or fewer", LARGE):
            cells, ahead = [], []
            for task, found in tasks:
                names = [name for name in found if values["methods"][name] == "baseline"]
                small = [name for name in names if found[name][0] <= COMPACT]
                best = (
                    rival if rival == LARGE else max(small, key=lambda name: fmean(found[name][1]))
                )
                gain = [a - b for a, b in zip(found[model][1], found[best][1], strict=True)]
                cells.append(_text(gain, "+") + f" ({best})" * (best != rival))
                ahead += [] if task["drawn"] else [fmean(gain) > 0]
            rows.append([model, rival, *cells, f"{sum(ahead)} of {len(ahead)}"])
    return rows if len(rows) > 1 and tasks else []


def _by_method(task: Values, split: Split, number: Number) -> dict[str, tuple[int, list[float]]]:
    """Return the size and the values of each method, as the linear probe read it on a split."""
    return {
        score["method"]: (score["numbers"], found)
        for score in task["scores"]
        if (score["split"], score["probe"]) == (split, "linear")
        and (found := number(score, task["primary"]))
    }


def _grid(values: Values, split: Split, probe: Probe, number: Number) -> Rows:
    found = {
        (score["method"], task["task"]): (score["numbers"], cell)
        for task in values["tasks"]
        for score in task["scores"]
        if (score["split"], score["probe"]) == (split, probe)
        and (cell := number(score, task["primary"]))
    }
    names = {
        task["task"]: task["primary"]
        for task in values["tasks"]
        if any(key[1] == task["task"] for key in found)
    }
    best = {
        name: max(
            (
                fmean(cell)
                for key, (size, cell) in found.items()
                if key[1] == name and size <= COMPACT
            ),
            default=None,
        )
        for name in names
    }
    if not found:
        return []
    rows = [["method", "numbers", *(f"{name}, {metric}" for name, metric in names.items())]]
    for method in dict.fromkeys(key[0] for key in found):
        sizes = [size for key, (size, _) in found.items() if key[0] == method]
        low, high = min(sizes), max(sizes)
        cells = [
            _cell(*found[method, name], best[name]) if (method, name) in found else ""
            for name in names
        ]
        rows.append([method, str(low) if low == high else f"{low}-{high}", *cells])
    return rows


def _cell(size: int, values: Sequence[float], best: float | None) -> str:
    mean = fmean(values)
    if mean < WORTHLESS:
        return f"< {WORTHLESS:.0f}"
    text = _text(values)
    return f"**{text}**" if size <= COMPACT and mean == best else text


def _text(values: Sequence[float], sign: str = "") -> str:
    """Write the mean over the seeds, and their standard deviation where there are several."""
    mean = f"{fmean(values):{sign}.3f}"
    return f"{mean} ± {pstdev(values):.3f}" if len(values) > 1 else mean
