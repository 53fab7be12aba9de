"""The memory that a training step of one dense block takes, by depth, plain and efficient.

    python benchmarks/densenet_memory.py [--tiles 4]

Each depth is measured in a process of its own: its peak of memory beyond that before the step. With
--device cuda it is the memory of the GPU. The last column is how much more a layer costs at that
depth than at the first: 1 is linear.
"""

import resource
import subprocess
import sys
from typing import Literal

import click
import torch

from loc2vec.encoders.densenet import DenseBlock, DenseNetOptions
from loc2vec.model.compute import pick_device

DEPTHS = (8, 16, 32, 64)
WIDTH, SIDE = 32, 32

Memory = Literal["plain", "efficient"]


def measure(depth: int, memory: Memory, tiles: int, device: torch.device) -> float:
    """Return the MB that one step takes at its peak."""
    block = (
        DenseBlock(WIDTH, DenseNetOptions(depth=depth, memory=memory, growth=16)).to(device).train()
    )
    x = torch.randn(tiles, WIDTH, SIDE, SIDE, device=device, requires_grad=True)

    def peak() -> float:
        if device.type == "cuda":
            return torch.cuda.max_memory_allocated(device) / 1e6
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3

    block.layers[0]([x]).sum().backward()  # what the libraries take once
    before = peak()
    block(x).square().sum().backward()
    return peak() - before


@click.command()
@click.option("--tiles", default=4, show_default=True, help="In the batch.")
@click.option("--device", default="auto", show_default=True)
@click.option(
    "--one",
    nargs=2,
    type=(int, click.Choice(["plain", "efficient"])),
    help="Measure one depth and kind in this process.",
)
def main(tiles: int, device: str, one: tuple[int, Memory] | None) -> None:
    """Measure memory by depth."""
    if one is not None:
        print(measure(*one, tiles, pick_device(device)))
        return
    head = ("plain, MB", "efficient, MB", "plain, a layer to the first")
    print("| layers |", " | ".join(head), "| efficient, a layer to the first |")
    print("| ---: | ---: | ---: | ---: | ---: |")
    first: dict[str, float] = {}
    for depth in DEPTHS:
        row = {}
        for memory in ("plain", "efficient"):
            command = [
                sys.executable,
                __file__,
                "--tiles",
                str(tiles),
                "--device",
                device,
                "--one",
                str(depth),
                memory,
            ]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            row[memory] = float(done.stdout)
            first.setdefault(memory, row[memory] / depth)
        shares = [f"{row[memory] / depth / first[memory]:.2f}" for memory in row]
        print(f"| {depth} | {row['plain']:.0f} | {row['efficient']:.0f} | {' | '.join(shares)} |")


if __name__ == "__main__":
    main()
