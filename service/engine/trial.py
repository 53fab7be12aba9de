"""Trials of a new index or store in a process of its own, which may be given up.

So nothing that it holds, or that opening it does, can stop the service: it may be damaged, hang or
crash the process. This module loads no network, because the process does not need one.
"""

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from tiling.errors import StoreError
from tiling.render.pool import Worker
from tiling.render.thread import open_renderer
from tiling.store.store import Store
from tiling.values import LonLat, Pose, TileGeometry

# In which a new index or store must open in a process; ten million vectors take three seconds.
TRIAL_S = 60.0

Trial = Callable[[], object]


class Trials:
    """Runs one trial at a time. Another thread may end it."""

    def __init__(self) -> None:
        self._worker: Worker[Trial, object] | None = None
        self._ended = False

    def index(self, folder: Path) -> None:
        """Open an index and search it; raise what is wrong with it."""
        self._run(partial(_open_index, folder))

    def store(self, store: Store, geometry: TileGeometry, revision: str) -> None:
        """Open a store and use all that the service uses; raise what is wrong with it."""
        self._run(partial(_open_store, store, geometry, revision))

    def _run(self, trial: Trial) -> None:
        self._worker = Worker(_trials, patience_s=TRIAL_S)
        with contextlib.closing(self._worker):
            if self._ended:
                self._worker.end()
            self._worker.ask(trial)

    def end(self) -> None:
        """End the trial that runs, and all that come: they raise `WorkerError`."""
        self._ended = True
        if self._worker is not None:
            self._worker.end()


@contextlib.contextmanager
def _trials() -> Iterator[Callable[[Trial], object]]:
    yield lambda trial: trial()


def _open_index(folder: Path) -> None:
    from service.index.index import NeighborIndex

    index = NeighborIndex.open(folder, keep_cache=False)
    index.search(index.vector_of(int(index.ids[0])), 1)


def _open_store(store: Store, geometry: TileGeometry, revision: str) -> None:
    with open_renderer(store, geometry, revision) as renderer:
        inside = renderer.source.coverage.representative_point()
        renderer.source.require(LonLat(inside.x, inside.y))
        renderer.tile(Pose(inside.y, inside.x))
        renderer.source.find("a", 1)
        if not renderer.source.regions:
            raise StoreError(f"{store} has no region")
