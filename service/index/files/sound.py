"""Whether a file of FAISS can be read and searched safely, told before FAISS sees it.

FAISS trusts what it reads: sizes that lie, or numbers of vectors that are none, end the process.
The layout is that of `write_index` in faiss/impl/index_write.cpp, of the kinds that are used here.
"""

import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

FLAT, LISTS = b"IxF2", b"IwFl"
IN_MEMORY, ALL, SOME = b"ilar", b"full", b"sprs"  # lists: how they are kept, how their sizes are
BY_NUMBER = 1  # the map from the number of a vector to where it lies is an array
HEADER = struct.Struct("<iqqqbi")  # dimension, vectors, two that are unused, trained, metric
L2 = 1
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
    """Tell whether a file is an index, flat or of lists, of `count` vectors of `dim` numbers."""
    try:
        cursor = _Cursor(path)
        kind = bytes(cursor.take(4))
        if kind == LISTS:
            sound = _header_fits(cursor, count, dim) and _are_lists(cursor, count, dim)
        else:
            sound = kind == FLAT and _is_flat(cursor, count, dim)
        return sound and cursor.at_end
    except (ValueError, OverflowError):
        return False


def _header_fits(cursor: _Cursor, count: int, dim: int) -> bool:
    found = HEADER.unpack(bytes(cursor.take(HEADER.size)))
    return (found[0], found[1], found[4], found[5]) == (dim, count, 1, L2)


def _is_flat(cursor: _Cursor, count: int, dim: int) -> bool:
    return _header_fits(cursor, count, dim) and len(cursor.vector("<f4")) == count * dim


def _are_lists(cursor: _Cursor, count: int, dim: int) -> bool:
    """Tell whether every vector lies in one list, where the map says."""
    lists, _ = cursor.numbers("<u8", 2).tolist()
    if bytes(cursor.take(4)) != FLAT or not _is_flat(cursor, lists, dim):
        return False
    kind, lies = cursor.take(1)[0], cursor.vector("<i8")
    if kind != BY_NUMBER or len(lies) != count or bytes(cursor.take(4)) != IN_MEMORY:
        return False
    if cursor.numbers("<u8", 2).tolist() != [lists, 4 * dim]:
        return False
    sizes = _sizes(cursor, lists)
    if sizes.sum() != count or sizes.max() > count:
        return False
    where = np.full(count, -1, np.int64)
    for number in np.flatnonzero(sizes).tolist():
        size = int(sizes[number])
        cursor.take(4 * dim * size)
        ids = cursor.numbers("<i8", size)
        if ids.min() < 0 or ids.max() >= count:
            return False
        where[ids] = (number << 32) + np.arange(size)
    return bool((where == lies).all())


def _sizes(cursor: _Cursor, lists: int) -> Array:
    """Return the number of vectors in each list; `ValueError` for lists that are none."""
    how, found = bytes(cursor.take(4)), cursor.vector("<u8")
    if how == SOME:
        number, size = found.reshape(-1, 2).T
        if (number >= lists).any():
            raise ValueError("a list that is none")
        found = np.zeros(lists, np.uint64)
        found[number.astype(np.int64)] = size
    elif how != ALL or len(found) != lists:
        raise ValueError("no sizes of lists")
    return found
