"""Well-known binary of strangers, looked at before GEOS reads it.

https://libgeos.org/specifications/wkb/
"""

import struct

MOST = 100  # collections within one another; GEOS takes stack for each, and has no bound
HEAD = 9  # bytes of a collection, before what it holds
COLLECTIONS = (4, 5, 6, 7, 9, 10, 11, 12, 15, 16)
RINGS, LINES = (3, 17), (2, 8)
WITH_Z, WITH_M, WITH_SRID = 1 << 31, 1 << 30, 1 << 29


def is_too_deep(wkb: bytes | str) -> bool:
    """Tell whether collections lie within one another more than `MOST` deep; text is hexadecimal.

    >>> collection = bytes.fromhex("010700000001000000")
    >>> is_too_deep(collection * 100), is_too_deep(collection * 101)
    (False, True)
    """
    if len(wkb) <= MOST * HEAD:
        return False
    try:
        return _is_too_deep(bytes.fromhex(wkb) if isinstance(wkb, str) else wkb)
    except (struct.error, IndexError, ValueError):  # it is cut off or none, which GEOS tells
        return False


def _is_too_deep(wkb: bytes) -> bool:
    left = [1]  # geometries to come, in each collection that is open
    at = 0
    while left and len(left) <= MOST + 1:
        if not left[-1]:
            left.pop()
            continue
        left[-1] -= 1
        at, parts = _after(wkb, at)
        if parts:
            left.append(parts)
    return bool(left)


def _after(wkb: bytes, at: int) -> tuple[int, int]:
    """Return where a geometry, or the head of a collection, ends, and how many it holds."""
    end = "<" if wkb[at] == 1 else ">"
    (word,) = struct.unpack_from(f"{end}I", wkb, at + 1)
    at += 9 if word & WITH_SRID else 5
    more, kind = divmod(word & 0xFFFF, 1000)
    place = (
        16
        + 8 * (bool(word & WITH_Z) or more in (1, 3))
        + 8 * (bool(word & WITH_M) or more in (2, 3))
    )
    if kind == 1:
        return at + place, 0
    (count,) = struct.unpack_from(f"{end}I", wkb, at)
    at += 4
    if kind in COLLECTIONS:
        return at, count
    for _ in range(count if kind in RINGS else 0):
        (places,) = struct.unpack_from(f"{end}I", wkb, at)
        at += 4 + place * places
    return at + (place * count if kind in LINES else 0), 0
