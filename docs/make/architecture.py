"""Plot the rooms of the code and who imports whom: `python docs/make/architecture.py`.

Writes docs/architecture.svg from the imports in the source. The thick arrows are the way of the
data. A thin curve leads from a room down to one that it imports. A room is a folder of a package,
or a module that lies in the package itself. It stands above all rooms that it imports.
"""

import ast
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PICTURE = ROOT / "docs" / "architecture.svg"
PACKAGES = {
    "tiling": ("OSM to tiles", "#4f8a5b"),
    "loc2vec": ("tiles to vectors", "#3f6fa8"),
    "service": ("vectors to answers", "#a8623f"),
}
WIDTH, HEIGHT = 124, 44  # of a room
GAP_X, GAP_Y = 14, 34  # between rooms
MARGIN, HEAD = 24, 56  # around a package, and for its title
SHIFTS = (0.0, 0.75, 0.25, 1.0, 0.5)  # of the rows: long arrows then pass between rooms
LEFT_OUT = {
    "errors",
    "__init__",
    "__main__",
    "version",
}  # everybody imports them, or they import nothing

Edges = dict[str, set[str]]


class Room(NamedTuple):
    """A room at its place in the picture; `x`, `y` are its upper left corner."""

    name: str
    says: str
    x: float
    y: float


def rooms_and_imports(package: str) -> Edges:
    """Return the rooms of a package, each with those of the same package that it imports."""
    edges: Edges = {}
    for path in sorted((ROOT / package).rglob("*.py")):
        here = room_of(path.relative_to(ROOT).with_suffix("").parts)
        edges.setdefault(here, set())
        for module in imported(path):
            if module[0] == package and len(module) > 1:
                edges[here].add(room_of(module))
    return {
        room: {other for other in others if other in edges and other != room} - LEFT_OUT
        for room, others in edges.items()
        if room not in LEFT_OUT
    }


def room_of(module: tuple[str, ...]) -> str:
    """Return the folder or the module below its package.

    >>> room_of(("tiling", "store", "base")), room_of(("tiling", "values"))
    ('store', 'values')
    """
    return module[1]


def imported(path: Path) -> Iterator[tuple[str, ...]]:
    """Yield the parts of each module's name that a file imports, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield tuple(node.module.split("."))
        elif isinstance(node, ast.Import):
            yield from (tuple(alias.name.split(".")) for alias in node.names)


def floors(edges: Mapping[str, set[str]]) -> dict[str, int]:
    """Return the floor of each room: one above the highest room that it imports."""
    found: dict[str, int] = {}

    def floor(room: str) -> int:
        if room not in found:
            found[room] = 1 + max((floor(other) for other in edges[room]), default=-1)
        return found[room]

    for room in edges:
        floor(room)
    return found


def line_of(package: str, room: str) -> str:
    """Return the beginning of a room's docstring, as its caption."""
    path = ROOT / package / room
    source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    text = ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) or ""
    head, _, rest = text.partition("\n")[0].rstrip(".").replace("`", "").partition(": ")
    return rest or head


def placed(package: str, left: float, top: float, highest: int) -> list[Room]:
    """Place the rooms of a package in rows, a floor each, the ground floor at the bottom."""
    at = floors(rooms_and_imports(package))
    rows = [sorted(room for room, own in at.items() if own == n) for n in range(highest + 1)]
    longest = max(map(len, rows))
    rooms = []
    for floor, row in enumerate(rows):
        free = (longest - len(row)) * (WIDTH + GAP_X)
        indent = free * SHIFTS[floor % len(SHIFTS)]
        for number, room in enumerate(row):
            x = left + MARGIN + indent + number * (WIDTH + GAP_X)
            y = top + HEAD + (highest - floor) * (HEIGHT + GAP_Y)
            rooms.append(Room(room, line_of(package, room), x, y))
    return rooms


def width_of(rooms: list[Room], left: float) -> float:
    """Return the width of a package."""
    return max(room.x for room in rooms) + WIDTH + MARGIN - left


