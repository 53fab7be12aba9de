"""The places of a region in kinds: clusters of vectors, named by what stands out in them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from loc2vec.errors import ExploreError
from loc2vec.evaluation.baselines import channel_means, count_near
from loc2vec.explore.describe import describe
from loc2vec.explore.space import Space
from loc2vec.model.arrays import Flags, Floats, Pixels, Places
from loc2vec.paper.colours import CLASSES, from_hex
from loc2vec.paper.overlays import tinted
from loc2vec.paper.page import Points, page
from loc2vec.paper.painting import Painting, spacing_of
from loc2vec.paper.plot import Figure, axes_in, map_panel, new_figure, tile_scale
from loc2vec.paper.sheet import BETWEEN, kind_row
from loc2vec.paper.strips import Cell, Row, View
from tiling.osm.extract import OsmObject
from tiling.osm.words import words_of
from tiling.values import Box, LonLat
from tiling.words import counted

Method = Literal["k-means", "hdbscan"]

NAMED_BY = 3  # words
FEWEST_SHARE = 0.1  # of the most frequent: a rarer one does not name a kind
LEAST_GAIN = 1.25  # how much more frequent than everywhere a name must be
EMPTY = 0.1  # the cover of all channels together, up to which tiles show next to nothing
TYPICAL = 4  # tiles of a kind
LEAST = 5  # places of a kind for HDBSCAN, or a hundredth of all
OTHER = "#999999"
NOTHING = "little drawn"  # the name of empty ground
WIDTH_PX = 900  # of the map
TOP_IN, WIDE_IN, ROW_IN = 1.05, 4.6, 1.18  # above the map, its width, and a row beside it
MOST_POINTS = 2500
SAMPLE = 400  # places of each kind whose tiles are looked at for their channels


@dataclass(frozen=True, eq=False)
class Kind:
    """A cluster: its name, its rows among the places, and the places nearest to its middle.

    `sentence`: what most of its places show, on the mean.
    """

    name: str
    sentence: str
    rows: Places
    typical: Sequence[View]
    colour: str


@dataclass(frozen=True, eq=False)
class Kinds:
    """The kinds of a region, the largest first.

    `label` int64 [n] is the number of each place's kind, -1 for none. `shown`: the places that the
    page shows the tiles of, the `rows` of all.
    """

    kinds: Sequence[Kind]
    label: Places
    space: Space
    method: Method
    region: str
    shown: Sequence[View]
    rows: Places

    @property
    def title(self) -> str:
        return f"{len(self.kinds)} kinds of place in {self.region}"

    @property
    def lead(self) -> str:
        none = (self.label < 0).mean()
        rest = f" {none:.0%} of the places are of no kind (grey)." if none else ""
        return (
            f"{len(self.label):,} places by {self.method} of their vectors. Each kind is named by "
            "what its places show, or have near, more than all (×: how much more). Its tiles are "
            f"the places nearest to its middle.{rest}"
        )

    @property
    def painting(self) -> Painting:
        """The places in the colours of their kinds."""
        colours = from_hex([*(kind.colour for kind in self.kinds), OTHER])  # -1 is the last
        lat, lon = self.space.vectors.lat, self.space.vectors.lon
        return Painting(lat, lon, colours[self.label], spacing_of(lat, lon))

    @cached_property
    def _map(self) -> tuple[Box, Pixels]:
        """The box of the places, and a map picture of it in the colours of their kinds."""
        box = self.painting.box
        chart = self.space.chart(box, WIDTH_PX)
        height, width = chart.shape[:2]
        return box, tinted(chart, self.painting.paint(box, width, height))

    def figure(self) -> Figure:
        """Plot the map of the kinds, and the typical tiles of each."""
        box, picture = self._map
        high = WIDE_IN * picture.shape[0] / picture.shape[1]
        tall = max(high, ROW_IN * len(self.kinds))
        figure = new_figure(WIDE_IN + 6.9, tall + 1.5, self.title, self.lead)
        map_panel(axes_in(figure, 0.15, TOP_IN, WIDE_IN, high), picture, box)
        left = WIDE_IN + 0.35
        for number, kind in enumerate(self.kinds):
            said = f"{len(kind.rows) / len(self.label):.0%}", kind.name
            pictures = [view.picture for view in kind.typical]
            kind_row(figure, (left, TOP_IN + number * ROW_IN), pictures, kind.colour, said)
        tile_scale(figure, self.space.side_m, left, 0.13, 1.05)
        return figure

    def page(self) -> str:
        """Return a page with the map, on which each place shows its tile, and the typical tiles."""
        painting, (box, picture) = self.painting, self._map
        at, _ = painting.pixels(box, WIDTH_PX)
        names = [kind.name for kind in self.kinds] + ["no kind"]
        points = Points(
            at[self.rows],
            self.shown,
            painting.colours[self.rows],
            (),
            [names[label] for label in self.label[self.rows].tolist()],
            [(kind.name, kind.colour) for kind in self.kinds],
            below=picture,
            radius=0,
        )
        rows = [
            Row(
                f"{kind.sentence} ({kind.name}): {counted(len(kind.rows), 'place')}",
                [Cell.of(view, frame=kind.colour) for view in kind.typical],
            )
            for kind in self.kinds
        ]
        return page(self.title, self.lead, [points, rows], self.space.channels)

    @property
    def columns(self) -> dict[str, list[Any]]:
        """The columns of a file for a GIS: the number and the name of a place's kind, or null."""
        names = [kind.name for kind in self.kinds]
        labels = self.label.tolist()
        return {
            "kind": [label if label >= 0 else None for label in labels],
            "kind_name": [names[label] if label >= 0 else None for label in labels],
        }


