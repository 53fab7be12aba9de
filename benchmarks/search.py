"""Searching millions of vectors: recall beside brute force with and without filters, times, memory.

The vectors are made up: mixtures of 1,000 normal distributions, 16 numbers each, said to be of the
default model. Their places fill a square of 10 degrees around Monaco. Recall@10 is the share of the
ten nearest by float64 arithmetic over all that pass; an answer as near as the tenth counts.
`--keep` builds an index once.

    python benchmarks/search.py [--vectors 1000000] [--kind flat|lists|as-is] [--queries 200]
    [--keep FOLDER] [--json]
"""

import contextlib
import json
import resource
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import faiss
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from loc2vec.embed.files import Vectors
from loc2vec.encoder import LocationEncoder
from loc2vec.model.names import DEFAULT_MODEL
from service.index import kinds
from service.index.index import NeighborIndex
from service.index.search import EVERYWHERE, Filters, Search
from service.index.where import parse_where
from tiling.values import Box, LonLat

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


def made_up(count: int, seed: int = 0) -> Vectors:
    """Return `count` vectors at places of their own."""
    rng = np.random.default_rng(seed)
    blobs = 3 * rng.normal(size=(BLOBS, DIM)).astype(np.float32)
    embedding = blobs[rng.integers(BLOBS, size=count)]
    for start in range(0, count, 1_000_000):  # in parts, because normal numbers are made in float64
        part = embedding[start : start + 1_000_000]
        part += rng.normal(size=part.shape).astype(np.float32)
    lon, lat = np.array(MIDDLE)[:, None] + rng.uniform(-5, 5, (2, count))
    said = LocationEncoder.load(DEFAULT_MODEL)
    table = pa.table({"price": rng.integers(400, size=count), "kind": rng.choice(KINDS, count)})
    return Vectors(lat, lon, embedding, table, said.model_id, said.fingerprint)


def nearest(
    embedding: NDArray[np.float32], query: NDArray[np.float32], rows: NDArray[np.int64]
) -> float:
    """Return the distance of the tenth nearest of some rows, in float64."""
    kept: list[NDArray[np.float64]] = []
    for start in range(0, len(rows), 250_000):
        part = embedding[rows[start : start + 250_000]].astype(np.float64)
        distance = np.linalg.norm(part - query, axis=1)
        kept.append(np.partition(distance, min(K, len(distance)) - 1)[:K])
    every = np.sort(np.concatenate(kept))
    return float(every[min(K, len(every)) - 1])


def measure(
    search: Search, embedding: NDArray[np.float32], queries: NDArray[np.float32]
) -> list[dict[str, Any]]:
    """Search with each of the filters."""
    lines = []
    for name, filters in FILTERS.items():
        allowed = search._allowed([MIDDLE], filters)
        rows = np.arange(len(embedding)) if allowed is None else np.flatnonzero(allowed)
        wall, cpu, hits = [], [], 0.0
        for number, query in enumerate(queries):
            search._passing.clear()  # else it would remember the rows that pass
            start = time.perf_counter(), time.process_time()
            found = search.nearest(query, K, [MIDDLE], filters)
            wall.append(time.perf_counter() - start[0])
            cpu.append(time.process_time() - start[1])
            assert len(found) == min(K, len(rows))
            if number % 4 == 0 and not filters.spread_m:  # brute force takes long
                limit = nearest(embedding, query, rows) * (1 + 1e-6)
                hits += sum(one.distance <= limit for one in found) / len(found)
        p50, p99 = np.percentile(wall, [50, 99]) * 1000
        lines.append(
            {
                "filter": name,
                "pass": len(rows),
                "recall": None if filters.spread_m else round(hits / len(queries[::4]), 4),
                "p50_ms": round(float(p50), 2),
                "p99_ms": round(float(p99), 2),
                "cpu_ms": round(1000 * float(np.median(cpu)), 2),
            }
        )
    return lines


@click.command()
@click.option("--vectors", "count", default=1_000_000, show_default=True)
@click.option(
    "--kind", type=click.Choice(["as-is", "flat", "lists"]), default="as-is", show_default=True
)
@click.option("--queries", "asked", default=200, show_default=True)
@click.option(
    "--keep",
    type=click.Path(path_type=Path),
    help="Keep the index here, or open the one that is here.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def main(count: int, kind: str, asked: int, keep: Path | None, as_json: bool) -> None:
    """Measure the search of a made-up index; `as-is`: the kind that an index of this size has."""
    limits = {"flat": count, "lists": 0, "as-is": kinds.LISTS_ABOVE}
    kinds.LISTS_ABOVE = limits[kind]
    vectors = made_up(count)
    rng = np.random.default_rng(1)
    queries = vectors.embedding[rng.integers(count, size=asked)]
    queries = queries + rng.normal(0, 0.3, queries.shape).astype(np.float32)
    with contextlib.nullcontext(keep) if keep else tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "index"
        start = time.process_time()
        known = folder.exists()
        index = NeighborIndex.open(folder) if known else NeighborIndex.build(vectors, folder)
        built = time.process_time() - start
        size = sum(path.stat().st_size for path in folder.iterdir())
    lists = index._faiss.nlist if isinstance(index._faiss, faiss.IndexIVF) else 0
    rows = measure(Search(index, {}), vectors.embedding, queries)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    facts: dict[str, Any] = {
        "vectors": count,
        "lists": lists,
        "opened" if known else "built": round(built, 1),
        "folder_mb": round(size / 1e6),
    }
    facts |= {"peak_mb": round(peak), "rows": rows}
    if as_json:
        print(json.dumps(facts))
        return
    kind, done = f"{lists} lists" if lists else "flat", "opened" if known else "built"
    how = f"{kind}: {done} in {built:.0f} CPU s"
    print(f"{count:,} vectors, {how}, {size / 1e6:.0f} MB")
    print(f"{'filter':<20}{'pass':>12}{'recall@10':>11}{'p50 ms':>9}{'p99 ms':>9}{'CPU ms':>9}")
    for row in rows:
        recall = "" if row["recall"] is None else f"{row['recall']:.4f}"
        print(f"{row['filter']:<20}{row['pass']:>12,}{recall:>11}", end="")
        print(f"{row['p50_ms']:>9.2f}{row['p99_ms']:>9.2f}{row['cpu_ms']:>9.2f}")
    print(
        f"peak memory: {peak:.0f} MB, "
        f"the vectors themselves {vectors.embedding.nbytes / 1e6:.0f} MB"
    )


if __name__ == "__main__":
    main()
