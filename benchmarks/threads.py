"""Wall and CPU time of encoding one tile with one and two threads: idle, beside others, by quota.

OpenMP's threads wait for each other between the layers of a network: actively, which burns CPU
time, or asleep (`OMP_WAIT_POLICY=PASSIVE`). `rule` is what Loc2Vec does in every command and in
the service. One tile takes one thread; for many, threads sleep, and no more than there are CPUs.
Neighbours are processes that compute without end. A quota is an affinity to one CPU, shared with
a neighbour for half of it. The ways take turns; medians count.

    python benchmarks/threads.py [--model M] [--rounds 5] [--json]
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from statistics import median

import click

from loc2vec.model.names import DEFAULT_MODEL
from tiling.values import N_CHANNELS

TILES, WARM_UP = 40, 5
POLICY, THREADS = "OMP_WAIT_POLICY", "OMP_NUM_THREADS"
WAYS = {
    "two, active": {POLICY: "ACTIVE", THREADS: "2"},
    "two, asleep": {POLICY: "PASSIVE", THREADS: "2"},
    "one": {POLICY: "PASSIVE", THREADS: "1"},
    "rule": {},
}
MOST_WALL, MOST_CPU = 1.2, 1.5  # of the better of "two, asleep" and "one"; of "one"


@dataclass(frozen=True)
class Situation:
    """What else runs: `neighbours` that compute, and whether all share one CPU."""

    name: str
    neighbours: int
    one_cpu: bool = False


SITUATIONS = (
    Situation("idle", 0),
    Situation("one neighbour", 1),
    Situation("two neighbours", 2),
    Situation("quota of one CPU", 0, one_cpu=True),
    Situation("quota of half a CPU", 1, one_cpu=True),
)


@dataclass(frozen=True)
class Row:
    """One way in one situation: milliseconds a tile."""

    situation: str
    way: str
    wall_ms: float
    cpu_ms: float


@contextmanager
def busy(situation: Situation) -> Iterator[None]:
    """Let the neighbours compute within the block."""
    loop = [sys.executable, "-c", "while True: pass"]
    neighbours = [subprocess.Popen(loop) for _ in range(situation.neighbours)]
    try:
        yield
    finally:
        for each in neighbours:
            each.kill()
            each.wait()


def measure(situation: Situation, model: str, rounds: int) -> list[Row]:
    """Encode in every way, in processes of their own, which take turns."""
    found: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)} if situation.one_cpu else allowed)
    try:
        with busy(situation):
            for _ in range(rounds):
                for way, settings in WAYS.items():
                    found[way].append(encoded(model, way, settings))
    finally:
        os.sched_setaffinity(0, allowed)
    return [
        Row(situation.name, way, *(round(median(column), 2) for column in zip(*times, strict=True)))
        for way, times in found.items()
    ]


def encoded(model: str, way: str, settings: dict[str, str]) -> tuple[float, float]:
    """Return the median wall and CPU milliseconds of a tile in a process with such settings."""
    env = {name: value for name, value in os.environ.items() if name not in (POLICY, THREADS)}
    command = [sys.executable, __file__, "--model", model, "--child", way]
    run = subprocess.run(command, env=env | settings, capture_output=True, text=True, check=True)
    wall, cpu = json.loads(run.stdout)
    return wall, cpu


def encode_here(model: str, way: str) -> tuple[float, float]:
    """Return the median wall and CPU milliseconds of a tile in this process."""
    import numpy as np
    import torch

    from loc2vec.encoder import LocationEncoder
    from loc2vec.model.compute import to_device

    encoder = LocationEncoder.load(model, device="cpu")
    geometry = encoder.geometry
    shape = (geometry.scales * N_CHANNELS, geometry.size, geometry.size)
    tile = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    times = []
    for _ in range(WARM_UP + TILES):
        wall, cpu = time.perf_counter(), time.process_time()
        if way == "rule":
            encoder.encode(tile)
        else:
            with torch.inference_mode():
                encoder._network(to_device(tile[None], torch.device("cpu")))
        times.append((time.perf_counter() - wall, time.process_time() - cpu))
    walls, cpus = zip(*times[WARM_UP:], strict=True)
    return 1000 * median(walls), 1000 * sum(cpus) / TILES


def verdict(rows: list[Row]) -> str:
    """Return how the rule stands in one situation."""
    way = {row.way: row for row in rows}
    wall = way["rule"].wall_ms / min(way["one"].wall_ms, way["two, asleep"].wall_ms)
    cpu = way["rule"].cpu_ms / way["one"].cpu_ms
    held = wall <= MOST_WALL and cpu <= MOST_CPU
    return f"rule: {wall:.2f} of the better wall time, {cpu:.2f} of one thread's CPU, " + (
        "held" if held else "NOT held"
    )


@click.command()
@click.option("--model", default=DEFAULT_MODEL, show_default=True)
@click.option("--rounds", default=5, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.option("--child", type=click.Choice(list(WAYS)), hidden=True)
def main(model: str, rounds: int, as_json: bool, child: str | None) -> None:
    """Measure the threads of encoding."""
    if child is not None:
        click.echo(json.dumps(encode_here(model, child)))
        return
    found = {each.name: measure(each, model, rounds) for each in SITUATIONS}
    if as_json:
        click.echo(json.dumps([asdict(row) for rows in found.values() for row in rows]))
        return
    click.echo(f"{'':<24}{'threads':<14}{'wall ms':>9}{'CPU ms':>9}")
    for rows in found.values():
        for row in rows:
            click.echo(f"{row.situation:<24}{row.way:<14}{row.wall_ms:>9}{row.cpu_ms:>9}")
        click.echo(f"{'':<24}{verdict(rows)}")


if __name__ == "__main__":
    main()
