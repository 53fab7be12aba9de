"""Extracts that are valid protobuf and hold what no mapper wrote; or real ones, damaged."""

import random
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import osmium

from tests.fuzz.attack import damage
from tests.fuzz.pbf import DEGREE, FEATURES, Item, blob, block_of, header_of, packed, whole

UNPACKED = "pbf,pbf_compression=none"
GROUND_ID, AT = 90_000, 20  # of the first tree of the ground; its latitude and longitude
SIDE = 12  # trees
POOL = range(1, 60)  # ids of the nodes that hostile objects are made of
IDS = (0, -1, 1, 2**31, 2**40, 2**62, 2**63 - 1, -(2**63))
UNITS = (
    0, 90 * DEGREE, -90 * DEGREE, 180 * DEGREE, -180 * DEGREE, 180 * DEGREE + 1, 900 * DEGREE,
    2**31 - 1, -(2**31), 2**31, 2**62, -(2**63), AT * DEGREE + 1, AT * DEGREE,
)  # fmt: skip
NANO = (0, -180 * 10**9, 180 * 10**9, 90 * 10**9, 10**12, 2**62, -(2**63), 20 * 10**9)
KINDS: tuple[dict[bytes, bytes], ...] = (
    {b"building": b"yes"}, {b"building": b"church", b"amenity": b"place_of_worship"},
    {b"natural": b"water"}, {b"natural": b"coastline"}, {b"landuse": b"forest"},
    {b"leisure": b"park"}, {b"highway": b"primary"}, {b"highway": b"pedestrian", b"area": b"yes"},
    {b"railway": b"rail"}, {b"railway": b"station"}, {b"waterway": b"river"}, {b"place": b"city"},
    {b"amenity": b"school"}, {b"boundary": b"administrative", b"admin_level": b"8"}, {},
)  # fmt: skip
TEXTS = (
    b"", b" ", b"yes", b"no", b"x" * 256, b"x" * 1000, b"\n\r\t\x1b[31m", b"';--", b"<b>&amp;",
    b"\xff\xfe", b"\xed\xa0\x80", b"\xf0\x9f\x8f\xa0" * 100, "\u202eevil\u0301\u0301".encode(),
    "\ufdfa".encode() * 80, "İß\u1e9e".encode(), b"1e999", b"-1", b"nan", b"*", b"NULL",
)  # fmt: skip
KEYS = (b"name", b"name:en", b"type", b"area", b"layer", b"tunnel", b"building", b"", b"highway")
ROLES = (b"outer", b"inner", b"", b"label", b"\xff", b"x" * 300)
NUMBERS = (0, 1, -1, 2**31 - 1, 2**31, 2**62, 2**63 - 1)
Items = list[Item]
Hostile = Callable[[Items, random.Random], None]


