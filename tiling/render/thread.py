"""A renderer that any thread may call: it lives in a thread of its own, together with its store."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from operator import methodcaller
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from tiling.render.pictures import Picture
from tiling.render.renderer import DEFAULT_GEOMETRY, Renderer
from tiling.store.store import Store
from tiling.values import LonLat, Pose, Tile, TileGeometry

PATIENCE_S = 1.0  # with a store that is away, while a client waits

R = TypeVar("R")
Tiles = NDArray[np.uint8]


class RemoteRenderer(ABC):
    """A renderer in another thread or process."""

    def render(self, places: Sequence[LonLat]) -> Tiles:
        """Return the tiles of `places`, uint8 [n, channels, H, W], neither turned nor shifted."""
        tiles: Tiles = self.ask(methodcaller("north_up", places))
        return tiles

    def tile(self, pose: Pose) -> Tile:
        """Return one tile."""
        tile: Tile = self.ask(methodcaller("tile", pose))
        return tile

    def picture(self, picture: Picture) -> bytes:
        """Return a picture of the map as a PNG."""
        return self.ask(partial(_png, picture))

    @abstractmethod
    def ask(self, order: Callable[[Renderer], R]) -> R:
        """Return what `order`, which can be pickled, makes of the renderer."""

    @abstractmethod
    def end(self) -> None:
        """Break off what is being rendered, where that is possible; `close` follows."""

    @abstractmethod
    def close(self) -> None:
        """Close the store and end the thread or process."""


class RenderThread(RemoteRenderer):
    """A renderer in a thread of its own, because a store and a renderer belong to one thread."""

    def __init__(
        self, store: Store, geometry: TileGeometry = DEFAULT_GEOMETRY, revision: str | None = None
    ) -> None:
        """Open the store; with a `revision`, that one alone, else `StoreReplacedError`."""
        self._thread, self._opened = ThreadPoolExecutor(1, "render"), ExitStack()
        opening = open_renderer(store, geometry, revision)
        self._renderer = self._thread.submit(self._opened.enter_context, opening).result()

    def ask(self, order: Callable[[Renderer], R]) -> R:
        """Run `order` in the thread; called from any thread."""
        return self._thread.submit(order, self._renderer).result()

    def end(self) -> None:
        """Do nothing: a thread cannot be broken off."""

    def close(self) -> None:
        """Close the store and end the thread."""
        self._thread.submit(self._opened.close).result()
        self._thread.shutdown()


@contextmanager
def open_renderer(store: Store, geometry: TileGeometry, revision: str | None) -> Iterator[Renderer]:
    """Open a store for the service, `revision` alone where it is given, and render from it."""
    with store.open(patience_s=PATIENCE_S, only=revision) as source:
        yield Renderer(source, geometry)


def _png(picture: Picture, renderer: Renderer) -> bytes:
    return picture.png(renderer.source)
