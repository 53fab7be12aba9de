"""The report: one HTML page with tables, curves, confusion matrices and maps, and the places for a GIS."""

import io
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import matplotlib as mpl
import numpy as np
import pyarrow as pa
from matplotlib.figure import Figure
from numpy.typing import NDArray

from loc2vec.evaluation.measure import SHOTS, Outcome
from loc2vec.evaluation.probes import primary
from loc2vec.evaluation.table import (
    AHEAD,
    PROBES,
    STRICT,
    TITLES,
    Values,
    facts,
    grid,
    margins,
    table,
    views_grid,
    views_title,
)
from tiling.files.atomic import write_json, write_text
from tiling.files.geoparquet import write_points
from tiling.geo.geodesy import MetresPerDegree
from tiling.values import ATTRIBUTION

MAPS = 6  # towns that are drawn for a task
RIGHT, WRONG = "#2a78b5", "#d1422b"
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "svg.fonttype": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def write_report(folder: Path, outcomes: Sequence[Outcome], values: Values, method: str) -> None:
    """Write report.html, results.json, table.md and places/TASK.parquet.

    Matrices and maps are of `method`.

    `values`: the outcomes and what is told beside them (`as_values`).
    """
    write_json(folder / "results.json", values)
    write_text(folder / "table.md", table(values) + "\n")
    for outcome in outcomes:
        _write_places(
            folder / "places" / f"{outcome.task.name.replace(' ', '-')}.parquet", outcome, method
        )
    write_text(folder / "report.html", page(outcomes, values, method))


def page(outcomes: Sequence[Outcome], values: Values, method: str) -> str:
    """Return the report as one HTML page that needs nothing else."""
    source = (
        resources.files("loc2vec.evaluation").joinpath("report.html.j2").read_text(encoding="utf-8")
    )
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    sections = [
        _section(outcome, told, method)
        for outcome, told in zip(outcomes, values["tasks"], strict=True)
    ]
    tables = [
        {
            "title": f"{TITLES[split]} ({PROBES[probe]})",
            "diagnostic": split == "random",
            "rows": _rows(rows),
        }
        for split in TITLES
        for probe in PROBES
        if (rows := grid(values, split, probe))
    ]
    beside = [(views_title(values), views_grid(values))]
    beside += [
        (f"{AHEAD}. {TITLES[split]} ({PROBES['linear']})", margins(values, split))
        for split in STRICT
    ]
    tables += [
        {"title": title, "diagnostic": False, "rows": _rows(rows)} for title, rows in beside if rows
    ]
    return environment.from_string(source).render(
        sections=sections, tables=tables, method=method, attribution=ATTRIBUTION
    )


def _rows(rows: list[list[str]]) -> list[list[dict[str, object]]]:
    return [
        [{"text": cell.strip("*"), "best": cell.startswith("**")} for cell in row] for row in rows
    ]


def _section(outcome: Outcome, told: Values, method: str) -> dict[str, object]:
    task = outcome.task
    matrix = outcome.confusion(method) if task.classes and not task.geolocation else None
    return {
        "name": task.name,
        "facts": facts(told),
        "split": TITLES[outcome.split],
        "metric": primary(task),
        "curves": curves(outcome) if outcome.few else None,
        "matrix": None if matrix is None else _matrix(matrix, task.classes),
        "map": error_map(outcome, method),
        "towns": sorted(_by_town(outcome, method).items(), key=lambda item: -item[1]),
    }


def _by_town(outcome: Outcome, method: str) -> dict[str, float]:
    found = [
        s for s in outcome.scores if (s.method, s.split, s.probe) == (method, "towns", "linear")
    ]
    return found[0].by_town if found else {}


def _matrix(counts: NDArray[np.int64], classes: Sequence[str]) -> dict[str, object]:
    """Return the confusion matrix with the share of each true class in every cell."""
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    rows = [
        [{"count": int(count), "share": float(share)} for count, share in zip(*pair, strict=True)]
        for pair in zip(counts, shares, strict=True)
    ]
    return {"classes": classes, "rows": list(zip(classes, rows, strict=True))}


def curves(outcome: Outcome) -> str:
    """Draw the primary metric over the number of labels a class, a line a method: SVG."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 3.4), layout="constrained")
        axes = figure.add_subplot()
        for number, (name, found) in enumerate(outcome.few.items()):
            axes.plot(
                SHOTS,
                [found[n] for n in SHOTS],
                marker="o",
                ms=3,
                label=name,
                color=f"C{number % 10}",
            )
        axes.set_xscale("log")
        axes.set_xticks(SHOTS, [str(n) for n in SHOTS])
        axes.minorticks_off()
        axes.set_xlabel("labels a class, at most")
        axes.set_ylabel(primary(outcome.task))
        figure.legend(loc="outside right center", frameon=False, fontsize=8)
        return _svg(figure)


def error_map(outcome: Outcome, method: str) -> str:
    """Draw the places of the towns that hold most of them, by how well the linear probe does: SVG."""
    task, wrong = outcome.task, error(outcome, method)
    counts = np.bincount(task.place)
    towns = [int(town) for town in np.argsort(-counts, kind="stable")[:MAPS] if counts[town]]
    with mpl.rc_context(STYLE):
        columns = min(3, len(towns))
        rows = -(-len(towns) // columns)
        figure = Figure(figsize=(3.2 * columns, 3.0 * rows), layout="constrained")
        for number, town in enumerate(towns):
            here = task.place == town
            axes = figure.add_subplot(rows, columns, number + 1)
            if task.classes:
                axes.scatter(
                    task.lon[here],
                    task.lat[here],
                    s=7,
                    c=np.where(wrong[here] > 0, WRONG, RIGHT),
                    lw=0,
                )
            else:
                shown = axes.scatter(
                    task.lon[here], task.lat[here], s=7, c=wrong[here], cmap="viridis_r", lw=0
                )
                figure.colorbar(shown, ax=axes, shrink=0.7, label="absolute error")
            scale = MetresPerDegree.at(float(task.lat[here].mean()))
            axes.set_aspect(scale.y / scale.x)
            share = f": {(wrong[here] == 0).mean():.0%} right" if task.classes else ""
            axes.set_title(f"{task.places[town]}{share}", fontsize=9)
            axes.tick_params(labelsize=6)
        return _svg(figure)


def error(outcome: Outcome, method: str) -> NDArray[np.float64]:
    """Return 1 where the predicted class is wrong, or the absolute error: float64 [n]."""
    task, predicted = outcome.task, outcome.predicted[method]
    if task.classes:
        return np.where(predicted.argmax(1) == task.target, 0.0, 1.0)
    distance: NDArray[np.float64] = np.abs(predicted - task.target)
    return distance


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()[buffer.getvalue().index("<svg") :]


def _write_places(path: Path, outcome: Outcome, method: str) -> None:
    """Write the places of a task with label and prediction: GeoParquet, and labels for `--labels`."""
    task, predicted = outcome.task, outcome.predicted[method]
    label, found = task.target, predicted
    if task.classes:
        names = np.array(task.classes)
        label, found = names[task.target], names[predicted.argmax(1)]
    columns = {
        "lat": task.lat, "lon": task.lon, "town": np.array(task.places)[task.place],
        "label": label, "predicted": found, "error": error(outcome, method),
    }  # fmt: skip
    write_points(
        path, pa.table(columns), task.lat, task.lon, {"task": task.name, "attribution": ATTRIBUTION}
    )
