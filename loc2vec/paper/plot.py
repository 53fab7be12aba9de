"""Figures on paper: tiles in strips, points, bars. The only module of the explorer that knows matplotlib."""

import io
import textwrap
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import matplotlib as mpl
import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from loc2vec.paper.strips import Cell, Strips
from tiling.files.atomic import replacing, write_text
from tiling.geo.geodesy import MetresPerDegree
from tiling.values import ATTRIBUTION, Box

__all__ = ["Axes", "Figure"]

# Okabe and Ito, Color Universal Design (2008): told apart by colour-blind people, too.
CLASSES = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#F0E442", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
INK, FAINT = "#222222", "#666666"
FONT = "DejaVu Sans"  # comes with matplotlib
DPI = 120
COLOURS = 256
STYLE: dict[Any, Any] = {
    "font.family": FONT, "font.size": 9, "text.color": INK, "axes.edgecolor": FAINT, "axes.labelcolor": INK,
    "axes.spines.top": False, "axes.spines.right": False, "xtick.color": FAINT, "ytick.color": FAINT,
    "axes.titlesize": 10, "axes.titlelocation": "left",
}  # fmt: skip
# a side of a tile, between tiles, and a line of small text
TILE_IN, GAP_IN, LINE_IN = 1.22, 0.14, 0.155
SMALL = 8.5
LETTERS = 19  # of small text under a tile
FEWEST_DENSE = 8  # points whose density is drawn
HEAD_IN, FOOT_IN, EDGE_IN = 0.72, 0.42, 0.15


class Shown(Protocol):
    """What can be shown on paper and on a page."""

    def figure(self) -> Figure:
        """Draw it with matplotlib."""

    def page(self) -> str:
        """Return it as one HTML page that needs no other file and no network."""


def save(shown: Shown, path: Path) -> list[Path]:
    """Write PATH.png and PATH.html, each whole or not at all; return what was written."""
    png, html = (path.with_name(path.name + suffix) for suffix in (".png", ".html"))
    with replacing(png) as temporary:
        temporary.write_bytes(png_of(shown.figure()))
    write_text(html, shown.page())
    return [png, html]


def png_of(figure: Figure, dpi: float = DPI) -> bytes:
    """Return a figure as a PNG of few colours, which is a fourth of the size."""
    buffer = io.BytesIO()
    with mpl.rc_context(STYLE):
        figure.savefig(buffer, format="png", dpi=dpi)
    about = PngInfo()
    about.add_text("Copyright", ATTRIBUTION)
    packed = io.BytesIO()
    few = Image.open(buffer).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    few.save(packed, "PNG", optimize=True, pnginfo=about)
    return packed.getvalue()


@lru_cache(maxsize=1)
def _letters() -> frozenset[int]:
    """Return the code points that the font of figures has."""
    return frozenset(font_manager.get_font(font_manager.findfont(FONT)).get_charmap())


def drawable(text: str) -> str:
    """Leave out those parts of "Street, Town" that the font has no letters for.

    >>> drawable("交大路, Hsinchu TW")
    'Hsinchu TW'
    """
    parts = [part for part in text.split(", ") if {ord(letter) for letter in part} <= _letters()]
    return ", ".join(parts) or "?"


def new_figure(width_in: float, height_in: float, title: str, lead: str = "") -> Figure:
    """Return an empty figure with its title, a line of explanation below it, and whose data it is made of."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width_in, height_in), facecolor="white")
        top = 1 - EDGE_IN / height_in
        figure.text(EDGE_IN / width_in, top, drawable(title), fontsize=13, weight="bold", va="top")
        wrapped = textwrap.fill(lead, int((width_in - 2 * EDGE_IN) * 13.2))
        figure.text(
            EDGE_IN / width_in, top - 0.27 / height_in, wrapped, fontsize=9, color=FAINT, va="top"
        )
        figure.text(
            1 - EDGE_IN / width_in,
            0.1 / height_in,
            ATTRIBUTION,
            fontsize=7.5,
            color=FAINT,
            ha="right",
        )
    return figure


def axes_in(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Add axes at a place in inches from the upper left corner."""
    whole, high = figure.get_size_inches()
    with mpl.rc_context(STYLE):
        return figure.add_axes(
            (left / whole, 1 - (top + height) / high, width / whole, height / high)
        )


def show_tile(
    axes: Axes, picture: NDArray[np.uint8], frame: str = FAINT, weight: float = 0.6
) -> None:
    """Show a picture without ticks in a thin frame."""
    axes.imshow(picture, interpolation="antialiased")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(True)
        spine.set_edgecolor(frame)
        spine.set_linewidth(weight)