def arrow(above: Room, below: Room, colour: str) -> str:
    """Return a curve from the foot of a room to the top of one that it imports."""
    x1, y1 = above.x + WIDTH / 2, above.y + HEIGHT
    x2, y2 = below.x + WIDTH / 2, below.y
    bend = (y2 - y1) / 2
    return (
        f'<path d="M{x1:.0f},{y1:.0f} C{x1:.0f},{y1 + bend:.0f} {x2:.0f},{y2 - bend:.0f} '
        f'{x2:.0f},{y2:.0f}" stroke="{colour}"/>'
    )


def box(room: Room, colour: str) -> str:
    """Return a room with its name and its caption on two lines."""
    words, lines = room.says.split(), [""]
    for word in words:
        if len(lines[-1]) + len(word) > 24:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    caption = lines[:2]
    if len(lines) > 2:
        caption[1] += " ..."
    middle = room.x + WIDTH / 2
    text = "".join(
        f'<text x="{middle:.0f}" y="{room.y + 27 + 10 * number:.0f}" class="says">'
        f"{escape(line)}</text>"
        for number, line in enumerate(caption)
    )
    return (
        f'<rect x="{room.x:.0f}" y="{room.y:.0f}" width="{WIDTH}" height="{HEIGHT}" rx="5" '
        f'fill="#fff" stroke="{colour}"/><text x="{middle:.0f}" y="{room.y + 15:.0f}" '
        f'class="room">{escape(room.name)}</text>{text}'
    )


def drawn(package: str, left: float, top: float, highest: int) -> tuple[str, float]:
    """Return a package as SVG, and its width."""
    says, colour = PACKAGES[package]
    edges = rooms_and_imports(package)
    rooms = placed(package, left, top, highest)
    by_name = {room.name: room for room in rooms}
    width = width_of(rooms, left)
    height = HEAD + (highest + 1) * (HEIGHT + GAP_Y) - GAP_Y + MARGIN
    parts = [
        f'<rect x="{left:.0f}" y="{top:.0f}" width="{width:.0f}" height="{height}" rx="10" '
        f'fill="{colour}" fill-opacity="0.08"/>',
        f'<text x="{left + MARGIN:.0f}" y="{top + 32:.0f}" class="package" fill="{colour}">'
        f"{package}/ <tspan class='job'>{says}</tspan></text>",
        *(arrow(by_name[a], by_name[b], colour) for a in edges for b in sorted(edges[a])),
        *(box(room, colour) for room in rooms),
    ]
    return "\n".join(parts), width


def picture() -> str:
    """Return the picture of all packages as SVG."""
    heights = {package: max(floors(rooms_and_imports(package)).values()) for package in PACKAGES}
    parts: list[str] = []
    left, tallest = 10.0, max(heights.values())
    total = HEAD + (tallest + 1) * (HEIGHT + GAP_Y) - GAP_Y + MARGIN
    for package in PACKAGES:
        if parts:
            parts.append(
                f'<path d="M{left + 6:.0f},{10 + total / 2:.0f} h36" stroke="#444" '
                'stroke-width="3" marker-end="url(#big)"/>'
            )
            left += 50
        svg, width = drawn(package, left, 10, tallest)
        parts.append(svg)
        left += width
    style = (
        "text{font-family:sans-serif;fill:#222}.room{font-size:13px;font-weight:600;"
        "text-anchor:middle}.says{font-size:8.5px;text-anchor:middle;fill:#555}"
        ".package{font-size:20px;font-weight:700}.job{font-size:13px;font-weight:400}"
        "path{fill:none;stroke-opacity:0.45}"
    )
    marker = (
        '<defs><marker id="big" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="5" '
        'markerHeight="5" orient="auto"><path d="M0,0 L10,5 L0,10 z" '
        'style="fill:#444;stroke:none"/></marker></defs>'
    )
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + 10:.0f} {total + 20}">'
        f'<style>{style}</style>{marker}<rect width="100%" height="100%" fill="#fff"/>\n{body}\n'
        "</svg>\n"
    )


if __name__ == "__main__":
    PICTURE.write_text(picture(), encoding="utf-8")
