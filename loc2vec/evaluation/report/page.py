"""The report: one HTML page with tables, curves and maps, and the places for a GIS."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from loc2vec.evaluation.measure import Outcome
from loc2vec.evaluation.probes import primary
from loc2vec.evaluation.report.figures import error, error_map, few_label_curves
from loc2vec.evaluation.report.summary import SUMMARY, Grid, Values, summary
from loc2vec.evaluation.report.table import (
    AHEAD,
    PROBES,
    STRICT,
    TITLES,
    facts,
    grid,
    margins,
    table,
    views_grid,
    views_title,
)
from loc2vec.paper.template import fill
from tiling.files.atomic import write_json, write_text
from tiling.files.geoparquet import write_points
from tiling.files.outputs import require_output
from tiling.values import ATTRIBUTION

FILES = REPORT, RESULTS, TABLE = "report.html", "results.json", "table.md"


def write_report(folder: Path, outcomes: Sequence[Outcome], values: Values, method: str) -> None:
    """Write report.html, results.json, table.md and places/TASK.parquet.

    `values`: the outcomes as plain values (`as_values`); matrices and maps are of `method`.
    """
    write_json(folder / RESULTS, values)
    write_text(folder / TABLE, table(values) + "\n")
    for outcome in outcomes:
        _write_places(_places_file(folder, outcome.task.name), outcome, method)
    write_text(folder / REPORT, page(outcomes, values, method))


def require_report(folder: Path, tasks: Iterable[str], inputs: Sequence[Path]) -> None:
    """Raise `UserError` where a file of the report cannot be written, or is one of `inputs`."""
    files = [*(folder / name for name in FILES), *(_places_file(folder, name) for name in tasks)]
    for file in files:
        require_output(file, *inputs)


def _places_file(folder: Path, task: str) -> Path:
    return folder / "places" / f"{re.sub(r'[ /]', '-', task)}.parquet"


def page(outcomes: Sequence[Outcome], values: Values, method: str) -> str:
    """Return the report as one HTML page that needs nothing else."""
    sections = [
        _section(outcome, told, method)
        for outcome, told in zip(outcomes, values["tasks"], strict=True)
    ]
    tables = [
        {"title": title, "diagnostic": title.startswith(TITLES["random"]), "rows": _cells(rows)}
        for title, rows in _tables(values)
        if rows
    ]
    return fill("evaluation.html.j2", sections=sections, tables=tables, method=method)


def _tables(values: Values) -> Iterator[tuple[str, Grid]]:
    """Yield the title and the cells of each table; those that were not measured are empty."""
    yield SUMMARY, summary(values)
    for split, title in TITLES.items():
        for probe, name in PROBES.items():
            yield f"{title} ({name})", grid(values, split, probe)
    yield views_title(values), views_grid(values)
    for split in STRICT:
        yield f"{AHEAD}. {TITLES[split]} ({PROBES['linear']})", margins(values, split)


def _cells(rows: Grid) -> list[list[dict[str, object]]]:
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
        "curves": few_label_curves(outcome) if outcome.few else None,
        "matrix": None if matrix is None else _matrix(matrix, task.classes),
        "map": error_map(outcome, method),
        "towns": sorted(_by_town(outcome, method).items(), key=lambda item: -item[1]),
    }


def _by_town(outcome: Outcome, method: str) -> Mapping[str, float]:
    for score in outcome.scores:
        if (score.method, score.split, score.probe) == (method, "towns", "linear"):
            return score.by_town
    return {}


def _matrix(counts: NDArray[np.int64], classes: Sequence[str]) -> dict[str, object]:
    """Return the confusion matrix with the share of each true class in every cell."""
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    rows = [
        [{"count": count, "share": share} for count, share in zip(*pair, strict=True)]
        for pair in zip(counts.tolist(), shares.tolist(), strict=True)
    ]
    return {"classes": classes, "rows": list(zip(classes, rows, strict=True))}


def _write_places(path: Path, outcome: Outcome, method: str) -> None:
    """Write the places of a task with label and prediction as GeoParquet; `--labels` reads it."""
    task, predicted = outcome.task, outcome.predicted[method]
    label, found = task.target, predicted
    if task.classes:
        names = np.array(task.classes)
        label, found = names[task.target], names[predicted.argmax(1)]
    columns = {
        "lat": task.lat, "lon": task.lon, "town": np.array(task.places)[task.place],
        "label": label, "predicted": found, "error": error(outcome, method),
    }  # fmt: skip
    about = {"task": task.name, "attribution": ATTRIBUTION}
    write_points(path, pa.table(columns), task.lat, task.lon, about)
