"""Batch embedding: worker processes render the tiles of many places, this one encodes them."""

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray

from loc2vec.embed.files import Vectors, require_free
from loc2vec.encoder import LocationEncoder
from loc2vec.errors import EarlierError, EmbeddingError
from tiling.files.points import read_points
from tiling.geo.grid import grid
from tiling.render.batch import chunks_of, render_chunks, workers_for
from tiling.render.wide import block_by_block
from tiling.store.source import FeatureSource
from tiling.values import Box, LonLat, TileGeometry


@dataclass(frozen=True, slots=True, eq=False)
class Places:
    """Places in order: `lon_lat` float64 [n, 2], degrees, and the table of their file."""

    lon_lat: NDArray[np.float64]
    table: pa.Table | None = None

    def __len__(self) -> int:
        return len(self.lon_lat)


def places_of_file(path: Path) -> Places:
    """Read the places of any table, with its columns; `PointsError` names a bad row.

    Raises `VectorsError` for a column that the result would replace.
    """
    points = read_points(path)
    ours = {points.file.geometry, *({"lat", "lon"} & set(points.columns))}
    kept = [name for name in points.table.column_names if name not in ours]
    require_free(kept)
    lon_lat = np.stack([points.lon, points.lat], axis=1)
    return Places(lon_lat, points.table.select(kept) if kept else None)


def places_of_grid(source: FeatureSource, metres: float, box: Box | None = None) -> Places:
    """Return a grid over what the store covers, within `box`.

    `GridError` when it holds no place.
    """
    return Places(grid(source.coverage, metres, box))


def require_inside(source: FeatureSource, places: Places) -> None:
    """Raise `OutsideError` when the store covers none of the places."""
    if len(places) and not covered(source, places).any():
        lon, lat = places.lon_lat[0].tolist()
        source.require(LonLat(lon, lat))  # it says what the store holds, and whether they swapped


def covered(source: FeatureSource, places: Places) -> NDArray[np.bool_]:
    """Tell which places the store covers: bool [n]."""
    inside: NDArray[np.bool_] = shapely.intersects_xy(source.coverage, *places.lon_lat.T)
    return inside


def embed(
    source: FeatureSource,
    encoder: LocationEncoder,
    places: Places,
    workers: int,
    progress: Callable[[int], object] = lambda n: None,
) -> Vectors:
    """Return the vectors of `places`, in their order; a place outside the store gets a row of NaN.

    `progress` gets the number of places done since its last call.
    """
    (vectors,) = embed_each(source, encoder, [places], workers_for(len(places), workers), progress)
    return vectors


def embed_each(
    source: FeatureSource,
    encoder: LocationEncoder,
    parts: Iterable[Places],
    workers: int,
    progress: Callable[[int], object] = lambda n: None,
) -> Iterator[Vectors]:
    """Yield the vectors of each part, in order, as `embed` does; few parts are held at a time.

    Equal places of a part are rendered once. A part's vectors depend on no other part.
    """
    content = source.store.content_hash()
    source.catalogue.check(f"model {encoder.model_id}", encoder.fingerprint, encoder.geometry)
    waiting = deque[_Part]()

    def chunks() -> Iterator[Sequence[LonLat]]:
        for places in parts:
            waiting.append(_Part.of(places, covered(source, places), encoder.geometry))
            yield from chunks_of(waiting[-1].lon_lat) if len(waiting[-1].lon_lat) else [[]]

    for tiles in render_chunks(source, chunks(), workers, encoder.geometry):
        part = waiting[0]
        part.encoded.append(_encode(encoder, tiles))
        progress(len(tiles))
        if sum(map(len, part.encoded)) == len(part.lon_lat):
            waiting.popleft()
            progress(len(part.places) - len(part.lon_lat))
            yield _vectors(part, encoder, content)


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """Places that are being embedded.

    `lon_lat` [m, 2]: those to render, each once, near ones together. `row` [n]: the row there of
    each place, -1 outside the store. `encoded`: the vectors of the first ones.
    """

    places: Places
    lon_lat: NDArray[np.float64]
    row: NDArray[np.int64]
    encoded: list[NDArray[np.float32]] = field(default_factory=list)

    @classmethod
    def of(cls, places: Places, inside: NDArray[np.bool_], geometry: TileGeometry) -> "_Part":
        lon_lat, first, again = np.unique(
            places.lon_lat[inside], axis=0, return_index=True, return_inverse=True
        )
        order = np.argsort(first)  # as they came
        order = order[block_by_block(lon_lat[order], geometry)]
        row = np.full(len(places), -1)
        row[inside] = np.argsort(order)[again.reshape(-1)]
        return cls(places, lon_lat[order], row)


def _vectors(part: _Part, encoder: LocationEncoder, content: str) -> Vectors:
    nowhere = np.full((1, encoder.dim), np.nan, np.float32)  # the last row, which -1 takes
    lon, lat = part.places.lon_lat.T
    return Vectors(
        lat=lat,
        lon=lon,
        embedding=np.concatenate([*part.encoded, nowhere])[part.row],
        table=part.places.table,
        model=encoder.model_id,
        fingerprint=encoder.fingerprint,
        store=content,
    )


def embed_changed(
    source: FeatureSource,
    encoder: LocationEncoder,
    before: Vectors,
    workers: int,
    progress: Callable[[int], object] = lambda n: None,
) -> tuple[Vectors, int]:
    """Return `before` with new vectors where updates of the store changed tiles, and how many.

    All other vectors stay as they are. Raises `StoreError` when the store does not know its
    changes, `EarlierError` when another model made `before`.
    """
    content = source.store.content_hash()
    lon_lat = np.stack([before.lon, before.lat], axis=1)
    rows = changed_rows(source, encoder, (before.model, before.store), lon_lat)
    embedding = before.embedding.copy()
    embedding[rows] = embed(source, encoder, Places(lon_lat[rows]), workers, progress).embedding
    return replace(before, embedding=embedding, store=content), len(rows)


def changed_rows(
    source: FeatureSource,
    encoder: LocationEncoder,
    made_by: tuple[str, str],
    lon_lat: NDArray[np.float64],
) -> NDArray[np.int64]:
    """Return the rows of `lon_lat` float64 [n, 2] whose tiles changed, int64 [m].

    `made_by`: the model and the content hash of the store at that time. Raises as `embed_changed`.
    """
    model, content = made_by
    if model != encoder.model_id:
        raise EarlierError(
            f"the vectors are of model {model}, not of {encoder.model_id}: embed all places again"
        )
    return np.flatnonzero(source.store.changes_since(content).meet(lon_lat, encoder.geometry))


def _encode(encoder: LocationEncoder, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Encode tiles [n, 12, H, W], equal ones once: open sea is a fifth of the grid of Monaco."""
    if not len(tiles):
        return np.empty((0, encoder.dim), np.float32)
    digests = [hashlib.blake2b(tile, digest_size=16).hexdigest() for tile in tiles]
    _, first, again = np.unique(digests, return_index=True, return_inverse=True)
    embedding = encoder.encode(tiles[first])[again]
    if not np.isfinite(embedding).all():
        raise EmbeddingError(f"model {encoder.model_id} gave numbers that are not finite")
    return embedding
