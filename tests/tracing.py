"""What the coverage leaves out, because tracing it costs more than it tells."""

from collections.abc import Iterator
from contextlib import contextmanager

from coverage import Coverage


@contextmanager
def untraced() -> Iterator[None]:
    """Trace nothing meanwhile.

    A process of pytest-xdist has two tracers, one below the other. Where one ends, as by `no_cover`
    of pytest-cov, the other goes on.
    """
    stopped = []
    while (tracing := Coverage.current()) is not None:
        tracing.stop()
        stopped.append(tracing)
    try:
        yield
    finally:
        for tracing in reversed(stopped):
            tracing.start()
