"""Measure the vectors of peers on the places of a report, and add their scores to its tables.

    python docs/make/add_peers.py --report build/evaluation --peers PEERS

PEERS is what docs/make/peers.py and docs/make/colour_tiles.py wrote. Places, labels, folds, seeds
and probes are those of `loc2vec evaluate`; a report that already has a peer's scores gets them
anew.
"""

from pathlib import Path

import click
import numpy as np
import pyarrow.parquet as pq
from peer_files import file_of_task, folder_of
from tqdm import tqdm

from loc2vec.evaluation.measure import measure
from loc2vec.evaluation.report.table import as_values, table
from loc2vec.evaluation.run import Lookup
from loc2vec.evaluation.tasks.osm import RECIPES
from loc2vec.evaluation.tasks.task import Task
from tiling.catalogue.catalogue import load_catalogue
from tiling.files.atomic import read_json, write_json, write_text


def task_of(report: Path, name: str) -> Task:
    """Return a task of a report as it was measured.

    Its classes and towns may be numbered otherwise.
    """
    rows, recipe = pq.read_table(file_of_task(report, name)), RECIPES[name]
    places, place = np.unique(np.array(rows["town"].to_pylist()), return_inverse=True)
    label, classes = rows["label"].to_numpy(), ()
    if recipe.classes or recipe.geolocation:
        names, label = np.unique(np.array(rows["label"].to_pylist()), return_inverse=True)
        classes = tuple(names.tolist())
    return Task(
        name=name,
        about=recipe.about,
        lat=rows["lat"].to_numpy(),
        lon=rows["lon"].to_numpy(),
        target=label,
        classes=classes,
        place=place,
        places=tuple(places.tolist()),
        blank=load_catalogue().with_role(*recipe.blank),
        drawn=recipe.drawn,
        geolocation=recipe.geolocation,
    )


@click.command()
@click.option(
    "--report",
    type=click.Path(path_type=Path, exists=True),
    required=True,
    help="Of `loc2vec evaluate`.",
)
@click.option(
    "--peers",
    type=click.Path(path_type=Path, exists=True),
    required=True,
    help="Folder of their vectors.",
)
def main(report: Path, peers: Path) -> None:
    """Add the peers."""
    values = read_json(report / "results.json")
    for told in tqdm(values["tasks"], unit=" tasks", desc="peers"):
        task = task_of(report, told["task"])
        lookups = [
            Lookup.read(path) for path in sorted((peers / folder_of(task.blank)).glob("*.parquet"))
        ]
        vectors = {}
        for lookup in lookups:
            row = lookup.nearest(task.lat, task.lon)
            if (row < 0).any():
                raise click.ClickException(
                    f"{lookup.name} has no vector near {(row < 0).sum()} places of {task.name}"
                )
            vectors[lookup.name.removesuffix(".parquet")] = lookup.embedding[row]
        if not vectors:
            continue
        seeds = max(len(next(iter(score["metrics"].values()))["seeds"]) for score in told["scores"])
        added = as_values([measure(task, vectors, seeds)])["tasks"][0]
        told["scores"] = [
            score for score in told["scores"] if score["method"] not in vectors
        ] + added["scores"]
        told["few_shot"] |= added["few_shot"]
        values["methods"] |= dict.fromkeys(vectors, "peer")
    write_json(report / "results.json", values)
    write_text(report / "table.md", table(values) + "\n")
    print(table(values))


if __name__ == "__main__":
    main()
