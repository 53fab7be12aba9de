"""The places of a region in kinds: clusters of vectors, each shown by its typical tiles and named by its tags."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from loc2vec.errors import ExploreError
from loc2vec.evaluation.baselines import channel_means, count_near
from loc2vec.explore.space import Space
from loc2vec.paper.overlays import tinted
from loc2vec.paper.page import Points, page
from loc2vec.paper.painting import Painting, spacing_of
from loc2vec.paper.plot import CLASSES, Figure, axes_in, map_panel, new_figure, row_of, tile_scale
from loc2vec.paper.strips import Cell, Row, View
from tiling.osm.values import OsmObject
from tiling.values import LonLat

Floats = NDArray[np.float64]
Pixels = NDArray[np.uint8]
Method = Literal["k-means", "hdbscan"]

TAGS = (
    "shop",
    "amenity",
    "building",
    "landuse",
    "natural",
    "leisure",
    "tourism",
    "railway",
    "highway",
    "office",
    "man_made",
)
NAMED_BY = 3  # tags
# of what is nearest most often: what is near a kind more rarely does not name it
FEWEST_SHARE = 0.1
TYPICAL = 4  # tiles of a kind
LEAST = 5  # places that are a kind, for HDBSCAN; or a hundredth of all
OTHER = "#999999"
WIDTH_PX = 900
MOST_POINTS = 2500
SAMPLE = 400  # places of each kind whose tiles are looked at for their channels


@dataclass(frozen=True, eq=False)
class Kind:
    """A cluster: its name, its rows among the places, and the places nearest to its middle."""

    name: str
    rows: NDArray[np.int64]
    typical: Sequence[View]
    colour: str


@dataclass(frozen=True, eq=False)
class Kinds:
    """The kinds of a region, the largest first.

    `label` int64 [n] is the number of each place's kind, -1 for none.
    """

    kinds: Sequence[Kind]
    label: NDArray[np.int64]
    space: Space
    method: Method
    region: str
    shown: Sequence[View]
    rows: NDArray[np.int64]

    @property
    def title(self) -> str:
        return f"{len(self.kinds)} kinds of place in {self.region}"

    @property
    def lead(self) -> str:
        none = (self.label < 0).mean()
        rest = f" {none:.0%} of the places are of no kind (grey)." if none else ""
        return (
            f"{len(self.label):,} places by {self.method} of their vectors. Each kind is named by what is near its "
            f"places more often than near all (×: how much more); its tiles are the places nearest to its middle.{rest}"
        )

    @property
    def painting(self) -> Painting:
        """The places in the colours of their kinds."""
        colours = np.array([_rgb(kind.colour) for kind in self.kinds] + [_rgb(OTHER)], np.uint8)
        lat, lon = self.space.vectors.lat, self.space.vectors.lon
        return Painting(lat, lon, colours[self.label], spacing_of(lat, lon))

    def figure(self) -> Figure:
        """Draw the map of the kinds, and the typical tiles of each."""
        painting = self.painting
        box = painting.box
        chart = self.space.chart(box, WIDTH_PX)
        height, width = chart.shape[:2]
        row_in, wide = 1.18, 4.6
        high = wide * height / width
        tall = max(high, row_in * len(self.kinds))
        figure = new_figure(wide + 6.9, tall + 1.5, self.title, self.lead)
        picture = tinted(chart, painting.paint(box, width, height))
        map_panel(axes_in(figure, 0.15, 1.05, wide, high), picture, box)
        for number, kind in enumerate(self.kinds):
            share = len(kind.rows) / len(self.label)
            pictures = [view.picture for view in kind.typical]
            row_of(
                figure,
                wide + 0.35,
                1.05 + number * row_in,
                pictures,
                kind.colour,
                f"{share:.0%}",
                kind.name,
            )
        tile_scale(figure, self.space.side_m, wide + 0.35, 0.13, 1.05)
        return figure

    def page(self) -> str:
        """Return a page with the map, on which each place shows its tile, and the typical tiles."""
        painting = self.painting
        box = painting.box
        chart = self.space.chart(box, WIDTH_PX)
        at, _ = painting.pixels(box, WIDTH_PX)
        height, width = chart.shape[:2]
        names = [kind.name for kind in self.kinds] + ["no kind"]
        points = Points(
            at[self.rows],
            self.shown,
            painting.colours[self.rows],
            (),
            [names[label] for label in self.label[self.rows].tolist()],
            [(kind.name, kind.colour) for kind in self.kinds],
            below=tinted(chart, painting.paint(box, width, height)),
            radius=0,
        )
        rows = [
            Row(
                f"{kind.name}: {len(kind.rows):,} places",
                [Cell.of(view, frame=kind.colour) for view in kind.typical],
            )
            for kind in self.kinds
        ]
        return page(self.title, self.lead, [points, rows], self.space.channels)

    @property
    def columns(self) -> dict[str, list[Any]]:
        """What a file for a GIS says of each place: the number and the name of its kind, null for none."""
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
    """Divide the places of a space into at most `count` kinds, by k-means or (the largest) by HDBSCAN.

    They are named by the tags of `objects`, or, without any, by the channels of their tiles. Raises
    `ExploreError` when there are fewer places than kinds, or no kind is found.
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
    names, near = _near(space, label, objects, seed)
    kinds = []
    for number in range(label.max() + 1):
        rows = np.flatnonzero(label == number)
        vectors = space.vectors.embedding[rows]
        order = np.argsort(np.linalg.norm(vectors - vectors.mean(0), axis=1), kind="stable")[
            :TYPICAL
        ]
        kinds.append(
            Kind(
                _name(names, near, label == number), rows, space.rows(rows[order]), CLASSES[number]
            )
        )
    shown = np.sort(np.random.default_rng(seed).permutation(len(label))[:MOST_POINTS])
    return Kinds(kinds, label, space, method, region, space.rows(shown), shown)


