"""Connections of clients: not more than there are file descriptors for, and none that only waits.

Without a descriptor left, asyncio cannot accept, and fills the log with its attempts.
"""

import asyncio
import resource
from typing import Any, cast

from uvicorn.protocols.http.h11_impl import H11Protocol

from service.errors import FilesError

FIRST_S = 15.0  # in which a connection must have sent the head of its first request
OWN_FILES = 128  # descriptors for stores, pipes, a database, and three times `BACKLOG`
LEAST_FILES, MOST_FILES = 160, 65_536  # descriptors without which nothing goes, that are enough
# Connections that wait to be accepted. asyncio accepts so many at once, and closes one too many
# in the third turn of its loop after that.
BACKLOG = 24


def use_all_files() -> None:
    """Raise the limit of open files as far as the system lets this process, but not endlessly.

    Raises `FilesError` when that is too few for a service.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = MOST_FILES if most == resource.RLIM_INFINITY else min(most, MOST_FILES)
    if files < LEAST_FILES:
        raise FilesError(
            f"{files} open files are allowed here, and a service needs {LEAST_FILES}: "
            f"raise the limit, for example by `ulimit -n {MOST_FILES}`"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, most))


def most_connections() -> int:
    """Return how many connections may be open at once."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(1, files - OWN_FILES)


class Connection(H11Protocol):
    """A connection that is closed when it is one too many, or asks nothing."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for the first request."""
        super().connection_made(cast(Any, transport))
        if len(self.connections) > most_connections():
            self.transport.abort()
            return
        self.loop.call_later(FIRST_S, self._close_unless_asked)

    def _close_unless_asked(self) -> None:
        if self.cycle is None and not self.transport.is_closing():
            self.transport.close()
