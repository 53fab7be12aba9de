"""Extracts made to exhaust or to crash an import: one line names the object, nothing is left."""

import struct
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

import osmium
import pytest

from tests.tiling.handmade import GROUND, SHA256
from tiling.catalogue.catalogue import load_catalogue
from tiling.errors import ExtractError
from tiling.osm.extract import read_objects
from tiling.store.store import Store

UNPACKED = "pbf,pbf_compression=none"
ZIGZAG = 100_000
MEMBERS = 500_000
COAST = 2_000
NODES = 9_000_000
CATALOGUE = load_catalogue()


def packed(path: Path, lines: Iterable[str], kind: str = "pbf") -> Path:
    """Write objects, given in osmium's text format, as a small .osm.pbf."""
    text = osmium.io.FileBuffer("\n".join([*lines, ""]).encode(), "opl")
    with osmium.SimpleWriter(osmium.io.File(str(path), kind)) as writer:
        for item in osmium.FileProcessor(text):
            writer.add(item)
    return path


def zigzag(first: int, count: int) -> list[str]:
    """Nodes whose line goes to and fro, and crosses itself everywhere."""
    return [
        f"n{first + n} v1 x{20 + n % 2 / 100:.4f} y{20 + n * 7 % 997 / 100_000:.7f}"
        for n in range(count)
    ]


def a_ring(path: Path) -> Path:
    nodes = ",".join(f"n{1_000_000 + n}" for n in range(ZIGZAG))
    way = f"w90000 v1 Tbuilding=yes N{nodes},n1000000"
    return packed(path, [*GROUND, *zigzag(1_000_000, ZIGZAG), way])


def a_relation(path: Path) -> Path:
    members = ",".join(f"w{n % 100 + 1}@" for n in range(MEMBERS))
    ways = [f"w{n + 1} v1 T Nn{90_000 + n},n{90_001 + n}" for n in range(100)]
    relation = f"r7 v1 Ttype=multipolygon,landuse=grass M{members}"
    return packed(path, [*GROUND, *ways, relation])


def a_coast(path: Path) -> Path:
    nodes = ",".join(f"n{1_000_000 + n}" for n in range(COAST))
    way = f"w90000 v1 Tnatural=coastline N{nodes}"
    return packed(path, [*GROUND, *zigzag(1_000_000, COAST), way])


def field(number: int, value: bytes) -> bytes:
    """Return a field of bytes as protobuf writes it."""
    length, size = len(value), b""
    while length > 127:
        size, length = size + bytes([length & 127 | 128]), length >> 7
    return bytes([number << 3 | 2]) + size + bytes([length]) + value


def many_nodes(path: Path) -> Path:
    """Write a block of nodes each beside the one before, which packs to a thousandth."""
    steps = field(1, b"\2" * NODES) + field(8, b"\2" * NODES) + field(9, b"\2" * NODES)
    block = field(1, field(1, b"")) + field(2, field(2, steps))
    sized = b"\x10" + field(0, block)[1 : -len(block)]  # how long it is once unpacked
    blob = sized + field(3, zlib.compress(block))
    header = field(1, b"OSMData") + b"\x18" + field(0, blob)[1 : -len(blob)]
    packed(path, GROUND)
    with path.open("ab") as file:
        file.write(struct.pack(">I", len(header)) + header + blob)
    assert path.stat().st_size < 50_000
    return path


def a_nul(path: Path) -> Path:
    packed(path, [*GROUND, "n1000000 v1 x20 y20 Tamenity=cafe,name=Na_me"], UNPACKED)
    path.write_bytes(path.read_bytes().replace(b"Na_me", b"Na\0me"))
    return path


ATTACKS = [
    (a_ring, r"more than 2 CPU seconds, after .*largest object is way 90000 with 100,001 nodes"),
    (a_relation, r"more than 2 CPU seconds, .*largest object is relation 7 with 500,000 members"),
    (
        a_coast,
        r"more (than 2 CPU s|memory).* making the sea.* way 90000 with 2,000 nodes",
    ),
    (many_nodes, r"more (than 2 CPU s|memory)"),
    (a_nul, "node 1000000 crashes the OSM library"),
]


@pytest.mark.parametrize(("make", "message"), ATTACKS)
def test_an_import_ends_in_one_line_that_names_the_object(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], Path], message: str
) -> None:
    monkeypatch.setattr("tiling.osm.bounded.read.CPU_S", 2)
    monkeypatch.setattr("tiling.osm.bounded.read.CPU_S_A_MB", 0)
    monkeypatch.setattr("tiling.osm.bounded.read.MEMORY", 400_000_000)
    path, folder = make(tmp_path / "attack.osm.pbf"), tmp_path / "stores"
    folder.mkdir()
    (folder / "s.gpkg").write_text(SHA256)
    with pytest.raises(ExtractError, match=message) as refused:
        Store.at(folder / "s.gpkg").import_extracts([path], CATALOGUE)
    assert "\n" not in str(refused.value)
    assert [file.read_text() for file in folder.iterdir()] == [SHA256]


def test_readers_of_objects_are_bounded_too(tmp_path: Path) -> None:
    path = a_nul(tmp_path / "attack.osm.pbf")
    with pytest.raises(ExtractError, match="node 1000000 crashes the OSM library"):
        read_objects(path, CATALOGUE, ["shop"])