def _label(vectors: Floats, count: int, method: Method, seed: int) -> NDArray[np.int64]:
    """Return the number of each vector's cluster, the largest is 0, those beyond `count` and none are -1."""
    from sklearn.cluster import HDBSCAN, KMeans

    if method == "k-means":
        found = KMeans(count, n_init=10, random_state=seed).fit_predict(vectors)
    else:
        found = HDBSCAN(min_cluster_size=max(LEAST, len(vectors) // 100), copy=True).fit_predict(
            vectors
        )
    numbers, sizes = np.unique(found[found >= 0], return_counts=True)
    label = np.full(len(vectors), -1, np.int64)
    for new, old in enumerate(numbers[np.argsort(-sizes, kind="stable")][:count]):
        label[found == old] = new
    return label


def _near(
    space: Space, label: NDArray[np.int64], objects: Sequence[OsmObject], seed: int
) -> tuple[list[str], NDArray[np.floating]]:
    """Return what may name a kind, and whether it is near each place, or how much of its tile it covers: [n, names].

    Where there are no objects only some places of each kind are looked at; the others have the mean
    of these.
    """
    lat, lon = space.vectors.lat.tolist(), space.vectors.lon.tolist()
    if objects:
        tagged = [
            (item.wkb, f"{key}={item.tags[key]}")
            for item in objects
            for key in TAGS
            if item.tags.get(key, "yes") != "yes"
        ]
        names, counts = count_near(tagged, [LonLat(*place) for place in zip(lon, lat, strict=True)])
        return names, (counts > 0).astype(np.float64)
    cover = np.zeros((len(label), len(space.channels)))
    for number in np.unique(label):
        rows = np.flatnonzero(label == number)
        some = np.random.default_rng(seed).permutation(rows)[:SAMPLE]
        cover[rows] = channel_means(np.stack([view.tile for view in space.rows(some)])).mean(0)
    return list(space.channels), cover


def _name(names: Sequence[str], near: NDArray[np.floating], mine: NDArray[np.bool_]) -> str:
    """Return the names that are over-represented: much more often here than in all, and often enough."""
    here, all_ = near[mine].mean(0), near.mean(0)
    score = np.where(
        here >= FEWEST_SHARE * here.max(initial=0),
        here * np.log(np.maximum(here, 1e-9) / np.maximum(all_, 1e-9)),
        0,
    )
    best = [
        number
        for number in np.argsort(-score, kind="stable")[:NAMED_BY].tolist()
        if score[number] > 0
    ]
    return (
        ", ".join(f"{names[n]} ×{here[n] / all_[n]:.1f}" for n in best) or "nothing in particular"
    )


def _rgb(colour: str) -> tuple[int, ...]:
    return tuple(int(colour[at : at + 2], 16) for at in (1, 3, 5))
