"""Prometheus metrics; with several server processes, the sum of them all."""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    multiprocess,
)
from prometheus_client.registry import REGISTRY

from service.observe.tracing import Cause, stage_span

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
SHARED = "PROMETHEUS_MULTIPROC_DIR"  # the folder where processes share their metrics
# Bytes of the files that the library maps into memory, by the beginning of their names.
FILES = {
    "counter": 1 << 16,
    "histogram": 1 << 18,
    "gauge_livesum": 1 << 16,
    "gauge_livemax": 1 << 16,
}


def _reserve(folder: Path) -> None:
    """Take the room of this process's files for good.

    The library leaves holes. Who first touches one on a full disk is ended by a signal. Raises
    `OSError` when there is no room.
    """
    for name, size in FILES.items():
        with (folder / f"{name}_{os.getpid()}.db").open("ab") as file:
            os.posix_fallocate(file.fileno(), 0, size)


if SHARED in os.environ:
    _reserve(Path(os.environ[SHARED]))

REQUESTS = Counter("loc2vec_requests", "Requests answered", ["method", "route", "status"])
LATENCY = Histogram(
    "loc2vec_request_seconds", "Time to answer a request", ["route"], buckets=SECONDS
)
STAGE = Histogram("loc2vec_stage_seconds", "Time in a stage, by batch", ["stage"], buckets=SECONDS)
BATCH = Histogram(
    "loc2vec_encoded_tiles", "Tiles encoded together", buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256)
)
VECTORS = Counter("loc2vec_vectors", "Vectors answered, by where they came from", ["source"])
KEPT = Counter("loc2vec_kept_answers", "Answers that were given again as they were")
QUEUE = Gauge("loc2vec_queued_places", "Places that are waited for", multiprocess_mode="livesum")
REFUSED = Counter("loc2vec_refused", "Requests refused before any work", ["reason"])
INDEX_SIZE = Gauge("loc2vec_index_places", "Places in the index", multiprocess_mode="livemax")
STORES = Counter("loc2vec_store_swaps", "Attempts to take a new store into use", ["outcome"])
SWAPS = Counter("loc2vec_index_swaps", "Attempts to take a new index into use", ["outcome"])


@contextmanager
def timed(stage: str, causes: Sequence[Cause] = ()) -> Iterator[None]:
    """Observe the time of the block as that of a stage, in a span that belongs to `causes`."""
    start = time.perf_counter()
    try:
        with stage_span(stage, causes):
            yield
    finally:
        STAGE.labels(stage).observe(time.perf_counter() - start)


def exposition() -> bytes:
    """Return all metrics in the text format of Prometheus."""
    if SHARED not in os.environ:
        return generate_latest(REGISTRY)
    together = CollectorRegistry()
    multiprocess.MultiProcessCollector(together)  # type: ignore[no-untyped-call]
    return generate_latest(together)
