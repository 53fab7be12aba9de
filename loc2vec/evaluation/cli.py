"""`loc2vec evaluate`."""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click
from tqdm import tqdm

from loc2vec.errors import ExtraError, LabelsError
from loc2vec.model.folder import DEFAULT_MODEL
from tiling.cli.options import FilePath, FolderPath, StoreType, json_option

if TYPE_CHECKING:
    from loc2vec.evaluation.measure import Outcome
    from loc2vec.evaluation.run import Floats, Lookup
    from loc2vec.evaluation.tasks.osm import Town
    from loc2vec.evaluation.tasks.task import Task
    from tiling.store.store import Store

LIBRARIES = ("sklearn", "scipy", "matplotlib")


@click.command(
    "evaluate", epilog="Example: loc2vec evaluate monaco.osm.pbf andorra.osm.pbf --out report"
)
@click.argument("extracts", nargs=-1, type=FilePath)
@click.option(
    "--store",
    type=StoreType(),
    help="Feature store to draw from; by default one is made of EXTRACTS for the time being.",
)
@click.option(
    "--model", "models", multiple=True, default=[DEFAULT_MODEL], show_default=True,
    help="Name of a shipped model, or a model folder; may be given several times.",
)  # fmt: skip
@click.option(
    "--vectors", "files", multiple=True, type=FilePath,
    help="Parquet of other vectors (lat, lon, embedding), on the same places; may be given several times.",
)  # fmt: skip
@click.option(
    "--task",
    "names",
    multiple=True,
    help="Task to measure, by default all; may be given several times.",
)
@click.option(
    "--labels",
    type=FilePath,
    help="Or labels of your own: CSV, GeoJSON or Parquet of points or areas.",
)
@click.option(
    "--target", help="The column of --labels to predict: text is classes, numbers are a regression."
)
@click.option(
    "--tiles", type=FolderPath,
    help="Tile dataset (`loc2vec tile`) on which to measure what needs no label, too: retrieval and triplets.",
)  # fmt: skip
@click.option(
    "--per-class", type=click.IntRange(min=10), default=300, show_default=True,
    help="Places of each class at most; six times as many for a regression.",
)  # fmt: skip
@click.option(
    "--seeds",
    type=click.IntRange(1, 100),
    default=5,
    show_default=True,
    help="Repetitions of each split.",
)
@click.option(
    "--out", type=FolderPath, help="Folder for report.html, results.json, table.md and the places."
)
@click.option(
    "--workers",
    type=click.IntRange(min=0),
    default=1,
    show_default=True,
    help="Processes that draw; 0: none.",
)
@json_option
def evaluate_command(
    extracts: tuple[Path, ...],
    store: "Store | None",
    models: tuple[str, ...],
    files: tuple[Path, ...],
    names: tuple[str, ...],
    labels: Path | None,
    target: str | None,
    tiles: Path | None,
    per_class: int,
    seeds: int,
    out: Path | None,
    workers: int,
    as_json: bool,
) -> None:
    """Measure models, other vectors and baselines on what EXTRACTS say and the tiles do not show.

    Each extract is one town. Probes are trained on some towns, or squares of 1 km, and tested on
    others.
    """
    if not extracts and store is None:
        raise click.UsageError("give at least one extract (.osm.pbf), or --store with --labels")
    if (labels is None) != (target is None):
        raise click.UsageError("--labels and --target go together")
    if labels is None and not extracts:
        raise click.UsageError("tasks are made of extracts: give at least one, or --labels")
    if labels is not None and names:
        raise click.UsageError(
            "--task chooses among the tasks of extracts: leave it out with --labels"
        )
    require_extra()
    from loc2vec.encoder import LocationEncoder
    from loc2vec.evaluation.report import write_report
    from loc2vec.evaluation.run import Lookup, encode_tasks, measure_views, read_towns, store_of
    from loc2vec.evaluation.table import as_values, table
    from tiling.dataset.dataset import TileDataset

    _check_names(names)
    loaded = [LocationEncoder.load(model) for model in models]
    encoders = {encoder.model_id: encoder for encoder in loaded}
    lookups = [Lookup.read(file) for file in files]
    dataset = None if tiles is None else TileDataset.open(tiles)
    with store_of(extracts, store, loaded[0].catalogue) as drawn_from:
        towns = read_towns(list(extracts), drawn_from.catalogue)
        if labels is not None and target is not None:
            tasks = [_own_task(labels, target, drawn_from, lookups)]
        else:
            radius_m = max(encoder.geometry.widest.radius_m for encoder in loaded)
            tasks = _tasks(names, towns, drawn_from, lookups, per_class, radius_m)
        geometries = len({encoder.geometry for encoder in loaded})
        with tqdm(
            total=sum(map(len, tasks)) * geometries, unit=" tiles", desc="draw, encode"
        ) as bar:
            vectors = encode_tasks(drawn_from, tasks, encoders, lookups, towns, workers, bar.update)
    views = (
        None
        if dataset is None
        else measure_views(dataset, encoders, lambda each: tqdm(each, desc="search"))
    )
    outcomes = _measure(tasks, vectors, seeds)
    kinds = dict.fromkeys(encoders, "model") | {lookup.name: "vectors" for lookup in lookups}
    values = as_values(outcomes, kinds, views)
    if out is not None:
        write_report(out, outcomes, values, loaded[0].model_id)
    click.echo(json.dumps(values) if as_json else table(values))


