"""`loc2vec evaluate`."""

import importlib.util
import json
from pathlib import Path

import click
from tqdm import tqdm

from loc2vec.errors import ExtraError
from service.commands import FolderPath, json_option

LIBRARIES = ("sklearn", "scipy", "threadpoolctl")
DEFAULT_MODEL = "loc2vec-16"


@click.command(
    "evaluate",
    epilog="Example: loc2vec evaluate service/data/monaco.osm.pbf --task 'building type'",
)
@click.argument("extracts", nargs=-1, required=True, type=click.Path(dir_okay=False, path_type=Path))
@click.option("--store", help="Feature store that covers the extracts; by default one is made for the time being.")
@click.option(
    "--model", "models", multiple=True, default=[DEFAULT_MODEL], show_default=True,
    help="Name of a shipped model, or a model folder; may be given several times.",
)  # fmt: skip
@click.option("--task", "names", multiple=True, help="Task to measure, by default all; may be given several times.")
@click.option(
    "--per-class", type=click.IntRange(min=10), default=300, show_default=True, help="Places of each class at most."
)
@click.option("--seeds", type=click.IntRange(1, 100), default=5, show_default=True, help="Repetitions of each split.")
@click.option("--out", type=FolderPath, help="Folder for the tables (table.md) and all values (results.json).")
@click.option(
    "--workers", type=click.IntRange(min=0), default=1, show_default=True, help="Processes that draw; 0: none."
)
@json_option
def evaluate_command(
    extracts: tuple[Path, ...],
    store: str | None,
    models: tuple[str, ...],
    names: tuple[str, ...],
    per_class: int,
    seeds: int,
    out: Path | None,
    workers: int,
    as_json: bool,
) -> None:
    """Measure models and baselines on what EXTRACTS say and the tiles do not show.

    Each extract is one town. Probes are trained on some towns or blocks of 1 km and tested on others.
    """
    require_extra()
    from loc2vec.encoder import LocationEncoder
    from loc2vec.evaluation.measure import measure
    from loc2vec.evaluation.splits import splits_of
    from loc2vec.evaluation.table import as_values, table
    from loc2vec.evaluation.tasks import RECIPES, make_task
    from service.evaluate import covered_by, encode_tasks, read_towns, store_of
    from tiling.files import write_json, write_text

    unknown = sorted(set(names) - set(RECIPES))
    if unknown:
        raise click.UsageError(f"no task {unknown[0]!r}: choose from {', '.join(RECIPES)}")
    loaded = [LocationEncoder.load(model) for model in models]
    encoders = {encoder.model_id: encoder for encoder in loaded}
    towns = read_towns(list(extracts))
    with store_of(extracts, store) as drawn_from:
        covered = covered_by(drawn_from)
        tasks = [make_task(name, towns, covered, per_class) for name in names or RECIPES]
        with tqdm(total=sum(map(len, tasks)), unit=" tiles", desc="draw, encode") as bar:
            vectors = encode_tasks(drawn_from, tasks, encoders, towns, workers, bar.update)
    rounds = sum(len(splits_of(task)) * len(values) for task, values in zip(tasks, vectors, strict=True))
    with tqdm(total=rounds, unit=" fits", desc="probe") as bar:
        outcomes = [
            measure(task, values, seeds, progress=bar.update) for task, values in zip(tasks, vectors, strict=True)
        ]
    if out is not None:
        write_json(out / "results.json", as_values(outcomes))
        write_text(out / "table.md", table(outcomes) + "\n")
    click.echo(json.dumps(as_values(outcomes)) if as_json else table(outcomes))


def require_extra() -> None:
    """Raise `ExtraError` unless the libraries of the evaluation are installed."""
    missing = [name for name in LIBRARIES if importlib.util.find_spec(name) is None]
    if missing:
        raise ExtraError(f"evaluation needs {', '.join(missing)}: pip install 'loc2vec[evaluate]'")
