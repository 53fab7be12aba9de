"""Tiles per second that become vectors in several ways, and how far their vectors are apart.

The ways take turns and the best time of each counts, so that other work on the machine disturbs
little. `difference` is the mean distance to the float32 NCHW vectors, over the spread of these.
Freed memory is kept, as `LocationEncoder` does on the CPU.

    python benchmarks/encode.py [--model FOLDER] [--rounds 3] [--device auto] [--json]
"""

import time
from pathlib import Path

import click
import torch
from table import Row, rows_of, show
from torch import Tensor, nn

from loc2vec.encoders.registry import build
from loc2vec.model.compute import keep_freed_memory, pick_device
from loc2vec.model.folder import load_model

TILES = 64
WAYS = (  # name, layout, bfloat16, tiles at once
    ("float32, NCHW", torch.contiguous_format, False, 64),
    ("float32, channels last", torch.channels_last, False, 64),  # what LocationEncoder does
    ("the same, 32 at once", torch.channels_last, False, 32),
    ("the same, 16 at once", torch.channels_last, False, 16),  # and how many on the CPU
    ("the same, 8 at once", torch.channels_last, False, 8),
    ("bfloat16, channels last", torch.channels_last, True, 64),
)


@torch.inference_mode()
def encode(network: nn.Module, tiles: Tensor, bfloat16: bool, at_once: int) -> tuple[float, Tensor]:
    """Return the seconds that encoding took, and the vectors."""
    start = time.perf_counter()
    with torch.autocast(tiles.device.type, torch.bfloat16, enabled=bfloat16):
        vectors = torch.cat([network(part) for part in torch.split(tiles, at_once)]).cpu()
    return time.perf_counter() - start, vectors


def blocks(n: int) -> Tensor:
    """Return tiles uint8 [n, 12, 128, 128] whose channels hold blocks here and there."""
    drawn = (torch.rand(n, 12, 8, 8) < 0.3).to(torch.uint8) * 255
    return drawn.repeat_interleave(16, dim=2).repeat_interleave(16, dim=3)


def measure(network: nn.Module, rounds: int, device: torch.device) -> list[Row]:
    """Time every way `rounds` times, after one call to warm up."""
    tiles = blocks(TILES).to(device)
    times: list[list[float]] = [[] for _ in WAYS]
    vectors: list[Tensor] = [torch.empty(0) for _ in WAYS]
    for round_ in range(rounds + 1):
        for way, (_, layout, bfloat16, at_once) in enumerate(WAYS):
            network.to(memory_format=layout)  # type: ignore[call-overload]
            taken, vectors[way] = encode(network, tiles.to(memory_format=layout), bfloat16, at_once)
            times[way] += [taken] if round_ else []
    best = [min(column) for column in times]
    spread = (vectors[0] - vectors[0].mean(0)).norm(dim=1).mean()
    names = [name for name, *_ in WAYS]
    apart = [{"difference": float((v - vectors[0]).norm(dim=1).mean() / spread)} for v in vectors]
    rates = {name: TILES / t for name, t in zip(names, best, strict=True)}
    return rows_of(rates, dict(zip(names, apart, strict=True)))


@click.command()
@click.option(
    "--model", type=click.Path(path_type=Path), help="Model folder; an untrained network without."
)
@click.option("--rounds", default=3, show_default=True)
@click.option("--device", default="auto", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def main(model: Path | None, rounds: int, device: str, as_json: bool) -> None:
    """Measure encoding."""
    torch.manual_seed(0)
    place = pick_device(device)
    keep_freed_memory(place)
    network = build("loc2vec").eval() if model is None else load_model(model).network
    show("encoding", measure(network.to(place), rounds, place), as_json)


if __name__ == "__main__":
    main()
