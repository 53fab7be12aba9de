"""Train the layers after the trunks of a `multiscale` model anew, for several sizes at once.

    python docs/make/last_layers.py --tiles build/place/tiles --model place-16 --out build/last

The trunks stay as they are. What they pool from each view is kept in OUT/kept, where a killed run
goes on. Every size has objectives of its own, on the first numbers of the vector: the larger ones
begin with the smaller (Kusupati et al.: Matryoshka Representation Learning, NeurIPS 2022,
arXiv 2205.13147). The whitening is triangular, so the first numbers are white by themselves.
OUT/place-SIZE is the model of each size.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self, cast

import click
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from loc2vec.encoders.multiscale import Multiscale
from loc2vec.encoders.registry import build
from loc2vec.model.compute import keep_freed_memory, mixed_precision
from loc2vec.model.dataset import Dataset
from loc2vec.model.folder import Model, load_model, model_path, save_model
from loc2vec.train.batches import Batch, overlapping, places_of_step
from loc2vec.train.loop import learning_rate
from loc2vec.train.objectives.contrastive import Contrastive, projector_of
from loc2vec.train.objectives.cover import CoverObjective, root_covers
from loc2vec.train.objectives.tags import TagsObjective, known_targets
from loc2vec.train.run import TrainConfig
from tiling.dataset.dataset import TileDataset
from tiling.files.atomic import read_json, write_json
from tiling.values import N_CHANNELS

CHUNK = 128  # places whose features are written at once
LEARNING_RATE = 2e-3


@dataclass(frozen=True, eq=False)
class Kept:
    """What the trunks see of a dataset of n places with V views.

    `features` float16 [n, V, F]; the views after the first have channels off, as in training.
    `covers` float32 [n, covers]: root covers of the first view, all of whose channels are there.
    """

    features: NDArray[np.float16]
    covers: NDArray[np.float32]

    @classmethod
    def of(cls, tiles: Dataset, model: Model, folder: Path, config: TrainConfig) -> Self:
        """Read what is kept in a folder, after adding what it lacks."""
        network = cast(Multiscale, model.network)
        views, covers = 1 + tiles.positives, len(tiles.channels) + N_CHANNELS
        folder.mkdir(parents=True, exist_ok=True)
        kept = cls(
            _array(folder / "features.npy", (tiles.n_places, views, _width(network)), np.float16),
            _array(folder / "covers.npy", (tiles.n_places, covers), np.float32),
        )
        progress = folder / "done.json"
        about: dict[str, Any] = {"model": model.model_id, "seed": config.seed}
        done = read_json(progress) if progress.exists() else about | {"places": 0}
        if {name: done[name] for name in about} != about:
            raise click.ClickException(f"{folder} holds features of {done}: remove it")
        for first in tqdm(range(done["places"], tiles.n_places, CHUNK), desc="features"):
            kept._add(tiles, network, np.arange(first, min(first + CHUNK, tiles.n_places)), config)
            write_json(progress, about | {"places": min(first + CHUNK, tiles.n_places)})
        return kept

    @torch.inference_mode()
    def _add(
        self, tiles: Dataset, network: Multiscale, places: NDArray[np.int64], config: TrainConfig
    ) -> None:
        scales = tiles.geometry.scales
        random = np.random.default_rng((config.seed, int(places[0])))
        for view in range(self.features.shape[1]):
            pixels = torch.from_numpy(tiles.tiles(places, np.full_like(places, view)))
            if view == 0:
                self.covers[places] = root_covers(pixels, N_CHANNELS).numpy()
            else:
                share = 2 * config.channel_dropout * random.random((len(places), 1))
                on = np.tile(random.random((len(places), N_CHANNELS)) >= share, scales)
                pixels = pixels * torch.from_numpy(on)[..., None, None]
            with mixed_precision(pixels.device):
                parts = [network.pooled(part).float() for part in torch.split(pixels, 32)]
            self.features[places, view] = torch.cat(parts).numpy()


def _array(path: Path, shape: tuple[int, ...], dtype: type[np.generic]) -> NDArray[Any]:
    """Open an array in a file, which is made if it is not there."""
    if path.exists():
        return cast(NDArray[Any], np.load(path, mmap_mode="r+"))
    return np.lib.format.open_memmap(path, "w+", dtype, shape)


def _width(network: Multiscale) -> int:
    return int(network.norm.num_features)


class Objectives(nn.Module):
    """The losses of the first numbers of the vectors: contrast, tags and covers."""

    def __init__(self, size: int, targets: NDArray[np.float32], covers: Tensor) -> None:
        super().__init__()
        self.size = size
        self.contrastive = Contrastive("nce", projector_of(size))
        self.tags = TagsObjective(nn.Linear(size, targets.shape[1]), targets)
        self.cover = CoverObjective(nn.Linear(size, covers.shape[1]), covers.var(0))

    def forward(
        self, vectors: Tensor, covers: Tensor, batch: Batch, weights: dict[str, float]
    ) -> Tensor:
        """Return the weighted loss of vectors [P, V, D]."""
        own = vectors[..., : self.size]
        tags = weights["tags"] * self.tags(own, batch).loss
        cover = weights["cover"] * self.cover.error(own, covers)
        total: Tensor = self.contrastive(own, batch).loss + tags + cover
        return total


def train(
    model: Model, tiles: Dataset, kept: Kept, sizes: list[int], config: TrainConfig
) -> Multiscale:
    """Train fresh layers after the trunks of a model, for the largest size."""
    torch.manual_seed(config.seed)
    options = model.config.options | {"dim": max(sizes)}
    network = build("multiscale", tiles.geometry.scales, **options)
    assert isinstance(network, Multiscale)
    old = model.network.state_dict()
    trunks = {name: value for name, value in old.items() if name.startswith("trunks.")}
    network.load_state_dict(trunks, strict=False)
    covers = torch.from_numpy(np.asarray(kept.covers))
    targets = known_targets(tiles)
    objectives = nn.ModuleList(Objectives(size, targets, covers) for size in sizes)
    learned = nn.ModuleList([network.norm, network.hidden, network.embedding, objectives])
    optimizer = torch.optim.AdamW(learned.parameters(), weight_decay=config.weight_decay)
    network.train()
    losses: list[float] = []
    progress = tqdm(enumerate(_batches(tiles, kept, config)), total=config.steps, desc="train")
    for step, (features, batch) in progress:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(config, step)
        vectors = network.joined(features.flatten(0, 1)).view(*features.shape[:2], -1)
        each = [one(vectors, covers[batch.places], batch, dict(config.heads)) for one in objectives]
        loss = torch.stack(each).sum()
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        losses.append(loss.item())
        progress.set_postfix(loss=f"{np.mean(losses[-100:]):.3f}")
    return network.eval()


def _batches(tiles: Dataset, kept: Kept, config: TrainConfig) -> Iterator[tuple[Tensor, Batch]]:
    """Yield features float32 [P, V, F] and what the objectives need to know of the places."""
    radius_m = tiles.geometry.widest.radius_m
    for step in range(config.steps):
        places = places_of_step(tiles.n_places, config.seed, step, config.places)
        features = torch.from_numpy(kept.features[places].astype(np.float32))
        near = overlapping(tiles.lat[places], tiles.lon[places], radius_m)
        none = torch.empty(0)  # the tiles are not read again
        yield features, Batch(none, none, torch.from_numpy(near), torch.from_numpy(places))


def first_numbers(network: Multiscale, model: Model, size: int) -> Multiscale:
    """Return the network that gives the first numbers of another one's vectors."""
    small = build("multiscale", network.scales, **(model.config.options | {"dim": size}))
    assert isinstance(small, Multiscale)
    shapes = {name: value.shape for name, value in small.state_dict().items()}
    small.load_state_dict(
        {
            name: value[tuple(slice(length) for length in shapes[name])]
            for name, value in network.state_dict().items()
        }
    )
    return small.eval()


