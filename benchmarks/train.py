"""Tiles per second of training, in several ways, in one run.

How near that is to what the hardware can do.

    python benchmarks/train.py [--tiles DIR] [--rounds 2] [--device auto] [--places 20 --pairs 5]
    [--json]

*Ways*: forward, loss, backward and AdamW on a resident batch of random tiles. The ways take turns
and the best time of each counts, so that other work on the machine disturbs little. On the CPU the
last one, which cannot be undone and so comes at the end, is what `loc2vec train` does. On a GPU
larger batches follow, and `torch.compile` with --compiled.

*Feeding*: whole training steps as `loc2vec train` takes them. They take turns on one resident batch
and on what the loader reads from a tile dataset (--tiles). What the loader does alone follows.

*Roofline*: what the fastest way reaches of the arithmetic and the memory traffic that the hardware
can do. That is measured here and now, on CPU and GPU alike. Forward and backward are three times
the forward arithmetic; the bytes are those that separate operators must move, counted from the
shapes.
"""

import json
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import click
import torch
from table import Row, rows_of, show
from torch import nn

from loc2vec.encoders.registry import build
from loc2vec.model.compute import bfloat16_is_fast, keep_freed_memory, pick_device
from loc2vec.train.batches import Batch, Batches
from loc2vec.train.loop import Learner, readers_for, train_step
from loc2vec.train.objectives.contrastive import Contrastive, pairs_of, soft_pn
from loc2vec.train.run import TrainConfig
from tiling.dataset.dataset import TileDataset

WAYS = {"float32": False, "bfloat16": True}
LARGER = (5, 50)  # times the batch, on a GPU
STEPS = 10  # of the loader, a round


def stepper(
    bfloat16: bool,
    device: torch.device,
    places: int,
    pairs: int,
    compiled: str | None = None,
) -> Callable[[], None]:
    """Return a function that takes one training step and waits for its end."""
    torch.manual_seed(0)
    network = build("loc2vec").to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    forward = network if compiled is None else torch.compile(network, mode=compiled)
    optimizer = torch.optim.AdamW(network.parameters(), fused=True)
    tiles = torch.randint(
        0, 256, (places * (1 + pairs), 12, 128, 128), dtype=torch.uint8, device=device
    )
    overlapping = torch.eye(places, dtype=torch.bool, device=device)

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
            vectors = forward(tiles)
        loss = soft_pn(pairs_of(vectors.unflatten(0, (places, 1 + pairs)), overlapping))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        loss.item()

    return step


