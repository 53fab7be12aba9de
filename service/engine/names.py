"""Name search, in a thread that has an open store of its own."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from service.patience import left_s, too_slow
from tiling.osm.names import NamedPlace
from tiling.render.thread import PATIENCE_S
from tiling.store.store import Store


class NameThread:
    """Searches the names of a store for all threads, because an open store belongs to one."""

    def __init__(self, store: Store, revision: str) -> None:
        self._thread = ThreadPoolExecutor(1, "names")
        self._source = self._thread.submit(
            store.open, patience_s=PATIENCE_S, only=revision
        ).result()

    def find(self, name: str, limit: int) -> Sequence[NamedPlace]:
        """Return up to `limit` places with a name, best first; called from any thread.

        Raises `SlowError` when its client waits no longer.
        """
        found = self._thread.submit(self._source.find, name, limit)
        try:
            return found.result(left_s())
        except TimeoutError as error:
            found.cancel()
            raise too_slow() from error

    def close(self) -> None:
        """Close the store and end the thread."""
        self._thread.submit(self._source.close).result()
        self._thread.shutdown()
