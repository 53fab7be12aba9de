"""Places with their tiles, and rows of such pictures: what figures and pages are made of."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np

from loc2vec.model.arrays import Pixels
from tiling.values import LonLat, Palette

END = "#D55E00"  # the frame of a place at which a strip begins or ends


class View(NamedTuple):
    """A place, what people call it, its tile, uint8 [12, H, W], and the tile's colours."""

    place: LonLat
    name: str
    tile: Pixels
    palette: Palette

    @property
    def picture(self) -> Pixels:
        """The first scale of the tile in colour, uint8 [H, W, 3]."""
        return self.pictures[0]

    @property
    def pictures(self) -> list[Pixels]:
        """Each scale of the tile in colour, uint8 [H, W, 3]."""
        scales = len(self.tile) // len(self.palette.colours)
        return [self.palette.composite(each) for each in np.split(self.tile, scales)]

    @property
    def where(self) -> str:
        """The place as it can be given to a command."""
        return f"{self.place.lat:.5f},{self.place.lon:.5f}"


@dataclass(frozen=True, slots=True, eq=False)
class Cell:
    """A picture uint8 [H, W, 3], or a gap, with a heading and lines of text.

    `frame` is the colour of a heavy frame. Where the cell shows a place, `tile` uint8 [12, H, W],
    its `palette` and `place` ("lat,lon") are those of the place.
    """

    picture: Pixels | None
    heading: str = ""
    lines: Sequence[str] = ()
    frame: str = ""
    tile: Pixels | None = None
    place: str = ""
    palette: Palette | None = None

    @classmethod
    def of(cls, view: View, heading: str = "", lines: Sequence[str] = (), frame: str = "") -> Self:
        """Show a place; its name comes first."""
        named = [view.name, *lines]
        return cls(view.picture, heading, named, frame, view.tile, view.where, view.palette)


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """Tiles side by side under a title."""

    title: str
    cells: Sequence[Cell]


@dataclass(frozen=True, slots=True, eq=False)
class Strips:
    """Rows of pictures under a title and an explanation.

    `side_m`: metres a side of a tile, 0 if the pictures are no tiles.
    """

    title: str
    lead: str
    rows: Sequence[Row]
    side_m: float
    channels: Sequence[str]
