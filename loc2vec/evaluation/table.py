"""What was measured, as tables of Markdown for people and as values for programs."""

from collections.abc import Sequence
from typing import Any

from loc2vec.evaluation.measure import Outcome, Score
from loc2vec.evaluation.probes import Probe, primary
from loc2vec.evaluation.splits import Split
from tiling.values import ATTRIBUTION

TITLES: dict[Split, str] = {
    "towns": "Across towns: probes are trained on some towns and tested on others",
    "blocks": "Across blocks: probes are trained on some squares of 1 km and tested on others",
    "random": "Diagnostic only, it flatters every method: places mixed at random, neighbours on both sides",
}


def table(outcomes: Sequence[Outcome]) -> str:
    """Return the primary metrics: a table for each split and probe, one row a method, one column a task."""
    pieces = ["\n".join(_facts(outcome) for outcome in outcomes)]
    for split, title in TITLES.items():
        for probe in ("linear", "knn"):
            chosen = [o for o in outcomes if any(s.split == split and s.probe == probe for s in o.scores)]
            if chosen:
                pieces.append(f"{title} ({_PROBES[probe]})\n\n{_grid(chosen, split, probe)}")
    return "\n\n".join([*pieces, ATTRIBUTION])


_PROBES: dict[Probe, str] = {"linear": "logistic or ridge regression", "knn": "15 nearest neighbours"}


def _facts(outcome: Outcome) -> str:
    task = outcome.task
    counts = "" if task.geolocation else ", ".join(f"{name} {count}" for name, count in task.counts.items())
    towns = len(set(task.place.tolist()))
    return f"- {task.name}: {task.about}; {len(task)} places in {towns} town{'s' * (towns != 1)}" + (
        f" ({counts})" if counts else ""
    )


def _grid(outcomes: Sequence[Outcome], split: Split, probe: Probe) -> str:
    methods = list(dict.fromkeys(score.method for outcome in outcomes for score in outcome.scores))
    found = {(s.method, s.task): s for o in outcomes for s in o.scores if s.split == split and s.probe == probe}
    metric = {o.task.name: primary(o.task) for o in outcomes}
    best = {
        (kind, task): max(
            found[name, task].mean(metric[task])
            for name in methods
            if (name, task) in found and _kind(found[name, task]) == kind
        )
        for kind in {_kind(score) for score in found.values()}
        for task in metric
        if any(key[1] == task and _kind(score) == kind for key, score in found.items())
    }
    head = ["method", "numbers", *(f"{name}, {metric[name]}" for name in metric)]
    lines = [head, ["---", "---:", *("---:" for _ in metric)]]
    for name in methods:
        scores = {task: found[name, task] for task in metric if (name, task) in found}
        cells = [_cell(scores[task], metric[task], best) if task in scores else "" for task in metric]
        lines.append([name, _numbers([score.numbers for score in scores.values()]), *cells])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _kind(score: Score) -> bool:
    """Methods of 16 numbers or fewer compete with each other."""
    return score.numbers <= 16


def _cell(score: Score, metric: str, best: dict[tuple[bool, str], float]) -> str:
    text = f"{score.mean(metric):.3f}" + (f" ± {score.spread(metric):.3f}" if len(score.metrics[metric]) > 1 else "")
    return f"**{text}**" if _kind(score) and score.mean(metric) == best[True, score.task] else text


def _numbers(found: Sequence[int]) -> str:
    low, high = min(found), max(found)
    return str(low) if low == high else f"{low}-{high}"


def as_values(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Return everything as plain values for JSON."""
    return {"attribution": ATTRIBUTION, "tasks": [_values(outcome) for outcome in outcomes]}


def _values(outcome: Outcome) -> dict[str, Any]:
    task = outcome.task
    scores = [
        {
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
        for score in outcome.scores
    ]
    return {
        "task": task.name,
        "about": task.about,
        "drawn": task.drawn,
        "primary": primary(task),
        "places": len(task),
        "classes": task.counts,
        "scores": scores,
        "few_shot": outcome.few,
        "confusion": {name: outcome.confusion(name).tolist() for name in outcome.predicted} if task.classes else {},
    }
