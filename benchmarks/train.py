"""Tiles per second of a training step in three ways, in one run.

A batch is 20 places x (1 anchor + 5 positives) = 120 random tiles; forward, loss, backward, AdamW. The
ways take turns and the best time of each counts, so that other work on the machine disturbs little.

    python benchmarks/train.py [--rounds 3] [--device auto] [--json]
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import click
import torch

from loc2vec.compute import pick_device
from loc2vec.encoders.registry import build
from loc2vec.losses import soft_pn_in_batch

PLACES, PAIRS = 20, 5
TILES = PLACES * (1 + PAIRS)
WAYS = (
    ("float32, NCHW", torch.contiguous_format, False),
    ("float32, channels last", torch.channels_last, False),
    ("bfloat16 autocast, channels last", torch.channels_last, True),  # what loc2vec.train does
)


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    method: str
    tiles_per_s: float
    ratio: float


def stepper(layout: torch.memory_format, bfloat16: bool, device: torch.device) -> Callable[[], None]:
    """Return a function that takes one training step and waits for its end."""
    torch.manual_seed(0)
    network = build("loc2vec").to(device, memory_format=layout)
    optimizer = torch.optim.AdamW(network.parameters(), fused=True)
    tiles = torch.randint(0, 256, (TILES, 12, 128, 128), dtype=torch.uint8)
    tiles = tiles.to(device).to(memory_format=layout)
    overlapping = torch.eye(PLACES, dtype=torch.bool, device=device)

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
            vectors = network(tiles)
        positives = vectors[PLACES:].unflatten(0, (PLACES, PAIRS))
        loss = soft_pn_in_batch(vectors[:PLACES], positives, overlapping)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()

    return step


def seconds(call: Callable[[], None]) -> float:
    """Return how long one call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def measure(rounds: int, device: torch.device) -> list[Row]:
    """Time every way `rounds` times, after one step to warm up."""
    steps = [(name, stepper(layout, bfloat16, device)) for name, layout, bfloat16 in WAYS]
    for _, step in steps:
        step()
    times = [[seconds(step) for _, step in steps] for _ in range(rounds)]
    best = [min(column) for column in zip(*times, strict=True)]
    return [Row(name, TILES / t, best[0] / t) for (name, _), t in zip(steps, best, strict=True)]


@click.command()
@click.option("--rounds", default=3, show_default=True)
@click.option("--device", default="auto", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def main(rounds: int, device: str, as_json: bool) -> None:
    """Measure the training step."""
    rows = measure(rounds, pick_device(device))
    if as_json:
        print(json.dumps([asdict(row) for row in rows]))
        return
    print(f"{'training step':<34} {'tiles/s':>8} {'ratio':>6}")
    for row in rows:
        print(f"{row.method:<34} {row.tiles_per_s:>8.1f} {row.ratio:>6.2f}")


if __name__ == "__main__":
    main()
