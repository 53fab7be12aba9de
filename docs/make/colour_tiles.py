"""A peer: a colour picture of the map, a ResNet-18 and the triplet margin loss.

Other open re-implementations do this.

    python docs/make/colour_tiles.py train --tiles train --out colour.safetensors --steps 1000
    python docs/make/colour_tiles.py embed --weights colour.safetensors --store all.gpkg --report
    REPORT --out PEERS

The picture is `Palette.composite`: the twelve channels painted over each other in the colours
of a map, uint8 [128, 128, 3]. The network is a ResNet-18 (He et al., arXiv 1512.03385) with 16
outputs, trained from random weights. A triplet is a place's unturned tile, one that is turned and
shifted, and the unturned tile of the next place of the batch. `embed` writes vectors at the very
places of a report of `loc2vec evaluate`, with the channels of each task blanked before they are
painted.
"""

from pathlib import Path
from typing import cast

import click
import numpy as np
import torch
from peer_files import places_of, write_peer
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from loc2vec.model.arrays import Pixels
from loc2vec.model.compute import keep_freed_memory, mixed_precision
from loc2vec.train.batches import places_of_step, slots_of_step
from tiling.cli.options import StoreType
from tiling.dataset.dataset import TileDataset
from tiling.render.batch import render_all
from tiling.store.store import Store
from tiling.values import Palette

DIM = 16
MARGIN = 1.0
LEARNING_RATE = 1e-3
NAME = "colour ResNet-18"


def pictures(tiles: Pixels, palette: Palette) -> Tensor:
    """Paint tiles uint8 [n, 12, H, W]: float32 [n, 3, H, W] in 0..1."""
    painted = np.stack([palette.composite(tile) for tile in tiles]).transpose(0, 3, 1, 2)
    return torch.from_numpy(np.ascontiguousarray(painted)).float() / 255


class Basic(nn.Module):
    """A basic block: two 3x3 convolutions beside the identity.

    A 1x1 convolution takes its place where the shape changes.
    """

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Sequential(
            nn.Conv2d(channels, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out)
        )
        self.second = nn.Sequential(nn.Conv2d(out, out, 3, 1, 1, bias=False), nn.BatchNorm2d(out))
        same = stride == 1 and channels == out
        change = nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))
        self.beside = nn.Identity() if same else change

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.second(F.relu(self.first(x))) + self.beside(x))


def network() -> nn.Module:
    """Return the ResNet-18, float32 [n, 3, 128, 128] -> [n, 16]."""
    # 32 x 32
    stem = (
        nn.Conv2d(3, 64, 7, 2, 3, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, 1),
    )
    shapes = (
        (64, 64, 1),
        (64, 64, 1),
        (64, 128, 2),
        (128, 128, 1),
        (128, 256, 2),
        (256, 256, 1),
        (256, 512, 2),
        (512, 512, 1),
    )
    blocks = (Basic(*shape) for shape in shapes)  # to 4 x 4
    model = nn.Sequential(
        *stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, DIM)
    )
    return cast(nn.Module, model.to(memory_format=torch.channels_last))  # type: ignore[call-overload]


@click.group()
def main() -> None:
    """Train the peer, and embed with it."""


@main.command()
@click.option("--tiles", required=True, help="Tile dataset to learn from.")
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="Weights to write (.safetensors)."
)
@click.option("--steps", default=1000, show_default=True)
@click.option("--places", default=48, show_default=True, help="Triplets a step; two tiles each.")
@click.option("--seed", default=0, show_default=True)
def train(tiles: str, out: Path, steps: int, places: int, seed: int) -> None:
    """Train on triplets."""
    dataset, device = TileDataset.open(tiles), torch.device("cpu")
    keep_freed_memory(device)
    torch.manual_seed(seed)
    model, criterion = network().train(), nn.TripletMarginLoss(MARGIN)
    optimizer = torch.optim.Adam(model.parameters(), LEARNING_RATE)
    with tqdm(total=steps, unit="step") as bar:
        for step in range(steps):
            place = places_of_step(dataset.n_places, seed, step, places)
            slot = slots_of_step(dataset.positives, seed, step, places, 1)
            both = (
                np.concatenate([place, place]),
                np.concatenate([np.zeros_like(place), slot[:, 0]]),
            )
            with mixed_precision(device):
                read = pictures(dataset.tiles(*both), dataset.catalogue.palette)
                seen = model(read.contiguous(memory_format=torch.channels_last)).float()
            anchor, positive = seen.chunk(2)
            loss = criterion(anchor, positive, anchor.roll(1, 0))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            bar.update()
            bar.set_postfix(loss=f"{loss.item():.4f}")
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, out)


@main.command()
@click.option(
    "--weights",
    type=click.Path(path_type=Path, exists=True),
    required=True,
    help="What `train` wrote.",
)
@click.option("--store", type=StoreType(), required=True, help="Feature store to read.")
@click.option(
    "--report",
    type=click.Path(path_type=Path, exists=True),
    required=True,
    help="Of `loc2vec evaluate`.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="Folder of the peers' vectors."
)
def embed(weights: Path, store: Store, report: Path, out: Path) -> None:
    """Embed the places of a report."""
    model = network()
    model.load_state_dict(load_file(weights))
    model.eval()
    with store.open() as source, torch.inference_mode():
        for blank, places in places_of(report).items():
            found = []
            for drawn in tqdm(render_all(source, places, workers=0), unit=" chunks"):
                drawn[:, list(blank)] = 0
                read = pictures(drawn, source.catalogue.palette)
                found.append(model(read.contiguous(memory_format=torch.channels_last)).numpy())
            write_peer(out, blank, NAME, places, np.concatenate(found))


if __name__ == "__main__":
    main()
