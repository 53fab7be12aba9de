"""Figures on paper, and their parts: tiles, maps, scales. Only this module knows matplotlib."""

import io
import textwrap
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Protocol

import matplotlib as mpl
import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from loc2vec.model.arrays import Pixels
from loc2vec.paper.colours import CLASSES
from tiling.files.atomic import replacing, write_text
from tiling.geo.geodesy import MetresPerDegree
from tiling.values import ATTRIBUTION, Box

__all__ = ["Axes", "Figure"]

INK, FAINT = "#222222", "#666666"
FONT = "DejaVu Sans"  # comes with matplotlib
DPI = 120
COLOURS = 256
STYLE: dict[Any, Any] = {
    "font.family": FONT, "font.size": 9, "text.color": INK, "axes.edgecolor": FAINT,
    "axes.labelcolor": INK, "axes.spines.top": False, "axes.spines.right": False,
    "xtick.color": FAINT, "ytick.color": FAINT, "axes.titlesize": 10,
    "axes.titlelocation": "left", "svg.fonttype": "none", "text.parse_math": False,
}  # fmt: skip
# A context, or a decorator, in which all that matplotlib makes has the style of figures.
styled = partial(mpl.rc_context, STYLE)
EDGE_IN = 0.15
LETTERS_PER_IN = 13.2  # of the lead


class Shown(Protocol):
    """What can be shown on paper and on a page."""

    def figure(self) -> Figure:
        """Plot it with matplotlib."""

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
    _take_no_formulas(figure)
    with styled():
        figure.savefig(buffer, format="png", dpi=dpi)
    about = PngInfo()
    about.add_text("Copyright", ATTRIBUTION)
    packed = io.BytesIO()
    few = _few_colours(Image.open(buffer).convert("RGB"))
    few.save(packed, "PNG", optimize=True, pnginfo=about)
    return packed.getvalue()


def _take_no_formulas(figure: Figure) -> None:
    """Let names be shown as they are: "$5 to $10" is no formula."""
    for text in figure.findobj(Text):
        text.set_parse_math(False)


def _few_colours(picture: Image.Image) -> Image.Image:
    """Return a picture with a palette, which keeps the colours of text and of classes."""
    kept = [*bytes.fromhex("".join(colour[1:] for colour in (*CLASSES, INK, FAINT)))]
    count = COLOURS - len(kept) // 3
    found = picture.quantize(count, dither=Image.Dither.NONE).getpalette() or []
    palette = Image.new("P", (1, 1))
    palette.putpalette([*found[: 3 * count], *kept])
    return picture.quantize(palette=palette, dither=Image.Dither.NONE)


def svg_of(figure: Figure) -> str:
    """Return a figure as an SVG element that can stand in a page."""
    buffer = io.StringIO()
    _take_no_formulas(figure)
    with styled():
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


@lru_cache(maxsize=1)
def _letters() -> frozenset[int]:
    """Return the code points that the font of figures has."""
    return frozenset(font_manager.get_font(font_manager.findfont(FONT)).get_charmap())


def printable(text: str) -> str:
    """Leave out those parts of "Street, Town" that the font has no letters for.

    >>> printable("交大路, Hsinchu TW")
    'Hsinchu TW'
    """
    parts = [part for part in text.split(", ") if {ord(letter) for letter in part} <= _letters()]
    return ", ".join(parts) or ("?" if text else "")


def lead_lines(lead: str, width_in: float) -> list[str]:
    """Return the lines that the explanation of a figure takes."""
    return textwrap.wrap(lead, int((width_in - 2 * EDGE_IN) * LETTERS_PER_IN))


@styled()
def new_figure(width_in: float, height_in: float, title: str, lead: str = "") -> Figure:
    """Return an empty figure with its title, its explanation and the attribution."""
    figure = Figure(figsize=(width_in, height_in), facecolor="white")
    left, top = EDGE_IN / width_in, 1 - EDGE_IN / height_in
    figure.text(left, top, printable(title), fontsize=13, weight="bold", va="top")
    lines = "\n".join(lead_lines(lead, width_in))
    figure.text(left, top - 0.27 / height_in, lines, fontsize=9, color=FAINT, va="top")
    bottom = 0.1 / height_in
    figure.text(1 - left, bottom, ATTRIBUTION, fontsize=7.5, color=FAINT, ha="right")
    return figure


