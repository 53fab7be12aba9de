"""Places in three dimensions, their tiles as the points: principal components, or t-SNE."""

import io
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from loc2vec.errors import ExploreError
from loc2vec.explore.space import Space, Tell
from loc2vec.model.arrays import Floats, Pixels, Places
from loc2vec.paper.colours import Colours, Components
from loc2vec.paper.page import Points, page, small
from loc2vec.paper.plot import Figure, axes_in, new_figure
from loc2vec.paper.strips import View
from tiling.files.atomic import replacing

YAW, PITCH = 0.6, 0.35  # radians: from where the still picture looks
AWAY = 3.2  # of the eye, in radii of the cloud
SPRITE_SHARE = 0.038  # a side of a tile, as a share of the picture's height
STILL_PX = (1504, 944)
FRAMES, FRAME_MS, FRAME_PX = 40, 120, (440, 360)
PERPLEXITY = 30.0
FEWEST = 10  # places for t-SNE: with fewer it has no neighbourhoods to keep


class Seen(NamedTuple):
    """Points as the eye sees them, float64 [n] each: pixels, depth, and the scale of things."""

    x: Floats
    y: Floats
    depth: Floats
    scale: Floats


@dataclass(frozen=True, eq=False)
class Cloud:
    """Places at `at` float64 [n, 3], with a colour each, uint8 [n, 3], that frames their tiles."""

    title: str
    lead: str
    axes: tuple[str, str, str]
    at: Floats
    views: list[View]
    colours: Pixels
    channels: tuple[str, ...]

    def figure(self) -> Figure:
        """Plot the cloud from one side."""
        figure = new_figure(9.6, 6.9, self.title, self.lead)
        axes = axes_in(figure, 0.1, 0.75, 9.4, 5.9)
        axes.imshow(self.picture(STILL_PX, YAW), interpolation="antialiased")
        axes.set_axis_off()
        return figure

    def page(self) -> str:
        """Return a page on which the cloud turns, and can be turned."""
        notes = [""] * len(self.views)
        points = Points(self.at, self.views, self.colours, self.axes, notes, sprites=True)
        return page(self.title, self.lead, [points], self.channels)

    def picture(self, size: tuple[int, int], yaw: float) -> Pixels:
        """Paint the cloud as it is seen from `yaw` radians: uint8 [height, width, 3]."""
        sheet = Image.new("RGB", size, "white")
        points, ends = self._seen(size, yaw)
        self._paint_axes(sheet, ends)
        self._paint_tiles(sheet, points)
        self._paint_names(sheet, ends)
        return np.asarray(sheet)

    @cached_property
    def _sprites(self) -> list[Image.Image]:
        return [Image.fromarray(small(view.picture)) for view in self.views]

    def _seen(self, size: tuple[int, int], yaw: float) -> tuple[Seen, Seen]:
        """Return where the points are seen, and the origin with the ends of the three axes."""
        low, high = self.at.min(0), self.at.max(0)
        centred = self.at - (low + high) / 2
        span = max(float(np.linalg.norm(centred[:, :2], axis=1).max()), 1e-9)
        tall = float(np.abs(centred[:, 2]).max()) / span * math.cos(PITCH) + math.sin(PITCH)
        unit = min(0.45 * size[0], 0.46 * size[1] / tall)  # pixels
        ends = np.concatenate([np.zeros((1, 3)), 1.1 * np.diag((high - low) / 2)])
        return _project(centred / span, size, unit, yaw), _project(ends / span, size, unit, yaw)

    def _paint_axes(self, sheet: Image.Image, ends: Seen) -> None:
        origin, *others = zip(ends.x, ends.y, strict=True)
        for end in others:
            width = max(sheet.height // 500, 1)
            ImageDraw.Draw(sheet).line([origin, end], (110, 110, 110), width)

    def _paint_tiles(self, sheet: Image.Image, points: Seen) -> None:
        """Paint the tiles in their frames, the farthest first."""
        pen, side = ImageDraw.Draw(sheet), SPRITE_SHARE * sheet.height
        for number in np.argsort(-points.depth, kind="stable").tolist():
            edge = max(round(side * points.scale[number]), 4)
            tile = self._sprites[number].resize((edge, edge), Image.Resampling.BOX)
            left, top = round(points.x[number] - edge / 2), round(points.y[number] - edge / 2)
            line = max(edge // 12, 1)
            box = (left - line, top - line, left + edge + line - 1, top + edge + line - 1)
            pen.rectangle(box, tuple(self.colours[number].tolist()))
            sheet.paste(tile, (left, top))

    def _paint_names(self, sheet: Image.Image, ends: Seen) -> None:
        pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(sheet.height / 46)
        for name, x, y in zip(self.axes, ends.x[1:], ends.y[1:], strict=True):
            pen.text(
                (x, y), name, (40, 40, 40), font, anchor="mm",
                stroke_width=max(sheet.height // 250, 1), stroke_fill="white",
            )  # fmt: skip


def _project(at: Floats, size: tuple[int, int], unit: float, yaw: float) -> Seen:
    """Return where points [n, 3] are seen; `unit`: how many pixels 1 is in the middle."""
    across = at[:, 0] * math.cos(yaw) + at[:, 1] * math.sin(yaw)
    away = -at[:, 0] * math.sin(yaw) + at[:, 1] * math.cos(yaw)
    up = at[:, 2] * math.cos(PITCH) - away * math.sin(PITCH)
    depth = at[:, 2] * math.sin(PITCH) + away * math.cos(PITCH)
    scale = AWAY / (AWAY + depth)
    x, y = size[0] / 2 + across * scale * unit, size[1] / 2 - up * scale * unit
    return Seen(x, y, depth, scale)


def write_animation(cloud: Cloud, path: Path, tell: Tell = lambda n: None) -> Path:
    """Write PATH.webp, in which the cloud turns once; `tell` hears of each frame."""
    frames = []
    for number in range(FRAMES):
        frames.append(Image.fromarray(cloud.picture(FRAME_PX, YAW + 2 * math.pi * number / FRAMES)))
        tell(1)
    buffer = io.BytesIO()
    frames[0].save(
        buffer, "WEBP", save_all=True, append_images=frames[1:], duration=FRAME_MS, loop=0,
        quality=45, method=4,
    )  # fmt: skip
    target = path.with_name(path.name + ".webp")
    with replacing(target) as temporary:
        temporary.write_bytes(buffer.getvalue())
    return target


def pca(space: Space, count: int = 600, seed: int = 0) -> Cloud:
    """Lay at most `count` places out by three principal components, fitted to all of the space."""
    components = Components.fit(space.vectors.embedding)
    rows = _sample(space, count, seed)
    first, second, third = (
        f"component {number} ({share:.0%})"
        for number, share in enumerate(components.shares.tolist(), 1)
    )
    lead = (
        f"{len(rows):,} places by their first three principal components, which hold "
        f"{components.shares.sum():.0%} of the variance. Each point is the tile of its place; its "
        "frame has the colour of the same components."
    )
    at = components.project(space.vectors.embedding[rows])
    return Cloud(
        "Principal components", lead, (first, second, third), at, *_tiles(space, rows),
        space.channels,
    )  # fmt: skip


def tsne(space: Space, count: int = 600, perplexity: float = PERPLEXITY, seed: int = 0) -> Cloud:
    """Lay at most `count` places out by t-SNE in three dimensions (van der Maaten, Hinton 2008).

    Raises `ExploreError` when there are fewer than `FEWEST` places, or not three times the
    perplexity.
    """
    rows = _sample(space, count, seed)
    least = max(FEWEST, math.ceil(3 * perplexity))
    if len(rows) < least:
        raise ExploreError(
            f"{len(rows)} places are too few for t-SNE with perplexity {perplexity:g}: it needs "
            f"{least}; give a larger index, more --count or a smaller --perplexity"
        )
    lead = (
        f"{len(rows):,} places by t-SNE (perplexity {perplexity:g}), which keeps neighbours "
        "together; distances between far groups and the axes themselves mean nothing. Frames have "
        "the colour of the first three principal components."
    )
    at = _lay_out(space.vectors.embedding[rows].astype(np.float64), perplexity, seed)
    return Cloud("t-SNE", lead, ("", "", ""), at, *_tiles(space, rows), space.channels)


def _lay_out(vectors: Floats, perplexity: float, seed: int) -> Floats:
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    model = TSNE(3, perplexity=perplexity, init="pca", random_state=seed)
    with threadpool_limits(1):  # on a busy machine two threads wait for each other at every step
        return np.asarray(model.fit_transform(vectors), np.float64)


def _sample(space: Space, count: int, seed: int) -> Places:
    """Return the rows of at most `count` places."""
    return np.sort(np.random.default_rng(seed).permutation(len(space.vectors))[:count])


def _tiles(space: Space, rows: Places) -> tuple[list[View], Pixels]:
    """Return the places of some rows, and the colours of their vectors."""
    embedding = space.vectors.embedding
    return space.rows(rows), Colours.fit(embedding).rgb(embedding[rows])
