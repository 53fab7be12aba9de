"""The tile job: the speed of more processes, the memory of a worker, the cost of sampling places.

    python benchmarks/job.py processes --store region.gpkg [--store more.gpkg ...]
        [--locations 640] [--most 2] [--json]
    python benchmarks/job.py memory --store region.gpkg [--tiles 100000] [--json]
    python benchmarks/job.py sample --store region.gpkg [--store more.gpkg ...]

`processes` makes the same shards with 1, 2, ... processes in turn. Tiles a second are by the clock,
from when each process has done a shard: other work on the machine counts. CPU ms a tile are of the
processes, their start included.

`memory` makes shard after shard in this process and reads the resident memory after each. It starts
again when the store has no more places.

`sample` counts the cells of ground where people go, as the sampling of places does.
"""

import json
import resource
import tempfile
import time
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

import click

from tiling.cli.options import StoreType
from tiling.dataset.executors import Processes
from tiling.dataset.job import Done, TileJob, ensure_shard, places_of, run_job, shards_of
from tiling.dataset.places import CELL_M, Candidates
from tiling.dataset.sources import Sources
from tiling.store.store import Store

PRINTED = 25  # points of the curve


@click.group()
def main() -> None:
    """Measure the tile job."""


@main.command()
@click.option("--store", "stores", type=StoreType(), required=True, multiple=True)
@click.option("--locations", default=640, show_default=True)
@click.option("--most", default=2, show_default=True, help="Processes at the most.")
@click.option("--json", "as_json", is_flag=True)
def processes(stores: tuple[Store, ...], locations: int, most: int, as_json: bool) -> None:
    """Compare 1, 2, ... processes."""
    job = TileJob(stores, locations=locations)
    rows = [{"processes": count, **measure(job, count)} for count in range(1, most + 1)]
    for row in rows:
        row["ratio"] = row["tiles_per_s"] / rows[0]["tiles_per_s"]
    if as_json:
        print(json.dumps(rows))
        return
    print(f"{'processes':>9}{'tiles/s':>10}{'ratio':>8}{'CPU ms/tile':>14}{'bytes/tile':>12}")
    for row in rows:
        print(
            "{processes:>9}{tiles_per_s:>10.1f}{ratio:>8.2f}{cpu_ms:>14.2f}{bytes:>12.0f}".format(
                **row
            )
        )


def measure(job: TileJob, count: int) -> dict[str, float]:
    """Make the dataset with `count` processes."""
    moments: list[tuple[float, int]] = []  # when a shard was whole, and its tiles

    def told(done: Done, _shards: int) -> None:
        moments.append((time.perf_counter(), done.places * (1 + job.positives)))

    with tempfile.TemporaryDirectory() as folder:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        summary = run_job(job, folder, Processes(count), progress=told)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    (start, _), *rest = moments[count - 1 :]
    return {
        "tiles_per_s": sum(tiles for _, tiles in rest) / (rest[-1][0] - start),
        "cpu_ms": 1000 * cpu_s / summary.tiles,
        "bytes": summary.bytes / summary.tiles,
    }


@main.command()
@click.option("--store", type=StoreType(), required=True)
@click.option("--tiles", default=100_000, show_default=True)
@click.option("--json", "as_json", is_flag=True)
def memory(store: Store, tiles: int, as_json: bool) -> None:
    """Follow the memory of one worker."""
    start = time.process_time()
    curve = list(follow(TileJob((store,), locations=tiles // 21), tiles))
    if as_json:
        print(json.dumps([{"tiles": made, "mb": mb} for made, mb in curve]))
        return
    for made, mb in [*curve[:-1][:: max(1, len(curve) // PRINTED)], curve[-1]]:
        print(f"{made:>9,} tiles {mb:>7.1f} MB")
    rate = curve[-1][0] / (time.process_time() - start)
    print(f"{rate:.0f} tiles a CPU second, shards written and all")


@main.command()
@click.option("--store", "stores", type=StoreType(), required=True, multiple=True)
def sample(stores: tuple[Store, ...]) -> None:
    """Count the cells of 200 m where people go, and what counting takes."""
    job, start, before = TileJob(stores), time.process_time(), peak_mb()
    cells = features = 0
    for store in stores:
        with store.open() as source:
            candidates = Candidates(source, job.margin_m)
            cells, features = cells + candidates.built_cells, features + len(source.outline().id)
    cpu_s = time.process_time() - start
    km2 = cells * CELL_M**2 / 1e6
    print(f"{features:,} features, {cells:,} built cells of {CELL_M:.0f} m, {km2:,.0f} km2")
    print(f"{cpu_s:.1f} CPU s, {peak_mb() - before:.0f} MB more memory at the most")


def peak_mb() -> float:
    """Return the most memory that this process has had, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def follow(job: TileJob, tiles: int) -> Iterator[tuple[int, float]]:
    """Yield how many tiles are made and the resident memory in MB, shard after shard."""
    made = 0
    with Sources(job.stores) as sources:
        shards = cycle(shards_of(places_of(job, sources)))
        yield made, resident_mb()
        while made < tiles:
            with tempfile.TemporaryDirectory() as folder:
                done = ensure_shard(job, sources, folder, "benchmark", next(shards))
            made += done.places * (1 + job.positives)
            yield made, resident_mb()


def resident_mb() -> float:
    """Return the memory of this process that is in RAM, as Linux tells."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


if __name__ == "__main__":
    main()
