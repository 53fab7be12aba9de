"""Strips of tiles as a figure and as a page."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from loc2vec.model.arrays import Pixels
from loc2vec.paper.page import page
from loc2vec.paper.plot import (
    EDGE_IN,
    FAINT,
    INK,
    Figure,
    axes_in,
    block,
    lead_lines,
    new_figure,
    printable,
    show_tile,
    tile_scale,
)
from loc2vec.paper.strips import Cell, Row, Strips

# a side of a tile, between tiles, and a line of small text
TILE_IN, GAP_IN, LINE_IN = 1.22, 0.14, 0.155
HEAD_IN, LEAD_LINE_IN, FOOT_IN = 0.72, 0.16, 0.42
TITLE_IN = 0.24  # of a row
LEAST_IN = 6.6  # the width of a figure
SMALL = 8.5
LETTERS = 19  # of small text under a tile
BETWEEN = "; "  # names of a kind: some of them have commas
KIND_IN, KIND_LETTERS = 1.05, 24  # a side of a tile of `kind_row`, and letters of a line behind it


@dataclass(frozen=True, eq=False)
class Sheet:
    """What is shown as strips of tiles."""

    strips: Strips

    def figure(self) -> Figure:
        """Plot the strips."""
        return sheet(self.strips)

    def page(self) -> str:
        """Return the strips as a page, on which each tile opens into its channels."""
        strips = self.strips
        return page(strips.title, strips.lead, [strips.rows], strips.channels)


def sheet(strips: Strips) -> Figure:
    """Plot strips of tiles with what is said of them."""
    columns = max(len(row.cells) for row in strips.rows)
    width = max(2 * EDGE_IN + columns * (TILE_IN + GAP_IN) - GAP_IN, LEAST_IN)
    top = HEAD_IN + max(len(lead_lines(strips.lead, width)) - 1, 0) * LEAD_LINE_IN
    height = top + sum(map(_height, strips.rows)) + FOOT_IN
    figure = new_figure(width, height, strips.title, strips.lead)
    for row in strips.rows:
        _row(figure, row, top)
        top += _height(row)
    if strips.side_m:
        tile_scale(figure, strips.side_m, EDGE_IN, 0.13, TILE_IN)
    return figure


def _height(row: Row) -> float:
    lines = max(len(_lines(cell)) for cell in row.cells)
    return (TITLE_IN if row.title else 0) + TILE_IN + 0.06 + lines * LINE_IN + 0.14


def _lines(cell: Cell) -> list[str]:
    lines = [
        part for line in map(printable, cell.lines) for part in textwrap.wrap(line, LETTERS) or [""]
    ]
    return [cell.heading, *lines] if cell.heading else lines


def _row(figure: Figure, row: Row, top: float) -> None:
    width, high = figure.get_size_inches()
    if row.title:
        x, y = EDGE_IN / width, 1 - top / high
        figure.text(x, y, row.title, fontsize=9.5, va="top", weight="bold")
        top += TITLE_IN
    for column, cell in enumerate(row.cells):
        _cell(figure, cell, EDGE_IN + column * (TILE_IN + GAP_IN), top)


def _cell(figure: Figure, cell: Cell, left: float, top: float) -> None:
    axes = axes_in(figure, left, top, TILE_IN, TILE_IN)
    if cell.picture is None:
        axes.set_axis_off()
    else:
        show_tile(axes, cell.picture, cell.frame or FAINT, 3 if cell.frame else 0.6)
    width, high = figure.get_size_inches()
    for number, line in enumerate(_lines(cell)):
        weight, colour = ("bold", INK) if number == 0 and cell.heading else ("normal", FAINT)
        y = 1 - (top + TILE_IN + 0.06 + number * LINE_IN) / high
        figure.text(left / width, y, line, fontsize=SMALL, va="top", weight=weight, color=colour)


def kind_row(
    figure: Figure,
    corner: tuple[float, float],
    pictures: Sequence[Pixels],
    colour: str,
    said: tuple[str, str],
) -> None:
    """Plot a row of small tiles behind a coloured bar, with a share and a name beside them.

    `corner`: the upper left one, inches from that of the figure; `said`: the share and the name.
    """
    (left, top), (share, name) = corner, said
    whole, high = figure.get_size_inches()
    block(figure, (left, high - top - KIND_IN), (0.1, KIND_IN), colour)
    for number, picture in enumerate(pictures):
        x = left + 0.16 + number * (KIND_IN + 0.08)
        show_tile(axes_in(figure, x, top, KIND_IN, KIND_IN), picture)
    x = (left + 0.21 + len(pictures) * (KIND_IN + 0.08)) / whole
    figure.text(x, 1 - top / high, share, fontsize=11, weight="bold", va="top")
    lines = [part for line in name.split(BETWEEN) for part in textwrap.wrap(line, KIND_LETTERS)]
    y = 1 - (top + 0.24) / high
    figure.text(x, y, "\n".join(lines), fontsize=8, va="top", color=FAINT)
