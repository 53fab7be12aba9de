"""How long somebody still waits for an answer, known in every thread that works on it."""

import math
import time
from contextvars import ContextVar

from service.errors import SlowError

UNASKED_S = 60.0  # for work that no client waits for


class Patience:
    """A deadline, which comes at once when nobody waits any more."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._end_s = seconds, time.monotonic() + seconds

    def left_s(self) -> float:
        """Return how many seconds are left; raise `SlowError` when none are."""
        left_s = self._end_s - time.monotonic()
        if left_s <= 0:
            raise self.error()
        return left_s

    def error(self) -> SlowError:
        """Return the error that says so."""
        return SlowError(f"the answer took more than {self._seconds:.0f} s: ask for less at once")

    def give_up(self) -> None:
        """Let the work end soon: its client is gone, or was answered."""
        self._end_s = -math.inf


PATIENCE: ContextVar[Patience | None] = ContextVar("patience", default=None)


def left_s() -> float:
    """Return for how many seconds this work is waited for; raise `SlowError` when for none.

    Whatever takes long calls it between two parts, and waits no longer than it says.
    """
    patience = PATIENCE.get()
    return UNASKED_S if patience is None else patience.left_s()


def too_slow() -> SlowError:
    """Return the error of work that its client waited for too long."""
    return (PATIENCE.get() or Patience(UNASKED_S)).error()
