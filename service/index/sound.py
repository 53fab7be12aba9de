"""Whether a file of FAISS can be read and searched safely, told before FAISS sees it.

FAISS trusts what it reads: sizes that lie, or a graph that leads outside, end the process. The
layout is that of `write_index` in faiss/impl/index_write.cpp, of the two kinds that are used here.
"""

import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

FLAT, GRAPH = b"IxF2", b"IHNf"
HEADER = struct.Struct("<iqqqbi")  # dimension, vectors, two that are unused, trained, metric
L2 = 1
MOST_CANDIDATES = 1000  # that building a graph keeps
Array = NDArray[Any]


class _Cursor:
    """Reads one thing after the other from a file; `ValueError` at its end."""

    def __init__(self, path: Path) -> None:
        self._bytes = np.memmap(path, np.uint8, "r")
        self._at = 0

    def take(self, count: int) -> Array:
        """Return the next bytes."""
        if not 0 <= count <= len(self._bytes) - self._at:
            raise ValueError("the file is too short")
        self._at += count
        return self._bytes[self._at - count : self._at]

    def numbers(self, kind: DTypeLike, count: int) -> Array:
        """Return the next numbers."""
        return self.take(count * np.dtype(kind).itemsize).view(kind)

    def vector(self, kind: DTypeLike) -> Array:
        """Return the numbers of a vector, before which its length stands."""
        return self.numbers(kind, int(self.numbers("<u8", 1)[0]))

    @property
    def at_end(self) -> bool:
        return self._at == len(self._bytes)


def is_sound(path: Path, count: int, dim: int) -> bool:
    """Tell whether a file is a flat index or a graph of `count` vectors of `dim` numbers."""
    try:
        cursor = _Cursor(path)
        kind = bytes(cursor.take(4))
        if kind == GRAPH:
            fits = _header_fits(cursor, count, dim) and _is_graph(cursor, count)
            if not fits:
                return False
            kind = bytes(cursor.take(4))
        return kind == FLAT and _header_fits(cursor, count, dim) and _is_flat(cursor, count * dim)
    except (ValueError, OverflowError):
        return False


def _header_fits(cursor: _Cursor, count: int, dim: int) -> bool:
    found = HEADER.unpack(bytes(cursor.take(HEADER.size)))
    return (found[0], found[1], found[4], found[5]) == (dim, count, 1, L2)


def _is_flat(cursor: _Cursor, numbers: int) -> bool:
    return len(cursor.vector("<f4")) == numbers and cursor.at_end


def _is_graph(cursor: _Cursor, count: int) -> bool:
    """Tell whether all that a graph refers to is there."""
    chances, ends = cursor.vector("<f8"), cursor.vector("<i4")
    levels, offsets = cursor.vector("<i4"), cursor.vector("<u8")
    neighbours = cursor.vector("<i4")
    entry, top, candidates = cursor.numbers("<i4", 5)[:3].tolist()
    return (
        len(levels) == count == len(offsets) - 1
        and len(chances) < len(ends)
        and ends[0] == 0
        and bool((np.diff(ends) >= 0).all())
        and bool(((levels >= 1) & (levels < len(ends))).all())
        and offsets[0] == 0
        and bool((np.diff(offsets.astype(np.int64)) == ends[levels]).all())
        and offsets[-1] == len(neighbours)
        and bool(((neighbours >= -1) & (neighbours < count)).all())
        and 0 <= entry < count
        and top == levels[entry] - 1
        and 0 < candidates <= MOST_CANDIDATES
        and all(_is_level(level, ends, levels, offsets, neighbours) for level in range(1, top + 1))
    )


def _is_level(
    level: int, ends: Array, levels: Array, offsets: Array, neighbours: Array
) -> bool:  # fmt: skip
    """Tell whether a level of a graph leads only to vectors of that level."""
    nodes = np.flatnonzero(levels > level)
    begins = offsets[nodes].astype(np.int64)[:, None]
    reached = neighbours[begins + np.arange(ends[level], ends[level + 1])]
    return bool((levels[reached[reached >= 0]] > level).all())
