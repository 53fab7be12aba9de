"""Figures as pages: strips of tiles, points that can be turned or moved, layers over a tile."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from loc2vec.model.arrays import Pixels
from loc2vec.paper.colours import to_hex
from loc2vec.paper.overlays import only_channel
from loc2vec.paper.strips import Cell, Row, View
from loc2vec.paper.template import data_url, fill
from tiling.values import Palette

SPRITE = 64  # pixels a side of the tiles that stand for points
COLUMNS = 32  # of sprites in their common picture


@dataclass(frozen=True, slots=True, eq=False)
class Points:
    """Points of a plot that can be turned (three coordinates) or moved (two).

    Each shows its tile when pointed at. `at` float [n, 2 or 3]; `colours` uint8 [n, 3]. `notes`:
    what is said of each. `groups`: the legend (name, "#rrggbb"). `sprites`: the tiles themselves
    are the points. `below`: a picture under them, in whose pixels they lie then, from its upper
    left corner. `radius` of a point in pixels, 0 where the picture shows it already.
    """

    at: NDArray[np.floating]
    views: Sequence[View]
    colours: Pixels
    axes: Sequence[str]
    notes: Sequence[str]
    groups: Sequence[tuple[str, str]] = ()
    sprites: bool = False
    below: Pixels | None = None
    radius: float = 4.0


@dataclass(frozen=True, slots=True, eq=False)
class Layers:
    """A picture uint8 [H, W, 3], over which one of several is laid.

    Each of these has a name, what is said of it, and RGBA uint8 [H, W, 4].
    """

    base: Pixels
    over: Sequence[tuple[str, str, Pixels]] = field(repr=False)


Section = Points | Layers | Sequence[Row]


def page(title: str, lead: str, sections: Sequence[Section], channels: Sequence[str]) -> str:
    """Return one HTML page of several sections; `channels` are the names of those of the tiles."""
    return fill(
        "figure.html.j2",
        title=title,
        lead=lead,
        sections=[_section(section) for section in sections],
        channels=list(channels),
    )


def _section(section: Section) -> dict[str, Any]:
    if isinstance(section, Points):
        return {"kind": "points", "data": _points(section)}
    if isinstance(section, Layers):
        over = [
            {"name": name, "said": said, "url": data_url(picture)}
            for name, said, picture in section.over
        ]
        return {"kind": "layers", "base": data_url(section.base, 90), "over": over}
    rows = [{"title": row.title, "cells": [_cell(cell) for cell in row.cells]} for row in section]
    return {"kind": "strips", "rows": rows}


def _cell(cell: Cell) -> dict[str, Any]:
    """Return a cell as values; its channels lie side by side in one picture."""
    return {
        "url": None if cell.picture is None else data_url(cell.picture),
        "channels": None if cell.tile is None else data_url(_channels(cell.tile, cell.palette)),
        "heading": cell.heading,
        "lines": list(cell.lines),
        "frame": cell.frame,
        "place": cell.place,
    }


def _channels(tile: Pixels, palette: Palette | None) -> Pixels:
    """Return the channels of a tile side by side: ink on paper, or grey without a palette."""
    if palette is None:
        return np.concatenate(list(tile), axis=1)
    each = [only_channel(tile, number, palette)[:, :, :3] for number in range(len(tile))]
    return np.concatenate(each, axis=1)


def _points(points: Points) -> dict[str, Any]:
    return {
        "at": np.asarray(points.at, np.float64).round(4).tolist(),
        "colours": to_hex(points.colours),
        "names": [view.name for view in points.views],
        "places": [view.where for view in points.views],
        "notes": list(points.notes),
        "axes": list(points.axes),
        "groups": [list(group) for group in points.groups],
        "sprites": points.sprites,
        "radius": points.radius,
        "atlas": data_url(atlas([view.picture for view in points.views])),
        "sprite": SPRITE,
        "columns": COLUMNS,
        "below": None if points.below is None else data_url(points.below),
    }


def atlas(pictures: Sequence[Pixels]) -> Pixels:
    """Return all pictures, made small, in one: rows of `COLUMNS`."""
    rows = -(-len(pictures) // COLUMNS)
    sheet = np.full((rows * SPRITE, COLUMNS * SPRITE, 3), 255, np.uint8)
    for number, picture in enumerate(pictures):
        y, x = number // COLUMNS * SPRITE, number % COLUMNS * SPRITE
        sheet[y : y + SPRITE, x : x + SPRITE] = small(picture)
    return sheet


def small(picture: Pixels) -> Pixels:
    """Return a picture `SPRITE` pixels a side."""
    return np.asarray(Image.fromarray(picture).resize((SPRITE, SPRITE), Image.Resampling.LANCZOS))
