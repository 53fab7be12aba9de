"""The tiles of many places, rendered in worker processes, in order and in bounded memory."""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import numpy as np
from numpy.typing import NDArray

from tiling.errors import StoreReplacedError
from tiling.render.pool import Pool
from tiling.render.process import tile_bytes
from tiling.render.renderer import DEFAULT_GEOMETRY, Renderer
from tiling.render.thread import Tiles
from tiling.store.source import FeatureSource, Origin
from tiling.values import LonLat, TileGeometry

CHUNK = 128  # places at a time: 25 MB of tiles, and a batch that encodes well


def render_all(
    source: FeatureSource,
    lon_lat: NDArray[np.float64],
    workers: int,
    geometry: TileGeometry = DEFAULT_GEOMETRY,
) -> Generator[Tiles]:
    """Yield the tiles of places (lon, lat) [n, 2] in order, uint8 [<= CHUNK, channels, H, W].

    `workers` = 0 renders in this process. Else worker processes open the store for themselves;
    killed ones are replaced. Raises `WorkerError` when the same places kill several,
    `StoreReplacedError` when the store was replaced by then.
    """
    workers = workers_for(len(lon_lat), workers)
    yield from render_chunks(source, chunks_of(lon_lat), workers, geometry)


def workers_for(places: int, workers: int) -> int:
    """Return how many of `workers` processes so many places keep busy: for one chunk, none."""
    chunks = -(-places // CHUNK)
    return min(workers, chunks) if chunks > 1 else 0


def chunks_of(lon_lat: NDArray[np.float64]) -> Iterator[Sequence[LonLat]]:
    """Cut places (lon, lat) [n, 2] into chunks of at most CHUNK."""
    for start in range(0, len(lon_lat), CHUNK):
        yield [LonLat(*row) for row in lon_lat[start : start + CHUNK].tolist()]


def render_chunks(
    source: FeatureSource,
    chunks: Iterable[Sequence[LonLat]],
    workers: int,
    geometry: TileGeometry = DEFAULT_GEOMETRY,
) -> Generator[Tiles]:
    """Yield the tiles of each chunk of at most CHUNK places, as `render_all` does.

    `chunks` is read as workers become free.
    """
    if workers == 0:
        yield from map(Renderer(source, geometry).north_up, chunks)
        return
    setup = partial(_rendering, source.store, geometry, source.store.revision())
    with Pool(workers, setup, CHUNK * tile_bytes(geometry)) as pool:
        yield from pool.run(chunks, in_order=True)


@contextmanager
def _rendering(
    store: Origin, geometry: TileGeometry, expected: str
) -> Iterator[Callable[[Sequence[LonLat]], Tiles]]:
    """Open the store, which must be the one that the other workers opened.

    It is compared here only: `only=` would end hours of work when a database is updated meanwhile.
    Its updates are known, and `embed --only-changed` follows them.
    """
    with store.open() as source:
        if store.revision() != expected:
            raise StoreReplacedError(f"{source.location} was replaced while its tiles were made")
        yield Renderer(source, geometry).north_up