def seconds(call: Callable[[], None]) -> float:
    """Return how long one call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def best_times(steps: list[Callable[[], None]], rounds: int) -> list[float]:
    """Call each in turn, `rounds` times after once to warm up; return the least seconds of each."""
    times = [[seconds(step) for step in steps] for _ in range(rounds + 1)][1:]
    return [min(column) for column in zip(*times, strict=True)]


def ways(rounds: int, device: torch.device, places: int, pairs: int, compiled: bool) -> list[Row]:
    """Time every way."""
    steps = {name: stepper(bfloat16, device, places, pairs) for name, bfloat16 in WAYS.items()}
    tiles = dict.fromkeys(steps, places * (1 + pairs))
    if device.type == "cuda":
        for factor in LARGER:
            name = f"bfloat16, {factor} x the batch"
            steps[name] = stepper(True, device, factor * places, pairs)
            tiles[name] = factor * places * (1 + pairs)
        for mode in ("default", "reduce-overhead") if compiled else ():
            for factor in (1, LARGER[-1]):
                name = f"compiled ({mode}), {factor} x the batch"
                steps[name] = stepper(True, device, factor * places, pairs, mode)
                tiles[name] = factor * places * (1 + pairs)
    best = dict(zip(steps, best_times(list(steps.values()), rounds), strict=True))
    if device.type == "cpu":
        keep_freed_memory(device)
        name = "the same, freed memory kept"
        best[name] = best_times([steps["bfloat16"]], rounds)[0]
        tiles[name] = places * (1 + pairs)
    return rows_of({name: tiles[name] / t for name, t in best.items()})


def feeding(folder: Path, rounds: int, device: torch.device, places: int, pairs: int) -> list[Row]:
    """Time training on one resident batch, on what the loader reads, and the loader alone."""
    keep_freed_memory(device)
    config = TrainConfig(places=places, pairs=pairs)
    batches = Batches(TileDataset.open(folder), config)
    pinned, readers = device.type == "cuda", readers_for(device, batches.world)
    learner = Learner(build("loc2vec"), [Contrastive(config.loss)])
    learner.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(learner.parameters(), fused=True)
    random = torch.randint(
        0, 256, (places, 1 + pairs, 12, 128, 128), dtype=torch.uint8, device=device
    )
    kept = torch.ones((places, 1 + pairs, 12), dtype=torch.bool, device=device)
    resident = Batch(
        random, kept, torch.eye(places, dtype=torch.bool, device=device), torch.arange(places)
    )

    def take(batch: Batch) -> torch.Tensor:
        return train_step(learner, optimizer, batch, config, 0).scalars["loss"]

    def on_resident() -> None:
        for _ in range(STEPS):
            loss = take(resident)
        loss.cpu()

    def on_loaded() -> None:
        with closing(batches.prefetched(0, STEPS + 1, readers, pinned)) as coming:
            take(next(coming)).cpu()  # a run has its first batches once
            start = time.perf_counter()
            for batch in coming:
                loss = take(batch)
            loss.cpu()
            loaded.append(time.perf_counter() - start)

    def alone() -> None:
        with closing(batches.prefetched(0, STEPS, readers, pinned)) as coming:
            for _ in coming:
                pass

    loaded: list[float] = []
    take(resident).cpu()
    steps = []
    for _ in range(rounds + 1):
        steps.append(seconds(on_resident))
        on_loaded()
    tiles = STEPS * places * (1 + pairs)
    names = ("resident random batch", "from the loader", "the loader alone")
    times = (min(steps[1:]), min(loaded[1:]), best_times([alone], rounds)[0])
    return rows_of({name: tiles / t for name, t in zip(names, times, strict=True)})


def arithmetic(network: nn.Module) -> tuple[float, float]:
    """Return the GFLOP of one forward pass and the MB that a training step moves, both a tile.

    An operator that does not fit in a cache reads what it takes from memory and writes what it
    gives. Forward: a convolution reads its input and writes its output, batch normalisation reads
    it twice and writes it, the leaky ReLU reads and writes. Backward: ReLU and batch normalisation
    read two and write one; the latter reads them twice. A convolution reads its gradient twice and
    its input, and writes the input's gradient. bfloat16.
    """
    flops = values = 0

    def count(module: nn.Module, given: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        nonlocal flops, values
        taken, made = given[0].numel(), output.numel()
        if isinstance(module, nn.Conv2d):
            flops += 2 * made * module.weight[0].numel()
            values += (taken + made) + (2 * made + 2 * taken)
        elif isinstance(module, nn.Linear):
            flops += 2 * made * module.in_features
        elif isinstance(module, nn.BatchNorm2d):
            values += 3 * made + 5 * made
        elif isinstance(module, nn.LeakyReLU) or type(module) is nn.MaxPool2d:
            values += (taken + made) + (taken + 2 * made)

    hooks = [module.register_forward_hook(count) for module in network.modules()]
    with torch.no_grad():
        network.eval()(torch.zeros(1, 12, 128, 128))
    for hook in hooks:
        hook.remove()
    return flops / 1e9, values * 2 / 1e6


def limits(device: torch.device) -> tuple[float, float]:
    """Measure what the device does: GFLOP/s of a large matrix product and GB/s of a large copy."""
    size = 8192 if device.type == "cuda" else 2048
    kind = torch.bfloat16 if bfloat16_is_fast(device) else torch.float32
    a, b = (torch.randn(size, size, device=device).to(kind) for _ in range(2))
    source = torch.empty(
        2**30 if device.type == "cuda" else 2**28, dtype=torch.uint8, device=device
    )
    target = torch.empty_like(source)

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    def product() -> None:
        torch.mm(a, b)
        wait()

    def copy() -> None:
        target.copy_(source)
        wait()

    of_product, of_copy = best_times([product, copy], 5)
    return 2 * size**3 / of_product / 1e9, 2 * source.numel() / of_copy / 1e9


def roofline(tiles_per_s: float, device: torch.device) -> dict[str, float]:
    """Set a rate beside the limits of arithmetic and of memory."""
    forward, megabytes = arithmetic(build("loc2vec"))
    gflops, gigabytes = limits(device)
    by_arithmetic, by_memory = gflops / (3 * forward), gigabytes * 1e3 / megabytes
    return {
        "GFLOP forward a tile": forward,
        "MB moved a tile": megabytes,
        "GFLOP/s measured": gflops,
        "GB/s measured": gigabytes,
        "tiles/s by arithmetic": by_arithmetic,
        "tiles/s by memory": by_memory,
        "tiles/s reached": tiles_per_s,
        "share of the nearer limit": tiles_per_s / min(by_arithmetic, by_memory),
    }


@click.command()
@click.option(
    "--tiles", type=click.Path(path_type=Path), help="Tile dataset to measure the loader on."
)
@click.option("--rounds", default=2, show_default=True)
@click.option("--device", default="auto", show_default=True)
@click.option("--places", default=20, show_default=True)
@click.option("--pairs", default=5, show_default=True)
@click.option(
    "--compiled",
    is_flag=True,
    help="On a GPU also measure torch.compile, which needs a C compiler.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
def main(
    tiles: Path | None,
    rounds: int,
    device: str,
    places: int,
    pairs: int,
    compiled: bool,
    as_json: bool,
) -> None:
    """Measure the training step."""
    where = pick_device(device)
    of_ways = ways(rounds, where, places, pairs, compiled)
    of_feeding = [] if tiles is None else feeding(tiles, rounds, where, places, pairs)
    limit = roofline(max(row.tiles_per_s for row in of_ways), where)
    if as_json:
        tables = {
            "ways": [asdict(row) for row in of_ways],
            "feeding": [asdict(row) for row in of_feeding],
        }
        print(json.dumps(tables | {"roofline": limit}))
        return
    print(
        torch.cuda.get_device_name(where)
        if where.type == "cuda"
        else f"CPU, {torch.get_num_threads()} threads"
    )
    show(f"training step, {places} x {pairs}", of_ways, as_json)
    if of_feeding:
        print()
        show(f"feeding, {places} x {pairs}", of_feeding, as_json)
    print()
    for name, value in limit.items():
        print(f"{name:<46}{value:>10.2f}")


if __name__ == "__main__":
    main()
