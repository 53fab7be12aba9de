"""A town that is changed at random, as mappers do, and the replication server of its changes."""

import gzip
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import osmium

MEMBERS = {"n": "node", "w": "way", "r": "relation"}
TAGS: tuple[dict[str, str], ...] = (
    {"building": "yes"}, {"building": "church", "amenity": "place_of_worship"},
    {"landuse": "forest"}, {"leisure": "park"}, {"highway": "primary"}, {"railway": "rail"},
    {"natural": "water"}, {"amenity": "school"}, {"shop": "bakery", "name": "New"}, {},
)  # fmt: skip


class Town:
    """All objects of an extract, which are changed at random as mappers do."""

    def __init__(self, path: Path, seed: int) -> None:
        self._random = random.Random(seed)
        self.header = osmium.io.Reader(str(path), osmium.osm.NOTHING).header()
        self.nodes: dict[int, tuple[int, float, float, dict[str, str]]] = {}
        self.ways: dict[int, tuple[int, list[int], dict[str, str]]] = {}
        self.relations: dict[int, tuple[int, list[tuple[str, int, str]], dict[str, str]]] = {}
        for item in osmium.FileProcessor(str(path)):
            self._take(item)
        self.places: list[tuple[float, float]] = []  # (lon, lat) of what was changed

    def _take(self, item: Any) -> None:
        tags = dict(item.tags)
        if item.is_node():
            self.nodes[item.id] = (item.version, item.lon, item.lat, tags)
        elif item.is_way():
            self.ways[item.id] = (item.version, [node.ref for node in item.nodes], tags)
        else:
            members = [(member.type, member.ref, member.role) for member in item.members]
            self.relations[item.id] = (item.version, members, tags)

    def change(self, count: int) -> str:
        """Make so many changes; return them as a file."""
        deeds = (self._move, self._retag, self._delete, self._build, self._relate)
        lines = [deed for n in range(count) for deed in deeds[n % len(deeds)]()]
        return f'<osmChange version="0.6">{"".join(lines)}</osmChange>'

    def _near(self, node: int) -> tuple[float, float]:
        _, lon, lat, _ = self.nodes[node]
        self.places.append((lon, lat))
        return lon, lat

    def _some_way(self) -> int:
        held = {ref for _, members, _ in self.relations.values() for _, ref, _ in members}
        return self._random.choice([key for key in self.ways if key not in held])

    def _move(self) -> Iterator[str]:
        node = self._random.choice(self.ways[self._some_way()][1])
        version, lon, lat, tags = self.nodes[node]
        self._near(node)
        lon, lat = (round(v + self._random.gauss(0, 2e-4), 7) for v in (lon, lat))
        self.nodes[node] = (version + 1, lon, lat, tags)
        yield f"<modify>{self._node(node)}</modify>"

    def _retag(self) -> Iterator[str]:
        key = self._some_way()
        version, nodes, _ = self.ways[key]
        self._near(nodes[0])
        self.ways[key] = (version + 1, nodes, dict(self._random.choice(TAGS)))
        yield f"<modify>{self._way(key)}</modify>"

    def _delete(self) -> Iterator[str]:
        key = self._some_way()
        version, nodes, _ = self.ways.pop(key)
        self._near(nodes[0])
        yield f'<delete><way id="{key}" version="{version + 1}"/></delete>'

    def _build(self) -> Iterator[str]:
        lon, lat = self._near(self._random.choice(self.ways[self._some_way()][1]))
        first = max(self.nodes) + 1
        for n, (x, y) in enumerate(((0, 0), (3e-4, 0), (3e-4, 2e-4), (0, 2e-4))):
            self.nodes[first + n] = (1, round(lon + x, 7), round(lat + y, 7), {})
            yield f"<create>{self._node(first + n)}</create>"
        key = max(self.ways) + 1
        ring = [first, first + 1, first + 2, first + 3, first]
        self.ways[key] = (1, ring, dict(self._random.choice(TAGS)))
        yield f"<create>{self._way(key)}</create>"

    def _relate(self) -> Iterator[str]:
        areas = [
            k for k, (_, _, tags) in self.relations.items() if tags.get("type") == "multipolygon"
        ]
        key = self._random.choice(areas)
        version, members, _ = self.relations[key]
        tags = {"type": "multipolygon", **self._random.choice(TAGS)}
        self.relations[key] = (version + 1, members, tags)
        for kind, ref, _ in members[:1]:
            if kind == "w" and ref in self.ways:
                self._near(self.ways[ref][1][0])
        inner = "".join(
            f'<member type="{MEMBERS[kind]}" ref="{ref}" role={quoteattr(role)}/>'
            for kind, ref, role in members
        )
        yield (
            f'<modify><relation id="{key}" version="{version + 1}">{inner}{_tags(tags)}</relation>'
            "</modify>"
        )

    def _node(self, key: int) -> str:
        version, lon, lat, tags = self.nodes[key]
        return (
            f'<node id="{key}" version="{version}" lat="{lat:.7f}" lon="{lon:.7f}">'
            f"{_tags(tags)}</node>"
        )

    def _way(self, key: int) -> str:
        version, nodes, tags = self.ways[key]
        refs = "".join(f'<nd ref="{node}"/>' for node in nodes)
        return f'<way id="{key}" version="{version}">{refs}{_tags(tags)}</way>'

    def write(self, path: Path) -> Path:
        """Write the extract as it is after the changes."""
        with osmium.SimpleWriter(str(path), header=self.header, overwrite=True) as writer:
            for key, (version, lon, lat, tags) in sorted(self.nodes.items()):
                writer.add_node(
                    osmium.osm.mutable.Node(id=key, version=version, location=(lon, lat), tags=tags)
                )
            for key, (version, nodes, tags) in sorted(self.ways.items()):
                writer.add_way(
                    osmium.osm.mutable.Way(id=key, version=version, nodes=nodes, tags=tags)
                )
            for key, (version, members, tags) in sorted(self.relations.items()):
                writer.add_relation(
                    osmium.osm.mutable.Relation(id=key, version=version, members=members, tags=tags)
                )
        return path


def _tags(tags: dict[str, str]) -> str:
    return "".join(f"<tag k={quoteattr(k)} v={quoteattr(v)}/>" for k, v in tags.items())


def publish(folder: Path, number: int, text: str) -> None:
    """Add one state of a replication server, of a day each."""
    below = folder / "000" / "000"
    below.mkdir(parents=True, exist_ok=True)
    when = f"20{30 + number // 360}-{number // 30 % 12 + 1:02}-{number % 30 + 1:02}T00\\:00\\:00Z"
    when = when if number else "2000-01-01T00\\:00\\:00Z"
    (below / f"{number:03}.osc.gz").write_bytes(gzip.compress(text.encode()))
    state = f"sequenceNumber={number}\ntimestamp={when}\n"
    (below / f"{number:03}.state.txt").write_text(state)
    (folder / "state.txt").write_text(state)
