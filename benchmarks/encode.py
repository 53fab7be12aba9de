"""CPU time of turning tiles into vectors in several ways, and how far their vectors are apart.

The ways take turns and the median of each counts, so that other work on the machine disturbs
little. `difference` is the mean distance to the float32 vectors, over the spread of these.
Freed memory is kept, as `LocationEncoder` does on the CPU. On a GPU the times are of the clock.

    python benchmarks/encode.py [--model M ...] [--rounds 5] [--device auto] [--json]
"""

import time
from collections.abc import Callable
from statistics import median

import click
import torch
from table import Row, rows_of, show
from torch import Tensor, nn

from loc2vec.model.compute import keep_freed_memory, pick_device
from loc2vec.model.fast import fast_network
from loc2vec.model.folder import load_model, model_path
from loc2vec.model.names import DEFAULT_MODEL

TILES, AT_ONCE = 64, 16
Way = Callable[[Tensor], Tensor]


def ways(network: nn.Module, device: torch.device, shape: tuple[int, ...]) -> dict[str, Way]:
    """Return the ways to encode tiles uint8 [n, *shape], by name."""
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    fast = fast_network(network, shape)

    def bfloat16(tiles: Tensor) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16):
            return in_parts(network, tiles, AT_ONCE)

    return {
        "float32": lambda tiles: in_parts(network, tiles, AT_ONCE),  # what LocationEncoder does
        "float32, each alone": lambda tiles: in_parts(network, tiles, 1),
        "bfloat16": bfloat16,
        "fast": lambda tiles: in_parts(fast, tiles, AT_ONCE),
        "fast, each alone": lambda tiles: in_parts(fast, tiles, 1),
    }


def in_parts(network: nn.Module, tiles: Tensor, at_once: int) -> Tensor:
    """Encode tiles, so many at once: [n, D] on the CPU."""
    return torch.cat([network(part) for part in torch.split(tiles, at_once)]).float().cpu()


def blocks(n: int, shape: tuple[int, ...]) -> Tensor:
    """Return tiles uint8 [n, *shape] whose channels hold blocks here and there."""
    channels, size, _ = shape
    drawn = (torch.rand(n, channels, 8, 8) < 0.3).to(torch.uint8) * 255
    return drawn.repeat_interleave(size // 8, dim=2).repeat_interleave(size // 8, dim=3)


@torch.inference_mode()
def measure(
    network: nn.Module, shape: tuple[int, ...], rounds: int, device: torch.device
) -> list[Row]:
    """Time every way `rounds` times, after one call to warm up."""
    tiles = blocks(TILES, shape).to(device)
    all_ways = ways(network, device, shape)
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    taken: dict[str, list[float]] = {name: [] for name in all_ways}
    vectors: dict[str, Tensor] = {}
    for round_ in range(rounds + 1):
        for name, way in all_ways.items():
            start = clock()
            vectors[name] = way(tiles)
            taken[name] += [clock() - start] if round_ else []
    exact = vectors["float32"]
    spread = (exact - exact.mean(0)).norm(dim=1).mean()
    apart = {
        name: {
            "difference": float((found - exact).norm(dim=1).mean() / spread),
        }
        for name, found in vectors.items()
    }
    return rows_of({name: TILES / median(each) for name, each in taken.items()}, apart)


@click.command()
@click.option("--model", "models", multiple=True, default=[DEFAULT_MODEL], show_default=True)
@click.option("--rounds", default=5, show_default=True)
@click.option("--device", default="auto", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def main(models: tuple[str, ...], rounds: int, device: str, as_json: bool) -> None:
    """Measure encoding."""
    torch.manual_seed(0)
    where = pick_device(device)
    keep_freed_memory(where)
    for name in models:
        model = load_model(model_path(name))
        geometry = model.config.geometry
        shape = (len(model.config.channels), geometry.size, geometry.size)
        show(f"encoding, {name}", measure(model.network.to(where), shape, rounds, where), as_json)


if __name__ == "__main__":
    main()
