"""What each lever of the training brings: the layers after the trunks, trained without it.

    python docs/make/levers.py --tiles build/place/tiles --searched build/place/validation \\
        --store build/place/unseen.gpkg --out build/levers newport_gb.osm.pbf belize.osm.pbf ...

The features that the trunks of a `multiscale` model pool are kept in OUT. Each way trains layers of
its own on them, from random weights. Its vectors are read by probes across blocks of 1 km, at
places of the extracts. In --searched, a tile with channels off searches its own place. The command
goes on where it was stopped, and prints a table: mean over the seeds, and the standard deviation.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, cast

import click
import numpy as np
import torch
import torch.nn.functional as F
from longer_vectors import Kept, train
from torch import Tensor, nn

from loc2vec.encoders.inception import TRUNK_WIDTH
from loc2vec.encoders.multiscale import Multiscale
from loc2vec.encoders.registry import build
from loc2vec.evaluation.measure import quick_scores
from loc2vec.evaluation.probes import PROBES
from loc2vec.evaluation.report.table import markdown
from loc2vec.evaluation.retrieval import APART_M, ranks_of_own, thinned
from loc2vec.evaluation.run import askable, covered_by, order_of, read_towns, rendered
from loc2vec.evaluation.tasks.osm import RECIPES, make_task
from loc2vec.evaluation.tasks.task import Task
from loc2vec.model.arrays import Vectors
from loc2vec.model.compute import encode_tiles, keep_freed_memory
from loc2vec.model.dataset import Dataset
from loc2vec.model.folder import Model, load_model, model_path
from loc2vec.train.objectives.contrastive import NO_LOSS
from loc2vec.train.run import TrainConfig
from tiling.dataset.dataset import TileDataset
from tiling.files.atomic import read_json, write_json
from tiling.store.store import Store
from tiling.values import N_CHANNELS

Answers = dict[str, float]
SCALES = 2
POOLS = ("200 m", "800 m", "middle 100 m", "middle 50 m")  # in the order of the features
BEGIN = TrainConfig(
    encoder="multiscale", places=192, pairs=2, steps=500, learning_rate=2e-3, loss="nce",
    projector=True, heads={"tags": 2.0, "cover": 1.0}, channel_dropout=0.15, seed=51,
)  # fmt: skip


@dataclass(frozen=True)
class Way:
    """How layers are trained: the configuration, and what is left out of the features."""

    config: TrainConfig
    without: tuple[str, ...] = ()  # pools
    dropout: float = 0.0  # share of the features that a view lacks
    white: bool = True
    views: tuple[int, ...] = (0, 1, 2)  # the anchor, a near and a far positive


def ways(all_of_it: TrainConfig) -> dict[str, Way]:
    """Return the ways by name; each leaves out, or changes, one thing of all."""
    whole, steps = Way(all_of_it), all_of_it.steps
    tags, cover = ({name: weight} for name, weight in all_of_it.heads.items())

    def changed(**values: Any) -> Way:
        return Way(replace(all_of_it, **values))

    near = ("200 m", "middle 100 m", "middle 50 m")
    return {
        "all": whole,
        "no counts of tags": changed(heads=cover),
        "no covers": changed(heads=tags),
        "no contrast": changed(loss=NO_LOSS),
        "contrast alone": changed(heads={}),
        "counts of tags alone": changed(loss=NO_LOSS, heads=tags),
        "covers alone": changed(loss=NO_LOSS, heads=cover),
        "no projector": changed(projector=False),
        "not whitened": replace(whole, white=False),
        "no 800 m": replace(whole, without=("800 m",)),
        "no 200 m": replace(whole, without=near),
        "no middles": replace(whole, without=near[1:]),
        "near shifts alone": replace(whole, views=(0, 1)),
        "far shifts alone": replace(whole, views=(0, 2)),
        "30 % of the features dropped": replace(whole, dropout=0.3),
        "a third of the steps": changed(steps=steps // 3),
        "three times the steps": changed(steps=3 * steps),
        "32 numbers": changed(dim=32),
        "64 numbers": changed(dim=64),
    }


class Last(nn.Module):
    """The layers after the trunks, from pooled features [n, F] to vectors [n, D]."""

    kept: Tensor  # float32 [F], 0 where a feature is left out

    def __init__(self, way: Way) -> None:
        super().__init__()
        network = build("multiscale", SCALES, dim=way.config.dim, white=way.white)
        assert isinstance(network, Multiscale)
        self.norm, self.hidden = network.norm, network.hidden
        self.embedding, self.whitening = network.embedding, network.whitening
        self.dropout = way.dropout
        kept = np.array([pool not in way.without for pool in POOLS], np.float32)
        mask = np.concatenate([np.repeat(kept, width) for width in (TRUNK_WIDTH, N_CHANNELS)])
        self.register_buffer("kept", torch.from_numpy(mask))

    def forward(self, features: Tensor) -> Tensor:
        """Join pooled features."""
        seen = F.dropout(self.norm(features) * self.kept, self.dropout, self.training)
        vectors: Tensor = self.whitening(self.embedding(self.hidden(seen)))
        return vectors


@dataclass(frozen=True, eq=False)
class Asked:
    """What ways are compared by: tasks with the features of their places, and a search.

    `own`, `anchors` float32 [m, F]: a turned tile with channels off, and the anchor of its place.
    """

    tasks: Sequence[tuple[Task, Vectors]]
    own: Vectors
    anchors: Vectors

    def answers(self, encode: Callable[[Vectors], Vectors]) -> Answers:
        """Return the scores of each task, and recall@1."""
        ranks = ranks_of_own(encode(self.own), encode(self.anchors))
        found = {"recall@1": float((ranks == 1).mean())}
        for task, features in self.tasks:
            for probe, score in quick_scores(task, encode(features), "blocks").items():
                found[f"{task.name}, {probe}"] = score
        return found


def trained(way: Way, seed: int, tiles: Dataset, kept: Kept) -> Callable[[Vectors], Vectors]:
    """Train the layers of a way; return them as a function of pooled features."""
    config = replace(way.config, seed=seed)
    torch.manual_seed(seed)
    layers = Last(way)
    seen = Kept(kept.features[:, way.views], kept.covers)
    train(layers, tiles, seen, [config.dim], config)

    @torch.inference_mode()
    def encode(features: Vectors) -> Vectors:
        vectors: Vectors = layers(torch.from_numpy(features)).numpy()
        return vectors

    return encode


def searched(model: Model, path: Path, out: Path) -> tuple[Vectors, Vectors]:
    """Return the features of tiles that search, and those of their places, far apart."""
    tiles = TileDataset.open(path)
    kept = Kept.of(tiles, model, out, BEGIN)
    order = np.random.default_rng(0).permutation(tiles.n_places)
    rows = order[thinned(tiles.lat[order], tiles.lon[order], APART_M)]
    features = kept.features[rows].astype(np.float32)
    return features[:, 1], features[:, 0]


def asked_tasks(
    model: Model, extracts: Sequence[Path], store: Path, per_class: int, kept: Path
) -> list[tuple[Task, Vectors]]:
    """Return the tasks that can be asked of extracts, with the pooled features of their places."""
    with Store.at(store).open() as source:
        towns = read_towns(extracts, source.catalogue)
        covered = covered_by(source, (), model.config.geometry.widest.radius_m)
        tasks = askable(
            [name for name, recipe in RECIPES.items() if not recipe.geolocation],
            lambda name: make_task(name, towns, covered, per_class),
            seeds=1,
            left_out=lambda error: click.echo(f"left out: {error}", err=True),
        )
        if not kept.exists():
            pooled = _Pooled(cast(Multiscale, model.network))
            parts = rendered(source, tasks, model.config.geometry, workers=1)
            features = np.concatenate([encode_tiles(pooled, tiles) for tiles in parts])
            np.save(kept, features[np.argsort(order_of(tasks))])
    bounds = np.cumsum([len(task) for task in tasks])[:-1]
    return list(zip(tasks, np.split(np.load(kept), bounds), strict=True))


class _Pooled(nn.Module):
    """A network cut off after its trunks: tiles to features [n, F]."""

    def __init__(self, network: Multiscale) -> None:
        super().__init__()
        self.network = network

    def forward(self, tiles: Tensor) -> Tensor:
        return self.network.pooled(tiles).float()


def table(found: Mapping[str, Sequence[Answers]]) -> str:
    """Return a Markdown table: a row a way, linear probe / 15 neighbours, the mean of its seeds."""
    tasks = list(dict.fromkeys(name.split(",")[0] for name in found["all"][0] if "," in name))
    head = ["way", "recall@1", "mean of the tasks", *tasks]
    rows = [head]
    for way, seeds in found.items():
        recall = _spread([each["recall@1"] for each in seeds])
        means = [
            _spread([fmean(max(each[f"{task}, {probe}"], 0) for task in tasks) for each in seeds])
            for probe in PROBES
        ]
        cells = [_both([fmean(each[f"{task}, {probe}"] for each in seeds) for probe in PROBES])
                 for task in tasks]  # fmt: skip
        rows.append([way, recall, " / ".join(means), *cells])
    return markdown(rows)


def _both(values: Sequence[float]) -> str:
    return " / ".join(f"{value:.3f}" if value > 0 else "below 0" for value in values)


def _spread(values: Sequence[float]) -> str:
    return f"{fmean(values):.3f}" + (f" ± {stdev(values):.3f}" if len(values) > 1 else "")


@click.command()
@click.argument("extracts", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--tiles", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--searched", "search", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--store", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--out", type=click.Path(path_type=Path), required=True)
@click.option("--model", "of", default="place-16", show_default=True, help="whose trunks pool")
@click.option("--per-class", default=250, show_default=True, help="places at most")
@click.option("--seeds", default=3, show_default=True)
@click.option("--steps", default=500, show_default=True)
def main(
    extracts: tuple[Path, ...], tiles: Path, search: Path, store: Path, out: Path, of: str,
    per_class: int, seeds: int, steps: int,
) -> None:  # fmt: skip
    """Train and measure each way, with each seed; print the table."""
    keep_freed_memory(torch.device("cpu"))
    model, dataset = load_model(model_path(of)), TileDataset.open(tiles)
    about = {
        "model": model.model_id, "extracts": sorted(path.name for path in extracts),
        "per_class": per_class, "steps": steps, "tiles": dataset.n_places,
    }  # fmt: skip
    begun = out / "about.json"
    if begun.exists() and read_json(begun) != about:
        raise click.ClickException(f"{out} holds answers of {read_json(begun)}: remove it")
    out.mkdir(parents=True, exist_ok=True)
    write_json(begun, about)
    kept = Kept.of(dataset, model, out / "kept", BEGIN)
    own, anchors = searched(model, search, out / "searched")
    asked = Asked(asked_tasks(model, extracts, store, per_class, out / "asked.npy"), own, anchors)
    done = out / "answers.json"
    found: dict[str, list[Answers]] = read_json(done) if done.exists() else {}
    for seed, (name, way) in product(range(seeds), ways(replace(BEGIN, steps=steps)).items()):
        answers = found.setdefault(name, [])
        if len(answers) == seed:
            answers.append(asked.answers(trained(way, seed, dataset, kept)))
            write_json(done, found)
    click.echo(table(found))


if __name__ == "__main__":
    main()