@styled()
def panels(count: int, columns: int, size_in: tuple[float, float]) -> tuple[Figure, list[Axes]]:
    """Return a figure with `count` axes, each so wide and high, which matplotlib lays out."""
    rows = -(-count // columns)
    width, height = size_in
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    return figure, [figure.add_subplot(rows, columns, number + 1) for number in range(count)]


@styled()
def axes_in(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Add axes at a place in inches from the upper left corner."""
    whole, high = figure.get_size_inches()
    return figure.add_axes((left / whole, 1 - (top + height) / high, width / whole, height / high))


def block(
    figure: Figure, corner: tuple[float, float], size: tuple[float, float], colour: str
) -> None:
    """Add a filled rectangle; `corner`: its lower left one, inches from that of the figure."""
    whole, high = figure.get_size_inches()
    (left, bottom), (width, height) = corner, size
    figure.add_artist(Rectangle(
        (left / whole, bottom / high), width / whole, height / high,
        transform=figure.transFigure, color=colour, lw=0,
    ))  # fmt: skip


def show_tile(axes: Axes, picture: Pixels, frame: str = FAINT, weight: float = 0.6) -> None:
    """Show a picture without ticks in a thin frame."""
    axes.imshow(picture, interpolation="antialiased")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(True)
        spine.set_edgecolor(frame)
        spine.set_linewidth(weight)


def tile_scale(figure: Figure, side_m: float, left: float, bottom: float, tile_in: float) -> None:
    """Plot the scale of tiles, and where their north is, inches from the lower left corner."""
    whole, high = figure.get_size_inches()
    bar_in = tile_in / 4
    block(figure, (left, bottom), (bar_in, 0.03), INK)
    text = f"{side_m / 4:.0f} m    tiles are {side_m:.0f} m × {side_m:.0f} m, north ↑"
    x, y = (left + bar_in + 0.08) / whole, (bottom + 0.015) / high
    figure.text(x, y, text, fontsize=7.5, color=FAINT, va="center")


def map_panel(axes: Axes, picture: Pixels, box: Box) -> None:
    """Show a map in Web Mercator with a scale bar and an arrow to the north."""
    show_tile(axes, picture)
    metres = MetresPerDegree.at((box.south + box.north) / 2).x * (box.east - box.west)
    _scale_bar(axes, metres)
    _north_arrow(axes, across=1 - 26 / picture.shape[1])


def _scale_bar(axes: Axes, metres: float) -> None:
    """Plot a bar of round length on a white ground; `metres`: the width of the map."""
    bar_m = _round(metres / 5)
    bar = bar_m / metres
    inside: dict[str, Any] = {"transform": axes.transAxes, "lw": 0}
    axes.add_patch(
        Rectangle((0.015, 0.012), bar + 0.03, 0.05, color="white", alpha=0.8, zorder=3, **inside)
    )
    axes.add_patch(Rectangle((0.03, 0.02), bar, 0.006, color=INK, zorder=4, **inside))
    said = f"{bar_m / 1000:g} km" if bar_m >= 1000 else f"{bar_m:g} m"
    axes.text(0.03, 0.032, said, transform=axes.transAxes, fontsize=8, va="bottom", zorder=4)


def _round(metres: float) -> float:
    """Return the largest of 1, 2, 5, 10, 20, ... that is not more."""
    power = 10.0 ** np.floor(np.log10(metres))
    return float(max(step * power for step in (1, 2, 5) if step * power <= metres))


def _north_arrow(axes: Axes, across: float) -> None:
    """Plot an arrow and an N below it; `across`: where, as a share of the width."""
    axes.annotate(
        "", (across, 0.98), (across, 0.91), xycoords="axes fraction",
        arrowprops={"arrowstyle": "-|>", "color": INK, "lw": 1.2}, zorder=4,
    )  # fmt: skip
    axes.text(
        across, 0.9, "N", transform=axes.transAxes, fontsize=9, weight="bold", ha="center",
        va="top", bbox={"boxstyle": "round,pad=0.15", "fc": "white", "ec": "none", "alpha": 0.8},
        zorder=4,
    )  # fmt: skip


def logarithmic(axes: Axes) -> None:
    """Make both axes logarithmic, with plain numbers: matplotlib's own are formulas."""
    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(StrMethodFormatter("{x:,.10g}"))
        axis.set_minor_formatter(NullFormatter())
