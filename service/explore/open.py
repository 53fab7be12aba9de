"""A space to explore, put together: a store that renders and names places, a model, an index."""

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray

from loc2vec.embed.batch import Places, embed, places_of_grid
from loc2vec.embed.files import Vectors, read_vectors
from loc2vec.encoder import LocationEncoder
from loc2vec.explore.space import Ground, Space, Tell
from loc2vec.model.arrays import Pixels
from service.errors import SearchIndexError
from service.index.files.caches import VECTORS
from service.index.index import NeighborIndex
from service.index.search import Filters, Neighbor, Search
from tiling.dataset.places import sample_places
from tiling.render.basemap import draw_map
from tiling.render.renderer import Renderer
from tiling.store.gazetteer import Gazetteer, locate
from tiling.store.source import FeatureSource
from tiling.store.store import Store
from tiling.values import TILE_RADIUS_M, Box, LonLat

TIMES = 8  # as many places are sampled as are wanted: small extracts have enough, too


def sample_evenly(
    source: FeatureSource, count: int, box: Box | None = None, seed: int = 0
) -> Places:
    """Sample up to `count` places near buildings and ways, as many from each extract."""
    sampled = sample_places([source], TIMES * count, TILE_RADIUS_M, seed)
    lon_lat = np.stack([sampled.lon, sampled.lat], axis=1)
    if box is not None:
        lon_lat = lon_lat[[box.contains(LonLat(*row)) for row in lon_lat.tolist()]]
    turn = np.full(len(lon_lat), len(lon_lat))
    for area in source.regions.values():
        mine = np.flatnonzero(shapely.intersects_xy(area, *lon_lat.T))
        turn[mine] = np.minimum(turn[mine], np.arange(len(mine)))
    return Places(lon_lat[np.sort(np.argsort(turn, kind="stable")[:count])])


@contextlib.contextmanager
def open_ground(store: Store, model: str | Path) -> Iterator[Ground]:
    """Open a store and a model, to look at places one by one."""
    encoder = LocationEncoder.load(model)
    with store.open() as source:
        yield ground_of(source, encoder)


@contextlib.contextmanager
def open_space(
    store: Store,
    model: str | Path,
    places: int,
    index: Path | None = None,
    box: Box | None = None,
    metres: float | None = None,
    tell: Tell = lambda n: None,
) -> Iterator[Space]:
    """Open a store, a model and an index.

    Without an index `places` of the store are embedded, or with `metres` a grid of places so far
    apart. Places outside `box` are left out. `tell` hears how many places are embedded. Raises
    `SearchIndexError` when the index was made with another model, or holds no place in the box.
    """
    with contextlib.ExitStack() as opened:
        encoder = LocationEncoder.load(model)
        source = opened.enter_context(store.open())
        if index is None:
            chosen = (
                sample_evenly(source, places, box)
                if metres is None
                else places_of_grid(source, metres, box)
            )
            vectors = embed(source, encoder, chosen, 0, tell)
        else:
            vectors = _vectors_of(index, encoder)
        kept = _within(vectors, box)
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        found = NeighborIndex.build(kept, folder / "index")
        search = Search(found, source.regions)

        def nearest(
            vector: NDArray[np.float32], k: int, apart: Sequence[LonLat], metres: float
        ) -> list[Neighbor]:
            return search.nearest(vector, k, apart, Filters(min_distance_m=metres))

        yield Space(**vars(ground_of(source, encoder)), vectors=kept, nearest=nearest)


def _vectors_of(index: Path, encoder: LocationEncoder) -> Vectors:
    """Return the vectors of an index, checked, without its cache."""
    found = NeighborIndex.open(index, keep_cache=False)
    if found.model != encoder.model_id:
        raise SearchIndexError(
            f"the index was made with model {found.model}, not with {encoder.model_id}: "
            "give that --model, or make the index again with `loc2vec embed` and `loc2vec index`"
        )
    return read_vectors(index / VECTORS)


def _within(vectors: Vectors, box: Box | None) -> Vectors:
    """Return the rows that have a vector and lie in the box."""
    kept = vectors.inside
    if box is not None:
        places = zip(vectors.lon.tolist(), vectors.lat.tolist(), strict=True)
        kept &= np.array([box.contains(LonLat(*place)) for place in places], bool)
    if not kept.any():
        raise SearchIndexError(
            "no indexed place lies in the box: give another --bbox, or a larger index"
        )
    table = None if vectors.table is None else vectors.table.filter(kept)
    return replace(
        vectors,
        lat=vectors.lat[kept],
        lon=vectors.lon[kept],
        embedding=vectors.embedding[kept],
        table=table,
    )


def ground_of(source: FeatureSource, encoder: LocationEncoder) -> Ground:
    """Return what looks at the places of an open store one by one."""
    renderer, gazetteer = Renderer(source, encoder.geometry), Gazetteer(source)
    source.catalogue.check(f"model {encoder.model_id}", encoder.fingerprint, encoder.geometry)

    def render(places: Sequence[LonLat]) -> Pixels:
        for place in places:
            source.require(place)
        return renderer.north_up(places)

    return Ground(
        render=render,
        encode=encoder.encode,
        name=gazetteer.name,
        locate=lambda text: locate(source, text),
        title=gazetteer.title,
        chart=lambda box, width: draw_map(source, box, width),
        channels=renderer.channels,
        catalogue=source.catalogue,
        geometry=renderer.geometry,
    )
