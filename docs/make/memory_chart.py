"""Make docs/worker-memory.svg: the memory of one worker over the tiles that it made.

python benchmarks/job.py memory --store region.gpkg --json | python docs/make/memory_chart.py
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from tiling.files.atomic import write_text
from tiling.values import ATTRIBUTION

CHART = Path(__file__).parent.parent / "worker-memory.svg"
WIDTH, HEIGHT, LEFT, FOOT = 720, 260, 64, 40  # pixels
RIGHT, BOTTOM = WIDTH - 24, HEIGHT - FOOT  # where the axes end
MARKS = (0.25, 0.5, 0.75)  # of the height

Curve = Sequence[tuple[int, float]]  # tiles made, MB


def chart_of(curve: Curve) -> str:
    """Return the curve as SVG."""
    last, top = curve[-1][0], 1.25 * max(mb for _, mb in curve)
    line = " ".join(
        f"{LEFT + made / last * (RIGHT - LEFT):.1f},{BOTTOM * (1 - mb / top):.1f}"
        for made, mb in curve
    )
    rules = "".join(_rule(BOTTOM * (1 - mark), f"{mark * top:.0f} MB") for mark in MARKS)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}"'
        f' font-family="sans-serif" font-size="12">'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>{rules}'
        f'<path d="M{LEFT} 0V{BOTTOM}H{RIGHT}" fill="none" stroke="#888"/>'
        f'<polyline points="{line}" fill="none" stroke="#2a6f97" stroke-width="2"/>'
        f'<text x="{LEFT}" y="{BOTTOM + 16}">0</text>'
        f'<text x="{RIGHT}" y="{BOTTOM + 16}" text-anchor="end">'
        f"{last:,} tiles by one worker</text>"
        f'<text x="{LEFT}" y="{HEIGHT - 6}" fill="#666">'
        f"resident memory; tiles {ATTRIBUTION}</text></svg>\n"
    )


def _rule(y: float, label: str) -> str:
    return (
        f'<path d="M{LEFT} {y:.1f}H{RIGHT}" stroke="#ddd"/>'
        f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{label}</text>'
    )


if __name__ == "__main__":
    points = json.load(sys.stdin)
    write_text(CHART, chart_of([(point["tiles"], point["mb"]) for point in points]))
