"""What a vector depends on: how far it moves when a channel, or a part of the ground, is emptied."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loc2vec.embed.occlusion import dependence
from loc2vec.explore.space import Ground, Pixels, Tell
from loc2vec.model.compute import Encode
from loc2vec.paper.overlays import heat, laid_over
from loc2vec.paper.page import Layers, page
from loc2vec.paper.plot import CLASSES, Figure, axes_in, bars, new_figure, show_tile, tile_scale
from loc2vec.paper.strips import View
from tiling.values import LonLat

Floats = NDArray[np.float64]

PATCH, STEP = 24, 8  # pixels: a side of what is emptied, and how far the next lies
AT_ONCE = 64  # tiles
SHOWN = 4  # channels that get a map of their own on paper


@dataclass(frozen=True, eq=False)
class Saliency:
    """How far the vector of a place moves: without each channel, float64 [12], and without parts of the ground.

    `regions` float64 [h, w]: the mean over all squares that hold it, emptied in every channel;
    `by_channel` float64 [12, h, w]: emptied in one channel. The distance to the empty tile's vector
    gives the scale (`empty`).
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
            f"Dark where the vector moves most when the map is emptied there (squares of {patch_m:.0f} m). "
            f"Numbers: the whole channel is emptied. The vector of an empty tile lies {self.empty:.1f} away."
        )

    def figure(self) -> Figure:
        """Draw the tile, where it matters, the strongest channels, and what each channel counts."""
        figure = new_figure(10.4, 4.9, self.title, self.lead)
        size, order = self.view.tile.shape[1], self._order()
        panels = [
            ("the tile", self.view.picture),
            ("all channels", self._over(self.regions, self.regions.max(), size)),
        ]
        high = float(self.by_channel.max())
        panels += [
            (self.channels[n], self._over(self.by_channel[n], high, size)) for n in order[:SHOWN]
        ]
        for number, (name, picture) in enumerate(panels):
            side = 1.62
            axes = axes_in(
                figure,
                0.15 + number % 3 * (side + 0.12),
                1.0 + number // 3 * (side + 0.24),
                side,
                side,
            )
            show_tile(axes, picture)
            axes.set_title(name, fontsize=8, pad=3)
        axes = axes_in(figure, 7.75, 1.0, 2.4, 3.1)
        bars(axes, self.channels, self.channel, [CLASSES[0]] * len(self.channels))
        axes.set_xlabel("distance that the vector moves")
        tile_scale(figure, self.side_m, 0.15, 0.13, 1.62)
        return figure

    def page(self) -> str:
        """Return a page on which the maps of all channels can be laid over the tile."""
        size, high = self.view.tile.shape[1], float(self.by_channel.max())
        over = [
            (
                "all channels",
                f"at most {self.regions.max():.2f}",
                heat(self.regions, self.regions.max(), size),
            )
        ]
        over += [
            (self.channels[n], f"{self.channel[n]:.2f}", heat(self.by_channel[n], high, size))
            for n in self._order()
        ]
        return page(self.title, self.lead, [Layers(self.view.picture, over)], self.channels)

    def _order(self) -> list[int]:
        order: list[int] = np.argsort(-self.channel, kind="stable").tolist()
        return order

    def _over(self, values: Floats, high: float, size: int) -> Pixels:
        return laid_over(self.view.picture // 2 + 127, heat(values, high, size), 0.9)


def saliency(ground: Ground, place: LonLat, tell: Tell = lambda n: None) -> Saliency:
    """Empty channels and squares of the tile of a place, and see how far its vector moves.

    Tells of each map made.
    """
    view = ground.view(place)
    empty = float(
        np.linalg.norm(
            np.diff(ground.encode(np.stack([view.tile, np.zeros_like(view.tile)])), axis=0)
        )
    )
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
    """Return how far the vector moves without each square of ground, float64 [h, w], in one channel or in all.

    Squares of `PATCH` pixels overlap, `STEP` apart; each cell of the map is the mean of those that
    hold it.
    """
    size = tile.shape[1]
    corners = [
        (y, x) for y in range(0, size - PATCH + 1, STEP) for x in range(0, size - PATCH + 1, STEP)
    ]
    number = slice(None) if channel is None else slice(channel, channel + 1)
    holding = [(y, x) for y, x in corners if tile[number, y : y + PATCH, x : x + PATCH].any()]
    (whole,) = encode(tile[None])
    total, count = np.zeros((size // STEP, size // STEP)), np.zeros((size // STEP, size // STEP))
    for y, x in corners:
        count[_cells(y), _cells(x)] += 1
    for some in _parts(holding):
        copies = np.repeat(tile[None], len(some), axis=0)
        for copy, (y, x) in zip(copies, some, strict=True):
            copy[number, y : y + PATCH, x : x + PATCH] = 0
        moved = np.linalg.norm(encode(copies).astype(np.float64) - whole, axis=1)
        for (y, x), value in zip(some, moved.tolist(), strict=True):
            total[_cells(y), _cells(x)] += value
    return total / np.maximum(count, 1)


def _cells(start: int) -> slice:
    return slice(start // STEP, (start + PATCH) // STEP)


def _parts(corners: list[tuple[int, int]]) -> Iterator[list[tuple[int, int]]]:
    for start in range(0, len(corners), AT_ONCE):
        yield corners[start : start + AT_ONCE]
