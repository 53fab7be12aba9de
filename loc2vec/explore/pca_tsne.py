"""Places in three dimensions, their tiles as the points: principal components, or t-SNE."""

import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from loc2vec.errors import ExploreError
from loc2vec.explore.space import Space, Tell
from loc2vec.paper.colours import Colours, Components
from loc2vec.paper.page import Points, page, small
from loc2vec.paper.plot import Figure, axes_in, new_figure
from loc2vec.paper.strips import View
from tiling.files.atomic import replacing

Floats = NDArray[np.float64]
Pixels = NDArray[np.uint8]

YAW, PITCH = 0.6, 0.35  # radians: from where the still picture looks
AWAY = 3.2  # of the eye, in radii of the cloud
SPRITE_SHARE = 0.038  # a side of a tile, as a share of the picture's height
FRAMES, FRAME_MS, FRAME_PX = 40, 120, (440, 360)
PERPLEXITY = 30.0
FEWEST = 10  # places for t-SNE: with fewer it has no neighbourhoods to keep


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
        """Draw the cloud from one side."""
        figure = new_figure(9.6, 6.9, self.title, self.lead)
        axes = axes_in(figure, 0.1, 0.75, 9.4, 5.9)
        axes.imshow(self.picture((1504, 944), YAW), interpolation="antialiased")
        axes.set_axis_off()
        return figure

    def page(self) -> str:
        """Return a page on which the cloud turns, and can be turned."""
        notes = [""] * len(self.views)
        points = Points(self.at, self.views, self.colours, self.axes, notes, sprites=True)
        return page(self.title, self.lead, [points], self.channels)

    @cached_property
    def _sprites(self) -> list[Image.Image]:
        return [Image.fromarray(small(view.picture)) for view in self.views]

    def picture(self, size: tuple[int, int], yaw: float) -> Pixels:
        """Draw the cloud as it is seen from `yaw` radians: uint8 [height, width, 3]."""
        sheet = Image.new("RGB", size, "white")
        pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size[1] / 46)
        low, high = self.at.min(0), self.at.max(0)
        centred = self.at - (low + high) / 2
        span = max(float(np.linalg.norm(centred[:, :2], axis=1).max()), 1e-9)
        tall = float(np.abs(centred[:, 2]).max()) / span * math.cos(PITCH) + math.sin(PITCH)
        unit = min(0.45 * size[0], 0.46 * size[1] / tall)  # pixels
        ends = np.concatenate([np.zeros((1, 3)), 1.1 * np.diag((high - low) / 2)])
        x, y, depth, scale = _project(centred / span, size, unit, yaw)
        ex, ey, _, _ = _project(ends / span, size, unit, yaw)
        for number in range(1, len(ends)):
            pen.line(
                [(ex[0], ey[0]), (ex[number], ey[number])], (110, 110, 110), max(size[1] // 500, 1)
            )
        side = SPRITE_SHARE * size[1]
        for number in np.argsort(-depth, kind="stable").tolist():
            edge = max(round(side * scale[number]), 4)
            tile = self._sprites[number].resize((edge, edge), Image.Resampling.BOX)
            left, top = round(x[number] - edge / 2), round(y[number] - edge / 2)
            line = max(edge // 12, 1)
            box = (left - line, top - line, left + edge + line - 1, top + edge + line - 1)
            pen.rectangle(box, tuple(self.colours[number].tolist()))
            sheet.paste(tile, (left, top))
        for number, name in enumerate(self.axes, 1):
            at = (ex[number], ey[number])
            pen.text(
                at,
                name,
                (40, 40, 40),
                font,
                anchor="mm",
                stroke_width=max(size[1] // 250, 1),
                stroke_fill="white",
            )
        return np.asarray(sheet)


def _project(
    at: Floats, size: tuple[int, int], unit: float, yaw: float
) -> tuple[Floats, Floats, Floats, Floats]:
    """Return where points [n, 3] are seen, x, y in pixels (`unit` of them are 1), their depth and their scale."""
    a = at[:, 0] * math.cos(yaw) + at[:, 1] * math.sin(yaw)
    b = -at[:, 0] * math.sin(yaw) + at[:, 1] * math.cos(yaw)
    up = at[:, 2] * math.cos(PITCH) - b * math.sin(PITCH)
    depth = at[:, 2] * math.sin(PITCH) + b * math.cos(PITCH)
    scale = AWAY / (AWAY + depth)
    return size[0] / 2 + a * scale * unit, size[1] / 2 - up * scale * unit, depth, scale


def write_animation(cloud: Cloud, path: Path, tell: Tell = lambda n: None) -> Path:
    """Write PATH.webp, in which the cloud turns once; `tell` hears of each frame."""
    frames = []
    for number in range(FRAMES):
        frames.append(Image.fromarray(cloud.picture(FRAME_PX, YAW + 2 * math.pi * number / FRAMES)))
        tell(1)
    buffer = io.BytesIO()
    frames[0].save(
        buffer,
        "WEBP",
        save_all=True,
        append_images=frames[1:],
        duration=FRAME_MS,
        loop=0,
        quality=45,
        method=4,
    )
    target = path.with_name(path.name + ".webp")
    with replacing(target) as temporary:
        temporary.write_bytes(buffer.getvalue())
    return target


def pca(space: Space, count: int = 600, seed: int = 0) -> Cloud:
    """Lay at most `count` places out by their first three principal components, fitted to all of the space."""
    components = Components.fit(space.vectors.embedding)
    names = [
        f"component {n} ({share:.0%})" for n, share in enumerate(components.shares.tolist(), 1)
    ]
    return _cloud(
        space,
        count,
        seed,
        components.project,
        f"{{}} places by their first three principal components, which hold {components.shares.sum():.0%} of the "
        "variance. Each point is the tile of its place; its frame has the colour of the same components.",
        "Principal components",
        (names[0], names[1], names[2]),
    )


def tsne(space: Space, count: int = 600, perplexity: float = PERPLEXITY, seed: int = 0) -> Cloud:
    """Lay at most `count` places out by t-SNE in three dimensions (van der Maaten and Hinton 2008).

    Raises `ExploreError` when there are fewer than `FEWEST` places, or not three times the
    perplexity.
    """
    chosen = min(count, len(space.vectors))
    if chosen < max(FEWEST, 3 * perplexity):
        raise ExploreError(
            f"{chosen} places are too few for t-SNE with perplexity {perplexity:g}: it needs "
            f"{max(FEWEST, math.ceil(3 * perplexity))}; give a larger index, more --count or a smaller --perplexity"
        )

    def lay_out(vectors: NDArray[np.float32]) -> Floats:
        from sklearn.manifold import TSNE
        from threadpoolctl import threadpool_limits

        model = TSNE(3, perplexity=perplexity, init="pca", random_state=seed)
        # two threads on a busy machine wait for each other at every step
        with threadpool_limits(1):
            fitted = model.fit_transform(vectors.astype(np.float64))
        return np.asarray(fitted, np.float64)

    return _cloud(
        space,
        count,
        seed,
        lay_out,
        f"{{}} places by t-SNE (perplexity {perplexity:g}), which keeps neighbours together; distances between far "
        "groups and the axes themselves mean nothing. Frames have the colour of the first three principal components.",
        "t-SNE",
        ("", "", ""),
    )


def _cloud(
    space: Space,
    count: int,
    seed: int,
    lay_out: Callable[[NDArray[np.float32]], Floats],
    lead: str,
    title: str,
    axes: tuple[str, str, str],
) -> Cloud:
    rows = np.sort(np.random.default_rng(seed).permutation(len(space.vectors))[:count])
    vectors = space.vectors.embedding[rows]
    colours = Colours.fit(space.vectors.embedding).rgb(vectors)
    return Cloud(
        title,
        lead.format(f"{len(rows):,}"),
        axes,
        lay_out(vectors),
        space.rows(rows),
        colours,
        space.channels,
    )
