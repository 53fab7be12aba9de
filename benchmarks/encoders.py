"""One table of all families of encoders: what each costs, and what it learns from as many tiles.

    python benchmarks/encoders.py --tiles DIR --validation DIR --extract newport_gb.osm.pbf \\
        --out build/encoders [--steps 100] [--loss nce] [--seeds 3] [--device cuda] [--only vit ...]

Each run (a row, a seed) is kept in OUT as soon as it is done. The same command goes on where it
was. Another number of steps, or another loss, is another set of runs. The table is printed and
written to OUT/LOSS-STEPS/table.md.

Rows of other radii are trained on the datasets DIR-200, DIR-400 and DIR-100-400 beside both DIRs.
These hold the same places. Rows whose datasets are missing are left out. The model is that of the
last step, whatever it scores: none is chosen by what it is then measured on.
"""

import json
import statistics
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from loc2vec.encoders.registry import build
from loc2vec.evaluation.baselines import channel_means
from loc2vec.evaluation.measure import quick_scores
from loc2vec.evaluation.probes import Probe, primary
from loc2vec.evaluation.report.table import markdown
from loc2vec.evaluation.retrieval import retrieval
from loc2vec.evaluation.run import askable, covered_by, empty_channels, read_towns, source_of
from loc2vec.evaluation.splits import Split
from loc2vec.evaluation.tasks.osm import RECIPES, make_task
from loc2vec.evaluation.tasks.task import Task
from loc2vec.model.compute import (
    Encode,
    encode_tiles,
    keep_freed_memory,
    mixed_precision,
    pick_device,
)
from loc2vec.model.folder import load_model
from loc2vec.train.loop import train
from loc2vec.train.objectives.contrastive import LOSSES
from loc2vec.train.run import Run, TrainConfig
from tiling.catalogue.catalogue import load_catalogue
from tiling.cli.options import StoreType
from tiling.dataset.dataset import TileDataset
from tiling.files.atomic import read_json, write_json, write_text
from tiling.render.batch import render_all
from tiling.store.source import FeatureSource
from tiling.store.store import Store
from tiling.values import ATTRIBUTION, TILE_RADIUS_M, TileGeometry

PLACES, PAIRS = 20, 2  # of a batch: 60 tiles
ENCODED, TRAINED = 64, 24  # tiles of a batch whose speed and memory are measured
SPLIT: Split = "blocks"
PROBE: Probe = "linear"
Vectors = NDArray[np.float32]
Facts = dict[str, Any]
Costs = Mapping[str, Mapping[str, Facts]]  # by device and row


@dataclass(frozen=True)
class Recipe:
    """A row of the table: how its encoder is made, and from which tiles."""

    name: str
    encoder: str
    options: Mapping[str, str] = field(default_factory=dict)
    dim: int = 16
    radii_m: tuple[float, ...] = (TILE_RADIUS_M,)

    @property
    def geometry(self) -> TileGeometry:
        return TileGeometry(radius_m=self.radii_m[0], wider_m=self.radii_m[1:])

    @property
    def numbers(self) -> int:
        return self.dim * len(self.radii_m)

    def folder(self, base: Path) -> Path:
        """Return the dataset of this row's radii, beside that of the default one."""
        suffix = "-".join(f"{radius:g}" for radius in self.radii_m)
        return base if self.radii_m == (TILE_RADIUS_M,) else base.with_name(f"{base.name}-{suffix}")

    def network(self) -> nn.Module:
        """Return a fresh network."""
        return build(self.encoder, self.geometry.scales, dim=self.dim, **self.options)


RECIPES_OF_TABLE = (
    Recipe("loc2vec", "loc2vec"),
    Recipe("stn", "stn"),
    Recipe("resnet", "resnet"),
    Recipe("seresnet", "seresnet"),
    Recipe("densenet", "densenet"),
    Recipe("inception", "inception"),
    Recipe("shufflenet v1", "shufflenet", {"units": "v1"}),
    Recipe("shufflenet v2", "shufflenet", {"units": "v2"}),
    Recipe("vit", "vit"),
    Recipe("rsan", "rsan"),
    Recipe("rowlstm", "rowlstm"),
    Recipe("loc2vec, 8 numbers", "loc2vec", dim=8),
    Recipe("loc2vec, 64 numbers", "loc2vec", dim=64),
    Recipe("loc2vec, 200 m", "loc2vec", radii_m=(200.0,)),
    Recipe("loc2vec, 400 m", "loc2vec", radii_m=(400.0,)),
    Recipe("loc2vec, 100 and 400 m", "loc2vec", dim=8, radii_m=(100.0, 400.0)),
    Recipe("loc2vec, layer norm", "loc2vec", {"norm": "layer"}),
)


