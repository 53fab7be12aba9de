"""Whether places are answered now: tried at most once a second, and told within a second."""

import asyncio
import math
import time
from collections.abc import Callable, Coroutine
from typing import Any

from service.errors import SlowError

KEPT_S = 1.0  # for which a result is told again: who asks often causes no more work
TOLD_S = 0.7  # within which an answer is given, whatever hangs
BUSY_S = 5.0  # a trial that takes longer has failed: until then the service is only busy


class Readiness:
    """The last trial and its result. It belongs to the event loop."""

    def __init__(self) -> None:
        self._trial: asyncio.Task[None] | None = None
        self._good_s = self._ended_s = -math.inf

    async def check(self, try_out: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Return if a trial succeeded a moment ago; raise its error or `SlowError` otherwise."""
        if self._trial is None or (
            self._trial.done() and time.monotonic() - self._ended_s > KEPT_S
        ):
            self._trial = asyncio.create_task(try_out())
            self._trial.add_done_callback(self._note)
        trial = self._trial
        await asyncio.wait({trial}, timeout=TOLD_S)
        if trial.done():
            trial.result()
        elif time.monotonic() - self._good_s > BUSY_S:
            raise SlowError(f"no place was answered within {TOLD_S:g} s")

    def _note(self, trial: asyncio.Task[None]) -> None:
        self._ended_s = time.monotonic()
        if not trial.cancelled() and trial.exception() is None:
            self._good_s = self._ended_s
