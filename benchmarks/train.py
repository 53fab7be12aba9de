"""Tiles per second of a training step in several ways, in one run.

A batch is 20 places x (1 anchor + 5 positives) = 120 random tiles; forward, loss, backward, AdamW. The
ways take turns and the best time of each counts, so that other work on the machine disturbs little. The
last one, which cannot be undone and so comes at the end, is what `loc2vec train` does.

    python benchmarks/train.py [--rounds 2] [--device auto] [--json]
"""

import time
from collections.abc import Callable

import click
import torch
from table import Row, rows_of, show

from loc2vec.compute import keep_freed_memory, pick_device
from loc2vec.encoders.registry import build
from loc2vec.losses import pairs_of, soft_pn

PLACES, PAIRS = 20, 5
TILES = PLACES * (1 + PAIRS)
WAYS = (
    ("float32, NCHW", torch.contiguous_format, False),
    ("float32, channels last", torch.channels_last, False),
    ("bfloat16, channels last", torch.channels_last, True),
)


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
        loss = soft_pn(pairs_of(vectors.unflatten(0, (PLACES, 1 + PAIRS)), overlapping))
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


def best_times(steps: list[Callable[[], None]], rounds: int) -> list[float]:
    """Call each in turn, `rounds` times after once to warm up; return the least seconds of each."""
    times = [[seconds(step) for step in steps] for _ in range(rounds + 1)][1:]
    return [min(column) for column in zip(*times, strict=True)]


def measure(rounds: int, device: torch.device) -> list[Row]:
    """Time every way."""
    steps = [stepper(layout, bfloat16, device) for _, layout, bfloat16 in WAYS]
    best = best_times(steps, rounds)
    keep_freed_memory(device)
    best += best_times(steps[-1:], rounds)
    names = [*(name for name, *_ in WAYS), "the same, freed memory kept (CPU)"]
    return rows_of({name: TILES / t for name, t in zip(names, best, strict=True)})


@click.command()
@click.option("--rounds", default=2, show_default=True)
@click.option("--device", default="auto", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def main(rounds: int, device: str, as_json: bool) -> None:
    """Measure the training step."""
    show("training step", measure(rounds, pick_device(device)), as_json)


if __name__ == "__main__":
    main()
