"""A process that draws tiles for the service, so that drawing does not hold up the process that answers."""

import contextlib
import logging
import math
import signal
import weakref
from collections.abc import Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, Literal

import numpy as np

from tiling.errors import Loc2VecError, WorkerError
from tiling.render.pictures import Picture
from tiling.render.renderer import DEFAULT_GEOMETRY, Renderer
from tiling.render.thread import PATIENCE_S, Tiles
from tiling.store.store import Store
from tiling.values import N_CHANNELS, LonLat, Pose, Tile, TileGeometry

AT_ONCE = 16  # places a task: short, so that a long batch shares the processes with single places
GONE = (EOFError, OSError)  # what a pipe says when the other end is

log = logging.getLogger(__name__)
Order = tuple[Literal["render", "tile", "picture"], Any]


class RenderProcess:
    """A process that holds an open store and a renderer, at the other end of a pipe.

    Tiles come back through memory that both share, a third of a millisecond sooner than through the
    pipe. The process is started again when it was killed. One thread at a time may ask it.
    """

    def __init__(
        self, store: Store, geometry: TileGeometry = DEFAULT_GEOMETRY, revision: str | None = None
    ) -> None:
        """`revision`: of the store, which alone will do, also for a process that is started again."""
        self._store, self._geometry, self._revision = store, geometry, revision
        self._start()

    def _start(self) -> None:
        context = get_context("spawn")
        self._pipe, theirs = context.Pipe()
        shape = _shape(self._geometry)
        shared = context.RawArray("B", math.prod(shape))
        self._tiles = np.frombuffer(shared, np.uint8).reshape(shape)
        self._process = context.Process(
            target=_work,
            args=(self._store, self._geometry, self._revision, theirs, shared),
            name="render",
            daemon=True,
        )
        self._process.start()
        # also when this program ends without closing it
        self._end = weakref.finalize(self, _end, self._process)
        theirs.close()  # so that the process holds the only other end
        _unless_error(self._pipe.recv())

    def render(self, places: Sequence[LonLat]) -> Tiles:
        """Return the tiles of `places`, at most `AT_ONCE`, uint8 [n, 12, H, W]."""
        self._ask(("render", places))
        return self._tiles[: len(places)].copy()

    def tile(self, pose: Pose) -> Tile:
        """Return one tile."""
        tile: Tile = self._ask(("tile", pose))
        return tile

    def picture(self, picture: Picture) -> bytes:
        """Return a picture of the map as a PNG."""
        png: bytes = self._ask(("picture", picture))
        return png

    def _ask(self, order: Order) -> Any:
        """Return what the process answers, or raise the error it had."""
        try:
            answer = self._exchange(order)
        except GONE:
            log.warning("render process %s was killed: starting another", self._process.pid)
            self.close()
            self._start()
            try:
                answer = self._exchange(order)
            except GONE as error:
                raise WorkerError("a render process was killed twice (out of memory?)") from error
        return _unless_error(answer)

    def _exchange(self, order: Order) -> Any:
        self._pipe.send(order)
        return self._pipe.recv()

    def close(self) -> None:
        """End the process, whatever it is doing: it only reads."""
        self._pipe.close()
        self._end()


def _unless_error(answer: Any) -> Any:
    if isinstance(answer, Exception):
        raise answer
    return answer


def _end(process: BaseProcess) -> None:
    process.kill()
    process.join()


def _shape(geometry: TileGeometry) -> tuple[int, int, int, int]:
    """Return the shape of the shared tiles."""
    return AT_ONCE, N_CHANNELS * geometry.scales, geometry.size, geometry.size


def _work(
    store: Store, geometry: TileGeometry, revision: str | None, pipe: Connection, shared: Any
) -> None:
    """Draw what is asked for until the main process closes the pipe, or is gone."""
    for number in (signal.SIGINT, signal.SIGTERM):  # the main process decides what they mean
        signal.signal(number, signal.SIG_IGN)
    with contextlib.suppress(*GONE):
        try:
            source = store.open(patience_s=PATIENCE_S, only=revision)
        except Loc2VecError as error:
            pipe.send(error)
            return
        with source:
            renderer, tiles = (
                Renderer(source, geometry),
                np.frombuffer(shared, np.uint8).reshape(_shape(geometry)),
            )
            pipe.send(None)
            while True:
                pipe.send(_do(renderer, pipe.recv(), tiles))


def _do(renderer: Renderer, order: Order, tiles: Tiles) -> Any:
    what, argument = order
    try:
        match what:
            case "render":
                tiles[: len(argument)] = renderer.north_up(argument)
                return None
            case "tile":
                return renderer.tile(argument)
            case "picture":
                return argument.png(renderer.source)
    except Exception as error:  # raised again in the main process
        return error
