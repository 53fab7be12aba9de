"""Small SVG charts of lines and of histograms, without matplotlib; `chart.html.j2` shows them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from loc2vec.model.arrays import Floats

MOST_BINS = 40

Line = tuple[str, list[tuple[float, float]]]  # name, (x, y) points


@dataclass(frozen=True)
class Chart:
    """Named SVG paths over the ticks of both axes."""

    width: ClassVar[int] = 300  # units of the SVG
    height: ClassVar[int] = 130

    title: str
    names: list[str]
    paths: list[str]
    x: tuple[str, str]  # the least and the greatest value
    y: tuple[str, str]


def line_chart(title: str, lines: Sequence[Line], top: float | None = None) -> Chart:
    """Scale lines into the frame of a chart.

    The y axis begins at 0, and ends at `top` or at the greatest value.
    """
    xs, ys = np.array([point for _, points in lines for point in points]).T
    high = float(ys.max()) if top is None else top
    x_scale, y_scale = Chart.width / (float(np.ptp(xs)) or 1.0), Chart.height / (high or 1.0)
    low = float(xs.min())
    paths = [
        "M"
        + " L".join(
            f"{(x - low) * x_scale:.1f},{Chart.height - y * y_scale:.1f}" for x, y in points
        )
        for _, points in lines
    ]
    names = [name for name, _ in lines]
    return Chart(title, names, paths, (f"{low:.4g}", f"{xs.max():.4g}"), ("0", f"{high:.4g}"))


def histogram_chart(title: str, groups: Sequence[tuple[str, NDArray[np.floating]]]) -> Chart:
    """Return the outlines of the histograms of named groups over one axis; each has the area 1."""
    # float64: float32 has too few steps for the bins of values that are nearly equal
    together = np.concatenate([values for _, values in groups]).astype(np.float64)
    bins = int(np.clip(np.sqrt(len(groups[0][1])), 8, MOST_BINS))
    edges = np.linspace(together.min(), max(together.max(), together.min() + 1e-6), bins + 1)
    lines = [
        (name, list(_outline(edges, np.histogram(values, edges, density=True)[0])))
        for name, values in groups
    ]
    return line_chart(title, lines)


def _outline(edges: Floats, heights: Floats) -> Iterator[tuple[float, float]]:
    yield float(edges[0]), 0.0
    for left, right, height in zip(edges[:-1], edges[1:], heights, strict=True):
        yield from ((float(left), float(height)), (float(right), float(height)))
    yield float(edges[-1]), 0.0
