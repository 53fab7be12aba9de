"""Places in three dimensions, their tiles as the points: principal components, or t-SNE."""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from loc2vec.errors import ExploreError
from loc2vec.explore.space import Space, Tell
from loc2vec.model.arrays import Floats, Pixels, Places
from loc2vec.paper.colours import CLASSES, Colours, Components
from loc2vec.paper.page import Points, page, small
from loc2vec.paper.plot import Figure, axes_in, new_figure
from loc2vec.paper.strips import View
from tiling.files.atomic import replacing

YAW, PITCH = 0.6, 0.35  # radians: from where the still picture looks
AWAY = 3.2  # of the eye, in radii of the cloud
SPRITE_SHARE = 0.038  # a side of a tile, as a share of the picture's height
STILL_PX = (1504, 944)  # at most
STILL_SPRITE_PX = 36.0
AXES = (CLASSES[0], CLASSES[4], CLASSES[2])  # the colours of the three axes
KEY_SHARE = 0.11  # of a picture with axes: the strip below the cloud that explains them
FRAMES, FRAME_MS, FRAME_PX = 40, 120, (440, 360)
PERPLEXITY = 30.0
FEWEST = 10  # places for t-SNE: with fewer it has no neighbourhoods to keep


class Seen(NamedTuple):
    """Points as the eye sees them, float64 [n] each: where, their depth and the scale of things."""

    x: Floats
    y: Floats
    depth: Floats
    scale: Floats

    def scaled(self, unit: float, middle: tuple[float, float]) -> "Seen":
        """Return the points `unit` times as large about another middle."""
        return self._replace(x=self.x * unit + middle[0], y=self.y * unit + middle[1])


@dataclass(frozen=True, eq=False)
class Cloud:
    """Places at `at` float64 [n, 3], with a colour each, uint8 [n, 3], that frames their tiles.

    `axes`: the names of the three, or none where they mean nothing.
    """

    title: str
    lead: str
    axes: tuple[str, ...]
    at: Floats
    views: list[View]
    colours: Pixels
    channels: tuple[str, ...]

    def figure(self) -> Figure:
        """Plot the cloud from one side."""
        picture = self.still()
        wide, high = 9.4, 9.4 * picture.shape[0] / picture.shape[1]
        figure = new_figure(9.6, high + 1.15, self.title, self.lead)
        axes = axes_in(figure, 0.1, 0.8, wide, high)
        axes.imshow(picture, interpolation="antialiased")
        axes.set_axis_off()
        return figure

    def page(self) -> str:
        """Return a page on which the cloud turns, and can be turned."""
        notes = [""] * len(self.views)
        key = list(zip(self.axes, AXES, strict=False))
        points = Points(self.at, self.views, self.colours, self.axes, notes, key, sprites=True)
        return page(self.title, self.lead, [points], self.channels)

    def picture(self, size: tuple[int, int], yaw: float) -> Pixels:
        """Paint the cloud as it is seen from `yaw` radians: uint8 [height, width, 3].

        Its scale is the same from every side.
        """
        width, height = size[0], size[1] - self._key_px(size[1])
        tall = float(np.abs(self._centred[:, 2]).max()) * math.cos(PITCH) + math.sin(PITCH)
        unit = min(0.45 * width / max(_radius(self._centred), 1e-9), 0.46 * height / tall)
        seen = _project(self._centred, yaw).scaled(unit, (width / 2, height / 2))
        return self._paint(size, seen, SPRITE_SHARE * size[1], yaw)

    def still(self) -> Pixels:
        """Paint the cloud from one side, as large as `STILL_PX` lets it be."""
        flat = _project(self._centred, YAW)
        low = np.array([flat.x.min(), flat.y.min()])
        span = np.maximum(np.array([flat.x.max(), flat.y.max()]) - low, 1e-9)
        edge, key = STILL_SPRITE_PX, self._key_px(STILL_PX[1])
        room = np.array([STILL_PX[0], STILL_PX[1] - key]) - 2 * edge
        unit = float((room / span).min())
        width, height = np.ceil(np.minimum(span * unit, room) + 2 * edge).astype(int).tolist()
        corner = edge - low * unit
        seen = flat.scaled(unit, (float(corner[0]), float(corner[1])))
        return self._paint((width, height + key), seen, STILL_SPRITE_PX, YAW)

    @cached_property
    def _centred(self) -> Floats:
        """The points about the middle of their box, at most 1 from its axis and its plane."""
        centred: Floats = self.at - (self.at.min(0) + self.at.max(0)) / 2
        return centred / max(_radius(centred), float(np.abs(centred[:, 2]).max()), 1e-9)

    @cached_property
    def _sprites(self) -> list[Image.Image]:
        return [Image.fromarray(small(view.picture)) for view in self.views]

    def _key_px(self, height: int) -> int:
        return round(KEY_SHARE * height) if self.axes else 0

    def _paint(self, size: tuple[int, int], seen: Seen, side: float, yaw: float) -> Pixels:
        """Paint the tiles in their frames, the farthest first, and the key below them."""
        sheet = Image.new("RGB", size, "white")
        pen = ImageDraw.Draw(sheet)
        for number in np.argsort(-seen.depth, kind="stable").tolist():
            edge = max(round(side * seen.scale[number]), 4)
            tile = self._sprites[number].resize((edge, edge), Image.Resampling.BOX)
            left, top = round(seen.x[number] - edge / 2), round(seen.y[number] - edge / 2)
            line = max(edge // 12, 1)
            box = (left - line, top - line, left + edge + line - 1, top + edge + line - 1)
            pen.rectangle(box, tuple(self.colours[number].tolist()))
            sheet.paste(tile, (left, top))
        if self.axes:
            _paint_key(pen, size, self.axes, yaw)
        return np.asarray(sheet)


def _radius(at: Floats) -> float:
    """Return how far points [n, 3] reach from the axis about which they turn."""
    return float(np.linalg.norm(at[:, :2], axis=1).max())


def _paint_key(
    pen: ImageDraw.ImageDraw, size: tuple[int, int], names: Sequence[str], yaw: float
) -> None:
    """Paint where the axes lead, and their names in the same colours."""
    width, key = size[0], round(KEY_SHARE * size[1])
    top, reach = size[1] - key, 0.42 * key
    pen.rectangle((0, top, width, size[1]), "white")
    ends = _project(np.eye(3), yaw)
    middle, font = (0.6 * key, top + key / 2), ImageFont.load_default(0.2 * key)
    for name, colour, x, y, row in zip(names, AXES, ends.x, ends.y, range(3), strict=True):
        end = middle[0] + reach * x, middle[1] + reach * y
        pen.line([middle, end], colour, max(key // 30, 1))
        pen.text((1.3 * key, top + (0.2 + 0.3 * row) * key), name, colour, font, anchor="lm")


def _project(at: Floats, yaw: float) -> Seen:
    """Return where points [n, 3] are seen from: 1 in the middle is one unit, y points down."""
    across = at[:, 0] * math.cos(yaw) + at[:, 1] * math.sin(yaw)
    away = -at[:, 0] * math.sin(yaw) + at[:, 1] * math.cos(yaw)
    up = at[:, 2] * math.cos(PITCH) - away * math.sin(PITCH)
    depth = at[:, 2] * math.sin(PITCH) + away * math.cos(PITCH)
    scale = AWAY / (AWAY + depth)
    return Seen(across * scale, -up * scale, depth, scale)


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
    return Cloud("t-SNE", lead, (), at, *_tiles(space, rows), space.channels)


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
