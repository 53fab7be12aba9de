"""The engine: an open store, a model and perhaps an index, answering from any thread."""

import contextlib
import threading
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from queue import LifoQueue
from typing import Self

import numpy as np
from cachetools import TTLCache
from numpy.typing import NDArray

from loc2vec.embed.occlusion import Why, why
from loc2vec.encoder import LocationEncoder
from loc2vec.errors import EmbeddingError
from service.engine.batcher import Batcher
from service.engine.names import NameThread
from service.errors import STOPPING, BusyError, NoIndexError, SearchIndexError
from service.index.index import NeighborIndex
from service.index.search import Search
from service.observe.metrics import INDEX_SIZE, VECTORS, timed
from tiling.catalogue import Catalogue
from tiling.machine import cpu_count
from tiling.osm.names import NamedPlace, resolve
from tiling.render.pictures import BaseTile, Picture, TileNumber
from tiling.render.process import AT_ONCE, RenderProcess
from tiling.render.style import Theme
from tiling.render.thread import RenderThread
from tiling.store.store import Store
from tiling.values import LonLat, Pose, Tile, TileGeometry, check_fingerprint

PICTURE_BYTES = 64_000_000  # of map tiles that are remembered: a thousand or more

Vector = NDArray[np.float32]
Shares = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """What an engine opens, and how much it may use.

    `render_processes`: processes that draw; 0 draws in threads of this process. `cache_places`:
    vectors that are remembered, for `cache_s` seconds, because the map may change under them.
    """

    store: Store
    model: str | Path
    index: Path | None = None
    render_processes: int = 0
    cache_places: int = 100_000
    cache_s: float = 600.0


