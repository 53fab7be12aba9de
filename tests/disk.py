"""A full disk, as a process of the same account meets it: none of its files grows."""

import contextlib
import resource


def fill_disk(pid: int) -> None:
    """Refuse whatever a process and those that it starts from now on write into files."""
    _let_grow(pid, 0)


def free_disk(pid: int) -> None:
    """Let a process write again."""
    _let_grow(pid, resource.RLIM_INFINITY)


def _let_grow(pid: int, most: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))
