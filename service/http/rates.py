"""How many requests each client has made, by a clock that never jumps."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from cachetools import TTLCache
from limits import RateLimitItem

MOST_CLIENTS = 100_000  # remembered at once; beyond it the one seen longest ago is forgotten


@dataclass(slots=True)
class _Counts:
    window: int
    before: int  # requests in the window before
    now: int


class Rate:
    """Counts in windows that slide: the window before counts by the share that is still in sight.

    `clock`: seconds. Times of the day are none: they are put back, and clients would wait.
    """

    def __init__(self, rate: RateLimitItem, clock: Callable[[], float] = time.monotonic) -> None:
        self.rate, self._clock = rate, clock
        self._length_s = rate.get_expiry()
        self._clients: TTLCache[str, _Counts] = TTLCache(MOST_CLIENTS, 2 * self._length_s, clock)

    def wait_s(self, client: str) -> float:
        """Count a request and return 0; if it is one too many, return the seconds to wait."""
        window, into_s = divmod(self._clock(), self._length_s)
        counts = self._counts(client, int(window))
        passed = into_s / self._length_s
        if counts.before * (1 - passed) + counts.now + 1 <= self.rate.amount:
            counts.now += 1
            self._clients[client] = counts
            return 0.0
        return self._length_s * (self._free_at(counts) - passed)

    def _counts(self, client: str, window: int) -> _Counts:
        found = self._clients.get(client, _Counts(window, 0, 0))
        if found.window != window:
            found = _Counts(window, found.now if found.window == window - 1 else 0, 0)
        return found

    def _free_at(self, counts: _Counts) -> float:
        """Return when a request passes, in windows from the beginning of this one."""
        room = self.rate.amount - 1 - counts.now
        if room >= 0:
            return 1 - room / counts.before
        return 2 - (self.rate.amount - 1) / counts.now
