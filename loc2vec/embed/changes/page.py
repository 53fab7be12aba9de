"""The changes as one page: the map with what moved over it, and the strongest, before and after."""

import numpy as np

from loc2vec.embed.changes.report import Changes
from loc2vec.model.arrays import Floats, Pixels
from loc2vec.paper.overlays import tinted
from loc2vec.paper.page import Points, Section, page
from loc2vec.paper.painting import Painting
from loc2vec.paper.strips import Cell, Row, View
from tiling.render.basemap import draw_map
from tiling.render.renderer import Renderer
from tiling.store.source import FeatureSource
from tiling.values import LonLat, TileGeometry

WIDTH_PX = 1100  # of the map
PALE, DEEP = np.array([253, 224, 200.0]), np.array([165, 15, 21.0])  # little change, much change
TOLD = 10
LEAD = (
    "Coloured squares changed, the darker the farther their vector moved. 'ground': something came "
    "in the place of something else. 'mapping': land was drawn where the map was blank, or many "
    "objects are new on the same land use. So the map changed rather than the ground. 'unclear': "
    "the map alone does not tell."
)


def change_page(
    found: Changes,
    sources: tuple[FeatureSource, FeatureSource],
    geometry: TileGeometry,
    spacing_m: float,
) -> str:
    """Return the page as HTML; `spacing_m`: how far apart the places lie."""
    rows = found.strongest_rows(TOLD)
    places = [LonLat(*place) for place in found.lon_lat[rows].tolist()]
    renderers = [Renderer(source, geometry) for source in sources]
    old, new = (
        [View(place, "", tile, source.catalogue.palette) for place, tile in pairs]
        for source, pairs in (
            (source, zip(places, renderer.north_up(places), strict=True))
            for source, renderer in zip(sources, renderers, strict=True)
        )
    )
    pairs = [
        Row(
            f"{number}. {found.told[row].sentence} ({found.told[row].kind}), "
            f"moved by {found.moves.distance[row]:.2f}",
            [Cell.of(before, "before"), Cell.of(after, "after")],
        )
        for number, (row, before, after) in enumerate(zip(rows, old, new, strict=True), 1)
    ]
    title = f"{found.changed:,} of {len(found):,} places changed"
    sections: list[Section] = [_map(found, sources[1], spacing_m, new, rows), pairs] if rows else []
    return page(title, LEAD, sections, renderers[1].channels)


def _map(
    found: Changes, source: FeatureSource, spacing_m: float, views: list[View], rows: list[int]
) -> Points:
    """Return the map of the new state under the squares; the strongest show their tiles."""
    lon, lat = found.lon_lat.T
    whole = Painting(lat, lon, np.zeros((len(lat), 3), np.uint8), spacing_m)
    changed = np.flatnonzero([bool(told.sentence) for told in found.told])
    colours = colours_of(found.moves.distance[changed])
    painting = Painting(lat[changed], lon[changed], colours, spacing_m)
    chart = draw_map(source, whole.box, WIDTH_PX)
    height, width = chart.shape[:2]
    below = tinted(chart, painting.paint(whole.box, width, height))
    at, _ = whole.pixels(whole.box, width)
    notes = [f"{n}. {found.told[row].sentence}" for n, row in enumerate(rows, 1)]
    marks = np.zeros((len(rows), 3), np.uint8)
    return Points(at[rows], views, marks, (), notes, below=below, radius=5)


def colours_of(distance: Floats) -> Pixels:
    """Return a colour for each distance, uint8 [n, 3], from pale to deep red."""
    share = (distance / max(float(distance.max(initial=0)), 1e-9))[:, None]
    colours: Pixels = np.rint(PALE + share * (DEEP - PALE)).astype(np.uint8)
    return colours
