"""Graphs on paper: bars, points of classes, their densities, and curves."""

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from loc2vec.model.arrays import Floats
from loc2vec.paper.colours import CLASSES
from loc2vec.paper.plot import FAINT, Axes, Figure, panels, styled

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
SMALL = 8.5
LETTERS = 40  # of the name of a bar
BAR_IN = 0.2  # inches that a bar takes
ROOM = 0.5  # of their width around the points, in which contours close
FEWEST_DENSE = 8  # points whose density is plotted
STEPS = 140  # a side of the grid on which densities are computed


def bars(
    axes: Axes, names: Sequence[str], values: NDArray[np.floating], colours: Sequence[str]
) -> None:
    """Plot one bar a name, the first on top, with its value behind it."""
    rows = np.arange(len(names))
    axes.barh(rows, values, color=colours, height=0.7)
    shortened = [textwrap.shorten(name, LETTERS, placeholder="…") for name in names]
    axes.set_yticks(rows, shortened, fontsize=SMALL)
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)
    low, high = min(float(values.min()), 0), max(float(values.max()), 0)
    room = 0.16 * (high - low or 1.0)  # for the number behind a bar
    axes.set_xlim(low - (room if low < 0 else 0.02 * room), high + room)
    for row, value in zip(rows.tolist(), values.tolist(), strict=True):
        _number(axes, row, value)


def _number(axes: Axes, row: int, value: float) -> None:
    text = f"{value:.2f}".replace("-0.00", "0.00")
    side, shift = ("left", 3) if value >= 0 else ("right", -3)
    axes.annotate(
        text, (value, row), (shift, 0), textcoords="offset points", fontsize=7.5, color=FAINT,
        ha=side, va="center",
    )  # fmt: skip


def scatter(axes: Axes, at: Floats, label: NDArray[np.int64], classes: Sequence[str]) -> None:
    """Plot points [n, 2], each class in its colour and shape."""
    for number, name in enumerate(classes):
        x, y = at[label == number].T
        axes.scatter(
            x, y, s=16, color=CLASSES[number], marker=MARKERS[number], lw=0.3,
            edgecolors="white", label=name,
        )  # fmt: skip


def densities(axes: Axes, at: Floats, label: NDArray[np.int64], count: int) -> None:
    """Plot, for each class, the lines within which half and nine tenths of its points lie."""
    margin = ROOM * np.ptp(at, axis=0)
    ends = zip(at.min(0) - margin, at.max(0) + margin, strict=True)
    x, y = np.meshgrid(*(np.linspace(low, high, STEPS) for low, high in ends))
    shown = [at]
    for number in range(count):
        points = at[label == number]
        if len(points) >= FEWEST_DENSE:
            shown.append(_contours(axes, x, y, points, CLASSES[number]))
    _fit(axes, np.concatenate(shown))


def _fit(axes: Axes, shown: Floats) -> None:
    """Let the axes end a little beyond points [n, 2]."""
    low, high = shown.min(0), shown.max(0)
    edge = 0.03 * (high - low)
    axes.set_xlim(low[0] - edge[0], high[0] + edge[0])
    axes.set_ylim(low[1] - edge[1], high[1] + edge[1])


def _contours(axes: Axes, x: Floats, y: Floats, points: Floats, colour: str) -> Floats:
    """Plot the lines of one class; return the points that they go through, float64 [n, 2]."""
    from scipy.stats import gaussian_kde

    density = gaussian_kde(points.T)
    levels = np.quantile(density(points.T), [0.1, 0.5])
    if levels[0] < levels[1]:
        z = density(np.stack([x.ravel(), y.ravel()])).reshape(x.shape)
        lines = axes.contour(x, y, z, levels, colors=colour, linewidths=(0.8, 1.6), alpha=0.8)
        axes.contourf(x, y, z, [levels[1], np.inf], colors=colour, alpha=0.12)
        return np.concatenate([path.vertices for path in lines.get_paths()])
    return points


@styled()
def curves(lines: Mapping[str, Mapping[int, float]], x: str, y: str) -> Figure:
    """Plot named lines, each {x: y}, over one logarithmic axis, with their legend beside them."""
    figure, (axes,) = panels(1, 1, (6.4, 3.4))
    for number, (name, points) in enumerate(lines.items()):
        axes.plot(
            list(points), list(points.values()), marker="o", ms=3, label=name,
            color=f"C{number % 10}",
        )  # fmt: skip
    ticks = sorted({at for points in lines.values() for at in points})
    axes.set_xscale("log")
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    figure.legend(loc="outside right center", frameon=False, fontsize=8)
    return figure