def ground() -> Items:
    """Return trees on a square kilometre, so that an extract covers some ground."""
    step = DEGREE // 1000
    return [
        Item(
            "n", GROUND_ID + n, [(b"natural", b"tree")],
            (AT * DEGREE + n // SIDE * step, AT * DEGREE + n % SIDE * step),
        )
        for n in range(SIDE * SIDE)
    ]  # fmt: skip


def ordinary(rng: random.Random) -> Items:
    """Return nodes within the ground, and ways and relations of them."""
    near = partial(rng.randrange, AT * DEGREE, AT * DEGREE + DEGREE // 100)
    nodes = [Item("n", n, at=(near(), near())) for n in POOL]
    ways = [Item("w", n, _tags(rng), refs=_ring(rng)) for n in range(1, rng.randrange(2, 25))]
    relations = [_relation(n, rng) for n in range(1, rng.randrange(1, 8))]
    return [*nodes, *ways, *relations]


def _in_order(items: Items) -> Items:
    return sorted(items, key=lambda item: ("nwr".index(item.kind), item.id))


def town(path: Path) -> None:
    """Write an extract that nothing is wrong with."""
    items = _in_order([*ordinary(random.Random(0)), *ground()])
    path.write_bytes(blob(b"OSMHeader", header_of(None)) + blob(b"OSMData", block_of(items)))


def _tags(rng: random.Random) -> list[tuple[bytes, bytes]]:
    return list(rng.choice(KINDS).items())


def _ring(rng: random.Random) -> list[int]:
    refs = rng.sample(POOL, rng.choice([2, 3, 4, 5, 12]))
    return [*refs, refs[0]] if rng.random() < 0.7 else refs


def _relation(number: int, rng: random.Random) -> Item:
    members = [("w", rng.randrange(1, 25), rng.choice(ROLES[:3])) for _ in range(rng.randrange(5))]
    tags = [(b"type", rng.choice([b"multipolygon", b"boundary"])), *_tags(rng)]
    return Item("r", number, tags, members=members)


def _some(items: Items, rng: random.Random, kind: str = "nwr") -> Items:
    """Choose a few objects of some kinds."""
    able = [item for item in items if item.kind in kind]
    return rng.sample(able, min(len(able), rng.choice([1, 1, 3, 10])))


def odd_ids(items: Items, rng: random.Random) -> None:
    for item in _some(items, rng):
        item.id = rng.choice(IDS if rng.random() < 0.1 else IDS[2:-1])


def odd_places(items: Items, rng: random.Random) -> None:
    for item in _some(items, rng, "n"):
        item.at = (rng.choice(UNITS), rng.choice(UNITS))
        item.tags = _tags(rng)


def odd_texts(items: Items, rng: random.Random) -> None:
    for item in _some(items, rng):
        item.tags += [(rng.choice(KEYS), rng.choice(TEXTS)) for _ in range(rng.choice([1, 2, 9]))]
        if rng.random() < 0.2:
            item.tags.append((rng.choice(TEXTS), b"yes"))
        if rng.random() < 0.02:
            item.tags.append((b"name", rng.choice([b"a\0b", b"x" * 70_000])))


def odd_rings(items: Items, rng: random.Random) -> None:
    for item in _some(items, rng, "w"):
        few = rng.sample(POOL, rng.choice([1, 2, 3, 4, 6]))
        item.refs = rng.choice(
            [
                [], few[:1], few[:1] * 5, [*few, *few[::-1]], [*few, *few, few[0]],
                rng.choices(POOL, k=rng.choice([30, 300, 2000])), [*few, 10**9, few[0]],
                [*few, rng.choice(IDS), few[0]], [GROUND_ID + n for n in (0, 1, 13, 12, 0)],
            ]
        )  # fmt: skip
        item.tags = item.tags or _tags(rng)


def odd_members(items: Items, rng: random.Random) -> None:
    for item in _some(items, rng, "r"):
        ways = [("w", way, rng.choice(ROLES)) for way in rng.choices(range(1, 25), k=6)]
        item.members = rng.choice(
            [
                [], [("r", item.id, b"outer")], ways, ways * 50, [*ways, ("n", 1, b"outer")],
                [*ways, ("w", rng.choice(IDS), b"inner")], [("r", 1, b""), ("r", 2, b"")],
            ]
        )  # fmt: skip


def odd_facts(items: Items, rng: random.Random) -> None:
    for item in _some(items, rng):
        item.info = {rng.randrange(1, 7): rng.choice(NUMBERS) for _ in range(4)}


def odd_fields(items: Items, rng: random.Random) -> None:
    for item in _some(items, rng):
        number = rng.choice([2, 3, 8, 9, 10, 15])
        data = rng.choice([b"", b"\x05", b"\xff" * 9 + b"\x01", b"\x80", rng.randbytes(20)])
        item.extra = packed(number, data)


def twice(items: Items, rng: random.Random) -> None:
    items[:] = _in_order([*items, *_some(items, rng)])


def out_of_order(items: Items, rng: random.Random) -> None:
    rng.shuffle(items)


def nothing_there(items: Items, rng: random.Random) -> None:
    kinds = rng.choice(["n", "w", "r", "nw", "wr", "nwr"])
    items[:] = [item for item in items if item.kind not in kinds]


HOSTILE: tuple[Hostile, ...] = (
    odd_ids, odd_places, odd_texts, odd_rings, odd_members, twice, nothing_there
)  # fmt: skip
RARE: tuple[Hostile, ...] = (odd_facts, odd_fields, out_of_order)  # often refused


def hostile_extract(path: Path, rng: random.Random) -> None:
    """Write an extract of ordinary objects that a few things are wrong with."""
    items = _in_order([*ordinary(rng), *ground()])
    changes = rng.choices(HOSTILE, k=rng.choice([1, 2, 4]))
    for change in [*changes, rng.choice(RARE)] if rng.random() < 0.1 else changes:
        change(items, rng)
    path.write_bytes(b"".join([_header(rng), *_blocks(items, rng)]))


def _header(rng: random.Random) -> bytes:
    box = None if rng.random() < 0.6 else tuple(rng.choice(NANO) for _ in range(4))
    rare = rng.choice(["HistoricalInformation", "Sort.Type_then_ID", "\0"])
    odd = (rare,) if rng.random() < 0.05 else ()
    said = rng.choice([b"LocationsOnWays", b"Sort.Type_then_ID", b"\xff"])
    late = rng.choice([b"", b"", packed(5, said), whole(32, rng.choice(NUMBERS))])
    return blob(b"OSMHeader", header_of(box, (*FEATURES, *odd), late))  # type: ignore[arg-type]


def _blocks(items: Iterable[Item], rng: random.Random) -> list[bytes]:
    more = b""
    if rng.random() < 0.15:  # how many nanodegrees a unit is, and where they are counted from
        more = whole(rng.choice([17, 18, 19, 20]), rng.choice([*NUMBERS, 100, 1000]))
    data = block_of(items, more)
    size = rng.choice([*NUMBERS, len(data) + 1]) if rng.random() < 0.05 else None
    return [blob(b"OSMData", data, size, rng.choice([None, 1]))]


def cut_of(extract: Path, path: Path, box: osmium.osm.Box) -> Path:
    """Write the nodes of an extract in a box and what holds them, not compressed."""
    kept: dict[str, set[int]] = {"n": set(), "w": set(), "r": set()}
    items: Iterable[Any] = osmium.FileProcessor(str(extract))
    with osmium.SimpleWriter(osmium.io.File(str(path), UNPACKED)) as writer:
        for item in items:
            if item.is_node():
                held = box.contains(item.location)
            elif item.is_way():
                held = any(node.ref in kept["n"] for node in item.nodes)
            else:
                held = any(member.ref in kept[member.type] for member in item.members)
            if held:
                kept[item.type_str()].add(item.id)
                writer.add(item)
    return path


def damaged_or_hostile(cut: Path, path: Path, rng: random.Random) -> None:
    """Write a hostile extract, or damage a real one or a hostile one."""
    kind = rng.random()
    if kind < 0.1:
        path.write_bytes(cut.read_bytes())
    else:
        hostile_extract(path, rng)
    if kind < 0.15:
        path.write_bytes(damage(path.read_bytes(), rng))
