"""Hot reload: a new index or a new store is put to use while the service answers."""

import asyncio
import logging
import threading
import time
from pathlib import Path

from starlette.datastructures import State

from service.engine.engine import Engine
from service.index.index import FACTS, NeighborIndex, name_of
from service.observe.metrics import STORES, SWAPS
from service.settings import Settings
from tiling.errors import FingerprintError, Loc2VecError
from tiling.machine import give_back_memory

# Freed memory is returned to the system so often: each time costs some page faults.
GIVE_BACK_S = 60.0

log = logging.getLogger(__name__)
Stamp = tuple[int, int] | None
# Shown to clients; the log has the details.
FOREIGN = (
    "A newer index was refused, because it was made with another channel catalogue: "
    "the one before still answers"
)
REFUSED = (
    "A newer index was refused, because it is damaged or of another model: "
    "the one before still answers"
)


def stamp(folder: Path) -> Stamp:
    """Return what changes when the index in a folder is replaced, None while there is none."""
    try:
        status = (folder / FACTS).stat()
    except OSError:  # the folder is being replaced
        return None
    return status.st_ino, status.st_mtime_ns


def swap(engine: Engine, folder: Path) -> bool:
    """Put the index in `folder` to use and tell whether that was done.

    The old one stays when the new one is the same, damaged, or made with another model.
    """
    try:
        if name_of(folder) == engine.index_name:
            engine.index_refused = None
            return False
        engine.use(NeighborIndex.open(folder, keep_cache=False))
    except (Loc2VecError, OSError) as error:
        SWAPS.labels("refused").inc()
        engine.index_refused = FOREIGN if isinstance(error, FingerprintError) else REFUSED
        log.error("the new index was not taken into use, the old one still answers: %s", error)
        return False
    SWAPS.labels("done").inc()
    log.info("a new index is in use: %d places, %s", len(engine.search.index), engine.index_name)
    return True


class Reloader:
    """Polls the index and the store, and exchanges `state.engine` of the application.

    An engine belongs to one revision of the store, so a new store gets a new engine. Requests that
    are being answered keep the old engine, which is closed after `timeout_s`.
    """

    def __init__(self, state: State, settings: Settings) -> None:
        self._state, self._settings = state, settings
        self._seen: Stamp = None
        self._tried = ""  # the last revision of the store that was refused
        self._retired: list[tuple[float, Engine]] = []
        self._own: Engine | None = None
        self._given_back = time.monotonic()
        self._looking, self._closed = threading.Lock(), False

    async def watch(self) -> None:
        """Poll every `reload_s` seconds, until cancelled."""
        while True:
            await asyncio.sleep(self._settings.reload_s)
            await asyncio.to_thread(self.look)

    def look(self) -> None:
        """Put to use what is new, and close what nobody uses any more."""
        with self._looking:
            if not self._closed:
                self._look_for_index()
                self._look_for_store()
                self._retire(time.monotonic())
                self._give_back(time.monotonic())

    def _look_for_index(self) -> None:
        """Reload the index if its folder was replaced."""
        folder = self._settings.index
        now = None if folder is None else stamp(folder)
        if folder is not None and now is not None and now != self._seen:
            swap(self._state.engine, folder)
            self._seen = now

    def _look_for_store(self) -> None:
        before: Engine = self._state.engine
        try:
            now = self._settings.store.revision(patience_s=0.0)
        except Loc2VecError:  # away, or being replaced
            return
        if now in (before.revision, self._tried):
            return
        try:
            after = before.reopened()
        except Loc2VecError as error:
            self._tried = now
            STORES.labels("refused").inc()
            log.error("the new store was not taken into use: %s", error)
            return
        self._state.engine = self._own = after
        self._retired.append((time.monotonic() + self._settings.timeout_s, before))
        STORES.labels("done").inc()
        log.info("a new store is in use")

    def _retire(self, now: float) -> None:
        """Close the old engines whose requests have ended or timed out by `now`."""
        for _, engine in (due := [(end, engine) for end, engine in self._retired if end <= now]):
            engine.close()
        self._retired = [entry for entry in self._retired if entry not in due]

    def _give_back(self, now: float) -> None:
        """Return freed memory to the system now and then.

        The encoder's allocator keeps it, and batches of many sizes fragment it.
        """
        if now - self._given_back >= GIVE_BACK_S:
            give_back_memory()
            self._given_back = now

    def close(self) -> None:
        """Close all engines that were opened here, and stop looking."""
        with self._looking:
            self._closed = True
            self._retire(float("inf"))
            if self._own is not None:
                self._own.close()
