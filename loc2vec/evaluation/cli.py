"""`loc2vec evaluate`: methods beside baselines, on labels that the tiles do not show."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from tqdm import tqdm

from loc2vec import errors
from loc2vec.errors import LabelsError
from loc2vec.model.names import DEFAULT_MODEL
from tiling.cli.options import FilePath, FolderPath, StoreType, WholeRange, json_option
from tiling.cli.progress import progress_bar

if TYPE_CHECKING:
    from loc2vec.evaluation.intrinsic import Scores
    from loc2vec.evaluation.measure import Outcome
    from loc2vec.evaluation.run import Covered, Methods
    from loc2vec.evaluation.tasks.osm import Town
    from loc2vec.evaluation.tasks.task import Task
    from loc2vec.model.arrays import Vectors
    from tiling.dataset.dataset import TileDataset
    from tiling.store.source import FeatureSource
    from tiling.store.store import Store

LIBRARIES = ("sklearn", "scipy", "matplotlib")


@dataclass(frozen=True)
class Options:
    """What the command line says; the options explain each."""

    extracts: tuple[Path, ...]
    store: "Store | None"
    models: tuple[str, ...]
    files: tuple[Path, ...]
    names: tuple[str, ...]
    labels: Path | None
    target: str | None
    tiles: Path | None
    per_class: int
    seeds: int
    out: Path | None
    workers: int
    as_json: bool

    def check(self) -> None:
        """Raise `UsageError` for options that do not fit each other."""
        if not self.extracts and self.store is None:
            raise click.UsageError("give at least one extract (.osm.pbf), or --store with --labels")
        if (self.labels is None) != (self.target is None):
            raise click.UsageError("--labels and --target go together")
        if self.labels is None and not self.extracts:
            raise click.UsageError("tasks are made of extracts: give at least one, or --labels")
        if self.labels is not None and self.names:
            raise click.UsageError(
                "--task chooses among the tasks of extracts: leave it out with --labels"
            )


@click.command(
    "evaluate", epilog="Example: loc2vec evaluate monaco.osm.pbf andorra.osm.pbf --out report"
)
@click.argument("extracts", nargs=-1, type=FilePath)
@click.option(
    "--store",
    type=StoreType(),
    help="Feature store to render from; by default a temporary one is made of EXTRACTS.",
)
@click.option(
    "--model", "models", multiple=True, default=[DEFAULT_MODEL], show_default=True,
    help="Name of a shipped model, or a model folder; may be given several times.",
)  # fmt: skip
@click.option(
    "--vectors", "files", multiple=True, type=FilePath,
    help="File of other vectors on the same places (Parquet with lat, lon, embedding, or another "
    "of `loc2vec embed`); may be given several times.",
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
    help="Tile dataset (`loc2vec tile`) on which to measure retrieval and triplets, too.",
)  # fmt: skip
@click.option(
    "--per-class", type=WholeRange(min=10), default=400, show_default=True,
    help="Places of each class at most; six times as many for a regression.",
)  # fmt: skip
@click.option(
    "--seeds",
    type=WholeRange(1, 100),
    default=5,
    show_default=True,
    help="Repetitions of each split.",
)
@click.option(
    "--out", type=FolderPath, help="Folder for report.html, results.json, table.md and the places."
)
@click.option(
    "--workers",
    type=WholeRange(min=0),
    default=1,
    show_default=True,
    help="Processes that render; 0: none.",
)
@json_option
def evaluate_command(**given: Any) -> None:
    """Measure models, other vectors and baselines on what EXTRACTS say and the tiles do not show.

    Each extract is one town. Probes are trained on some towns, or squares of 1 km, and tested on
    others.
    """
    options = Options(**given)
    options.check()
    require_extra()
    from loc2vec.evaluation.report.page import write_report
    from loc2vec.evaluation.report.table import as_values, table
    from loc2vec.evaluation.run import source_of

    _check_names(options.names)
    _check_out(options)
    methods, dataset = _methods(options), _dataset(options.tiles)
    with source_of(options.extracts, options.store, methods.catalogue) as source:
        tasks = _chosen_tasks(options, methods, source)
        vectors = _encode(tasks, methods, source, options.workers)
    views = None if dataset is None else _views(dataset, methods)
    outcomes = _measure(tasks, vectors, options.seeds)
    kinds = dict.fromkeys(methods.encoders, "model")
    kinds |= {lookup.name: "vectors" for lookup in methods.lookups}
    values = as_values(outcomes, kinds, views)
    if options.out is not None:
        write_report(options.out, outcomes, values, next(iter(methods.encoders)))
    click.echo(json.dumps(values) if options.as_json else table(values))


def require_extra() -> None:
    """Raise `ExtraError` unless the libraries of the evaluation are installed."""
    errors.require_extra("evaluate", "evaluation", *LIBRARIES)


def _check_names(names: tuple[str, ...]) -> None:
    from loc2vec.evaluation.tasks.osm import RECIPES

    unknown = sorted(set(names) - set(RECIPES))
    if unknown:
        raise click.UsageError(f"no task {unknown[0]!r}: choose from {', '.join(RECIPES)}")


def _check_out(options: Options) -> None:
    """Raise `UserError` for a report that cannot be written, or replaces what is read."""
    from loc2vec.evaluation.report.page import require_report
    from loc2vec.evaluation.tasks.osm import RECIPES

    if options.out is not None:
        tasks = [options.target] if options.target is not None else [*RECIPES]
        inputs = [*options.extracts, *options.files, *([options.labels] if options.labels else [])]
        stores = [] if options.store is None else [Path(options.store.location)]
        require_report(options.out, tasks, [*inputs, *stores])


def _warn(line: str) -> None:
    click.echo(line, err=True)


def _methods(options: Options) -> "Methods":
    """Load the models, and read the vectors and the extracts."""
    from loc2vec.encoder import LocationEncoder
    from loc2vec.evaluation.run import Lookup, Methods, read_towns

    loaded = [LocationEncoder.load(model) for model in options.models]
    lookups = [Lookup.read(file) for file in options.files]
    encoders = {encoder.model_id: encoder for encoder in loaded}
    return Methods(encoders, lookups, read_towns(options.extracts, loaded[0].catalogue))


def _dataset(tiles: Path | None) -> "TileDataset | None":
    from tiling.dataset.dataset import TileDataset

    return None if tiles is None else TileDataset.open(tiles)


def _chosen_tasks(options: Options, methods: "Methods", source: "FeatureSource") -> list["Task"]:
    from loc2vec.evaluation.run import covered_by, labels_task, where_vectors_are
    from loc2vec.evaluation.splits import require_folds

    if options.labels is not None and options.target is not None:
        own = labels_task(options.labels, options.target, source, _warn)
        task = where_vectors_are(own, methods.lookups, _warn)
        require_folds(task, options.seeds)
        return [task]
    radius_m = max(encoder.geometry.widest.radius_m for encoder in methods.encoders.values())
    covered = covered_by(source, methods.lookups, radius_m)
    return _tasks(options.names, methods.towns, covered, options.per_class, options.seeds)


def _tasks(
    names: tuple[str, ...], towns: Sequence["Town"], covered: "Covered", per_class: int, seeds: int
) -> list["Task"]:
    """Make the named tasks, or all; those that cannot be learned are left out unless named."""
    from loc2vec.evaluation.run import askable
    from loc2vec.evaluation.tasks.osm import RECIPES, make_task

    def left_out(error: LabelsError) -> None:
        if names:
            raise error
        _warn(f"left out: {error}")

    tasks = askable(
        names or RECIPES, lambda name: make_task(name, towns, covered, per_class), seeds, left_out
    )
    if not tasks:
        raise LabelsError("the extracts hold labels for no task: give larger ones, or more")
    return tasks


def _encode(
    tasks: list["Task"], methods: "Methods", source: "FeatureSource", workers: int
) -> list[dict[str, "Vectors"]]:
    from loc2vec.evaluation.run import encode_tasks

    geometries = len({encoder.geometry for encoder in methods.encoders.values()})
    total = sum(map(len, tasks)) * geometries
    with progress_bar("render, encode", "tiles", total) as bar:
        return encode_tasks(source, tasks, methods, workers, bar.update)


def _views(dataset: "TileDataset", methods: "Methods") -> "Scores":
    from loc2vec.evaluation.run import measure_views

    return measure_views(dataset, methods.encoders, lambda each: tqdm(each, desc="search"))


def _measure(
    tasks: list["Task"], vectors: list[dict[str, "Vectors"]], seeds: int
) -> list["Outcome"]:
    from loc2vec.evaluation.measure import measure
    from loc2vec.evaluation.splits import splits_of

    of_tasks = list(zip(tasks, vectors, strict=True))
    rounds = sum(len(splits_of(task)) * len(values) for task, values in of_tasks)
    with progress_bar("probe", "fits", rounds) as bar:
        return [measure(task, values, seeds, bar.update) for task, values in of_tasks]
