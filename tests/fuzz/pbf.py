"""A writer of .osm.pbf that writes whatever it is told, as no real writer would.

https://wiki.openstreetmap.org/wiki/PBF_Format
"""

import struct
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

FEATURES = ("OsmSchema-V0.6", "DenseNodes")
DEGREE = 10_000_000  # units of 100 nanodegrees
MEMBERS = "nwr"  # the numbers of the kinds of members


@dataclass
class Item:
    """An object: `kind` is n, w or r; `tags` are pairs of bytes.

    `at`: (lat, lon) of a node in units. `refs`: ids of the nodes of a way. `members`: kind, id and
    role of those of a relation. `info`: fields of its metadata by their numbers. `extra`: more
    fields of the object, as bytes.
    """

    kind: str
    id: int
    tags: list[tuple[bytes, bytes]] = field(default_factory=list)
    at: tuple[int, int] = (0, 0)
    refs: list[int] = field(default_factory=list)
    members: list[tuple[str, int, bytes]] = field(default_factory=list)
    info: dict[int, int] = field(default_factory=lambda: {1: 1})
    extra: bytes = b""


def varint(number: int) -> bytes:
    """Return a whole number as protobuf writes it; a negative one takes ten bytes."""
    number &= (1 << 64) - 1
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def zigzag(number: int) -> int:
    """Return a signed number as protobuf turns it into one without a sign."""
    return number << 1 if number >= 0 else (-number << 1) - 1


def packed(number: int, data: bytes) -> bytes:
    """Return a field of bytes, of a message or of packed numbers."""
    return varint(number << 3 | 2) + varint(len(data)) + data


def whole(number: int, value: int) -> bytes:
    """Return a field of one whole number."""
    return varint(number << 3) + varint(value)


def numbers(number: int, values: Iterable[int]) -> bytes:
    """Return a field of packed whole numbers."""
    return packed(number, b"".join(map(varint, values)))


def steps(number: int, values: Sequence[int]) -> bytes:
    """Return a field of packed signed numbers, each as its difference from the one before."""
    before = [0, *values[:-1]] if values else []
    return numbers(number, [zigzag(v - b) for v, b in zip(values, before, strict=True)])


def block_of(items: Iterable[Item], more: bytes = b"") -> bytes:
    """Return objects as the data of a block; `more` are further fields of it."""
    words: dict[bytes, int] = {b"": 0}
    fields = {"n": 1, "w": 3, "r": 4}
    groups = [packed(2, packed(fields[item.kind], _of(item, words))) for item in items]
    table = b"".join(packed(1, word) for word in words)
    return packed(1, table) + b"".join(groups) + more


def _of(item: Item, words: dict[bytes, int]) -> bytes:
    def index(word: bytes) -> int:
        return words.setdefault(word, len(words))

    tags = numbers(2, [index(key) for key, _ in item.tags])
    tags += numbers(3, [index(value) for _, value in item.tags])
    info = packed(4, b"".join(whole(number, value) for number, value in item.info.items()))
    osm_id = zigzag(item.id) if item.kind == "n" else item.id
    return whole(1, osm_id) + tags + info + _shape(item, index) + item.extra


def _shape(item: Item, index: Callable[[bytes], int]) -> bytes:
    if item.kind == "n":
        return b"".join(whole(8 + n, zigzag(value)) for n, value in enumerate(item.at))
    if item.kind == "w":
        return steps(8, item.refs)
    roles = numbers(8, [index(role) for _, _, role in item.members])
    ids = steps(9, [osm_id for _, osm_id, _ in item.members])
    return roles + ids + numbers(10, [MEMBERS.index(kind) for kind, _, _ in item.members])


def header_of(
    box: tuple[int, int, int, int] | None, features: Sequence[str] = FEATURES, more: bytes = b""
) -> bytes:
    """Return the data of a header; `box` is left, right, top and bottom, nanodegrees."""
    fields = b"" if box is None else b"".join(whole(n, zigzag(v)) for n, v in enumerate(box, 1))
    required = b"".join(packed(4, feature.encode()) for feature in features)
    return (b"" if box is None else packed(1, fields)) + required + more


def blob(kind: bytes, data: bytes, size: int | None = None, level: int | None = 1) -> bytes:
    """Return data as a part of a file, packed unless `level` is None; `size` may be a lie."""
    if level is None:
        body = packed(1, data)
    else:
        size = len(data) if size is None else size
        body = whole(2, size) + packed(3, zlib.compress(data, level))
    head = packed(1, kind) + whole(3, len(body))
    return struct.pack(">I", len(head)) + head + body
