"""Memory that a process shares with the processes that it spawns."""

import mmap
import os
import weakref
from multiprocessing.reduction import DupFd
from typing import Any


class SharedMemory:
    """Bytes that a process and those that it spawns read and write.

    They lie on no disk. What lies in `/dev/shm` or `/tmp` ends the process that touches it when
    that disk is full.
    """

    def __init__(self, size: int, handle: Any = None) -> None:
        """Take `size` bytes, or with a `handle` those that another process took."""
        file = os.memfd_create("shared") if handle is None else handle.detach()
        weakref.finalize(self, os.close, file)
        os.ftruncate(file, max(size, 1))  # no map is empty
        self._file, self._map, self.size = file, mmap.mmap(file, max(size, 1)), size

    def __reduce__(self) -> tuple[Any, ...]:
        return SharedMemory, (self.size, DupFd(self._file))

    def bytes(self) -> memoryview:
        """Return the memory, uint8 [size]."""
        return memoryview(self._map)[: self.size]
