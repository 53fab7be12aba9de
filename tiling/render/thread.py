"""Drawing the tiles of places, also in a thread that owns what it draws with."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from tiling.render.pictures import Picture
from tiling.render.renderer import DEFAULT_GEOMETRY, Renderer
from tiling.store.base import FeatureSource
from tiling.store.store import Store
from tiling.values import LonLat, Pose, Tile, TileGeometry

CHUNK = 128  # places a task: 25 MB of tiles, and a batch that encodes well
PATIENCE_S = 1.0  # with a store that is away, while a client waits

Tiles = NDArray[np.uint8]


def chunks_of(places: Sequence[LonLat]) -> Iterator[Sequence[LonLat]]:
    """Cut `places` into runs of `CHUNK`."""
    return (places[start : start + CHUNK] for start in range(0, len(places), CHUNK))


def draw(renderer: Renderer, places: Sequence[LonLat]) -> Tiles:
    """Return the tiles of `places`, uint8 [n, 12, H, W], neither turned nor shifted."""
    return renderer.north_up(places)


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

    def draw(self, places: Sequence[LonLat]) -> Tiles:
        """Return the tiles of `places`, uint8 [n, 12, H, W]; called from any thread."""
        return self._thread.submit(draw, self._renderer, places).result()

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
