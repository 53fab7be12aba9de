"""The map: each place coloured by its first three principal components, over the streets."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from loc2vec.explore.space import Space
from loc2vec.model.arrays import Floats, Pixels, Places
from loc2vec.paper.colours import Colours, to_hex
from loc2vec.paper.overlays import tinted
from loc2vec.paper.page import Points, page
from loc2vec.paper.painting import Painting, spacing_of
from loc2vec.paper.plot import Figure, axes_in, map_panel, new_figure, show_tile, tile_scale
from loc2vec.paper.strips import Cell, Row, View
from tiling.values import Box

WIDTH_PX = 1100  # of the map
ENDS_PERCENT = 4.0  # of the places at either end, among which the legend's tiles are sought
MOST_POINTS = 2500  # that a page shows the tiles of


@dataclass(frozen=True, eq=False)
class Key:
    """An end of a component: its tile, its colour and what it is called."""

    view: View
    colour: str
    name: str


@dataclass(frozen=True, eq=False)
class Town:
    """A map picture of `box`, the coloured places on it, and tiles that explain the colours.

    `shares` float64 [3]: of the variance, one a component; `shown`: the places that the page shows
    the tiles of, the `rows` of all.
    """

    name: str
    box: Box
    chart: Pixels
    painting: Painting
    keys: Sequence[Key]
    shares: Floats
    shown: Sequence[View]
    rows: Places
    side_m: float
    channels: tuple[str, ...]

    @property
    def title(self) -> str:
        return f"Kinds of place in {self.name}"

    @property
    def lead(self) -> str:
        return (
            f"{len(self.painting.lat):,} places, about {self.painting.spacing_m:.0f} m apart. "
            "Colours are the first three principal components of their vectors "
            f"({self.shares.sum():.0%} of the variance): blue to yellow, dark to light, green to "
            "red. Alike in colour is alike in kind."
        )

    @property
    def picture(self) -> Pixels:
        """The map with the colours over it: uint8 [H, W, 3]."""
        height, width = self.chart.shape[:2]
        return tinted(self.chart, self.painting.paint(self.box, width, height))

    def figure(self) -> Figure:
        """Plot the map beside the tiles at the ends of each component."""
        height, width = self.chart.shape[:2]
        wide, high = 6.6, min(6.6 * height / width, 8.0)
        wide = high * width / height
        side = float(np.clip(high / 3 - 0.42, 1.1, 1.7))
        total = max(high, 3 * (side + 0.42))
        figure = new_figure(wide + 2 * side + 0.8, total + 1.5, self.title, self.lead)
        map_panel(axes_in(figure, 0.15, 1.05, wide, high), self.picture, self.box)
        for number, key in enumerate(self.keys):
            left = wide + 0.4 + number % 2 * (side + 0.15)
            axes = axes_in(figure, left, 1.22 + number // 2 * (side + 0.42), side, side)
            show_tile(axes, key.view.picture, key.colour, 5)
            axes.set_title(key.name, fontsize=8, pad=5)
        tile_scale(figure, self.side_m, 0.15, 0.13, side)
        return figure

    def page(self) -> str:
        """Return a page on which each place of the map shows its tile."""
        width = self.chart.shape[1]
        at, _ = self.painting.pixels(self.box, width)
        colours, notes = self.painting.colours[self.rows], [""] * len(self.rows)
        points = Points(at[self.rows], self.shown, colours, (), notes, below=self.picture, radius=0)
        keys = [Cell.of(key.view, key.name, frame=key.colour) for key in self.keys]
        return page(
            self.title, self.lead, [points, [Row("What the colours mean", keys)]], self.channels
        )


def town(space: Space, name: str, spacing_m: float | None = None, seed: int = 0) -> Town:
    """Colour all places of a space on the map.

    `spacing_m`: how far apart they lie, by default as measured. Raises `ExploreError` when they lie
    too far apart for one map.
    """
    lat, lon, embedding = space.vectors.lat, space.vectors.lon, space.vectors.embedding
    colours = Colours.fit(embedding)
    rgb = colours.rgb(embedding)
    painting = Painting(lat, lon, rgb, spacing_m or spacing_of(lat, lon))
    box = painting.box
    rows = np.sort(np.random.default_rng(seed).permutation(len(lat))[:MOST_POINTS])
    return Town(
        name=name,
        box=box,
        chart=space.chart(box, WIDTH_PX),
        painting=painting,
        keys=_keys(space, colours, rgb),
        shares=colours.components.shares,
        shown=space.rows(rows),
        rows=rows,
        side_m=space.side_m,
        channels=space.channels,
    )


def _keys(space: Space, colours: Colours, rgb: Pixels) -> list[Key]:
    """Choose, for both ends of each component, the place most ordinary in the other two."""
    at = colours.components.project(space.vectors.embedding)
    at = (at - np.median(at, axis=0)) / np.maximum(at.std(0), 1e-9)
    rows, names = [], []
    for axis, share in enumerate(colours.components.shares.tolist()):
        others = np.square(np.delete(at, axis, axis=1)).sum(1)
        low, high = np.percentile(at[:, axis], [ENDS_PERCENT, 100 - ENDS_PERCENT])
        for end, candidates in (("−", at[:, axis] <= low), ("+", at[:, axis] >= high)):
            ranked = np.where(candidates, others, np.inf)
            rows.append(int(np.argmin(ranked)))
            names.append(f"{end} component {axis + 1} ({share:.0%})")
    views = space.rows(np.array(rows))
    return [Key(*key) for key in zip(views, to_hex(rgb[rows]), names, strict=True)]
