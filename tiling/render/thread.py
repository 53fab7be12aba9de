"""Drawing the tiles of places, also in a thread that owns what it draws with."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from tiling.render.pictures import Picture
from tiling.render.renderer import DEFAULT_GEOMETRY, Renderer
from tiling.store.base import FeatureSource
from tiling.store.store import Store
from tiling.values import LonLat, Pose, Tile, TileGeometry

PATIENCE_S = 1.0  # with a store that is away, while a client waits

Tiles = NDArray[np.uint8]


class RenderThread:
    """A thread that holds an open store and a renderer of its own, because both belong to one thread."""

    def __init__(
        self, store: Store, geometry: TileGeometry = DEFAULT_GEOMETRY, revision: str | None = None
    ) -> None:
        """`revision`: of the store, which alone will do."""
        self._thread = ThreadPoolExecutor(1, "render")
        self._source, self._renderer = self._thread.submit(
            _open, store, geometry, revision
        ).result()

    def render(self, places: Sequence[LonLat]) -> Tiles:
        """Return the tiles of `places`, uint8 [n, 12, H, W]; called from any thread."""
        return self._thread.submit(self._renderer.north_up, places).result()

    def tile(self, pose: Pose) -> Tile:
        """Return one tile; called from any thread."""
        return self._thread.submit(self._renderer.tile, pose).result()

    def picture(self, picture: Picture) -> bytes:
        """Return a picture of the map as a PNG; called from any thread."""
        return self._thread.submit(picture.png, self._source).result()

    def close(self) -> None:
        """Close the store and end the thread."""
        self._thread.submit(self._source.close).result()
        self._thread.shutdown()


def _open(
    store: Store, geometry: TileGeometry, revision: str | None
) -> tuple[FeatureSource, Renderer]:
    source = store.open(patience_s=PATIENCE_S, only=revision)
    return source, Renderer(source, geometry)
