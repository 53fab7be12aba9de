"""Work under way: who asks for what somebody is making waits for it, and does not make it again."""

import threading
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Flights(Generic[K, V]):
    """Values by their keys, each made by one thread at a time."""

    def __init__(self) -> None:
        self._coming: dict[K, Future[V]] = {}
        self._lock = threading.Lock()

    def get(
        self,
        keys: Sequence[K],
        find: Callable[[K], V | None],
        make: Callable[[Sequence[K]], Sequence[V]],
    ) -> list[V]:
        """Return the values of distinct keys; raises what `make` raises.

        `find` returns a value that is made already. `make` makes those of several keys, in order.
        """
        found: dict[K, V] = {}
        theirs: dict[K, Future[V]] = {}
        mine: dict[K, Future[V]] = {}
        with self._lock:
            for key in keys:
                value = find(key)
                if value is not None:
                    found[key] = value
                elif key in self._coming:
                    theirs[key] = self._coming[key]
                else:
                    mine[key] = self._coming[key] = Future()
        found |= self._fly(mine, make)
        # What another thread failed to make is tried here: its error may be of another key.
        failed = [key for key, future in theirs.items() if future.exception() is not None]
        found |= {key: future.result() for key, future in theirs.items() if key not in failed}
        if failed:
            found.update(zip(failed, self.get(failed, find, make), strict=True))
        return [found[key] for key in keys]

    def _fly(
        self, mine: dict[K, "Future[V]"], make: Callable[[Sequence[K]], Sequence[V]]
    ) -> dict[K, V]:
        """Make the values of `mine`, and hand them to those who wait."""
        if not mine:
            return {}
        try:
            made = dict(zip(mine, make(list(mine)), strict=True))
        except BaseException as error:
            self._land(mine)
            for future in mine.values():
                future.set_exception(error)
            raise
        self._land(mine)
        for key, future in mine.items():
            future.set_result(made[key])
        return made

    def _land(self, mine: dict[K, "Future[V]"]) -> None:
        with self._lock:
            for key in mine:
                del self._coming[key]
