"""What a vector depends on: how far it moves without a channel, or without a part of the ground."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loc2vec.embed.occlusion import dependence
from loc2vec.explore.space import Ground, Tell
from loc2vec.model.arrays import Floats, Pixels
from loc2vec.model.compute import Encode
from loc2vec.paper.colours import CLASSES
from loc2vec.paper.graphs import BAR_IN, bars
from loc2vec.paper.overlays import heat, laid_over
from loc2vec.paper.page import Layers, page
from loc2vec.paper.plot import Figure, axes_in, new_figure, show_tile, tile_scale
from loc2vec.paper.strips import View
from tiling.values import LonLat

PATCH, STEP = 24, 8  # pixels: a side of what is emptied, and how far the next lies
AT_ONCE = 64  # tiles
SHOWN = 4  # channels that get a map of their own on paper
SIDE_IN = 1.62  # of a map on paper
Channels = NDArray[np.int64]  # numbers of channels [n]


@dataclass(frozen=True, eq=False)
class Saliency:
    """How far the vector of a place moves when parts of its tile are emptied.

    `channel` float64 [C]: without each channel. `regions` float64 [scales, h, w]: without each
    square of ground in all channels of a scale, the mean over all squares that hold a cell.
    `by_channel` float64 [C, h, w]: the same in one channel; `empty`: the distance to the empty
    tile's vector, a yardstick. `sides_m`: of the tile of each scale.
    """

    view: View
    channel: Floats
    regions: Floats
    by_channel: Floats
    empty: float
    channels: tuple[str, ...]
    sides_m: tuple[float, ...]

    @property
    def title(self) -> str:
        return f"What the vector of {self.view.name} depends on"

    @property
    def lead(self) -> str:
        share = PATCH / self.view.tile.shape[1]
        squares = " and ".join(f"{share * side_m:.0f} m" for side_m in self.sides_m)
        return (
            f"Dark where the vector moves most when the map is emptied there (squares of {squares})"
            f". Numbers: the whole channel is emptied. The vector of an empty tile lies "
            f"{self.empty:.1f} away."
        )

    def figure(self) -> Figure:
        """Plot the tile, where it matters, the strongest channels, and what each channel counts."""
        high = max(3.1, BAR_IN * len(self.channels))
        figure = new_figure(10.4, high + 1.8, self.title, self.lead)
        for number, (name, picture) in enumerate(self._panels()):
            left = 0.15 + number % 3 * (SIDE_IN + 0.12)
            top = 1.0 + number // 3 * (SIDE_IN + 0.24)
            axes = axes_in(figure, left, top, SIDE_IN, SIDE_IN)
            show_tile(axes, picture)
            axes.set_title(name, fontsize=8, pad=3)
        axes = axes_in(figure, 7.75, 1.0, 2.4, high)
        bars(axes, self.channels, self.channel, [CLASSES[0]] * len(self.channels))
        axes.set_xlabel("distance that the vector moves")
        tile_scale(figure, self.sides_m[0], 0.15, 0.13, SIDE_IN)
        return figure

    def page(self) -> str:
        """Return a page on which the maps of all channels can be laid over the tile."""
        layers = [self._layers(scale) for scale in range(len(self.sides_m))]
        return page(self.title, self.lead, layers, self.channels)

    def _layers(self, scale: int) -> Layers:
        """Return the tile of a scale and the maps that are laid over it."""
        every, *maps = self._heats(scale)
        over = [("all channels", f"at most {self.regions[scale].max():.2f}", every)] + [
            (self.channels[number], f"{self.channel[number]:.2f}", picture)
            for number, picture in zip(self._order(scale), maps, strict=True)
        ]
        return Layers(self.view.pictures[scale], over)

    def _order(self, scale: int) -> list[int]:
        """Return the numbers of a scale's channels, the strongest first."""
        each = len(self.channel) // len(self.sides_m)
        own = self.channel[scale * each : (scale + 1) * each]
        order: list[int] = (scale * each + np.argsort(-own, kind="stable")).tolist()
        return order

    def _heats(self, scale: int) -> list[Pixels]:
        """Return maps of all channels of a scale together and of each, the strongest first."""
        size, high, every = self.view.tile.shape[1], self.by_channel.max(), self.regions[scale]
        return [
            heat(every, float(every.max()), size),
            *(heat(self.by_channel[number], float(high), size) for number in self._order(scale)),
        ]

    def _panels(self) -> list[tuple[str, Pixels]]:
        """Return the pictures of the figure with their names."""
        scales = len(self.sides_m)
        shown = SHOWN if scales == 1 else 1
        panels: list[tuple[str, Pixels]] = []
        for scale, side_m in enumerate(self.sides_m):
            names = ["all channels", *(self.channels[n] for n in self._order(scale)[:shown])]
            picture = self.view.pictures[scale]
            pale = picture // 2 + 127
            maps = [laid_over(pale, each, 0.9) for each in self._heats(scale)[: len(names)]]
            panels += [(f"the tile, {side_m:.0f} m", picture), *zip(names, maps, strict=True)]
        return panels


