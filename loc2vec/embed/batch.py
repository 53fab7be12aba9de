"""Batch embedding: worker processes render the tiles of many places, this one encodes them."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray

from loc2vec.embed.files import Vectors
from loc2vec.encoder import LocationEncoder
from loc2vec.errors import EarlierError, EmbeddingError
from tiling.files.points import read_points
from tiling.geo.grid import grid
from tiling.render.batch import render_all
from tiling.store.source import FeatureSource
from tiling.values import Box


@dataclass(frozen=True, slots=True, eq=False)
class Places:
    """Places in order: `lon_lat` float64 [n, 2], degrees, and the table of their file."""

    lon_lat: NDArray[np.float64]
    table: pa.Table | None = None

    def __len__(self) -> int:
        return len(self.lon_lat)


def places_of_file(path: Path) -> Places:
    """Read the places of a CSV or Parquet file; `PointsError` names a bad row."""
    points = read_points(path)
    return Places(np.stack([points.lon, points.lat], axis=1), points.table)


def places_of_grid(source: FeatureSource, metres: float, box: Box | None = None) -> Places:
    """Return a grid over what the store covers, within `box`.

    `GridError` when it holds no place.
    """
    return Places(grid(source.coverage, metres, box))


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
    content = source.store.content_hash()
    source.catalogue.check(f"model {encoder.model_id}", encoder.fingerprint, encoder.geometry)
    inside = np.flatnonzero(shapely.intersects_xy(source.coverage, *places.lon_lat.T))
    progress(len(places) - len(inside))
    embedding = np.full((len(places), encoder.dim), np.nan, np.float32)
    done = 0
    for tiles in render_all(source, places.lon_lat[inside], workers, encoder.geometry):
        embedding[inside[done : done + len(tiles)]] = _encode(encoder, tiles)
        done += len(tiles)
        progress(len(tiles))
    lon, lat = places.lon_lat.T
    return Vectors(
        lat=lat,
        lon=lon,
        embedding=embedding,
        table=places.table,
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
    if before.model != encoder.model_id:
        raise EarlierError(
            f"the vectors are of model {before.model}, not of {encoder.model_id}: "
            "embed all places again"
        )
    content = source.store.content_hash()
    lon_lat = np.stack([before.lon, before.lat], axis=1)
    rows = np.flatnonzero(source.store.changes_since(before.store).meet(lon_lat, encoder.geometry))
    embedding = before.embedding.copy()
    embedding[rows] = embed(source, encoder, Places(lon_lat[rows]), workers, progress).embedding
    return replace(before, embedding=embedding, store=content), len(rows)


def _encode(encoder: LocationEncoder, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Encode tiles [n, 12, H, W], equal ones once: open sea is a fifth of the grid of Monaco."""
    digests = [hashlib.blake2b(tile, digest_size=16).hexdigest() for tile in tiles]
    _, first, again = np.unique(digests, return_index=True, return_inverse=True)
    embedding = encoder.encode(tiles[first])[again]
    if not np.isfinite(embedding).all():
        raise EmbeddingError(f"model {encoder.model_id} gave numbers that are not finite")
    return embedding