@click.command()
@click.option("--tiles", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--model", "of", default="place-16", show_default=True, help="its trunks are kept")
@click.option("--out", type=click.Path(path_type=Path), required=True)
@click.option("--size", "sizes", multiple=True, type=int, default=(16, 64), show_default=True)
@click.option("--steps", default=3000, show_default=True)
@click.option("--places", default=192, show_default=True, help="in a batch")
@click.option("--tags", default=2.0, show_default=True, help="weight of the counts of tags")
@click.option("--cover", default=0.25, show_default=True, help="weight of the covers")
@click.option("--channel-dropout", default=0.15, show_default=True)
@click.option("--seed", default=51, show_default=True)
def main(
    tiles: Path, of: str, out: Path, sizes: tuple[int, ...], steps: int, places: int,
    tags: float, cover: float, channel_dropout: float, seed: int,
) -> None:  # fmt: skip
    """Train the last layers and write a model of each size."""
    model, dataset = load_model(model_path(of)), TileDataset.open(tiles)
    config = TrainConfig(
        encoder="multiscale",
        dim=max(sizes),
        places=places,
        pairs=dataset.positives,
        steps=steps,
        learning_rate=LEARNING_RATE,
        loss="nce",
        projector=True,
        heads={"tags": tags, "cover": cover},
        channel_dropout=channel_dropout,
        seed=seed,
    )
    keep_freed_memory(torch.device("cpu"))
    kept = Kept.of(dataset, model, out / "kept", config)
    network = train(model, dataset, kept, sorted(sizes), config)
    last = {
        "sizes": sorted(sizes), "places": places, "steps": steps, "learning_rate": LEARNING_RATE,
        "tags": tags, "cover": cover, "channel_dropout": channel_dropout, "seed": seed,
        "train_places": dataset.n_places, "trunks": model.model_id,
    }  # fmt: skip
    for size in sizes:
        options = model.config.options | {"dim": size}
        training = model.config.training | {"last_layers": last}
        about = replace(model.config, name=f"place-{size}", options=options, training=training)
        save_model(out / about.name, first_numbers(network, model, size), about)
        click.echo(f"{out / about.name}")


if __name__ == "__main__":
    main()