@dataclass(frozen=True)
class Budget:
    """What every row is given alike: steps of `PLACES` places, and the loss."""

    steps: int
    loss: str

    @property
    def folder(self) -> str:
        return f"{self.loss}-{self.steps}"

    def __str__(self) -> str:
        views = 1 + PAIRS
        tiles = self.steps * PLACES * views
        batch = f"{PLACES} places x {views} tiles"
        return f"{self.steps} steps of {batch} = {tiles:,} tiles a run, {self.loss} loss"


class Probes:
    """The tasks of `loc2vec evaluate` that an extract has labels for.

    Their tiles are drawn once a geometry.
    """

    def __init__(
        self, extract: Path, store: Store | None, per_class: int, left_out: Collection[str]
    ) -> None:
        self._drawn: dict[TileGeometry, list[NDArray[np.uint8]]] = {}
        self._store, self._extract = store, extract
        with source_of([extract], store, load_catalogue()) as drawn_from:
            towns = read_towns([extract], drawn_from.catalogue)
            covered = covered_by(drawn_from)
            chosen = [
                name
                for name, recipe in RECIPES.items()
                if not recipe.geolocation and name not in left_out
            ]
            self.tasks = askable(
                chosen,
                lambda name: make_task(name, towns, covered, per_class),
                seeds=1,
                left_out=lambda _: None,
            )

    def __call__(self, encode: Encode, geometry: TileGeometry) -> dict[str, float]:
        """Return the primary metric of each task by the linear probe across blocks of 1 km."""
        found = {}
        for task, tiles in zip(self.tasks, self._tiles(geometry), strict=True):
            vectors = np.concatenate(
                [encode(tiles[i : i + ENCODED]) for i in range(0, len(tiles), ENCODED)]
            )
            found[f"{task.name}, {primary(task)}"] = quick_scores(task, vectors, SPLIT)[PROBE]
        return found

    def _tiles(self, geometry: TileGeometry) -> list[NDArray[np.uint8]]:
        if geometry not in self._drawn:
            with source_of([self._extract], self._store, load_catalogue()) as source:
                self._drawn[geometry] = [_blanked(task, source, geometry) for task in self.tasks]
        return self._drawn[geometry]


def _blanked(task: Task, source: FeatureSource, geometry: TileGeometry) -> NDArray[np.uint8]:
    tiles = np.concatenate(
        list(render_all(source, np.stack([task.lon, task.lat], axis=1), 0, geometry))
    )
    for tile in tiles:
        empty_channels(tile, task.blank)
    return tiles


def cost(recipe: Recipe, device: torch.device) -> Facts:
    """Measure a network: parameters, GFLOP of a forward pass, tiles/s, and MB kept of a tile.

    The MB are what the forward pass of training keeps for the backward pass.

    On a CPU the rate is that of one core, by its CPU time; on a GPU that of the GPU, by the clock.
    """
    torch.set_num_threads(1)
    keep_freed_memory(device)
    network = recipe.network()
    parameters = sum(parameter.numel() for parameter in network.parameters())
    counter, shape = FlopCounterMode(display=False), (12 * recipe.geometry.scales, 128, 128)
    # Of plain operators: it does not know LSTMs and attention that are one operator.
    with torch.backends.mkldnn.flags(enabled=False), sdpa_kernel(SDPBackend.MATH), counter:
        network(torch.rand(2, *shape))
    network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    tiles = np.random.default_rng(0).integers(0, 256, (ENCODED, *shape), np.uint8)
    return {
        "parameters": parameters,
        "gflop": counter.get_total_flops() / 2 / 1e9,
        "mb": _kept(network, torch.from_numpy(tiles[:TRAINED]).to(device)) / TRAINED / 1e6,
        "tiles_per_s": ENCODED / _seconds(lambda: encode_tiles(network.eval(), tiles), device),
    }


def _kept(network: nn.Module, tiles: torch.Tensor) -> int:
    """Return the bytes that a forward pass of training keeps for the backward pass.

    Parameters do not count.
    """
    sizes = {parameter.untyped_storage().data_ptr(): 0 for parameter in network.parameters()}
    held = []  # so that no storage is freed and its address used again

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        sizes.setdefault(storage.data_ptr(), storage.nbytes())
        held.append(tensor)
        return tensor

    with (
        mixed_precision(tiles.device),
        torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
    ):
        network.train()(tiles).float().square().sum().backward()
    return sum(sizes.values())