def tile_scale(
    figure: Figure, side_m: float, left: float, bottom: float, tile_in: float = TILE_IN
) -> None:
    """Draw the scale of tiles, and where their north is, `left` and `bottom` inches from the lower left corner."""
    whole, high = figure.get_size_inches()
    bar_m = side_m / 4
    bar = tile_in / 4 / whole
    x, y = left / whole, bottom / high
    figure.add_artist(
        Rectangle((x, y), bar, 0.03 / high, transform=figure.transFigure, color=INK, lw=0)
    )
    text = f"{bar_m:.0f} m    tiles are {side_m:.0f} m × {side_m:.0f} m, north ↑"
    figure.text(
        x + bar + 0.08 / whole, y + 0.015 / high, text, fontsize=7.5, color=FAINT, va="center"
    )


def sheet(strips: Strips) -> Figure:
    """Draw strips of tiles with what is said of them."""
    columns = max(len(row.cells) for row in strips.rows)
    lead_lines = _lead_lines(strips.lead, columns)
    head = HEAD_IN + max(lead_lines - 1, 0) * 0.16
    heights = [_row_height(row.title, row.cells) for row in strips.rows]
    width = max(2 * EDGE_IN + columns * (TILE_IN + GAP_IN) - GAP_IN, 6.6)
    figure = new_figure(width, head + sum(heights) + FOOT_IN, strips.title, strips.lead)
    top = head
    for row, height in zip(strips.rows, heights, strict=True):
        high = figure.get_size_inches()[1]
        if row.title:
            figure.text(
                EDGE_IN / width, 1 - top / high, row.title, fontsize=9.5, va="top", weight="bold"
            )
        y = top + (0.24 if row.title else 0)
        for column, cell in enumerate(row.cells):
            _cell(figure, cell, EDGE_IN + column * (TILE_IN + GAP_IN), y)
        top += height
    if strips.side_m:
        tile_scale(figure, strips.side_m, EDGE_IN, 0.13)
    return figure


def _lead_lines(lead: str, columns: int) -> int:
    width = max(2 * EDGE_IN + columns * (TILE_IN + GAP_IN) - GAP_IN, 6.6)
    return len(textwrap.wrap(lead, int((width - 2 * EDGE_IN) * 13.2)))


def _row_height(title: str, cells: Sequence[Cell]) -> float:
    lines = max(len(_lines(cell)) for cell in cells)
    return (0.24 if title else 0) + TILE_IN + 0.06 + lines * LINE_IN + 0.14


def _lines(cell: Cell) -> list[str]:
    lines = [
        part for line in map(drawable, cell.lines) for part in textwrap.wrap(line, LETTERS) or [""]
    ]
    return [cell.heading, *lines] if cell.heading else lines


def _cell(figure: Figure, cell: Cell, left: float, top: float) -> None:
    axes = axes_in(figure, left, top, TILE_IN, TILE_IN)
    if cell.picture is None:
        axes.set_axis_off()
    else:
        show_tile(axes, cell.picture, cell.frame or FAINT, 3 if cell.frame else 0.6)
    width, high = figure.get_size_inches()
    for number, line in enumerate(_lines(cell)):
        heading = number == 0 and cell.heading
        y = 1 - (top + TILE_IN + 0.06 + number * LINE_IN) / high
        figure.text(left / width, y, line, fontsize=SMALL, va="top", weight="bold" if heading else "normal",
                    color=INK if heading else FAINT)  # fmt: skip


def bars(
    axes: Axes, names: Sequence[str], values: NDArray[np.floating], colours: Sequence[str]
) -> None:
    """Draw one bar a name, the first on top, with its value behind it."""
    rows = np.arange(len(names))
    axes.barh(rows, values, color=colours, height=0.7)
    axes.set_yticks(
        rows, [textwrap.shorten(name, 34, placeholder="…") for name in names], fontsize=SMALL
    )
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)
    low, high = min(float(values.min()), 0), max(float(values.max()), 0)
    room = 0.16 * (high - low or 1.0)  # for the number behind a bar
    axes.set_xlim(low - (room if low < 0 else 0.02 * room), high + room)
    for row, value in zip(rows.tolist(), values.tolist(), strict=True):
        side = "left" if value >= 0 else "right"
        said = f"{value:.2f}".replace("-0.00", "0.00")
        axes.annotate(said, (value, row), (3 if value >= 0 else -3, 0), textcoords="offset points",
                      fontsize=7.5, color=FAINT, ha=side, va="center")  # fmt: skip


