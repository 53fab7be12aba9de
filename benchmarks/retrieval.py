"""How often a turned and shifted tile finds its own place: the model beside three baselines.

    python benchmarks/retrieval.py --tiles newport_tiles [--distractors DIR] [--model M] [--limit N] [--json]

The queries are one turned and shifted tile of each place, the gallery is the anchors, no two of them within
250 m. `untrained` is the same network with its first weights and the batch statistics of these tiles;
`channel means` is the mean coverage of each channel; `pixel components` are the 16 principal components of
the tiles at 16x16 pixels. The last two are fitted without labels, on the anchors.
"""

import json
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from loc2vec.compute import encode_tiles
from loc2vec.data import Dataset, Pixels
from loc2vec.encoder import DEFAULT_MODEL, LocationEncoder
from loc2vec.encoders.registry import build
from loc2vec.retrieval import Encode, channel_means, retrieval
from tiling.dataset import TileDataset

COARSE = 16  # pixels a side
COMPONENTS = 16
FIT_PLACES = 1000
COLUMNS = ("recall@1", "recall@10", "mrr", "effective_rank")


def sample_of_anchors(dataset: Dataset, n: int) -> Pixels:
    """Return the anchors of up to n places."""
    places = np.random.default_rng(1).permutation(dataset.n_places)[:n]
    return dataset.tiles(places, np.zeros_like(places))


def untrained(dataset: Dataset) -> Encode:
    """Return the network with its first weights; its batch norms take the statistics of some anchors."""
    torch.manual_seed(0)
    network = build("loc2vec").train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.momentum = None  # the mean over all batches: here, of the one
        elif isinstance(module, nn.Dropout | nn.Dropout2d):
            module.eval()
    with torch.no_grad():
        network(torch.from_numpy(sample_of_anchors(dataset, 128)))
    network.eval()
    return lambda tiles: encode_tiles(network, tiles)


def coarse(tiles: Pixels) -> NDArray[np.float32]:
    """Shrink tiles by averaging: uint8 [n, 12, H, W] -> float32 [n, 12 * 16 * 16]."""
    n, channels, height, width = tiles.shape
    blocks = tiles.reshape(n, channels, COARSE, height // COARSE, COARSE, width // COARSE)
    return blocks.mean((3, 5), dtype=np.float32).reshape(n, -1) / 255


def pixel_components(dataset: Dataset) -> Encode:
    """Return the projection on the principal components of the anchors' coarse pixels."""
    pixels = coarse(sample_of_anchors(dataset, FIT_PLACES))
    mean = pixels.mean(0)
    axes = np.linalg.svd(pixels - mean, full_matrices=False)[2][:COMPONENTS].T
    return lambda tiles: np.ascontiguousarray((coarse(tiles) - mean) @ axes)


@click.command()
@click.option("--tiles", type=click.Path(path_type=Path), required=True, help="Tile dataset to search in.")
@click.option("--distractors", type=click.Path(path_type=Path), help="Tile dataset of places elsewhere.")
@click.option("--model", default=DEFAULT_MODEL, show_default=True, help="Shipped model or model folder.")
@click.option("--limit", type=int, help="Search at most so many places.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def main(tiles: Path, distractors: Path | None, model: str, limit: int | None, as_json: bool) -> None:
    """Measure retrieval."""
    dataset = TileDataset.open(tiles)
    others = None if distractors is None else TileDataset.open(distractors)
    encoder = LocationEncoder.load(model)
    methods: dict[str, Callable[[], Encode]] = {
        encoder.model_id: lambda: encoder.encode,
        "untrained": lambda: untrained(dataset),
        "channel means": lambda: channel_means,
        f"{COMPONENTS} pixel components": lambda: pixel_components(dataset),
    }
    rows = {name: retrieval(make(), dataset, limit=limit, distractors=others) for name, make in methods.items()}
    if as_json:
        print(json.dumps(rows))
        return
    first = rows[encoder.model_id]
    print(f"{first['queries']} queries in a gallery of {first['gallery']}")
    print(f"{'':<30}" + "".join(f"{column:>15}" for column in COLUMNS))
    for name, row in rows.items():
        print(f"{name:<30}" + "".join(f"{row[column]:>15.3f}" for column in COLUMNS))


if __name__ == "__main__":
    main()
