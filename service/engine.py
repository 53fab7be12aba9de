"""The engine: an open store, a model and perhaps an index, answering from any thread."""

import contextlib
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import LifoQueue
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from loc2vec.encoder import LocationEncoder
from loc2vec.model import LICENCE
from service.errors import EmbeddingError, NoIndexError, SearchIndexError
from service.index import NeighborIndex
from service.rendering import RenderThread, chunks_of
from service.schemas import Info
from service.version import version
from tiling.geodesy import ground_distance_m
from tiling.machine import cpu_count
from tiling.sources.base import FeatureSource
from tiling.sources.registry import open_source
from tiling.values import ATTRIBUTION, LonLat, Pose, Tile, check_fingerprint


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """What an engine opens."""

    store: str
    model: str | Path
    index: Path | None = None


class Neighbor(NamedTuple):
    """An indexed place: its id, its distance in the embedding and on the ground."""

    id: int
    lat: float
    lon: float
    distance: float
    ground_distance_m: float


class Engine:
    """Embeddings, neighbours and tiles of places. Every method may be called from any thread."""

    def __init__(self, source: FeatureSource, encoder: LocationEncoder, index: NeighborIndex | None) -> None:
        """Take an open source over, and open a few more like it for the rendering threads."""
        self._source, self._encoder, self._index = source, encoder, index
        self._encoding = threading.Lock()  # PyTorch spreads one batch over the cores by itself
        self._idle: LifoQueue[RenderThread] = LifoQueue()
        with contextlib.ExitStack() as opened:
            opened.callback(source.close)
            check_fingerprint(f"model {encoder.model_id}", encoder.fingerprint, source.fingerprint)
            if index is not None:
                _check_index(index, encoder)
            for _ in range(cpu_count()):
                self._idle.put(opened.enter_context(contextlib.closing(RenderThread(source.location))))
            self.try_out()
            self._opened = opened.pop_all()

    @classmethod
    def open(cls, settings: EngineSettings) -> Self:
        """Open all that `settings` name, or raise the error of the part that is missing or does not fit."""
        encoder = LocationEncoder.load(settings.model)
        index = None if settings.index is None else NeighborIndex.open(settings.index)
        return cls(open_source(settings.store), encoder, index)

    def try_out(self) -> None:
        """Go the whole way once - store, drawing, network, index - or raise the error of what is broken."""
        inside = self._source.coverage.representative_point()
        (embedding,) = self.embed([LonLat(inside.x, inside.y)])
        if self._index is not None:
            self._index.search(embedding, 1)

    @property
    def model(self) -> str:
        return self._encoder.model_id

    @property
    def dim(self) -> int:
        return self._encoder.dim

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """West, south, east, north of the store's coverage, degrees."""
        west, south, east, north = self._source.bounds
        return west, south, east, north

    def require(self, place: LonLat) -> None:
        """Raise `OutsideError` unless the store covers `place`."""
        self._source.require(place)

    def embed(self, places: Sequence[LonLat]) -> NDArray[np.float32]:
        """Return the embeddings [n, D] of places that the store covers, else raise `OutsideError`."""
        for place in places:
            self.require(place)
        return np.concatenate([self._embed_chunk(chunk) for chunk in chunks_of(places)])

    def _embed_chunk(self, places: Sequence[LonLat]) -> NDArray[np.float32]:
        with self._render_thread() as thread:
            tiles = thread.draw(places)
        with self._encoding:
            embedding = self._encoder.encode(tiles)
        if not np.isfinite(embedding).all():
            raise EmbeddingError(f"model {self.model} gave numbers that are not finite near {places[0]}")
        return embedding

    def neighbors(self, place: LonLat, k: int) -> list[Neighbor]:
        """Return the `k` indexed places nearest in the embedding, nearest first."""
        if self._index is None:
            raise NoIndexError(
                "no index is loaded: make one with `loc2vec embed` and `loc2vec index`, "
                "then start the service with --index"
            )
        (embedding,) = self.embed([place])
        ids, distances = self._index.search(embedding, k)
        lat, lon = self._index.lat[ids], self._index.lon[ids]
        ground = ground_distance_m(place.lat, place.lon, lat, lon)
        columns = (column.tolist() for column in (ids, lat, lon, distances, ground))
        return [Neighbor(*row) for row in zip(*columns, strict=True)]

    def tile(self, pose: Pose) -> Tile:
        """Return the tile of a pose whose place the store covers, else raise `OutsideError`."""
        self.require(LonLat(pose.lon, pose.lat))
        with self._render_thread() as thread:
            return thread.tile(pose)

    def info(self) -> Info:
        """Return what is being served."""
        return Info(
            version=version(),
            model=self.model,
            dim=self.dim,
            store=self._source.name,
            bounds=self.bounds,
            index_count=None if self._index is None else len(self._index),
            fingerprint=self._source.fingerprint,
            attribution=ATTRIBUTION,
            licence=LICENCE,
        )

    @contextlib.contextmanager
    def _render_thread(self) -> Iterator[RenderThread]:
        thread = self._idle.get()
        try:
            yield thread
        finally:
            self._idle.put(thread)

    def close(self) -> None:
        """Let go of the stores."""
        self._opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _check_index(index: NeighborIndex, encoder: LocationEncoder) -> None:
    check_fingerprint("the index", index.fingerprint, encoder.fingerprint)
    if index.model != encoder.model_id:
        raise SearchIndexError(
            f"the index was made with model {index.model}, not with {encoder.model_id}: "
            "make it again with `loc2vec embed` and `loc2vec index`"
        )
