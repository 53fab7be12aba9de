"""How often a turned and shifted tile finds its own place: the model beside three baselines.

    python benchmarks/retrieval.py --tiles newport [--distractors DIR ...] [--model M ...]
    [--gallery 10000] [--json]

A model of one scale reads the first scale of tiles of several.

The queries are one turned and shifted tile of each place of --tiles. The gallery is the unturned
tiles of those places and of others, `--gallery` in all if there are so many. No two of them lie
within 250 m: nearer ones overlap, and more than one answer is right. The columns `off` are the same
with three random channels of each query empty. `untrained` is a model's network with its first
weights and the batch statistics of these tiles. `channel means` is the mean cover of each channel.
`pixel components` are the 16 principal components of the tiles at 16x16 pixels. The last two are
fitted without labels, on the anchors. `near accuracy` is how often that tile is nearer to its place
than another place 250 m to 1 km away is. `equal accuracy` is the same against the place whose mean
cover is most alike.
"""

import json
from pathlib import Path

import click
import numpy as np

from loc2vec.encoder import LocationEncoder
from loc2vec.evaluation.baselines import without_labels
from loc2vec.evaluation.intrinsic import Triplets
from loc2vec.evaluation.retrieval import retrieval
from loc2vec.evaluation.scales import of_first_scales
from loc2vec.model.compute import Encode
from loc2vec.model.names import DEFAULT_MODEL
from tiling.dataset.dataset import TileDataset

FIT_PLACES = 1000
CHANNELS_OFF = 3
TRIPLETS = ("near accuracy", "equal accuracy")
COLUMNS = (
    "recall@1",
    "recall@10",
    "mrr",
    "effective_rank",
    "recall@1 off",
    "recall@10 off",
    *TRIPLETS,
)


def methods(models: tuple[str, ...], dataset: TileDataset) -> dict[str, Encode]:
    """Return the models, and what needs no training."""
    encoders = [LocationEncoder.load(model) for model in models]
    places = np.random.default_rng(1).permutation(dataset.n_places)[:FIT_PLACES]
    anchors = dataset.tiles(places, np.zeros_like(places))
    families = [encoder.family for encoder in encoders]
    return {encoder.model_id: of_first_scales(encoder, dataset) for encoder in encoders} | (
        without_labels(families, anchors[:128], anchors)
    )


@click.command()
@click.option(
    "--tiles", type=click.Path(path_type=Path), required=True, help="Tile dataset to search in."
)
@click.option(
    "--distractors",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Tile dataset of places elsewhere.",
)
@click.option(
    "--model",
    "models",
    multiple=True,
    default=(DEFAULT_MODEL,),
    help="Shipped model or model folder.",
)
@click.option(
    "--gallery",
    default=10_000,
    show_default=True,
    help="Anchors in all, as far as there are so many.",
)
@click.option("--limit", type=int, help="Search at most so many places.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def main(
    tiles: Path,
    distractors: tuple[Path, ...],
    models: tuple[str, ...],
    gallery: int,
    limit: int | None,
    as_json: bool,
) -> None:
    """Measure retrieval."""
    dataset, others = TileDataset.open(tiles), [TileDataset.open(path) for path in distractors]
    triplets = Triplets(dataset, limit)
    rows = {
        name: retrieval(
            encode,
            dataset,
            limit=limit,
            distractors=others,
            gallery=gallery,
            channels_off=CHANNELS_OFF,
        ) | triplets(encode)
        for name, encode in methods(models, dataset).items()
    }  # fmt: skip
    if as_json:
        print(json.dumps(rows))
        return
    first = next(iter(rows.values()))
    print(f"{first['queries']} queries in a gallery of {first['gallery']}")
    print(f"{'':<28}" + "".join(f"{column:>15}" for column in COLUMNS))
    for name, row in rows.items():
        print(
            f"{name:<28}" + "".join(f"{row.get(column, float('nan')):>15.3f}" for column in COLUMNS)
        )


if __name__ == "__main__":
    main()