def scatter(
    axes: Axes, at: NDArray[np.floating], label: NDArray[np.int64], classes: Sequence[str]
) -> None:
    """Draw points [n, 2], each class in its colour and shape."""
    for number, name in enumerate(classes):
        here = label == number
        axes.scatter(
            at[here, 0],
            at[here, 1],
            s=16,
            color=CLASSES[number],
            marker=MARKERS[number],
            lw=0.3,
            edgecolors="white",
            label=name,
        )


def densities(axes: Axes, at: NDArray[np.floating], label: NDArray[np.int64], count: int) -> None:
    """Draw, for each class, the lines within which half and nine tenths of its points lie."""
    from scipy.stats import gaussian_kde

    low, high = at.min(0), at.max(0)
    margin = 0.08 * (high - low)
    x, y = np.meshgrid(
        *(np.linspace(a, b, 90) for a, b in zip(low - margin, high + margin, strict=True))
    )
    for number in range(count):
        points = at[label == number].T
        if points.shape[1] < FEWEST_DENSE:
            continue
        density = gaussian_kde(points)
        levels = np.quantile(density(points), [0.1, 0.5])
        if levels[0] < levels[1]:
            z = density(np.stack([x.ravel(), y.ravel()])).reshape(x.shape)
            axes.contour(x, y, z, levels, colors=CLASSES[number], linewidths=(0.8, 1.6), alpha=0.8)
            axes.contourf(x, y, z, [levels[1], np.inf], colors=CLASSES[number], alpha=0.12)


def map_panel(axes: Axes, picture: NDArray[np.uint8], box: Box) -> None:
    """Show a map in Web Mercator with a scale bar and an arrow to the north."""
    width = picture.shape[1]
    show_tile(axes, picture)
    metres = MetresPerDegree.at((box.south + box.north) / 2).x * (box.east - box.west)
    bar_m = _round(metres / 5)
    bar = bar_m / metres
    axes.add_patch(
        Rectangle(
            (0.015, 0.012),
            bar + 0.03,
            0.05,
            transform=axes.transAxes,
            color="white",
            alpha=0.8,
            lw=0,
            zorder=3,
        )
    )
    axes.add_patch(
        Rectangle((0.03, 0.02), bar, 0.006, transform=axes.transAxes, color=INK, lw=0, zorder=4)
    )
    said = f"{bar_m / 1000:g} km" if bar_m >= 1000 else f"{bar_m:g} m"
    axes.text(0.03, 0.032, said, transform=axes.transAxes, fontsize=8, va="bottom", zorder=4)
    arrow = {"arrowstyle": "-|>", "color": INK, "lw": 1.2}
    across = 26 / width
    axes.annotate(
        "",
        (1 - across, 0.98),
        (1 - across, 0.91),
        xycoords="axes fraction",
        arrowprops=arrow,
        zorder=4,
    )
    box_of_n = {"boxstyle": "round,pad=0.15", "fc": "white", "ec": "none", "alpha": 0.8}
    axes.text(1 - across, 0.9, "N", transform=axes.transAxes, fontsize=9, weight="bold", ha="center", va="top",
              bbox=box_of_n, zorder=4)  # fmt: skip


def _round(metres: float) -> float:
    """Return the largest of 1, 2, 5, 10, 20, ... that is not more."""
    power = 10.0 ** np.floor(np.log10(metres))
    return float(max(step * power for step in (1, 2, 5) if step * power <= metres))


def row_of(
    figure: Figure,
    left: float,
    top: float,
    pictures: Sequence[NDArray[np.uint8]],
    colour: str,
    share: str,
    said: str,
) -> None:
    """Draw a row of small tiles behind a coloured bar, with a share and a sentence beside them."""
    side = 1.05
    whole, high = figure.get_size_inches()
    bar = Rectangle(
        (left / whole, 1 - (top + side) / high),
        0.1 / whole,
        side / high,
        transform=figure.transFigure,
    )
    bar.set(color=colour, lw=0)
    figure.add_artist(bar)
    for number, picture in enumerate(pictures):
        show_tile(axes_in(figure, left + 0.16 + number * (side + 0.08), top, side, side), picture)
    x = left + 0.16 + len(pictures) * (side + 0.08) + 0.05
    figure.text(x / whole, 1 - top / high, share, fontsize=11, weight="bold", va="top")
    lines = [part for line in said.split(", ") for part in textwrap.wrap(line, 24)]
    figure.text(
        x / whole, 1 - (top + 0.24) / high, "\n".join(lines), fontsize=8, va="top", color=FAINT
    )