def _seconds(action: Callable[[], object], device: torch.device, rounds: int = 3) -> float:
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    times = []
    for _ in range(rounds + 1):  # the first one warms up
        start = clock()
        action()
        times.append(clock() - start)
    return min(times[1:])


def learned(
    recipe: Recipe,
    seed: int,
    budget: Budget,
    out: Path,
    tiles: Path,
    validation: Path,
    probes: Probes,
    device: str,
) -> Facts:
    """Train one run, or resume it, and measure the model of its last step."""
    steps = budget.steps
    config = TrainConfig(
        encoder=recipe.encoder,
        dim=recipe.dim,
        options=recipe.options,
        places=PLACES,
        pairs=PAIRS,
        seed=seed,
        loss=budget.loss,
        steps=steps,
        warm_up=max(steps // 10, 1),
        eval_every=steps,
        checkpoint_every=max(steps // 10, 20),
    )
    begun = (out / "checkpoints").is_dir()
    train(Run(config, TileDataset.open(recipe.folder(tiles)), out), device=device, resume=begun)
    where = pick_device(device)
    network = load_model(out / "best").network.to(where, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return scores_of(lambda pixels: encode_tiles(network, pixels), recipe, validation, probes)


def scores_of(encode: Encode, recipe: Recipe, validation: Path, probes: Probes) -> Facts:
    """Return retrieval on the validation places, and what the probes read."""
    found = retrieval(encode, TileDataset.open(recipe.folder(validation)))
    return {"retrieval": found, "probes": probes(encode, recipe.geometry)}


def rows(
    recipes: list[Recipe], runs: Path, costs: Costs, seeds: int, left_out: Collection[str]
) -> Iterator[list[str]]:
    """Yield the cells of the table, its head first."""
    results = {recipe.name: _results(runs, recipe.name, seeds) for recipe in recipes}
    results = {"channel means (untrained)": _results(runs, "channel means", 1)} | results
    known = [result for each in results.values() for result in each]
    tasks = list(dict.fromkeys(task for result in known for task in result["probes"]))
    tasks = [task for task in tasks if task.rpartition(", ")[0] not in left_out]
    devices = list(costs)
    rates = [f"tiles/s, {name}" for name in devices]
    costs_of = ["encoder", "numbers", "parameters", "GFLOP", *rates, "MB"]
    yield [*costs_of, "recall@1", "recall@10", *tasks, "seeds"]
    for name, found in results.items():
        recipe = next((each for each in recipes if each.name == name), None)
        about = [""] * (4 + len(devices)) if recipe is None else _costs(recipe, costs)
        metrics = [
            _cell([result["retrieval"][metric] for result in found])
            for metric in ("recall@1", "recall@10")
        ]
        metrics += [_cell([result["probes"][task] for result in found]) for task in tasks]
        yield [name, *about, *metrics, str(len(found)) if recipe else ""]


def _costs(recipe: Recipe, costs: Costs) -> list[str]:
    each = [of_device.get(recipe.name) for of_device in costs.values()]
    first = next((facts for facts in each if facts), None)
    if first is None:
        return [str(recipe.numbers), *[""] * (3 + len(each))]
    rates = [f"{facts['tiles_per_s']:,.0f}" if facts else "" for facts in each]
    return [
        str(recipe.numbers),
        f"{first['parameters']:,}",
        f"{first['gflop']:.2f}",
        *rates,
        f"{first['mb']:.1f}",
    ]


def _cell(values: list[float]) -> str:
    if not values:
        return ""
    spread = f" ± {statistics.pstdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.3f}{spread}"


def _results(runs: Path, name: str, seeds: int) -> list[Facts]:
    files = [runs / _folder_name(name, seed) / "result.json" for seed in range(seeds)]
    return [read_json(file) for file in files if file.exists()]


def _folder_name(name: str, seed: int) -> str:
    return f"{name.replace(', ', '-').replace(' ', '-')}-seed{seed}"


def text_of(
    recipes: list[Recipe],
    runs: Path,
    costs: Costs,
    budget: Budget,
    seeds: int,
    left_out: Collection[str],
) -> str:
    """Return the table and what it is made of, as Markdown."""
    about = read_json(runs / "about.json")
    done = [len(_results(runs, recipe.name, seeds)) for recipe in recipes]
    missing = sum(seeds - count for count in done)
    lines = [
        f"{budget}, of {about['train_places']:,} places. One turned and shifted tile searches each "
        f"of {about['queries']} places of {about['validation']}, among as many. The probes are "
        f"logistic or ridge regression across blocks of 1 km, on {about['extract']}, at most "
        f"{about['per_class']} places a class. "
        "Mean ± standard deviation over the seeds.",
    ]
    if missing:
        lines.append(
            f"**{missing} of {seeds * len(recipes)} runs are not done**; "
            "the last column says how many each row has."
        )
    return "\n\n".join(
        [*lines, markdown(list(rows(recipes, runs, costs, seeds, left_out))), ATTRIBUTION]
    )


@click.command()
@click.option(
    "--tiles", type=click.Path(path_type=Path), required=True, help="Tile dataset to train on."
)
@click.option(
    "--validation",
    type=click.Path(path_type=Path),
    required=True,
    help="Tile dataset to search in.",
)
@click.option(
    "--extract",
    type=click.Path(path_type=Path),
    required=True,
    help="Extract that the probes are asked of.",
)
@click.option(
    "--store",
    type=StoreType(),
    help="Feature store of that extract; by default one is made for the time being.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="Folder that keeps the runs."
)
@click.option("--steps", default=100, show_default=True, help="Of each run.")
@click.option(
    "--loss", type=click.Choice(list(LOSSES)), default="nce", show_default=True, help="Of each run."
)
@click.option("--seeds", default=3, show_default=True)
@click.option(
    "--per-class", default=50, show_default=True, help="Places of each class of a probe, at most."
)
@click.option(
    "--leave-out", "left_out", multiple=True, type=click.Choice(list(RECIPES)),
    help="Task of the probes that the extract cannot carry; may be given several times.",
)  # fmt: skip
@click.option("--device", default="auto", show_default=True)
@click.option(
    "--only", multiple=True, type=click.Choice([recipe.name for recipe in RECIPES_OF_TABLE]),
    help="Row to work at, by default all; may be given several times.",
)  # fmt: skip
@click.option("--table", is_flag=True, help="Measure nothing, print what is there.")
def main(
    tiles: Path,
    validation: Path,
    extract: Path,
    store: Store | None,
    out: Path,
    steps: int,
    loss: str,
    seeds: int,
    per_class: int,
    left_out: tuple[str, ...],
    device: str,
    only: tuple[str, ...],
    table: bool,
) -> None:
    """Measure what is not measured yet, then print the table."""
    every = [
        recipe
        for recipe in RECIPES_OF_TABLE
        if recipe.folder(tiles).exists() and recipe.folder(validation).exists()
    ]
    chosen = [recipe for recipe in every if not table and (not only or recipe.name in only)]
    budget = Budget(steps, loss)
    where, runs = pick_device(device), out / budget.folder
    of_device = out / f"cost-{where.type}.json"
    known: Facts = read_json(of_device) if of_device.exists() else {}
    for recipe in chosen:
        if recipe.name not in known:
            known[recipe.name] = cost(recipe, where)
            write_json(of_device, known)
    probes: Probes | None = None
    for seed in range(seeds):
        for recipe in (Recipe("channel means", ""), *chosen) if not seed else chosen:
            folder = runs / _folder_name(recipe.name, seed)
            if (folder / "result.json").exists():
                continue
            probes = probes or Probes(extract, store, per_class, left_out)
            if recipe.encoder:
                result = learned(recipe, seed, budget, folder, tiles, validation, probes, device)
            else:
                folder.mkdir(parents=True, exist_ok=True)
                result = scores_of(channel_means, recipe, validation, probes)
                data = TileDataset.open(tiles)
                about = {
                    "train_places": data.n_places,
                    "queries": result["retrieval"]["queries"],
                    "validation": validation.name,
                    "extract": extract.name,
                    "per_class": per_class,
                }
                write_json(runs / "about.json", about)
            write_json(folder / "result.json", result)
            print(
                json.dumps({"run": folder.name, "recall@1": result["retrieval"]["recall@1"]}),
                flush=True,
            )
    costs = {
        path.stem.removeprefix("cost-"): read_json(path) for path in sorted(out.glob("cost-*.json"))
    }
    text = text_of(every, runs, costs, budget, seeds, left_out)
    write_text(runs / "table.md", f"{text}\n")
    print(text)


if __name__ == "__main__":
    main()
