"""Add numbers to the vectors of a `multiscale` model; the first ones stay as they are.

    python docs/make/longer_vectors.py --tiles build/place/tiles --out build/place-64

The trunks stay as they are, too. What they pool from each view is kept in OUT/kept, where a killed
run goes on. The new numbers come from a hidden layer of their own, beside that of the model. They
learn what it learned: contrast, counts of tags, covers. So does the first half of them by itself
(Kusupati et al.: Matryoshka Representation Learning, NeurIPS 2022, arXiv 2205.13147). The whitening
is triangular: it leaves the first numbers alone. OUT/model is the model.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self, cast

import click
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from loc2vec.encoders.multiscale import Multiscale, hidden_layer
from loc2vec.encoders.registry import build
from loc2vec.encoders.whitening import Whitening, inverse_root
from loc2vec.model.compute import keep_freed_memory, mixed_precision
from loc2vec.model.dataset import Dataset
from loc2vec.model.folder import Model, load_model, model_path, save_model
from loc2vec.train.batches import Batch, drawn_channels, overlapping, places_of_step
from loc2vec.train.loop import learning_rate
from loc2vec.train.objectives.contrastive import NO_LOSS, Contrastive, projector_of
from loc2vec.train.objectives.cover import CoverObjective, root_covers
from loc2vec.train.objectives.tags import TagsObjective, known_targets
from loc2vec.train.run import TrainConfig
from tiling.dataset.dataset import TileDataset
from tiling.files.atomic import read_json, write_json
from tiling.values import N_CHANNELS

CHUNK = 128  # places whose features are written at once
LEARNING_RATE = 2e-3
WEIGHTS = {"tags": 3.0, "cover": 2.0}


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
            _array(folder / "features.npy", (tiles.n_places, views, width_of(network)), np.float16),
            _array(folder / "covers.npy", (tiles.n_places, covers), np.float32),
        )
        progress = folder / "done.json"
        about: dict[str, Any] = {
            "model": model.model_id,
            "tiles": tiles.fingerprint,
            "of": tiles.n_places,
            "seed": config.seed,
        }
        done = read_json(progress) if progress.exists() else about | {"places": 0}
        if {name: done.get(name) for name in about} != about:
            raise click.ClickException(f"{folder} holds features of {done}: remove it")
        for first in tqdm(range(done["places"], tiles.n_places, CHUNK), desc="features"):
            last = min(first + CHUNK, tiles.n_places)
            kept._add(tiles, network, np.arange(first, last), config)
            write_json(progress, about | {"places": last})
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
                shape = (len(places), N_CHANNELS)
                on = drawn_channels(random, shape, scales, config.channel_dropout)
                pixels = pixels * torch.from_numpy(on)[..., None, None]
            with mixed_precision(pixels.device):
                parts = [network.pooled(part).float() for part in torch.split(pixels, 32)]
            self.features[places, view] = torch.cat(parts).numpy()


def _array(path: Path, shape: tuple[int, ...], dtype: type[np.generic]) -> NDArray[Any]:
    """Open an array in a file, which is made if it is not there."""
    if path.exists():
        return cast(NDArray[Any], np.load(path, mmap_mode="r+"))
    return np.lib.format.open_memmap(path, "w+", dtype, shape)


def width_of(network: Multiscale) -> int:
    """Return F, how many features the trunks of a network pool from a place."""
    return int(network.norm.num_features)


class Objectives(nn.Module):
    """The losses of the first numbers of the vectors: those that the configuration names."""

    def __init__(
        self, size: int, targets: NDArray[np.float32], covers: Tensor, config: TrainConfig
    ) -> None:
        super().__init__()
        self.size, self.weights = size, dict(config.heads)
        projector = projector_of(size) if config.projector else None
        self.contrastive = None if config.loss == NO_LOSS else Contrastive(config.loss, projector)
        self.tags = TagsObjective(nn.Linear(size, targets.shape[1]), targets)
        self.cover = CoverObjective(nn.Linear(size, covers.shape[1]), covers.var(0))

    def forward(self, vectors: Tensor, covers: Tensor, batch: Batch) -> Tensor:
        """Return the weighted loss of vectors [P, V, D]."""
        own = vectors[..., : self.size]
        total = own.new_zeros(())
        if self.contrastive is not None:
            total = total + self.contrastive(own, batch).loss
        if "tags" in self.weights:
            total = total + self.weights["tags"] * self.tags(own, batch).loss
        if "cover" in self.weights:
            total = total + self.weights["cover"] * self.cover.error(own, covers)
        return total


class Longer(nn.Module):
    """The layers after the trunks of a model, and new ones beside them."""

    def __init__(self, first: Multiscale, dim: int, dropout: float = 0.0) -> None:
        """Take the model, the length of the vectors, and the share of features to drop."""
        super().__init__()
        self.first, self.dropout = first.eval().requires_grad_(False), dropout
        width = first.embedding.in_features
        self.hidden = hidden_layer(width_of(first), width)
        self.embedding = nn.Linear(2 * width, dim - first.embedding.out_features)
        self.whitening = Whitening(dim)

    def train(self, mode: bool = True) -> Self:
        """Leave the statistics of the model alone."""
        super().train(mode)
        self.first.eval()
        return self

    def numbers(self, features: Tensor) -> Tensor:
        """Join pooled features [n, F] to vectors [n, dim] that are not white yet."""
        seen = self.first.norm(features)
        old = self.first.hidden(seen)
        new = self.hidden(F.dropout(seen, self.dropout, self.training))
        return torch.cat([self.first.embedding(old), self.embedding(torch.cat([old, new], 1))], 1)

    def forward(self, features: Tensor) -> Tensor:
        """Join pooled features [n, F] to white vectors [n, dim]."""
        white: Tensor = self.whitening(self.numbers(features))
        return white

    @torch.inference_mode()
    def network(self, options: dict[str, Any], features: Tensor) -> Multiscale:
        """Return one network of both; its new numbers are white over pooled features [n, F]."""
        first, size = self.first.state_dict(), self.first.embedding.out_features
        own, width = self.state_dict(), self.first.embedding.in_features
        dim = size + self.embedding.out_features
        more = options | {"dim": dim, "hidden": 2 * width}
        network = build("multiscale", self.first.scales, **more)
        state = dict(first)
        for name, value in first.items():
            if name.startswith("hidden.") and value.ndim:
                state[name] = torch.cat([value, own[name]])
        apart = F.pad(first["embedding.weight"], (0, width))  # the first numbers see the old layer
        state["embedding.weight"] = torch.cat([apart, own["embedding.weight"]])
        state["embedding.bias"] = torch.cat([first["embedding.bias"], own["embedding.bias"]])
        numbers = torch.cat([self.numbers(part) for part in torch.split(features, 4096)])
        mean, covariance = numbers.mean(0), torch.cov(numbers.T)
        matrix = inverse_root(covariance)
        mean[:size] = first["whitening.mean"]
        covariance[:size, :size] = first["whitening.covariance"]
        matrix[:size, :size] = first["whitening.matrix"]
        state |= {
            "whitening.mean": mean,
            "whitening.covariance": covariance,
            "whitening.matrix": matrix,
        }
        network.load_state_dict(state)
        return cast(Multiscale, network.eval())


def train(
    layers: nn.Module, tiles: Dataset, kept: Kept, sizes: list[int], config: TrainConfig
) -> None:
    """Train layers from pooled features [n, F] to vectors [n, D].

    Each size has objectives of its own, on so many first numbers.
    """
    covers = torch.from_numpy(np.asarray(kept.covers))
    targets = known_targets(tiles)
    objectives = nn.ModuleList(Objectives(size, targets, covers, config) for size in sizes)
    learned = [each for each in layers.parameters() if each.requires_grad]
    optimizer = torch.optim.AdamW(
        [*learned, *objectives.parameters()], weight_decay=config.weight_decay
    )
    layers.train()
    losses: list[float] = []
    progress = tqdm(enumerate(_batches(tiles, kept, config)), total=config.steps, desc="train")
    for step, (features, batch) in progress:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(config, step)
        vectors = layers(features.flatten(0, 1)).view(*features.shape[:2], -1)
        each = [one(vectors, covers[batch.places], batch) for one in objectives]
        loss = torch.stack(each).sum()
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        losses.append(loss.item())
        progress.set_postfix(loss=f"{np.mean(losses[-100:]):.3f}")
    layers.eval()


def _batches(tiles: Dataset, kept: Kept, config: TrainConfig) -> Iterator[tuple[Tensor, Batch]]:
    """Yield features float32 [P, V, F] and what the objectives need to know of the places."""
    radius_m = tiles.geometry.widest.radius_m
    for step in range(config.steps):
        places = places_of_step(tiles.n_places, config.seed, step, config.places)
        features = torch.from_numpy(kept.features[places].astype(np.float32))
        near = overlapping(tiles.lat[places], tiles.lon[places], radius_m)
        none = torch.empty(0)  # the tiles are not read again
        yield features, Batch(none, none, torch.from_numpy(near), torch.from_numpy(places))


@click.command()
@click.option("--tiles", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--model", "of", default="place-16", show_default=True, help="the first numbers")
@click.option("--out", type=click.Path(path_type=Path), required=True)
@click.option("--dim", default=64, show_default=True, help="numbers in all")
@click.option("--steps", default=4000, show_default=True)
@click.option("--places", default=192, show_default=True, help="in a batch")
@click.option("--dropout", default=0.3, show_default=True, help="share of pooled features")
@click.option("--seed", default=51, show_default=True)
def main(
    tiles: Path, of: str, out: Path, dim: int, steps: int, places: int, dropout: float, seed: int
) -> None:
    """Train the new numbers and write the model."""
    model, dataset = load_model(model_path(of)), TileDataset.open(tiles)
    first = cast(Multiscale, model.network)
    config = TrainConfig(
        encoder="multiscale", dim=dim, places=places, pairs=dataset.positives, steps=steps,
        learning_rate=LEARNING_RATE, loss="nce", projector=True, heads=WEIGHTS,
        channel_dropout=0.15, seed=seed,
    )  # fmt: skip
    keep_freed_memory(torch.device("cpu"))
    kept = Kept.of(dataset, model, out / "kept", config)
    torch.manual_seed(seed)
    longer = Longer(first, dim, dropout)
    sizes = [(first.embedding.out_features + dim) // 2, dim]
    train(longer, dataset, kept, sizes, config)
    features = torch.from_numpy(kept.features.reshape(-1, width_of(first)).astype(np.float32))
    network = longer.network(model.config.options, features)
    added = {
        "to": model.model_id, "sizes": sizes, "places": places, "steps": steps, "seed": seed,
        "learning_rate": LEARNING_RATE, "heads": WEIGHTS, "dropout": dropout,
        "channel_dropout": 0.15, "train_places": dataset.n_places,
    }  # fmt: skip
    options = model.config.options | {"dim": dim, "hidden": network.embedding.in_features}
    about = replace(model.config, name=f"place-{dim}", options=options, training={"added": added})
    save_model(out / "model", network, about)
    click.echo(out / "model")


if __name__ == "__main__":
    main()
