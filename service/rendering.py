"""Drawing the tiles of many places in order: in worker processes for a job, in threads for the service."""

import os
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait

import numpy as np
from numpy.typing import NDArray

from service.errors import WorkerError
from tiling.render import Renderer
from tiling.sources.base import FeatureSource
from tiling.sources.registry import open_source
from tiling.values import LonLat, Pose, Tile

CHUNK = 128  # places a task: 25 MB of tiles, and a batch that encodes well
AHEAD = 2  # chunks more than there are workers may be under way or waiting, so that memory stays bounded

Tiles = NDArray[np.uint8]


def chunks_of(places: Sequence[LonLat]) -> Iterator[Sequence[LonLat]]:
    """Cut `places` into runs of `CHUNK`."""
    return (places[start : start + CHUNK] for start in range(0, len(places), CHUNK))


def draw(renderer: Renderer, places: Sequence[LonLat]) -> Tiles:
    """Return the tiles of `places`, uint8 [n, 12, H, W], neither turned nor shifted."""
    return np.concatenate([renderer.tiles(place, [Pose(place.lat, place.lon)]) for place in places])


def draw_in_processes(location: str, lon_lat: NDArray[np.float64], workers: int) -> Iterator[Tiles]:
    """Yield the tiles of places (lon, lat) [n, 2] chunk by chunk, in order.

    `workers` = 0 draws in this process. Raises `WorkerError` when a worker is killed.
    """
    starts = range(0, len(lon_lat), CHUNK)
    chunks = ([LonLat(*row) for row in lon_lat[start : start + CHUNK].tolist()] for start in starts)
    if workers == 0 or len(starts) <= 1:  # one chunk is not worth a process
        with open_source(location) as source:
            renderer = Renderer(source)
            yield from (draw(renderer, chunk) for chunk in chunks)
        return
    pool = ProcessPoolExecutor(min(workers, len(starts)), get_context("spawn"), _start_worker)
    try:
        yield from _in_order(pool, location, chunks, workers + AHEAD)
    except BrokenProcessPool as error:
        raise WorkerError("a worker process was killed (out of memory?): try again with fewer --workers") from error
    finally:
        pool.shutdown(cancel_futures=True)


def _in_order(
    pool: ProcessPoolExecutor, location: str, chunks: Iterable[Sequence[LonLat]], ahead: int
) -> Iterator[Tiles]:
    waiting: deque[Future[Tiles]] = deque()
    for chunk in chunks:
        waiting.append(pool.submit(_draw_in_worker, location, chunk))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _start_worker() -> None:
    """Leave Ctrl-C to the main process, and end with it however it ends, also when it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _draw_in_worker(location: str, places: Sequence[LonLat]) -> Tiles:
    return draw(_worker_renderer(location), places)


@cache
def _worker_renderer(location: str) -> Renderer:
    """Open the store once in each worker process; it ends with the process."""
    return Renderer(open_source(location))


class RenderThread:
    """A thread that holds an open store and a renderer of its own, because both belong to one thread."""

    def __init__(self, location: str) -> None:
        self._thread = ThreadPoolExecutor(1, "render")
        self._source, self._renderer = self._thread.submit(_open, location).result()

    def draw(self, places: Sequence[LonLat]) -> Tiles:
        """Return the tiles of `places`, uint8 [n, 12, H, W]; called from any thread."""
        return self._thread.submit(draw, self._renderer, places).result()

    def tile(self, pose: Pose) -> Tile:
        """Return one tile; called from any thread."""
        return self._thread.submit(self._renderer.tile, pose).result()

    def close(self) -> None:
        """Close the store and end the thread."""
        self._thread.submit(self._source.close).result()
        self._thread.shutdown()


def _open(location: str) -> tuple[FeatureSource, Renderer]:
    source = open_source(location)
    return source, Renderer(source)


def cpu_count() -> int:
    """Return how many CPUs this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
