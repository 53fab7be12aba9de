"""Indexes of millions: building and opening, recall beside brute force with and without filters.

The vectors are made up: mixtures of 1,000 normal distributions, 16 numbers each, said to be of the
default model. Or they lie near real ones, which `--near` takes from a .npy file: moved a little
towards another, and by noise. Their places fill a square of 10 degrees around Monaco. Recall@10 is
the share of the ten nearest by float64 arithmetic over all that pass; an answer as near as the
tenth counts. `--keep` builds an index once. It is opened in a process of its own.

    python benchmarks/search.py [--vectors 1000000] [--kind flat|lists|as-is] [--queries 200]
    [--near FILE] [--keep FOLDER] [--json]
"""

import contextlib
import json
import multiprocessing
import tempfile
import time
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import click
import faiss
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from loc2vec.embed.blocks import read_embeddings
from loc2vec.embed.files import Vectors
from loc2vec.encoder import LocationEncoder
from loc2vec.model.names import DEFAULT_MODEL
from service.index import kinds
from service.index.files.caches import VECTORS
from service.index.index import NeighborIndex
from service.index.search import EVERYWHERE, Filters, Search
from service.index.where import parse_where
from tiling.values import Box, LonLat

Floats = NDArray[np.float32]
BLOCK = 250_000  # vectors that are made together
DIM, BLOBS, K = 16, 1000, 10
KINDS = list("abcd")
MIDDLE = LonLat(7.42, 43.73)
FILTERS: Mapping[str, Filters] = {
    "no filter": EVERYWHERE,
    "10 km away": Filters(min_distance_m=10_000),
    "box of half": Filters(bbox=Box(MIDDLE.lon - 5, MIDDLE.lat - 5, MIDDLE.lon + 5, MIDDLE.lat)),
    "box of 1 %": Filters(
        bbox=Box(MIDDLE.lon - 0.5, MIDDLE.lat - 0.5, MIDDLE.lon + 0.5, MIDDLE.lat + 0.5)
    ),
    "columns": Filters(where=parse_where("price < 200 and kind in (a, b, c)")),
    "box of 1 %, columns": Filters(
        bbox=Box(MIDDLE.lon - 0.5, MIDDLE.lat - 0.5, MIDDLE.lon + 0.5, MIDDLE.lat + 0.5),
        where=parse_where("price < 200 and kind in (a, b, c)"),
    ),
    "50 km apart": Filters(spread_m=50_000),
    "box of .01 %": Filters(
        bbox=Box(MIDDLE.lon - 0.05, MIDDLE.lat - 0.05, MIDDLE.lon + 0.05, MIDDLE.lat + 0.05)
    ),
}


def made_up(count: int, seed: int = 0, near: Floats | None = None) -> Vectors:
    """Return `count` vectors at places of their own; `near` real ones, float32 [n, D]."""
    rng = np.random.default_rng(seed)
    embedding = _mixture(count, rng) if near is None else _moved(near, count, rng)
    lon, lat = np.array(MIDDLE)[:, None] + rng.uniform(-5, 5, (2, count))
    said = _default()
    table = pa.table({"price": rng.integers(400, size=count), "kind": rng.choice(KINDS, count)})
    return Vectors(lat, lon, embedding, table, said.model_id, said.fingerprint)


@cache
def _default() -> LocationEncoder:
    return LocationEncoder.load(DEFAULT_MODEL)


def _mixture(count: int, rng: np.random.Generator) -> Floats:
    blobs = 3 * np.random.default_rng(0).standard_normal((BLOBS, DIM), np.float32)
    found: Floats = blobs[rng.integers(BLOBS, size=count)]
    found += rng.standard_normal(found.shape, np.float32)
    return found


def _moved(near: Floats, count: int, rng: np.random.Generator) -> Floats:
    one, other = (near[rng.integers(len(near), size=count)] for _ in range(2))
    moved: Floats = one + 0.15 * rng.random((count, 1), np.float32) * (other - one)
    moved += 0.25 * rng.standard_normal(moved.shape, np.float32)
    return moved


def blocks(count: int, near: Floats | None) -> Iterator[Vectors]:
    """Yield `count` vectors, so that no memory holds all of them."""
    for start in range(0, count, BLOCK):
        yield made_up(min(BLOCK, count - start), start, near)


def limits(vectors: Path, queries: Floats, masks: list[NDArray[np.bool_] | None]) -> Any:
    """Return how far the tenth nearest that passes is, in float64: [masks, queries]."""
    best = np.full((len(masks), len(queries), K), np.inf)
    first = 0
    for block in read_embeddings(vectors):
        part = slice(first, first + len(block))
        for number, query in enumerate(queries):
            far = np.linalg.norm(block.astype(np.float64) - query, axis=1)
            for row, mask in zip(best[:, number], masks, strict=True):
                every = np.append(row, far if mask is None else far[mask[part]])
                row[:] = np.partition(every, K - 1)[:K]
        first = part.stop
    return np.where(np.isfinite(best), best, -np.inf).max(axis=2)