def kinds_of(
    space: Space,
    region: str,
    count: int = 6,
    method: Method = "k-means",
    objects: Sequence[OsmObject] = (),
    seed: int = 0,
) -> Kinds:
    """Divide the places of a space into at most `count` kinds.

    Of the clusters of HDBSCAN the largest are the kinds. The channels of their tiles name them, and
    what the tags of `objects` say. Raises `ExploreError` when there are fewer places than
    kinds, or no kind is found.
    """
    space.require(count, "kinds")
    if not 2 <= count <= len(CLASSES) - 1:
        raise ExploreError(
            f"kinds = {count}: give 2 to {len(CLASSES) - 1}, which colours can tell apart"
        )
    label = _label(space.vectors.embedding.astype(np.float64), count, method, seed)
    if label.max() < 0:
        raise ExploreError(
            f"{method} finds no kind among {len(label)} places: give more, or take k-means"
        )
    cover = _mean_cover(space, label, seed)
    names, near = _standing_out(space, cover, objects)
    kinds = []
    for number in range(label.max() + 1):
        rows = np.flatnonzero(label == number)
        name = _name(names, near, label == number)
        mean = dict(zip(space.catalogue.channels, cover[rows[0]].tolist(), strict=False))
        kinds.append(Kind(name, describe(mean, {}), rows, _typical(space, rows), CLASSES[number]))
    shown = np.sort(np.random.default_rng(seed).permutation(len(label))[:MOST_POINTS])
    return Kinds(kinds, label, space, method, region, space.rows(shown), shown)


def _typical(space: Space, rows: Places) -> list[View]:
    """Return the places nearest to the mean of their vectors."""
    vectors = space.vectors.embedding[rows]
    away = np.linalg.norm(vectors - vectors.mean(0), axis=1)
    return space.rows(rows[np.argsort(away, kind="stable")[:TYPICAL]])


def _label(vectors: Floats, count: int, method: Method, seed: int) -> Places:
    """Return the number of each vector's cluster, the largest first.

    -1 stands for no cluster, and for those beyond `count`.
    """
    from sklearn.cluster import HDBSCAN, KMeans

    if method == "k-means":
        found = KMeans(count, n_init=10, random_state=seed).fit_predict(vectors)
    else:
        least = max(LEAST, len(vectors) // 100)
        found = HDBSCAN(min_cluster_size=least, copy=True).fit_predict(vectors)
    numbers, sizes = np.unique(found[found >= 0], return_counts=True)
    label = np.full(len(vectors), -1, np.int64)
    for new, old in enumerate(numbers[np.argsort(-sizes, kind="stable")][:count]):
        label[found == old] = new
    return label


def _standing_out(
    space: Space, cover: Floats, objects: Sequence[OsmObject]
) -> tuple[list[str], Floats]:
    """Return what may name a kind, and how much of it each place has: [n, names].

    How much of a tile a channel covers, and 1 where what has a word is near, else 0.
    """
    tagged = [(item.wkb, word) for item in objects for word in words_of(item.tags)]
    lat, lon = space.vectors.lat.tolist(), space.vectors.lon.tolist()
    words, counts = count_near(tagged, [LonLat(*place) for place in zip(lon, lat, strict=True)])
    new = [number for number, word in enumerate(words) if word not in space.channels]
    drawn = cover[:, : len(space.catalogue.channels)].sum(1, keepdims=True)  # not farther away
    nothing = (drawn <= EMPTY).astype(np.float64)
    names = [*space.channels, NOTHING, *(words[number] for number in new)]
    return names, np.concatenate([cover, nothing, counts[:, new] > 0], axis=1)


def _mean_cover(space: Space, label: Places, seed: int) -> Floats:
    """Return the mean cover of each channel over some places of the kind of each place."""
    cover = np.zeros((len(label), len(space.channels)))
    for number in np.unique(label):
        rows = np.flatnonzero(label == number)
        some = np.random.default_rng(seed).permutation(rows)[:SAMPLE]
        cover[rows] = channel_means(np.stack([view.tile for view in space.rows(some)])).mean(0)
    return cover


def _name(names: Sequence[str], near: Floats, mine: Flags) -> str:
    """Return the names much more frequent here than in all, and frequent enough."""
    here, all_ = near[mine].mean(0), near.mean(0)
    if here[names.index(NOTHING)]:
        return NOTHING
    ratio = here / np.maximum(all_, 1e-9)
    frequent = (here >= FEWEST_SHARE * here.max(initial=0)) & (ratio >= LEAST_GAIN)
    score = np.where(frequent, here * np.log(np.maximum(ratio, 1e-9)), 0)
    best: list[int] = []
    for number in np.argsort(-score, kind="stable").tolist():
        if score[number] > 0 and not any(_one_channel(names[number], names[n]) for n in best):
            best.append(number)
    told = [f"{names[n]} ×{ratio[n]:.1f}" for n in best[:NAMED_BY]]
    return BETWEEN.join(told) or "nothing in particular"


def _one_channel(a: str, b: str) -> bool:
    """Tell whether two names are those of one channel, at two scales.

    >>> _one_channel("water, 400 m", "water"), _one_channel("water", "water towers")
    (True, False)
    """
    near, wide = sorted((a, b), key=len)
    return wide.startswith(f"{near}, ")