class Engine:
    """Embeddings, neighbours and tiles of places. Every method may be called from any thread."""

    def __init__(
        self, encoder: LocationEncoder, settings: EngineSettings, index: NeighborIndex | None
    ) -> None:
        """Open the store, and more like it for drawing: all of one revision, so that no answer mixes two maps."""
        self.revision = settings.store.revision()
        with settings.store.open(only=self.revision) as source:
            # for what it knows of the store; the features are for the renderers to read
            self.source = source
        self._encoder, self._settings = encoder, settings
        self._search: Search | None = None
        # a sentence for clients: why a newer index is not in use
        self.index_refused: str | None = None
        self._known: TTLCache[LonLat, Vector] = TTLCache(settings.cache_places, settings.cache_s)
        self._pictures: TTLCache[Hashable, bytes] = TTLCache(
            PICTURE_BYTES, settings.cache_s, getsizeof=len
        )
        self._knowing = threading.Lock()
        self._precomputed = False  # whether the index holds what this store's places would give
        self._closing = False
        self._idle: LifoQueue[RenderThread | RenderProcess] = LifoQueue()
        with contextlib.ExitStack() as opened:
            self.catalogue.check(f"model {encoder.model_id}", encoder.fingerprint, encoder.geometry)
            if index is not None:
                self.use(index)
            renderers = self._renderers()
            self._idle_count = len(renderers)
            for renderer in renderers:
                self._idle.put(opened.enter_context(contextlib.closing(renderer)))
            self._batcher = opened.enter_context(contextlib.closing(Batcher(encoder.encode)))
            self._names = opened.enter_context(
                contextlib.closing(NameThread(settings.store, self.revision))
            )
            self._pool = opened.enter_context(ThreadPoolExecutor(len(renderers), "render"))
            self.try_out()
            self._opened = opened.pop_all()

    @classmethod
    def open(cls, settings: EngineSettings) -> Self:
        """Open all that `settings` name, or raise the error of the part that is missing or does not fit."""
        encoder = LocationEncoder.load(settings.model)
        return cls(
            encoder,
            settings,
            None if settings.index is None else NeighborIndex.open(settings.index),
        )

    def reopened(self) -> Self:
        """Return an engine like this over the store that has taken the place of this one's."""
        return type(self)(self._encoder, self._settings, self.index)

    def _renderers(self) -> Sequence[RenderThread | RenderProcess]:
        store, geometry = self._settings.store, self._encoder.geometry
        count = self._settings.render_processes
        if not count:
            return [RenderThread(store, geometry, self.revision) for _ in range(cpu_count())]
        with ThreadPoolExecutor(count) as starting:
            return list(
                starting.map(partial(RenderProcess, store, geometry), [self.revision] * count)
            )

    def try_out(self) -> None:
        """Go the whole way once - store, drawing, network, index - or raise the error of what is broken."""
        inside = self.source.coverage.representative_point()
        embedding = self._embed_new([LonLat(inside.x, inside.y)])[0]
        if self._search is not None:
            self._search.nearest(embedding, 1)

    @cached_property
    def _content(self) -> str:
        """The hash of the store's content, as files of vectors keep it."""
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
        """West, south, east, north of the store's coverage, degrees."""
        west, south, east, north = self.source.bounds
        return west, south, east, north

    @property
    def search(self) -> Search:
        """The index in use.

        Whoever asks it twice for one answer keeps it, because it may be changed for another.
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
        """Take an index into use.

        `SearchIndexError` or `FingerprintError` when it is of another model.
        """
        check_fingerprint("the index", index.fingerprint, self._encoder.fingerprint)
        if index.model != self.model:
            raise SearchIndexError(
                f"the index was made with model {index.model}, not with {self.model}: "
                "give that model (--model), or make the index again with `loc2vec embed` and `loc2vec index`"
            )
        # Vectors that were made of another map answer for places of that map only, and are not the
        # place's here.
        self._precomputed = bool(index.store) and index.store == self._content
        self._search, self.index_refused = Search(index, self.source.regions), None
        INDEX_SIZE.set(len(index))

    def require(self, place: LonLat) -> None:
        """Raise `OutsideError` unless the store covers `place`."""
        self.source.require(place)

    def find(self, name: str, limit: int) -> Sequence[NamedPlace]:
        """Return the places of the store with a name, the best first."""
        return self._names.find(name, limit)

    def locate(self, where: LonLat | str) -> LonLat:
        """Return the place that is meant, which the store covers, else raise `OutsideError` or `NameSearchError`."""
        if isinstance(where, str):
            found = resolve(where, self.find)
            where = LonLat(found.lon, found.lat)
        self.require(where)
        return where

    def known(self, place: LonLat) -> Vector | None:
        """Return the embedding [D] of a place if it need not be made: it was asked for lately, or is in the index."""
        with self._knowing:
            vector = self._known.get(place)
        if vector is not None:
            VECTORS.labels("cache").inc()
            return vector
        search = self._search
        vector = search.index.vector(place) if search is not None and self._precomputed else None
        if vector is not None:
            VECTORS.labels("index").inc()
        return vector

    def forget(self) -> None:
        """Forget the embeddings that were asked for: the map has changed."""
        with self._knowing:
            self._known.clear()
            self._pictures.clear()

    def embed(self, places: Sequence[LonLat]) -> Vector:
        """Return the embeddings [n, D] of places that the store covers, else raise `OutsideError`."""
        for place in places:
            self.require(place)
        vectors = [self.known(place) for place in places]
        new = list(
            dict.fromkeys(
                place for place, vector in zip(places, vectors, strict=True) if vector is None
            )
        )
        made = dict(zip(new, self._embed_new(new), strict=True))
        if self._settings.cache_places:
            with self._knowing:
                self._known.update(made)
        VECTORS.labels("made").inc(len(new))
        return np.stack(
            [made[place] if v is None else v for place, v in zip(places, vectors, strict=True)]
        )

    def _embed_new(self, places: Sequence[LonLat]) -> list[Vector]:
        """Draw and encode places, a few at a time, on all that is idle."""
        if len(places) <= AT_ONCE:
            return list(self._embed_few(places)) if places else []
        parts = [places[start : start + AT_ONCE] for start in range(0, len(places), AT_ONCE)]
        drawn = [self._pool.submit(copy_context().run, self._embed_few, part) for part in parts]
        return [vector for part in drawn for vector in part.result()]

    def _embed_few(self, places: Sequence[LonLat]) -> Vector:
        with self._batcher.expected(), self._renderer() as renderer, timed("render"):
            tiles = renderer.render(places)
        vectors = self._batcher.encode(tiles)
        if not np.isfinite(vectors).all():
            raise EmbeddingError(
                f"model {self.model} gave numbers that are not finite near {places[0]}"
            )
        return vectors

    def tile(self, pose: Pose) -> Tile:
        """Return the tile of a pose whose place the store covers, else raise `OutsideError`."""
        self.require(LonLat(pose.lon, pose.lat))
        with self._renderer() as renderer, timed("render"):
            return renderer.tile(pose)

    def compare(self, a: LonLat, b: LonLat) -> tuple[Why, Shares]:
        """Return why two places are alike or not, and how much of each tile each channel covers, float64 [2, C]."""
        self.require(a)
        self.require(b)
        with self._batcher.expected(), self._renderer() as renderer, timed("render"):
            tiles = renderer.render([a, b])
        shares: Shares = tiles.mean((2, 3)) / 255
        return why(self._batcher.encode, *tiles), shares

    def base_map(self, tile: TileNumber, theme: Theme) -> bytes:
        """Return a tile of the base map as a PNG."""
        return self._picture((tile, theme), lambda: BaseTile(tile, theme))

    def overlay(self, tile: TileNumber) -> bytes:
        """Return a tile of the indexed places in their colours as a PNG, elsewhere transparent."""
        search = self.search
        return self._picture((tile, search.index.name), lambda: search.overlay.cells(tile))

    def _picture(self, key: Hashable, picture: Callable[[], Picture]) -> bytes:
        """Return what was drawn lately under this key, or have it drawn."""
        with self._knowing:
            known = self._pictures.get(key)
        if known is not None:
            return known
        ordered = picture()
        with self._renderer() as renderer, timed("map"):
            drawn = renderer.picture(ordered)
        with self._knowing:
            self._pictures[key] = drawn
        return drawn

    @contextlib.contextmanager
    def _renderer(self) -> Iterator[RenderThread | RenderProcess]:
        renderer = self._idle.get()
        try:
            if self._closing:
                raise BusyError(STOPPING)
            yield renderer
        finally:
            self._idle.put(renderer)

    def close(self) -> None:
        """Let go of the stores and of what takes memory.

        What still waits to be drawn gets `BusyError`.
        """
        self._closing = True
        # when each has done what it is at
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