def require_extra() -> None:
    """Raise `ExtraError` unless the libraries of the evaluation are installed."""
    missing = [name for name in LIBRARIES if importlib.util.find_spec(name) is None]
    if missing:
        raise ExtraError(f"evaluation needs {', '.join(missing)}: pip install 'loc2vec[evaluate]'")


def _check_names(names: tuple[str, ...]) -> None:
    from loc2vec.evaluation.tasks.osm import RECIPES

    unknown = sorted(set(names) - set(RECIPES))
    if unknown:
        raise click.UsageError(f"no task {unknown[0]!r}: choose from {', '.join(RECIPES)}")


def _warn(line: str) -> None:
    click.echo(line, err=True)


def _own_task(labels: Path, target: str, store: "Store", lookups: list["Lookup"]) -> "Task":
    from loc2vec.evaluation.run import labels_task, where_vectors_are
    from loc2vec.evaluation.splits import FOLDS

    task = where_vectors_are(labels_task(labels, target, store, _warn), lookups, _warn)
    task.require(FOLDS)  # before hours of drawing
    return task


def _tasks(
    names: tuple[str, ...],
    towns: list["Town"],
    store: "Store",
    lookups: list["Lookup"],
    per_class: int,
    radius_m: float,
) -> list["Task"]:
    from loc2vec.evaluation.run import covered_by
    from loc2vec.evaluation.splits import FOLDS
    from loc2vec.evaluation.tasks.osm import RECIPES, make_task

    covered = covered_by(store, lookups, radius_m)
    tasks = []
    for name in names or RECIPES:
        try:
            task = make_task(name, towns, covered, per_class)
            task.require(FOLDS)
            tasks.append(task)
        except LabelsError as error:
            if names:
                raise
            _warn(f"left out: {error}")
    if not tasks:
        raise LabelsError("the extracts hold labels for no task: give larger ones, or more")
    return tasks


def _measure(
    tasks: list["Task"], vectors: list[dict[str, "Floats"]], seeds: int
) -> list["Outcome"]:
    from loc2vec.evaluation.measure import measure
    from loc2vec.evaluation.splits import splits_of

    rounds = sum(
        len(splits_of(task)) * len(values) for task, values in zip(tasks, vectors, strict=True)
    )
    with tqdm(total=rounds, unit=" fits", desc="probe") as bar:
        update: Callable[[int], object] = bar.update
        return [
            measure(task, values, seeds, update)
            for task, values in zip(tasks, vectors, strict=True)
        ]
