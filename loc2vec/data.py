"""Batches of training tiles: a pure function of (seed, step), so that a resumed run repeats nothing."""

from collections import deque
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from math import sqrt
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from loc2vec.errors import RunError
from tiling.geodesy import ground_distance_m
from tiling.values import MAX_SHIFT_M, TileGeometry

Places = NDArray[np.int64]
Pixels = NDArray[np.uint8]

CHANNEL_DROPOUT = 0.1  # share of the channels of a positive that training switches off


class Dataset(Protocol):
    """What training and evaluation read of a tile dataset (`tiling.dataset.TileDataset` is one).

    Slot 0 of a place is its anchor; slots 1..`positives` are turned and shifted.
    """

    @property
    def fingerprint(self) -> str: ...
    @property
    def channels(self) -> tuple[str, ...]: ...
    @property
    def geometry(self) -> TileGeometry: ...
    @property
    def n_places(self) -> int: ...
    @property
    def positives(self) -> int: ...
    @property
    def lat(self) -> NDArray[np.float64]: ...
    @property
    def lon(self) -> NDArray[np.float64]: ...
    def tiles(self, places: Places, slots: Places) -> Pixels:
        """Return tiles uint8 [m, 12, H, W] of m places and slots."""


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """P places with one anchor and K positives each.

    `anchors` uint8 [P, 12, H, W]; `positives` uint8 [P * K, 12, H, W], those of a place together;
    `overlapping` bool [P, P]: the tiles of the two places may share ground.
    """

    anchors: Pixels
    positives: Pixels
    overlapping: NDArray[np.bool_]


def batch_indices(
    n_places: int, positives: int, seed: int, step: int, places: int = 20, pairs: int = 5
) -> tuple[Places, Places]:
    """Return the places [P] of a step and their positive slots [P, K], distinct within a row.

    The places are a stream of permutations, so that each comes once an epoch; a batch may end one
    epoch and begin the next.
    """
    epochs, index = np.divmod(np.arange(step * places, (step + 1) * places), n_places)
    chosen = [_permutation(n_places, seed, int(epoch))[index[epochs == epoch]] for epoch in np.unique(epochs)]
    slots = np.tile(np.arange(1, positives + 1), (places, 1))
    slots = np.random.default_rng((seed, step)).permuted(slots, axis=1)[:, :pairs]
    return np.concatenate(chosen), slots


@lru_cache(maxsize=2)  # half a million places take 10 ms to shuffle, at every step
def _permutation(n: int, seed: int, epoch: int) -> Places:
    return np.random.default_rng((seed, epoch, n)).permutation(n)


def overlapping(lat: NDArray[np.float64], lon: NDArray[np.float64], radius_m: float) -> NDArray[np.bool_]:
    """Tell which of P places may share ground: bool [P, P], true on the diagonal.

    A tile may be turned and shifted, so it reaches half its diagonal from its middle, and its middle
    up to the diagonal of the shift from the place.
    """
    reach_m = 2 * radius_m * sqrt(2) + MAX_SHIFT_M * sqrt(2)
    return ground_distance_m(lat[:, None], lon[:, None], lat, lon) < reach_m


class Batches:
    """The batches of a dataset; `batch(step)` depends on the dataset, the seed and the step alone."""

    def __init__(self, dataset: Dataset, seed: int, places: int = 20, pairs: int = 5) -> None:
        if dataset.n_places < places:
            raise RunError(f"a batch needs {places} places, the tiles hold {dataset.n_places}: draw more")
        if dataset.positives < pairs:
            raise RunError(f"a batch needs {pairs} positives a place, the tiles hold {dataset.positives}")
        self.dataset, self.seed, self.places, self.pairs = dataset, seed, places, pairs

    def batch(self, step: int) -> Batch:
        """Read the tiles of a step and switch channels of its positives off."""
        data = self.dataset
        places, slots = batch_indices(data.n_places, data.positives, self.seed, step, self.places, self.pairs)
        overlap = overlapping(data.lat[places], data.lon[places], data.geometry.radius_m)
        if overlap.all():
            raise RunError(f"all {self.places} places of a batch overlap: tiles of a larger area are needed")
        anchors = data.tiles(places, np.zeros_like(places))
        positives = data.tiles(np.repeat(places, self.pairs), slots.reshape(-1))
        rng = np.random.default_rng((self.seed, step, 1))
        kept = rng.random(positives.shape[:2]) >= CHANNEL_DROPOUT  # [P * K, 12]
        return Batch(anchors, positives * kept[:, :, None, None], overlap)

    def prefetched(self, start: int, stop: int) -> Generator[Batch]:
        """Yield the batches of the steps start..stop-1, reading one ahead in a thread."""
        with ThreadPoolExecutor(max_workers=1) as reader:
            steps = iter(range(start, stop))
            ahead = deque(reader.submit(self.batch, step) for step in islice(steps, 1))
            while ahead:
                batch = ahead.popleft().result()
                ahead.extend(reader.submit(self.batch, step) for step in islice(steps, 1))
                yield batch
