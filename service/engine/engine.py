"""The engine: an open store, a model and perhaps an index. It answers from any thread."""

import contextlib
import logging
import threading
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import cached_property, partial
from queue import Empty, LifoQueue
from typing import Self

import numpy as np
from cachetools import LRUCache, TTLCache

from loc2vec.embed.occlusion import Why, why
from loc2vec.encoder import LocationEncoder
from loc2vec.errors import EmbeddingError
from loc2vec.explore.describe import describe
from loc2vec.model.arrays import Floats, Pixels, Vector, Vectors
from service.engine.batcher import Batcher
from service.engine.names import NameThread
from service.errors import STOPPING, BusyError, CostError, NoIndexError, SearchIndexError
from service.flights import Flights
from service.index.index import NeighborIndex
from service.index.search import Search
from service.index.teach import Scores
from service.observe.metrics import INDEX_SIZE, VECTORS, timed
from service.patience import left_s, too_slow
from service.settings import Settings
from tiling.catalogue.catalogue import Catalogue
from tiling.machine import cpu_count
from tiling.osm.names import NamedPlace, resolve
from tiling.render.pictures import BaseTile, Picture, TileNumber
from tiling.render.process import PLACES_PER_ORDER, RenderProcess
from tiling.render.style import Theme
from tiling.render.thread import RemoteRenderer, RenderThread
from tiling.store.gazetteer import Called
from tiling.values import N_CHANNELS, Box, LonLat, Pose, Tile, TileGeometry, check_fingerprint

MOST_NEW = 128  # places to render and encode for one request: under two seconds of CPU
log = logging.getLogger(__name__)
PICTURE_BYTES = 64_000_000  # of map tiles in memory: a thousand or more
DRAWN = 32  # places drawn last: who asks for the vector of one may ask for its description, too


