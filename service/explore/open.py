"""A space to explore, put together: a store that draws and names places, a model that encodes them, an index."""

import contextlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from loc2vec.embed.batch import Places, embed, places_of_grid
from loc2vec.embed.files import Vectors, read_vectors
from loc2vec.encoder import LocationEncoder
from loc2vec.explore.space import Ground, Pixels, Space, Tell
from service.errors import SearchIndexError
from service.index.index import VECTORS, NeighborIndex
from service.index.search import Filters, Neighbor, Search
from tiling.dataset.places import sample_places
from tiling.files.atomic import write_json
from tiling.files.geoparquet import write_points
from tiling.geo.globe import on_the_globe
from tiling.osm.names import resolve
from tiling.render.basemap import draw_map
from tiling.render.renderer import Renderer
from tiling.store.base import FeatureSource
from tiling.store.store import Store
from tiling.values import ATTRIBUTION, TILE_RADIUS_M, Box, LonLat, check_place

TIMES = 8  # as many places are sampled as are wanted, so that small extracts have enough, too
PLACES = 2000
STREET = "street"  # a kind of name
STREET_M, NEAR_M = 120.0, 300.0  # how near a street, or anything else, names a place


def sample_evenly(
    source: FeatureSource, count: int, box: Box | None = None, seed: int = 0
) -> Places:
    """Sample up to `count` places near buildings and ways, as many from each extract in the store."""
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
        yield _ground(source, encoder)


@contextlib.contextmanager
def open_space(
    store: Store,
    model: str | Path,
    index: Path | None = None,
    places: int = PLACES,
    box: Box | None = None,
    metres: float | None = None,
    tell: Tell = lambda n: None,
) -> Iterator[Space]:
    """Open a store and a model, and search an index.

    Without one, `places` of the store are embedded now.

    With `metres`, a grid of places so far apart is embedded instead. `box`: places outside it are
    left out. `tell` hears how many places are embedded. Raises `SearchIndexError` when the index
    was made with another model, or holds no place in the box.
    """
    with contextlib.ExitStack() as opened:
        encoder = LocationEncoder.load(model)
        source = opened.enter_context(store.open())
        if index is None:
            chosen = (
                sample_evenly(source, places, box)
                if metres is None
                else places_of_grid(store, metres, box)
            )
            vectors = embed(store, encoder, chosen, 0, tell)
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

        yield Space(**vars(_ground(source, encoder)), vectors=kept, nearest=nearest)


def _vectors_of(index: Path, encoder: LocationEncoder) -> Vectors:
    """Return the vectors of an index, which is checked; its cache is not needed."""
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


def _ground(source: FeatureSource, encoder: LocationEncoder) -> Ground:
    renderer, gazetteer = Renderer(source, encoder.geometry), Gazetteer(source)
    source.catalogue.check(f"model {encoder.model_id}", encoder.fingerprint, encoder.geometry)

    def draw(places: Sequence[LonLat]) -> Pixels:
        for place in places:
            source.require(place)
        return renderer.north_up(places)

    return Ground(
        draw=draw,
        encode=encoder.encode,
        name=gazetteer.name,
        locate=lambda text: locate(source, text),
        title=gazetteer.title,
        chart=lambda box, width: draw_map(source, box, width),
        channels=renderer.channels,
        catalogue=source.catalogue,
        geometry=renderer.geometry,
    )


def locate(source: FeatureSource, text: str) -> LonLat:
    """Return the place that "lat,lon" or a name means; an error says why there is none."""
    try:
        lat, lon = (float(part) for part in text.split(","))
    except ValueError:
        named = resolve(text, source.find)
        return LonLat(named.lon, named.lat)
    place = check_place(lat, lon)
    source.require(place)
    return place


class Gazetteer:
    """What people call places: the nearest street or named thing, and the extract.

    Read when it is first asked.
    """

    def __init__(self, source: FeatureSource) -> None:
        self._source = source

    @property
    def title(self) -> str:
        """What all of the store is called: its extract, or how many there are."""
        names = list(self._source.regions)
        return title_of(names[0]) if len(names) == 1 else f"{len(names)} extracts"

    def name(self, place: LonLat) -> str:
        """Return what a place is called, as "Rue Grimaldi, Monaco"."""
        inside = [
            region
            for region, area in self._source.regions.items()
            if shapely.intersects_xy(area, place.lon, place.lat)
        ]
        region = title_of(
            min(
                inside, key=lambda name: float(self._source.regions[name].area), default="elsewhere"
            )
        )
        here = on_the_globe(np.array([place.lat]), np.array([place.lon]))
        for names, tree, reach_m in self._known:
            distance, row = tree.query(here[0], distance_upper_bound=reach_m)
            if np.isfinite(distance):
                return f"{names[row]}, {region}"
        return region

    @cached_property
    def _known(self) -> list[tuple[list[str], cKDTree, float]]:
        """Streets, and all that has a name, each with the distance within which it names a place."""
        every = self._source.names_in(Box(-180.0, -90.0, 180.0, 90.0))
        found = []
        for reach_m, names in (
            (STREET_M, [name for name in every if name.kind == STREET]),
            (NEAR_M, every),
        ):
            if names:
                globe = on_the_globe(
                    np.array([name.lat for name in names]), np.array([name.lon for name in names])
                )
                found.append(([name.name for name in names], cKDTree(globe), reach_m))
        return found


def title_of(extract: str) -> str:
    """Return the name of an extract as a title; words of two letters are countries and states.

    >>> title_of("apex_nc_us"), title_of("faroe_islands")
    ('Apex NC US', 'Faroe Islands')
    """
    return " ".join(
        word.upper() if len(word) == 2 else word.capitalize() for word in extract.split("_")
    )


def write_places(path: Path, vectors: Vectors, columns: Mapping[str, list[Any]]) -> list[Path]:
    """Write places with some columns for a GIS: PATH.parquet (GeoParquet) and PATH.geojson.

    Return what was written.
    """
    parquet, geojson = (path.with_name(path.name + suffix) for suffix in (".parquet", ".geojson"))
    about = {"model": vectors.model, "attribution": ATTRIBUTION}
    table = pa.table({"lat": vectors.lat, "lon": vectors.lon, **columns})
    write_points(parquet, table, vectors.lat, vectors.lon, about)
    features = [
        {
            "type": "Feature",
            "geometry": {"type": "Point", "coordinates": [row.pop("lon"), row.pop("lat")]},
            "properties": row,
        }
        for row in table.to_pylist()
    ]
    write_json(geojson, {"type": "FeatureCollection", **about, "features": features})
    return [parquet, geojson]