def measure(search: Search, queries: Floats, filters: Filters) -> tuple[dict[str, Any], Any]:
    """Return what searching costs, and the distances that were found."""
    wall, cpu, found = [], [], []
    for query in queries:
        search._passing.clear()  # else it would remember the rows that pass
        start = time.perf_counter(), time.process_time()
        answer = search.nearest(query, K, [MIDDLE], filters)
        wall.append(time.perf_counter() - start[0])
        cpu.append(time.process_time() - start[1])
        found.append([one.distance for one in answer])
    p50, p99 = (round(float(at), 2) for at in np.percentile(wall, [50, 99]) * 1000)
    cpu_ms = round(1000 * float(np.median(cpu)), 2)
    return {"p50_ms": p50, "p99_ms": p99, "cpu_ms": cpu_ms}, found


def rows_of(search: Search, folder: Path, queries: Floats) -> list[dict[str, Any]]:
    """Search with each of the filters; recall is that of each fourth query."""
    masks = [search._allowed([MIDDLE], filters) for filters in FILTERS.values()]
    every = limits(folder / VECTORS, queries[::4], masks)
    lines = []
    for (name, filters), mask, limit in zip(FILTERS.items(), masks, every, strict=True):
        cost, found = measure(search, queries, filters)
        pairs = zip(found[::4], limit * (1 + 1e-6), strict=True)
        near = [np.mean(np.array(one) <= at) for one, at in pairs]
        passing = len(search.index) if mask is None else int(np.count_nonzero(mask))
        assert all(len(one) == min(K, passing) for one in found)
        recall = None if filters.spread_m else round(float(np.mean(near)), 4)
        lines.append({"filter": name, "pass": passing, "recall": recall, **cost})
    return lines


def memory_mb(what: str) -> int:
    """Return memory of this process, MB: VmHWM is its peak, RssAnon its own, RssFile mapped."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return round(int(status[what].split()[0]) / 1000)


def opening(folder: Path) -> dict[str, Any]:
    """Open an index and search it once."""
    start, before = (time.perf_counter(), time.process_time()), memory_mb("RssAnon")
    index = NeighborIndex.open(folder)
    wall, cpu = time.perf_counter() - start[0], time.process_time() - start[1]
    index.search(index.vector_of(int(index.ids[0])), K)
    own, mapped = memory_mb("RssAnon") - before, memory_mb("RssFile")
    return {
        "open_s": round(wall, 2),
        "open_cpu_s": round(cpu, 2),
        "own_mb": own,
        "mapped_mb": mapped,
    }


def alone(folder: Path) -> dict[str, Any]:
    """Open an index in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(opening, (folder,))


@click.command()
@click.option("--vectors", "count", default=1_000_000, show_default=True)
@click.option(
    "--kind", type=click.Choice(["as-is", "flat", "lists"]), default="as-is", show_default=True
)
@click.option("--queries", "asked", default=200, show_default=True)
@click.option("--near", type=click.Path(path_type=Path), help="Real vectors, [n, 16] as .npy.")
@click.option(
    "--keep",
    type=click.Path(path_type=Path),
    help="Keep the index here, or open the one that is here.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def main(
    count: int, kind: str, asked: int, near: Path | None, keep: Path | None, as_json: bool
) -> None:
    """Measure a made-up index; `as-is`: the kind that an index of this size has."""
    limits = {"flat": count, "lists": 0, "as-is": kinds.LISTS_ABOVE}
    kinds.LISTS_ABOVE = limits[kind]
    real = None if near is None else np.load(near)
    with contextlib.nullcontext(keep) if keep else tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "index"
        facts: dict[str, Any] = {"vectors": count}
        if not folder.exists():
            start = time.process_time()
            NeighborIndex.build(blocks(count, real), folder)
            facts |= {
                "build_cpu_s": round(time.process_time() - start, 1),
                "build_mb": memory_mb("VmHWM"),
            }
        facts["disk_mb"] = {p.name: round(p.stat().st_size / 1e6) for p in folder.iterdir()}
        facts |= alone(folder)
        index = NeighborIndex.open(folder)
        facts["lists"] = index._faiss.nlist if isinstance(index._faiss, faiss.IndexIVF) else 0
        rng = np.random.default_rng(1)
        queries = index.vectors_of(rng.integers(len(index), size=asked))
        queries += rng.normal(0, 0.3, queries.shape).astype(np.float32)
        rows = rows_of(Search(index, {}), folder, queries)
    if as_json:
        print(json.dumps(facts | {"rows": rows}))
        return
    print(", ".join(f"{name}: {value}" for name, value in facts.items()))
    print(f"{'filter':<20}{'pass':>12}{'recall@10':>11}{'p50 ms':>9}{'p99 ms':>9}{'CPU ms':>9}")
    for row in rows:
        recall = "" if row["recall"] is None else f"{row['recall']:.4f}"
        print(f"{row['filter']:<20}{row['pass']:>12,}{recall:>11}", end="")
        print(f"{row['p50_ms']:>9.2f}{row['p99_ms']:>9.2f}{row['cpu_ms']:>9.2f}")


if __name__ == "__main__":
    main()
