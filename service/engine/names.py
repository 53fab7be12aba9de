"""Names of places and places by name, in a thread that has an open store of its own."""

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from service.patience import left_s, too_slow
from tiling.osm.names import NamedPlace
from tiling.render.thread import PATIENCE_S
from tiling.store.gazetteer import Called, Gazetteer
from tiling.store.store import Store
from tiling.values import LonLat

Found = TypeVar("Found")


class NameThread:
    """Searches the names of a store for all threads, because an open store belongs to one."""

    def __init__(self, store: Store, revision: str) -> None:
        self._thread = ThreadPoolExecutor(1, "names")
        self._source = self._thread.submit(
            store.open, patience_s=PATIENCE_S, only=revision
        ).result()
        self._gazetteer = Gazetteer(self._source)

    def find(self, name: str, limit: int) -> Sequence[NamedPlace]:
        """Return up to `limit` places with a name, best first; called from any thread.

        Raises `SlowError` when its client waits no longer.
        """
        return self._asked(lambda: self._source.find(name, limit))

    def called(self, places: Sequence[LonLat]) -> list[Called]:
        """Return what each place is called; called from any thread.

        Raises `SlowError` when its client waits no longer.
        """
        return self._asked(lambda: [self._gazetteer.called(place) for place in places])

    def things(self, place: LonLat) -> Counter[str]:
        """Return how many named things of each word are near a place; raises as `called`."""
        return self._asked(lambda: self._gazetteer.things(place))

    def _asked(self, ask: Callable[[], Found]) -> Found:
        found = self._thread.submit(ask)
        try:
            return found.result(left_s())
        except TimeoutError as error:
            found.cancel()
            raise too_slow() from error

    def close(self) -> None:
        """Close the store and end the thread."""
        self._thread.submit(self._source.close).result()
        self._thread.shutdown()