class Engine:
    """Embeddings, neighbours and tiles of places. Every method may be called from any thread."""

    def __init__(
        self, encoder: LocationEncoder, settings: Settings, index: NeighborIndex | None
    ) -> None:
        """Open the store several times: here, to render, to find names.

        All are of one revision, so that no answer mixes two maps.
        """
        self.revision = settings.store.revision()
        with settings.store.open(only=self.revision) as source:
            self.source = source  # closed: kept for coverage and regions
        self._encoder, self._settings = encoder, settings
        self._search: Search | None = None
        # Shown to clients: why a newer index is not in use.
        self.index_refused: str | None = None
        self._known: TTLCache[LonLat, Vector] = TTLCache(settings.cache_places, settings.cache_s)
        self._pictures: TTLCache[Hashable, bytes] = TTLCache(
            PICTURE_BYTES, settings.cache_s, getsizeof=len
        )
        self._drawn: LRUCache[LonLat, Pixels] = LRUCache(DRAWN)
        self._knowing = threading.Lock()
        self._new = Flights[LonLat, Vector]()
        self._precomputed = False  # whether the vectors of the index are of this very store
        self._closing = False
        self._idle: LifoQueue[RemoteRenderer] = LifoQueue()
        with contextlib.ExitStack() as opened:
            self.catalogue.check(f"model {encoder.model_id}", encoder.fingerprint, encoder.geometry)
            if index is not None:
                self.use(index)
            self._all = self._renderers()
            self._idle_count = len(self._all)
            for renderer in self._all:
                self._idle.put(opened.enter_context(contextlib.closing(renderer)))
            self._batcher = opened.enter_context(contextlib.closing(Batcher(encoder.encode)))
            self._names = opened.enter_context(
                contextlib.closing(NameThread(settings.store, self.revision))
            )
            self._pool = opened.enter_context(ThreadPoolExecutor(self._idle_count, "render"))
            self.try_out()
            self._opened = opened.pop_all()

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """Open what `settings` name, or raise the error of the part that is missing or unfit."""
        encoder = LocationEncoder.load(settings.model, fast=settings.fast)
        return cls(
            encoder,
            settings,
            None if settings.index is None else NeighborIndex.open(settings.index),
        )

    def reopened(self) -> Self:
        """Return an engine like this one over the present revision of the store."""
        return type(self)(self._encoder, self._settings, self.index)

    def _renderers(self) -> Sequence[RemoteRenderer]:
        store, geometry = self._settings.store, self._encoder.geometry
        count = self._settings.render_processes
        if not count:
            return [RenderThread(store, geometry, self.revision) for _ in range(cpu_count())]
        with ThreadPoolExecutor(count) as starting:
            return list(
                starting.map(partial(RenderProcess, store, geometry), [self.revision] * count)
            )

    def try_out(self) -> None:
        """Embed and search one place, or raise the error of the part that is broken."""
        inside = self.source.coverage.representative_point()
        embedding = self._embed_parts([LonLat(inside.x, inside.y)])[0]
        if self._search is not None:
            self._search.nearest(embedding, 1)

    @cached_property
    def _content(self) -> str:
        """The content hash of the store, as files of vectors have it."""
        return self._settings.store.content_hash()

    @property
    def model(self) -> str:
        return self._encoder.model_id

    @property
    def geometry(self) -> TileGeometry:
        return self._encoder.geometry

    @property
    def catalogue(self) -> Catalogue:
        return self.source.catalogue

    @property
    def fingerprint(self) -> str:
        return self._encoder.fingerprint

    @property
    def dim(self) -> int:
        return self._encoder.dim

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """West, south, east, north of the store's coverage, in degrees."""
        west, south, east, north = self.source.bounds
        return west, south, east, north

    @property
    def search(self) -> Search:
        """The index in use; `NoIndexError` without one.

        It may be replaced at any time, so one answer must ask for it only once.
        """
        if self._search is None:
            if self._closing:
                raise BusyError(STOPPING)
            raise NoIndexError(
                "no index is loaded: make one with `loc2vec embed` and `loc2vec index`, "
                "then start the service with --index"
            )
        return self._search

    @property
    def index(self) -> NeighborIndex | None:
        search = self._search
        return None if search is None else search.index

    @property
    def index_name(self) -> str | None:
        index = self.index
        return None if index is None else index.name

    def use(self, index: NeighborIndex) -> None:
        """Put an index to use.

        Raises `SearchIndexError` or `FingerprintError` when it was made with another model.
        """
        check_fingerprint("the index", index.fingerprint, self._encoder.fingerprint)
        if index.model != self.model:
            raise SearchIndexError(
                f"the index was made with model {index.model}, not with {self.model}: "
                "give that model (--model), or make the index again "
                "with `loc2vec embed` and `loc2vec index`"
            )
        if index.dim != self.dim:
            raise SearchIndexError(
                f"the index holds vectors of {index.dim} numbers, model {self.model} gives "
                f"{self.dim}: make the index again"
            )
        west, south, east, north = self.bounds
        if not len(index.ids_in(Box(west, south, east, north))):
            log.warning(
                "no place of the index lies in the store %s: it is of other ground",
                self.source.location,
            )
        # Vectors of another map are searched, but they do not stand for the places of this one.
        self._precomputed = bool(index.store) and index.store == self._content
        self._search, self.index_refused = Search(index, self.source.regions), None
        INDEX_SIZE.set(len(index))

    def find(self, name: str, limit: int) -> Sequence[NamedPlace]:
        """Return up to `limit` places of the store with a name, best first."""
        return self._names.find(name, limit)

    def called(self, places: Sequence[LonLat]) -> list[Called]:
        """Return the nearest named thing and the region of each place."""
        return self._names.called(places)

    def described(self, place: LonLat, vector: Vector) -> str:
        """Return what kind of place it is, as a sentence."""
        with self._knowing:
            near = self._drawn.get(place)
        if near is None:
            near = self.tile(Pose(place.lat, place.lon)).pixels[:N_CHANNELS]
        cover = dict(zip(self.catalogue.channels, _shares(near).tolist(), strict=True))
        search = self._search
        alike = None if search is None else search.alike(vector)
        return describe(cover, self._names.things(place), alike)

    def locate(self, where: LonLat | str) -> LonLat:
        """Return the place that a name or a position means.

        The other methods take located places, and do not check them again. Raises
        `NameSearchError` for an unknown or ambiguous name, `OutsideError` for a place that the
        store does not cover.
        """
        if isinstance(where, str):
            found = resolve(where, self.find)
            where = LonLat(found.lon, found.lat)
        self.source.require(where)
        return where

    def known(self, place: LonLat) -> Vector | None:
        """Return the embedding [D] of a place from the cache or the index, else None."""
        vector, source = self._look_up(place)
        if vector is not None:
            VECTORS.labels(source).inc()
        return vector

    def count_new(self, places: Iterable[LonLat]) -> int:
        """Return how many different places are not `known`."""
        return sum(self._look_up(place)[0] is None for place in set(places))

    def _look_up(self, place: LonLat) -> tuple[Vector | None, str]:
        vector = self._cached(place)
        if vector is not None:
            return vector, "cache"
        search = self._search
        vector = search.index.vector(place) if search is not None and self._precomputed else None
        return vector, "index"

    def _cached(self, place: LonLat) -> Vector | None:
        with self._knowing:
            return self._known.get(place)

    def forget(self) -> None:
        """Empty the caches of embeddings and pictures, because the map has changed."""
        with self._knowing:
            self._known.clear()
            self._pictures.clear()
            self._drawn.clear()

    def embed(self, places: Sequence[LonLat]) -> Vectors:
        """Return the embeddings [n, D] of located places, known or new."""
        vectors = {place: v for place in places if (v := self.known(place)) is not None}
        new = [place for place in dict.fromkeys(places) if place not in vectors]
        if len(new) > MOST_NEW:
            raise CostError(
                f"{len(new)} places are new: give at most {MOST_NEW} in one request that are "
                "neither indexed nor were asked for a moment ago"
            )
        vectors.update(zip(new, self.embed_new(new), strict=True))
        found = [vectors[place] for place in places]
        return np.stack(found) if found else np.empty((0, self.dim), np.float32)

    def embed_new(self, places: Sequence[LonLat]) -> list[Vector]:
        """Return the embeddings [D] of distinct places that are not `known`, and remember them.

        Requests that ask for one place at the same time have it made once.
        """
        return self._new.get(places, self._cached, self._make)

    def _make(self, places: Sequence[LonLat]) -> list[Vector]:
        vectors = self._embed_parts(places)
        if self._settings.cache_places:
            with self._knowing:
                self._known.update(zip(places, vectors, strict=True))
        VECTORS.labels("made").inc(len(places))
        return vectors

    def _embed_parts(self, places: Sequence[LonLat]) -> list[Vector]:
        """Render and encode places, a few at a time, on all renderers.

        A part for each renderer is ordered at once, so that other requests come between them.
        """
        if len(places) <= PLACES_PER_ORDER:
            return list(self._embed_few(places)) if places else []
        starts = range(0, len(places), PLACES_PER_ORDER)
        parts = [places[start : start + PLACES_PER_ORDER] for start in starts]
        vectors: list[Vector] = []
        for first in range(0, len(parts), self._idle_count):
            together = parts[first : first + self._idle_count]
            made = [
                self._pool.submit(copy_context().run, self._embed_few, part) for part in together
            ]
            vectors += [vector for part in made for vector in part.result()]
        return vectors

    def _embed_few(self, places: Sequence[LonLat]) -> Vectors:
        with self._batcher.expected(), self._renderer() as renderer, timed("render"):
            tiles = renderer.render(places)
        near = [tile[:N_CHANNELS].copy() for tile in tiles[:DRAWN]]
        with self._knowing:
            self._drawn.update(zip(places, near, strict=False))
        vectors = self._batcher.encode(tiles)
        if not np.isfinite(vectors).all():
            raise EmbeddingError(
                f"model {self.model} gave numbers that are not finite near {places[0]}"
            )
        return vectors

    def tile(self, pose: Pose) -> Tile:
        """Return the tile of a pose of a located place."""
        with self._renderer() as renderer, timed("render"):
            return renderer.tile(pose)

    def compare(self, a: LonLat, b: LonLat) -> tuple[Why, Floats]:
        """Return why two located places are alike or not, and the cover of each channel.

        The cover is the share of each tile that a channel covers, float64 [2, C], from 0 to 1.
        """
        with self._batcher.expected(), self._renderer() as renderer, timed("render"):
            tiles = renderer.render([a, b])
        return why(self._batcher.encode, *tiles), _shares(tiles)

    def base_map(self, tile: TileNumber, theme: Theme) -> bytes:
        """Return a tile of the base map as a PNG."""
        return self._picture((tile, theme), lambda: BaseTile(tile, theme))

    def overlay(self, tile: TileNumber) -> bytes:
        """Return a tile of the indexed places in their colours as a PNG, transparent elsewhere."""
        search = self.search
        return self._picture((tile, search.index.name), lambda: search.overlay.cells(tile))

    def taught(self, tile: TileNumber, search: Search, scores: Scores) -> bytes:
        """Return a tile of the indexed places in the colours of their scores as a PNG."""
        return self._picture(
            (tile, search.index.name, scores.name),
            lambda: search.overlay.cells(tile, scores.colours),
        )

    def _picture(self, key: Hashable, picture: Callable[[], Picture]) -> bytes:
        """Return the picture cached under `key`, or have it rendered."""
        with self._knowing:
            known = self._pictures.get(key)
        if known is not None:
            return known
        ordered = picture()
        with self._renderer() as renderer, timed("map"):
            rendered = renderer.picture(ordered)
        with self._knowing:
            self._pictures[key] = rendered
        return rendered

    @contextlib.contextmanager
    def _renderer(self) -> Iterator[RemoteRenderer]:
        """Wait for an idle renderer and keep it for the block.

        Raises `BusyError` while closing, `SlowError` when its client waits no longer.
        """
        try:
            renderer = self._idle.get(timeout=left_s())
        except Empty as error:
            raise too_slow() from error
        try:
            if self._closing:
                raise BusyError(STOPPING)
            yield renderer
        finally:
            self._idle.put(renderer)

    def close(self) -> None:
        """Close the stores and free the memory; who still waits for a renderer gets `BusyError`."""
        self._closing = True
        for renderer in self._all:
            renderer.end()
        # Wait until each is idle, then put all back: threads that wait for one must go on.
        renderers = [self._idle.get() for _ in range(self._idle_count)]
        for renderer in renderers:
            self._idle.put(renderer)
        self._opened.close()
        self._search = None
        self.forget()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _shares(tiles: Pixels) -> Floats:
    """Return the share of each tile that a channel covers: uint8 [..., C, H, W] -> [..., C]."""
    shares: Floats = tiles.mean((-2, -1)) / 255
    return shares
