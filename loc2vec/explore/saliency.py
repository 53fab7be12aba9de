"""What a vector depends on: how far it moves without a channel, or without a part of the ground."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from loc2vec.embed.occlusion import dependence
from loc2vec.explore.space import Ground, Tell
from loc2vec.model.arrays import Floats, Pixels
from loc2vec.model.compute import Encode
from loc2vec.paper.colours import CLASSES
from loc2vec.paper.graphs import bars
from loc2vec.paper.overlays import heat, laid_over
from loc2vec.paper.page import Layers, page
from loc2vec.paper.plot import Figure, axes_in, new_figure, show_tile, tile_scale
from loc2vec.paper.strips import View
from tiling.values import LonLat

PATCH, STEP = 24, 8  # pixels: a side of what is emptied, and how far the next lies
AT_ONCE = 64  # tiles
SHOWN = 4  # channels that get a map of their own on paper
SIDE_IN = 1.62  # of a map on paper


@dataclass(frozen=True, eq=False)
class Saliency:
    """How far the vector of a place moves when parts of its tile are emptied.

    `channel` float64 [12]: without each channel; `regions` float64 [h, w]: without each square of
    ground in every channel, the mean over all squares that hold a cell; `by_channel` float64
    [12, h, w]: the same in one channel; `empty`: the distance to the empty tile's vector, a scale.
    """

    view: View
    channel: Floats
    regions: Floats
    by_channel: Floats
    empty: float
    channels: tuple[str, ...]
    side_m: float

    @property
    def title(self) -> str:
        return f"What the vector of {self.view.name} depends on"

    @property
    def lead(self) -> str:
        patch_m = PATCH / self.view.tile.shape[1] * self.side_m
        return (
            f"Dark where the vector moves most when the map is emptied there (squares of "
            f"{patch_m:.0f} m). Numbers: the whole channel is emptied. The vector of an empty tile "
            f"lies {self.empty:.1f} away."
        )

    def figure(self) -> Figure:
        """Plot the tile, where it matters, the strongest channels, and what each channel counts."""
        figure = new_figure(10.4, 4.9, self.title, self.lead)
        for number, (name, picture) in enumerate(self._panels()):
            left = 0.15 + number % 3 * (SIDE_IN + 0.12)
            top = 1.0 + number // 3 * (SIDE_IN + 0.24)
            axes = axes_in(figure, left, top, SIDE_IN, SIDE_IN)
            show_tile(axes, picture)
            axes.set_title(name, fontsize=8, pad=3)
        axes = axes_in(figure, 7.75, 1.0, 2.4, 3.1)
        bars(axes, self.channels, self.channel, [CLASSES[0]] * len(self.channels))
        axes.set_xlabel("distance that the vector moves")
        tile_scale(figure, self.side_m, 0.15, 0.13, SIDE_IN)
        return figure

    def page(self) -> str:
        """Return a page on which the maps of all channels can be laid over the tile."""
        every, *channels = self._heats()
        said = [f"{self.channel[number]:.2f}" for number in self._order()]
        over = [("all channels", f"at most {self.regions.max():.2f}", every)] + [
            (self.channels[number], text, picture)
            for number, text, picture in zip(self._order(), said, channels, strict=True)
        ]
        return page(self.title, self.lead, [Layers(self.view.picture, over)], self.channels)

    def _order(self) -> list[int]:
        """Return the numbers of the channels, the strongest first."""
        order: list[int] = np.argsort(-self.channel, kind="stable").tolist()
        return order

    def _heats(self) -> list[Pixels]:
        """Return maps of all channels together and of each, the strongest first."""
        size, high = self.view.tile.shape[1], float(self.by_channel.max())
        return [
            heat(self.regions, self.regions.max(), size),
            *(heat(self.by_channel[number], high, size) for number in self._order()),
        ]

    def _panels(self) -> list[tuple[str, Pixels]]:
        """Return the pictures of the figure with their names."""
        names = ["all channels", *(self.channels[number] for number in self._order()[:SHOWN])]
        pale = self.view.picture // 2 + 127
        maps = [laid_over(pale, each, 0.9) for each in self._heats()[: len(names)]]
        return [("the tile", self.view.picture), *zip(names, maps, strict=True)]


def saliency(ground: Ground, place: LonLat, tell: Tell = lambda n: None) -> Saliency:
    """Empty channels and squares of the tile of a place, and see how far its vector moves.

    `tell` hears of each map.
    """
    view = ground.view(place)
    own, of_nothing = ground.encode(np.stack([view.tile, np.zeros_like(view.tile)]))
    empty = float(np.linalg.norm(of_nothing - own))
    regions = occlusion(ground.encode, view.tile, None)
    tell(1)
    by_channel = []
    for number in range(len(view.tile)):
        by_channel.append(occlusion(ground.encode, view.tile, number))
        tell(1)
    moved = dependence(ground.encode, view.tile)
    side_m = ground.side_m
    return Saliency(view, moved, regions, np.stack(by_channel), empty, ground.channels, side_m)


def occlusion(encode: Encode, tile: Pixels, channel: int | None) -> Floats:
    """Return how far the vector moves without each square of ground: float64 [h, w].

    The square is emptied in one channel, or with `None` in all. Squares of `PATCH` pixels overlap,
    `STEP` apart; each cell of the map is the mean of the squares that hold it.
    """
    size = tile.shape[1]
    corners = [
        (y, x) for y in range(0, size - PATCH + 1, STEP) for x in range(0, size - PATCH + 1, STEP)
    ]
    number = slice(None) if channel is None else slice(channel, channel + 1)
    # an empty square changes nothing: it need not be encoded
    holding = [(y, x) for y, x in corners if tile[number, y : y + PATCH, x : x + PATCH].any()]
    total, count = np.zeros((2, size // STEP, size // STEP))
    for y, x in corners:
        count[_cells(y), _cells(x)] += 1
    for (y, x), value in _moves(encode, tile, number, holding):
        total[_cells(y), _cells(x)] += value
    cells: Floats = total / np.maximum(count, 1)
    return cells


def _moves(
    encode: Encode, tile: Pixels, number: slice, corners: list[tuple[int, int]]
) -> Iterator[tuple[tuple[int, int], float]]:
    """Yield the corner of each square, and how far the vector moves without it."""
    (whole,) = encode(tile[None])
    for start in range(0, len(corners), AT_ONCE):
        some = corners[start : start + AT_ONCE]
        copies = np.repeat(tile[None], len(some), axis=0)
        for copy, (y, x) in zip(copies, some, strict=True):
            copy[number, y : y + PATCH, x : x + PATCH] = 0
        moved = np.linalg.norm(encode(copies).astype(np.float64) - whole, axis=1)
        yield from zip(some, moved.tolist(), strict=True)


def _cells(start: int) -> slice:
    """Return the cells of the map that a square covers along one side."""
    return slice(start // STEP, (start + PATCH) // STEP)
