"""Drawing the tiles of many places in worker processes, in order and in bounded memory."""

import contextlib
import signal
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from itertools import cycle
from multiprocessing import get_context
from multiprocessing.connection import Connection

import numpy as np
from numpy.typing import NDArray

from tiling.errors import Loc2VecError, WorkerError
from tiling.render.renderer import DEFAULT_GEOMETRY, Renderer
from tiling.render.thread import Tiles
from tiling.store.store import Store
from tiling.values import LonLat, TileGeometry

CHUNK = 128  # places a task: 25 MB of tiles, and a batch that encodes well
AT_ONCE = 2  # chunks a worker may have: one to draw while the other waits to be fetched
GONE = (EOFError, ConnectionError)  # what a pipe says when the other end is


def render_all(
    store: Store,
    lon_lat: NDArray[np.float64],
    workers: int,
    geometry: TileGeometry = DEFAULT_GEOMETRY,
) -> Generator[Tiles]:
    """Yield the tiles of places (lon, lat) [n, 2] chunk by chunk, in order.

    `workers` = 0 draws in this process. Raises `WorkerError` when a worker is killed.
    """
    starts = range(0, len(lon_lat), CHUNK)
    chunks = ([LonLat(*row) for row in lon_lat[start : start + CHUNK].tolist()] for start in starts)
    if workers == 0 or len(starts) <= 1:  # one chunk is not worth a process
        with store.open() as source:
            renderer = Renderer(source, geometry)
            yield from (renderer.north_up(chunk) for chunk in chunks)
        return
    with contextlib.ExitStack() as stack:
        crew = [
            stack.enter_context(contextlib.closing(_Worker(store, geometry)))
            for _ in range(min(workers, len(starts)))
        ]
        yield from _deal(crew, chunks)


def _deal(crew: Sequence["_Worker"], chunks: Iterable[Sequence[LonLat]]) -> Iterator[Tiles]:
    """Deal the chunks out in turn, and collect them in the same turn."""
    busy: deque[_Worker] = deque()
    for worker, chunk in zip(cycle(crew), chunks, strict=False):
        if len(busy) == AT_ONCE * len(crew):
            yield busy.popleft().fetch()
        worker.ask(chunk)
        busy.append(worker)
    while busy:
        yield busy.popleft().fetch()


class _Worker:
    """A process that draws, at the other end of a pipe.

    Each has a pipe of its own: over one that is shared, as that of `ProcessPoolExecutor`, a worker
    killed in the middle of its 25 MB would leave the reader waiting for the rest for ever. And a
    worker whose main process is killed finds its pipe closed, and ends.
    """

    def __init__(self, store: Store, geometry: TileGeometry) -> None:
        context = get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(store, geometry, theirs), daemon=True)
        self._process.start()
        theirs.close()  # so that the worker holds the only other end

    def ask(self, places: Sequence[LonLat]) -> None:
        """Have `places` drawn."""
        try:
            self._pipe.send(places)
        except GONE as error:
            raise _killed() from error

    def fetch(self) -> Tiles:
        """Return the tiles that were asked for first, or raise the worker's error."""
        try:
            answer: Tiles | Loc2VecError = self._pipe.recv()
        except GONE as error:
            raise _killed() from error
        if isinstance(answer, Loc2VecError):
            raise answer
        return answer

    def close(self) -> None:
        """End the process, whatever it is doing: it only reads."""
        self._pipe.close()
        self._process.terminate()
        self._process.join()


def _killed() -> WorkerError:
    return WorkerError(
        "a worker process was killed (out of memory?): try again with fewer --workers"
    )


def _work(store: Store, geometry: TileGeometry, pipe: Connection) -> None:
    """Draw what is asked for until the main process is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C: the main process decides what it means
    with contextlib.suppress(*GONE):
        try:
            with store.open() as source:
                renderer = Renderer(source, geometry)
                while True:
                    pipe.send(renderer.north_up(pipe.recv()))
        except Loc2VecError as error:
            pipe.send(error)
