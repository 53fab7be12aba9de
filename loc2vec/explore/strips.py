"""Tiles in strips, each with what is said of it: what most figures are made of."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from loc2vec.explore.space import View

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Cell:
    """A picture uint8 [H, W, 3], or a gap, with a heading and lines of text; `frame` is the colour of a heavy frame.

    `tile` uint8 [12, H, W] and `place` ("lat,lon") are of the place that it shows, if it shows one.
    """

    picture: Pixels | None
    heading: str = ""
    lines: Sequence[str] = ()
    frame: str = ""
    tile: Pixels | None = None
    place: str = ""

    @classmethod
    def of(cls, view: View, heading: str = "", lines: Sequence[str] = (), frame: str = "") -> Self:
        """Show a place; its name comes first."""
        return cls(view.picture, heading, [view.name, *lines], frame, view.tile, view.where)


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """Tiles side by side under a title."""

    title: str
    cells: Sequence[Cell]


@dataclass(frozen=True, slots=True, eq=False)
class Strips:
    """Rows of pictures under a title and a sentence of explanation; `side_m`: metres of a tile, 0 if they are none."""

    title: str
    lead: str
    rows: Sequence[Row]
    side_m: float
    channels: Sequence[str]