def saliency(ground: Ground, place: LonLat, tell: Tell = lambda n: None) -> Saliency:
    """Empty channels and squares of the tile of a place, and see how far its vector moves.

    `tell` hears of each map.
    """
    view, scales = ground.view(place), ground.geometry.scales
    own, of_nothing = ground.encode(np.stack([view.tile, np.zeros_like(view.tile)]))
    empty = float(np.linalg.norm(of_nothing - own))
    numbers = np.arange(len(view.tile))

    def maps(groups: Iterable[Channels]) -> Floats:
        found = []
        for group in groups:
            found.append(occlusion(ground.encode, view.tile, group))
            tell(1)
        return np.stack(found)

    regions, by_channel = maps(np.split(numbers, scales)), maps(np.split(numbers, len(numbers)))
    moved = dependence(ground.encode, view.tile)
    sides_m = tuple(2 * each.radius_m for each in ground.geometry.each)
    return Saliency(view, moved, regions, by_channel, empty, ground.channels, sides_m)


def occlusion(encode: Encode, tile: Pixels, channels: Channels) -> Floats:
    """Return how far the vector moves without each square of ground: float64 [h, w].

    The square is emptied in all `channels`, int64 [n]. Squares of `PATCH` pixels overlap,
    `STEP` apart; each cell of the map is the mean of the squares that hold it.
    """
    size = tile.shape[1]
    corners = [
        (y, x) for y in range(0, size - PATCH + 1, STEP) for x in range(0, size - PATCH + 1, STEP)
    ]
    # an empty square changes nothing: it need not be encoded
    holding = [(y, x) for y, x in corners if tile[channels, y : y + PATCH, x : x + PATCH].any()]
    total, count = np.zeros((2, size // STEP, size // STEP))
    for y, x in corners:
        count[_cells(y), _cells(x)] += 1
    for (y, x), value in _moves(encode, tile, channels, holding):
        total[_cells(y), _cells(x)] += value
    cells: Floats = total / np.maximum(count, 1)
    return cells


def _moves(
    encode: Encode, tile: Pixels, channels: Channels, corners: list[tuple[int, int]]
) -> Iterator[tuple[tuple[int, int], float]]:
    """Yield the corner of each square, and how far the vector moves without it."""
    (whole,) = encode(tile[None])
    for start in range(0, len(corners), AT_ONCE):
        some = corners[start : start + AT_ONCE]
        copies = np.repeat(tile[None], len(some), axis=0)
        for copy, (y, x) in zip(copies, some, strict=True):
            copy[channels, y : y + PATCH, x : x + PATCH] = 0
        moved = np.linalg.norm(encode(copies).astype(np.float64) - whole, axis=1)
        yield from zip(some, moved.tolist(), strict=True)


def _cells(start: int) -> slice:
    """Return the cells of the map that a square covers along one side."""
    return slice(start // STEP, (start + PATCH) // STEP)
