"""What was measured, as tables of Markdown for people and as values for programs."""

from collections.abc import Sequence
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


def table(outcomes: Sequence[Outcome]) -> str:
    """Return the primary metrics: a table for each split and probe, one row a method, one column a task."""
    pieces = ["\n".join(f"- {facts(outcome)}" for outcome in outcomes)]
    for split, title in TITLES.items():
        for probe, name in PROBES.items():
            rows = grid(outcomes, split, probe)
            if rows:
                rows.insert(1, ["---", *("---:" for _ in rows[0][1:])])
                pieces.append(f"{title} ({name})\n\n" + "\n".join(f"| {' | '.join(row)} |" for row in rows))
    return "\n\n".join([*pieces, ATTRIBUTION])


def facts(outcome: Outcome) -> str:
    """Say in a line what a task is and how many places it has."""
    task = outcome.task
    towns = len(set(task.place.tolist()))
    text = f"{task.name}: {task.about}; {len(task)} places in {towns} town{'s' * (towns != 1)}"
    counts = "" if task.geolocation else ", ".join(f"{name} {count}" for name, count in task.counts.items())
    return f"{text} ({counts})" if counts else text


def grid(outcomes: Sequence[Outcome], split: Split, probe: Probe) -> list[list[str]]:
    """Return the cells of a table, its head first; empty when nothing was measured so."""
    found = {(s.method, s.task): s for o in outcomes for s in o.scores if (s.split, s.probe) == (split, probe)}
    if not found:
        return []
    metric = {o.task.name: primary(o.task) for o in outcomes if any(task == o.task.name for _, task in found)}
    best = {
        task: _best([score for (_, other), score in found.items() if other == task], metric[task]) for task in metric
    }
    lines = [["method", "numbers", *(f"{task}, {metric[task]}" for task in metric)]]
    for method in dict.fromkeys(name for name, _ in found):
        scores = {task: found[method, task] for task in metric if (method, task) in found}
        cells = [_cell(scores[task], metric[task], best[task]) if task in scores else "" for task in metric]
        lines.append([method, _numbers([score.numbers for score in scores.values()]), *cells])
    return lines


def _best(scores: Sequence[Score], metric: str) -> float | None:
    """Return the best mean of the compact methods."""
    return max((score.mean(metric) for score in scores if score.numbers <= COMPACT), default=None)


def _cell(score: Score, metric: str, best: float | None) -> str:
    if score.mean(metric) < WORTHLESS:
        return f"< {WORTHLESS:.0f}"
    spread = f" ± {score.spread(metric):.3f}" if len(score.metrics[metric]) > 1 else ""
    text = f"{score.mean(metric):.3f}{spread}"
    return f"**{text}**" if score.numbers <= COMPACT and score.mean(metric) == best else text


def _numbers(found: Sequence[int]) -> str:
    low, high = min(found), max(found)
    return str(low) if low == high else f"{low}-{high}"


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
        "classes": task.counts,
        "scores": [_score(score) for score in outcome.scores],
        "few_shot": outcome.few,
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
