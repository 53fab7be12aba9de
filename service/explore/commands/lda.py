"""`loc2vec explore lda`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from loc2vec.model.options import model_option
from service.explore.options import Output, output_options, seed_option
from tiling.cli.options import FilePath, StoreType, WholeRange
from tiling.cli.progress import progress_bar

if TYPE_CHECKING:
    from tiling.store.store import Store


@click.command("lda", epilog="Example: loc2vec explore lda monaco.osm.pbf --task way --out ways")
@click.argument("extracts", nargs=-1, required=True, type=FilePath)
@click.option(
    "--store", type=StoreType(),
    help="Feature store to render from; by default one is made of EXTRACTS.",
)  # fmt: skip
@model_option
@click.option(
    "--task", "name", default="way", show_default=True,
    help="Classes, as `loc2vec evaluate` has them.",
)  # fmt: skip
@click.option(
    "--per-class", type=WholeRange(min=10), default=300, show_default=True,
    help="Places of each class.",
)  # fmt: skip
@seed_option
@output_options
def lda_command(
    extracts: tuple[Path, ...], store: "Store | None", model: str, name: str, per_class: int,
    seed: int, output: Output,
) -> None:  # fmt: skip
    """Project vectors on the two directions that best tell the classes of a task apart.

    By default the classes are those of ways.
    """
    from loc2vec.encoder import LocationEncoder
    from loc2vec.evaluation.run import covered_by, read_towns, source_of
    from loc2vec.evaluation.tasks.osm import make_task
    from loc2vec.explore.lda import discriminate
    from service.explore.open import ground_of

    _check_name(name)
    encoder = LocationEncoder.load(model)
    with source_of(extracts, store, encoder.catalogue) as source:
        ground = ground_of(source, encoder)
        towns = read_towns(extracts, ground.catalogue)
        task = make_task(name, towns, covered_by(source), per_class, seed)
        with progress_bar("embed", "places", len(task)) as bar:
            found = discriminate(ground, task, seed, bar.update)
    facts = {"classes": task.counts, "accuracy": found.accuracy, "largest": found.largest}
    lines = [f"{count:6,}  {label}" for label, count in task.counts.items()]
    largest = f"the largest class: {found.largest:.1%}"
    lines.append(f"nearest class mean: {found.accuracy:.1%} ({largest})")
    output.finish(found, facts, lines)


def _check_name(name: str) -> None:
    """Raise `UsageError` for a name that no task with classes has."""
    from loc2vec.evaluation.tasks.osm import RECIPES

    with_classes = [recipe for recipe in RECIPES if RECIPES[recipe].classes]
    if name not in with_classes:
        raise click.UsageError(
            f"no task with classes is called {name!r}: choose from {', '.join(with_classes)}"
        )
