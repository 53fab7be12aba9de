"""What the geocell head has to beat: the most frequent cells, and the channel means.

    python benchmarks/geocell.py --tiles DIR --validation DIR [--model RUN/best]

The head of `loc2vec train --head geocell` alone is fitted to the twelve means of each training
place's upright tile: multinomial regression on each level. For the most frequent cells it is fitted
to a constant. Both are measured as the trained ones are, and a trained one beside them where it is
given.
"""

from functools import partial
from pathlib import Path

import click
import numpy as np
import torch
from numpy.typing import NDArray

from loc2vec.evaluation.baselines import channel_means
from loc2vec.evaluation.report.table import markdown
from loc2vec.evaluation.retrieval import encode_slots
from loc2vec.model.arrays import Pixels
from loc2vec.model.compute import Encode, encode_tiles
from loc2vec.model.folder import load_model
from loc2vec.train.objectives.geocell import Cells, GeoCellEvaluator, GeoCellHead, load_head
from tiling.dataset.dataset import TileDataset

STEPS, LEARNING_RATE = 100, 0.1


def constant(tiles: Pixels) -> NDArray[np.float32]:
    """Say nothing: float32 [n, 1] of zeros."""
    return np.zeros((len(tiles), 1), np.float32)


def standardised(encode: Encode, dataset: TileDataset) -> Encode:
    """Return `encode` with its numbers' mean and standard deviation over the anchors taken out."""
    every = np.arange(dataset.n_places)
    seen = encode_slots(encode, dataset, every, np.zeros_like(every))
    mean, spread = seen.mean(0), np.maximum(seen.std(0), 1e-6)
    return lambda tiles: (encode(tiles) - mean) / spread


def fitted(encode: Encode, dataset: TileDataset) -> GeoCellHead:
    """Fit a head to the numbers of all anchors at once."""
    every = np.arange(dataset.n_places)
    vectors = torch.from_numpy(encode_slots(encode, dataset, every, np.zeros_like(every)))
    head = GeoCellHead(vectors.shape[1], Cells.of(dataset.lat, dataset.lon))
    labels = torch.from_numpy(head.cells.labels(dataset.lat, dataset.lon))
    optimizer = torch.optim.Adam(head.parameters(), LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for _ in range(STEPS):
        loss = head.loss(vectors, labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    return head


@click.command()
@click.option(
    "--tiles", type=click.Path(path_type=Path), required=True, help="Tile dataset to fit to."
)
@click.option(
    "--validation",
    type=click.Path(path_type=Path),
    required=True,
    help="Other places of the same towns.",
)
@click.option(
    "--model",
    "models",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Model folder with a head.",
)
def main(tiles: Path, validation: Path, models: tuple[Path, ...]) -> None:
    """Fit and measure both baselines, and measure models."""
    torch.manual_seed(0)
    dataset, others = TileDataset.open(tiles), TileDataset.open(validation)
    scores = {}
    for name, encode in (
        ("most frequent", constant),
        ("channel means", standardised(channel_means, dataset)),
    ):
        scores[name] = GeoCellEvaluator(fitted(encode, dataset), others)(encode)
    for folder in models:
        network = load_model(folder).network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        scores[str(folder)] = GeoCellEvaluator(load_head(folder), others)(
            partial(encode_tiles, network)
        )
    rows = [["", *scores]]
    rows += [
        [metric, *(f"{found[metric]:.3f}" for found in scores.values())]
        for metric in scores["channel means"]
    ]
    print(markdown(rows))


if __name__ == "__main__":
    main()
