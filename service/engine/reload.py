"""Hot reload: a new index or a new store is put to use while the service answers.

What is new is tried in a process of its own first (`trial.py`). Whatever happens there is refused,
logged, counted and shown by `/readyz`, and the watch goes on.
"""

import errno
import logging
import threading
import time
from pathlib import Path

from starlette.datastructures import State

from service.engine.engine import Engine
from service.engine.trial import Trials
from service.index.files.facts import FACTS, name_of
from service.index.index import NeighborIndex
from service.observe.metrics import STORES, SWAPS
from service.settings import Settings
from tiling.errors import FingerprintError, KilledError, Loc2VecError, StoreUnavailableError
from tiling.machine import give_back_memory

# Freed memory is returned to the system so often: each time costs some page faults.
GIVE_BACK_S = 60.0
CLOSE_S = 1.0  # for which a stop waits for the look that is going on

log = logging.getLogger(__name__)
Stamp = tuple[int, int] | None
# Shown to clients; the log has the details.
KEPT = "the one before still answers"
FOREIGN = "was refused, because it was made with another channel catalogue: " + KEPT
REFUSED = "was refused, because it is damaged or of another model: " + KEPT
KILLED = "was refused, because what tried it was killed, as for lack of memory: " + KEPT
WAITS = "waits, because this machine lacks disk, memory, files or processes: " + KEPT
LACKS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ENOMEM,
         errno.EMFILE, errno.ENFILE, errno.EAGAIN)  # fmt: skip


def stamp(folder: Path) -> Stamp:
    """Return what changes when the index in a folder is replaced, None while there is none."""
    try:
        status = (folder / FACTS).stat()
    except OSError:  # the folder is being replaced
        return None
    return status.st_ino, status.st_mtime_ns


def swap(engine: Engine, folder: Path, trials: Trials) -> bool:
    """Put the index in `folder` to use and tell whether that was done.

    The old one stays when the new one is the same, damaged, or made with another model.
    """
    try:
        if name_of(folder) == engine.index_name:
            engine.index_refused = None
            return False
        trials.index(folder)
        engine.use(NeighborIndex.open(folder, keep_cache=False))
    except Exception as error:  # whatever it is, the old index goes on answering
        SWAPS.labels("refused").inc()
        engine.index_refused = f"A newer index {_why(error)}"
        log.error("the new index was not taken into use, the old one still answers: %s", _of(error))
        return False
    SWAPS.labels("done").inc()
    log.info("a new index is in use: %d places, %s", len(engine.search.index), engine.index_name)
    return True


def _why(error: Exception) -> str:
    """Return for clients why something new is not in use."""
    if isinstance(error, OSError) and error.errno in LACKS:
        return WAITS
    if isinstance(error, KilledError):
        return KILLED
    return FOREIGN if isinstance(error, FingerprintError) else REFUSED


def _of(error: Exception) -> str:
    """Return an error for the log: one that nobody expected says what it is."""
    return str(error) if isinstance(error, Loc2VecError) else repr(error)


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
        self._trials = Trials()
        self._looking, self._closed = threading.Lock(), threading.Event()

    def start(self) -> None:
        """Look every `reload_s` seconds, in a thread that no stop waits for."""
        threading.Thread(target=self._watch, name="reload", daemon=True).start()

    def _watch(self) -> None:
        while not self._closed.wait(self._settings.reload_s):
            try:
                self.look()
            except Exception:  # the next look may go better, and must come
                log.exception("looking for a new index and store failed")

    def look(self) -> None:
        """Put to use what is new, and close what nobody uses any more."""
        with self._looking:
            if not self._closed.is_set():
                self._look_for_index()
                self._look_for_store()
                self._retire(time.monotonic())
                self._give_back(time.monotonic())

    def _look_for_index(self) -> None:
        """Reload the index if its folder was replaced."""
        folder = self._settings.index
        now = None if folder is None else stamp(folder)
        if folder is not None and now is not None and now != self._seen:
            engine: Engine = self._state.engine
            swap(engine, folder, self._trials)
            waits = engine.index_refused == f"A newer index {WAITS}"
            self._seen = None if waits else now

    def _look_for_store(self) -> None:
        before: Engine = self._state.engine
        store = self._settings.store
        try:
            now = store.revision(patience_s=0.0)
        except Loc2VecError:  # away, or being replaced
            return
        if now == before.revision:
            self._state.store_refused = None
        if now in (before.revision, self._tried):
            return
        try:
            self._trials.store(store, before.geometry, now)
            after = before.reopened()
        except StoreUnavailableError:  # the next look tries again
            return
        except Exception as error:  # whatever it is, the old store goes on answering
            self._refuse_store(now, error)
            return
        self._state.engine = self._own = after
        self._state.store_refused = None
        self._retired.append((time.monotonic() + self._settings.timeout_s, before))
        STORES.labels("done").inc()
        log.info("a new store is in use")

    def _refuse_store(self, revision: str, error: Exception) -> None:
        why = _why(error)
        self._tried = "" if why == WAITS else revision  # one that waits is tried again
        STORES.labels("refused").inc()
        self._state.store_refused = f"A newer store {why}"
        log.error("the new store was not taken into use: %s", _of(error))

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
        """Stop looking, and close all engines that were opened here unless a look hangs."""
        self._closed.set()
        self._trials.end()
        if not self._looking.acquire(timeout=CLOSE_S):
            log.error("a look for a new index and store hangs: it is left alone")
            return
        try:
            self._retire(float("inf"))
            if self._own is not None:
                self._own.close()
        finally:
            self._looking.release()
