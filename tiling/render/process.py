"""A renderer in a process of its own, so that rendering does not hold up the service's answers."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

from tiling.render.pool import Worker
from tiling.render.renderer import DEFAULT_GEOMETRY, Renderer
from tiling.render.thread import RemoteRenderer, open_renderer
from tiling.store.store import Store
from tiling.values import N_CHANNELS, TileGeometry

# Short, so that single places need not wait for a whole batch.
PLACES_PER_ORDER = 16
# For one order, which takes a tenth of a second: a process that needs longer may hang.
ORDER_S = 5.0

R = TypeVar("R")
Order = Callable[[Renderer], Any]


class RenderProcess(RemoteRenderer):
    """A renderer in a worker process, which is replaced when it is killed.

    One thread at a time may use it.
    """

    def __init__(
        self, store: Store, geometry: TileGeometry = DEFAULT_GEOMETRY, revision: str | None = None
    ) -> None:
        """Open the store, or raise the error that it had.

        With a `revision`, that one alone will do, also for a process that replaces a killed one.
        """
        setup = partial(_rendering, store, geometry, revision)
        room = tile_bytes(geometry) * PLACES_PER_ORDER
        self._worker: Worker[Order, Any] = Worker(setup, room, ORDER_S)
        self.render([])  # raises what kept the store from opening

    def ask(self, order: Callable[[Renderer], R]) -> R:
        """Run `order` in the process.

        Raises `WorkerError` when it kills process after process, or hangs.
        """
        answer: R = self._worker.ask(order)
        return answer

    def end(self) -> None:
        """End the process under the thread that waits for it, which gets `WorkerError`."""
        self._worker.end()

    def close(self) -> None:
        """End the process, whatever it is doing: it only reads."""
        self._worker.close()


def tile_bytes(geometry: TileGeometry) -> int:
    """Return how much memory a tile takes.

    >>> tile_bytes(TileGeometry())
    196608
    """
    return math.prod((N_CHANNELS, geometry.scales, geometry.size, geometry.size))


@contextmanager
def _rendering(
    store: Store, geometry: TileGeometry, revision: str | None
) -> Iterator[Callable[[Order], Any]]:
    with open_renderer(store, geometry, revision) as renderer:
        yield lambda order: order(renderer)
