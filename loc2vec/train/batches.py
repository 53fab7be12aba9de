"""Batches of training tiles: a pure function of (seed, step), so that a resumed run repeats nothing."""

from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import islice
from math import sqrt

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from loc2vec.errors import RunError
from loc2vec.model.dataset import Dataset, Places
from loc2vec.train.distributed import World
from tiling.geo.geodesy import ground_distance_m
from tiling.machine import cpu_count
from tiling.values import MAX_SHIFT_M

CHANNEL_DROPOUT = 0.05  # share of the channels of a positive that training switches off
AHEAD = 4  # batches that are read before they are asked for
READ_TILES = 32  # tiles that a thread reads at a time


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """P places with one anchor (slot 0) and K positives each.

    Of several processes each has its share of the P.

    `pixels` uint8 [P, 1 + K, C, H, W] as they were drawn; `kept` bool [P, 1 + K, C]: the channels
    that are not switched off; `overlapping` bool [P, P], always of the whole batch: two places'
    tiles may share ground; `places` int64 [P]: their numbers in the dataset, also of the whole
    batch.
    """

    pixels: Tensor
    kept: Tensor
    overlapping: Tensor
    places: Tensor


def batch_indices(
    n_places: int, positives: int, seed: int, step: int, places: int = 20, pairs: int = 5
) -> tuple[Places, Places]:
    """Return the places [P] of a step and their positive slots [P, K], distinct within a row.

    The places are a stream of permutations, so that each comes once an epoch; a batch may end one
    epoch and begin the next.
    """
    epochs, index = np.divmod(np.arange(step * places, (step + 1) * places), n_places)
    chosen = [
        _permutation(n_places, seed, int(epoch))[index[epochs == epoch]]
        for epoch in np.unique(epochs)
    ]
    slots = np.tile(np.arange(1, positives + 1), (places, 1))
    slots = np.random.default_rng((seed, step)).permuted(slots, axis=1)[:, :pairs]
    return np.concatenate(chosen), slots


@lru_cache(maxsize=2)  # half a million places take 10 ms to shuffle, at every step
def _permutation(n: int, seed: int, epoch: int) -> Places:
    return np.random.default_rng((seed, epoch, n)).permutation(n)


def overlapping(
    lat: NDArray[np.float64], lon: NDArray[np.float64], radius_m: float
) -> NDArray[np.bool_]:
    """Tell which of P places may share ground: bool [P, P], true on the diagonal.

    A tile may be turned and shifted, so it reaches half its diagonal from its middle, and its
    middle up to the diagonal of the shift from the place.
    """
    reach_m = 2 * radius_m * sqrt(2) + MAX_SHIFT_M * sqrt(2)
    return ground_distance_m(lat[:, None], lon[:, None], lat, lon) < reach_m


class Batches:
    """The batches of a dataset.

    `batch(step)` depends on the dataset, the seed and the step alone.
    """

    def __init__(
        self,
        dataset: Dataset,
        seed: int,
        places: int = 20,
        pairs: int = 5,
        world: World | None = None,
    ) -> None:
        self.world = world or World()
        if dataset.n_places < places:
            raise RunError(
                f"a batch needs {places} places, the tiles hold {dataset.n_places}: draw more"
            )
        if dataset.positives < pairs:
            raise RunError(
                f"a batch needs {pairs} positives a place, the tiles hold {dataset.positives}"
            )
        if places % self.world.size:
            raise RunError(
                f"{places} places a batch cannot be shared out evenly to {self.world.size} processes"
            )
        self.dataset, self.seed, self.places, self.pairs = dataset, seed, places, pairs

    def batch(self, step: int) -> Batch:
        """Read the tiles of a step."""
        batch, reads = self._plan(step, pinned=False)
        for read in reads:
            read()
        return batch

    def prefetched(self, start: int, stop: int, pinned: bool = False) -> Generator[Batch]:
        """Yield the batches of the steps start..stop-1 while threads read the next ones.

        `pinned` memory can be copied to a GPU while the GPU and this process do other things.
        """
        planner = ThreadPoolExecutor(1)
        readers = ThreadPoolExecutor(max(1, cpu_count() // self.world.of_host))

        def begin(step: int) -> tuple[Batch, list[Future[object]]]:
            batch, reads = self._plan(step, pinned)
            return batch, [readers.submit(read) for read in reads]

        try:
            steps = iter(range(start, stop))
            ahead = deque(planner.submit(begin, step) for step in islice(steps, AHEAD))
            while ahead:
                batch, reading = ahead.popleft().result()
                ahead.extend(planner.submit(begin, step) for step in islice(steps, 1))
                for part in reading:
                    part.result()
                yield batch
        finally:
            planner.shutdown(cancel_futures=True)
            readers.shutdown(cancel_futures=True)

    def _plan(self, step: int, pinned: bool) -> tuple[Batch, list[Callable[[], object]]]:
        """Return the batch of a step, its pixels still empty, and the calls that read them."""
        data, mine = self.dataset, self.world.part(self.places)
        places, slots = batch_indices(
            data.n_places, data.positives, self.seed, step, self.places, self.pairs
        )
        overlap = overlapping(data.lat[places], data.lon[places], data.geometry.widest.radius_m)
        if overlap.all():
            raise RunError(
                f"all {self.places} places of a batch overlap: tiles of a larger area are needed"
            )
        channels = len(data.channels)
        kept = np.ones((self.places, 1 + self.pairs, channels), np.bool_)
        kept[:, 1:] = (
            np.random.default_rng((self.seed, step, 1)).random(kept[:, 1:].shape) >= CHANNEL_DROPOUT
        )
        rows = np.repeat(places[mine], 1 + self.pairs)
        columns = np.insert(slots[mine], 0, 0, axis=1).reshape(-1)
        size = data.geometry.size
        pixels = torch.empty(
            (len(rows), channels, size, size), dtype=torch.uint8, pin_memory=pinned
        )
        out = pixels.numpy()
        parts = [slice(first, first + READ_TILES) for first in range(0, len(rows), READ_TILES)]
        reads = [partial(data.tiles, rows[part], columns[part], out[part]) for part in parts]
        shaped = pixels.view(-1, 1 + self.pairs, channels, size, size)
        others = (torch.from_numpy(values) for values in (kept[mine], overlap, places))
        return Batch(
            shaped, *(values.pin_memory() if pinned else values for values in others)
        ), list(reads)
