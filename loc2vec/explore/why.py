"""Why two places are alike or different: the effect of each channel on the distance."""

from dataclasses import dataclass

import numpy as np

from loc2vec.embed.occlusion import Why, why
from loc2vec.explore.space import Ground
from loc2vec.paper.colours import CLASSES
from loc2vec.paper.graphs import BAR_IN, bars
from loc2vec.paper.overlays import only_channel
from loc2vec.paper.page import Layers, page
from loc2vec.paper.plot import (
    INK,
    Figure,
    axes_in,
    new_figure,
    printable,
    show_tile,
    tile_scale,
)
from loc2vec.paper.strips import View
from tiling.values import LonLat

APART, ALIKE = CLASSES[4], CLASSES[0]


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two places, and how far apart their vectors lie with and without each channel."""

    a: View
    b: View
    why: Why
    channels: tuple[str, ...]
    side_m: float

    @property
    def title(self) -> str:
        return f"Why {self.a.name} and {self.b.name} are {self.why.distance:.2f} apart"

    @property
    def lead(self) -> str:
        return (
            "Each channel is emptied in both tiles at once. A bar to the right: with it they lie "
            "farther apart than without. To the left: with it they lie nearer. The effects do not "
            "add up."
        )

    def figure(self) -> Figure:
        """Plot the two tiles beside the effect of each channel."""
        high = max(2.95, BAR_IN * len(self.channels))
        figure = new_figure(9.2, high + 1.65, self.title, self.lead)
        for number, view in enumerate((self.a, self.b)):
            axes = axes_in(figure, 0.15, 0.95 + number * 1.68, 1.4, 1.4)
            show_tile(axes, view.picture)
            axes.set_title(f"{'AB'[number]}  {printable(view.name)}", fontsize=8, pad=3, loc="left")
        effect = self.why.effect
        axes = axes_in(figure, 4.6, 0.95, 4.2, high)
        bars(axes, self.channels, effect, [APART if value > 0 else ALIKE for value in effect])
        axes.set_xlabel("effect on the distance (in the units of the space)")
        axes.axvline(0, color=INK, lw=0.8)
        tile_scale(figure, self.side_m, 0.15, 0.13, 1.4)
        return figure

    def page(self) -> str:
        """Return a page on which one channel at a time stands out."""
        base = np.concatenate([self.a.picture, self.b.picture], axis=1)
        effect = self.why.effect
        order = np.argsort(-np.abs(effect), kind="stable").tolist()
        both = np.concatenate([self.a.tile, self.b.tile], axis=2)
        over = [
            (self.channels[n], f"{effect[n]:+.2f}", only_channel(both, n, self.a.palette))
            for n in order
        ]
        names = f"Left: {self.a.name}; right: {self.b.name}. "
        return page(self.title, names + self.lead, [Layers(base, over)], self.channels)


def compare(ground: Ground, a: LonLat, b: LonLat) -> Comparison:
    """Find which channels make two places alike or different."""
    one, other = ground.views([a, b])
    return Comparison(
        one, other, why(ground.encode, one.tile, other.tile), ground.channels, ground.side_m
    )
