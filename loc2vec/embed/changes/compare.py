"""How far the vectors of places move between two stores, and which channels move them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Self

import numpy as np
import shapely
from numpy.typing import NDArray

from loc2vec.encoder import LocationEncoder
from loc2vec.model.arrays import Floats, Pixels
from tiling.geo.geodesy import box_around
from tiling.render.batch import chunks_of, render_chunks, workers_for
from tiling.store.source import FeatureSource
from tiling.values import LonLat

LIT = 255.0


@dataclass(frozen=True, slots=True, eq=False)
class Moves:
    """What changed at n places, C channels; all are 0 where the tiles are equal.

    `distance` float64 [n]: between the two vectors. `effect` float64 [n, C]: how far the old vector
    moves when this channel alone becomes the new one. `before`, `gained`, `lost` float64 [n, C]:
    shares of the tile. `under` float64 [n, C, C]: of what the first channel gained, the share that
    the second one covered before. `onto`: of what the first lost, the share that the second gained.
    `objects` int64 [n, 2, C]: features around the tile, before and after.
    """

    distance: Floats
    effect: Floats
    before: Floats
    gained: Floats
    lost: Floats
    under: Floats
    onto: Floats
    objects: NDArray[np.int64]

    @classmethod
    def none(cls, count: int, channels: int) -> Self:
        """Return those of places that do not change."""
        each = np.zeros((count, channels))
        pairs = np.zeros((count, channels, channels))
        objects = np.zeros((count, 2, channels), np.int64)
        return cls(
            np.zeros(count), each, each.copy(), each.copy(), each.copy(), pairs, pairs.copy(),
            objects,
        )  # fmt: skip

    def put(self, rows: NDArray[np.int64], part: "Moves") -> None:
        """Take the values of some places."""
        for field in fields(self):
            getattr(self, field.name)[rows] = getattr(part, field.name)


def compare(
    sources: tuple[FeatureSource, FeatureSource],
    encoder: LocationEncoder,
    lon_lat: NDArray[np.float64],
    workers: int,
    progress: Callable[[int], object] = lambda n: None,
) -> Moves:
    """Compare the tiles of places (lon, lat), float64 [n, 2], in an old and a new store.

    Raises `FingerprintError` when a store and the model do not go together.
    """
    for source in sources:
        source.catalogue.check(f"model {encoder.model_id}", encoder.fingerprint, encoder.geometry)
    channels = len(sources[0].catalogue.channels) * encoder.geometry.scales
    moves = Moves.none(len(lon_lat), channels)
    first = 0
    for old, new in _pairs(sources, encoder, lon_lat, workers):
        differ = np.flatnonzero((old != new).any(axis=(1, 2, 3)))
        if len(differ):
            part = moved(encoder, old[differ], new[differ])
            for row, place in enumerate(lon_lat[first + differ].tolist()):
                part.objects[row] = [_objects(s, LonLat(*place), encoder) for s in sources]
            moves.put(first + differ, part)
        first += len(old)
        progress(len(old))
    return moves


def _pairs(
    sources: tuple[FeatureSource, FeatureSource],
    encoder: LocationEncoder,
    lon_lat: NDArray[np.float64],
    workers: int,
) -> Iterator[tuple[Pixels, Pixels]]:
    each = workers_for(len(lon_lat), workers) // 2
    old, new = (
        render_chunks(source, chunks_of(lon_lat), each, encoder.geometry) for source in sources
    )
    yield from zip(old, new, strict=True)


def moved(encoder: LocationEncoder, old: Pixels, new: Pixels) -> Moves:
    """Compare pairs of tiles that differ, uint8 [n, C, H, W]."""
    moves = Moves.none(*old.shape[:2])
    place, channel = np.nonzero((old != new).any(axis=(2, 3)))
    mixed = old[place]
    mixed[np.arange(len(place)), channel] = new[place, channel]
    vectors = encoder.encode(np.concatenate([old, new, mixed])).astype(np.float64)
    before, after, alone = np.split(vectors, [len(old), 2 * len(old)])
    moves.distance[:] = np.linalg.norm(after - before, axis=1)
    moves.effect[place, channel] = np.linalg.norm(alone - before[place], axis=1)
    a, b = old.astype(np.float32) / LIT, new.astype(np.float32) / LIT
    gain, loss = np.maximum(b - a, 0), np.maximum(a - b, 0)
    moves.before[:], moves.gained[:], moves.lost[:] = (
        pixels.mean(axis=(2, 3)) for pixels in (a, gain, loss)
    )
    moves.under[:] = _shares(gain, a)
    moves.onto[:] = _shares(loss, gain)
    return moves


def _shares(what: NDArray[np.float32], on: NDArray[np.float32]) -> Floats:
    """Return the share of each channel of `what` that lies on each channel of `on`, [n, C, C]."""
    both = np.einsum("ncxy,ndxy->ncd", what, on, optimize=True)
    whole = what.sum(axis=(2, 3))[:, :, None]
    shares: Floats = np.divide(both, whole, out=np.zeros(both.shape), where=whole > 0)
    return shares


def _objects(source: FeatureSource, place: LonLat, encoder: LocationEncoder) -> NDArray[np.int64]:
    """Count the features of each channel whose boxes meet a tile, int64 [C]."""
    found = source.features(box_around(place, encoder.geometry.radius_m))
    counts = np.bincount(found.channel, minlength=len(source.catalogue.channels))
    return np.tile(counts, encoder.geometry.scales)


def shared_area(sources: tuple[FeatureSource, FeatureSource]) -> shapely.Geometry:
    """Return the area that both stores cover, in degrees."""
    return shapely.intersection(*(source.coverage for source in sources))
