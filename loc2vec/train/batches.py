"""Batches of training tiles: a pure function of seed and step, so a resumed run sees the same ones.

For a GPU, processes read them ahead. Threads would take the interpreter's lock from the one that
trains, which then takes twice as long to start its work on the GPU.
"""

import signal
from collections.abc import Generator
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from math import sqrt

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as Items

from loc2vec.errors import RunError
from loc2vec.model.arrays import Flags, Floats, Places
from loc2vec.model.dataset import Dataset
from loc2vec.train.distributed import World
from loc2vec.train.run import TrainConfig
from tiling.dataset.poses import MAX_SHIFT_M
from tiling.errors import Loc2VecError
from tiling.geo.geodesy import ground_distance_m

KILLED = (
    "a process that reads tiles was killed (out of memory, or of shared memory?): "
    "go on with --resume, perhaps with fewer --places"
)


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """P places with one anchor (slot 0) and K positives each.

    `pixels` uint8 [P, 1 + K, C, H, W]: tiles as they were rendered.
    `kept` bool [P, 1 + K, C]: false for channels that are switched off.
    `overlapping` bool [P, P]: the tiles of two places may share ground.
    `places` int64 [P]: numbers of the places in the dataset.
    `symmetry` uint8 [P, 1 + K]: how tiles are turned and mirrored, 0 to 7; empty: not at all.

    With several processes, `pixels`, `kept` and `symmetry` hold this process's part of the places.
    `overlapping` and `places` are always of the whole batch.
    """

    pixels: Tensor
    kept: Tensor
    overlapping: Tensor
    places: Tensor
    symmetry: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.uint8))

    def to(self, device: torch.device) -> "Batch":
        """Copy the batch to a device; from pinned memory this does not wait for it."""
        return Batch(*(value.to(device, non_blocking=True) for value in self._tensors()))

    def pin_memory(self) -> "Batch":
        """Copy the batch to pinned memory; `DataLoader` calls this."""
        return Batch(*(value.pin_memory() for value in self._tensors()))

    def _tensors(self) -> list[Tensor]:
        return [getattr(self, each.name) for each in fields(self)]

    def seen(self) -> Tensor:
        """Return the tiles as the encoder sees them, uint8 [P * (1 + K), C, H, W]."""
        tiles = (self.pixels * self.kept[..., None, None]).flatten(0, 1)
        if self.symmetry.numel():
            bits = self.symmetry.flatten()[:, None, None, None]
            tiles = torch.where((bits & 1).bool(), tiles.flip(-1), tiles)
            tiles = torch.where((bits & 2).bool(), tiles.flip(-2), tiles)
            tiles = torch.where((bits & 4).bool(), tiles.mT, tiles)
        return tiles


def places_of_step(n_places: int, seed: int, step: int, places: int = 20) -> Places:
    """Return the places of a step: int64 [P].

    The steps follow a stream of permutations, so each place comes once an epoch. A batch may end
    one epoch and begin the next.
    """
    epochs, index = np.divmod(np.arange(step * places, (step + 1) * places), n_places)
    chosen = [
        _permutation(n_places, seed, int(epoch))[index[epochs == epoch]]
        for epoch in np.unique(epochs)
    ]
    return np.concatenate(chosen)


def slots_of_step(positives: int, seed: int, step: int, places: int = 20, pairs: int = 5) -> Places:
    """Return the positive slots of a step: int64 [P, K], distinct within a row."""
    slots = np.tile(np.arange(1, positives + 1), (places, 1))
    return np.random.default_rng((seed, step)).permuted(slots, axis=1)[:, :pairs]


@lru_cache(maxsize=2)  # shuffling half a million places takes 10 ms, too long for every step
def _permutation(n: int, seed: int, epoch: int) -> Places:
    return np.random.default_rng((seed, epoch, n)).permutation(n)


def overlapping(lat: Floats, lon: Floats, radius_m: float) -> Flags:
    """Tell which of P places may share ground: bool [P, P], true on the diagonal.

    A tile may be turned: its corner is up to sqrt(2) * radius_m from its middle. It may be shifted:
    its middle is up to sqrt(2) * MAX_SHIFT_M from the place.
    """
    reach_m = 2 * radius_m * sqrt(2) + MAX_SHIFT_M * sqrt(2)
    return ground_distance_m(lat[:, None], lon[:, None], lat, lon) < reach_m


def drawn_channels(
    random: np.random.Generator, shape: tuple[int, ...], scales: int, dropout: float
) -> Flags:
    """Draw which channels of views stay: bool [..., scales * C] for a shape [..., C].

    A channel is off in every scale, as one is that nobody maps. Each view draws its own share of
    them, from none to twice the mean, `dropout`.
    """
    share = 2 * dropout * random.random((*shape[:-1], 1))
    return np.tile(random.random(shape) >= share, scales)


class Batches:
    """The batches of a dataset; `batch(step)` depends on dataset, configuration and step alone.

    Raises `RunError` when the dataset has too few places or positives.
    """

    def __init__(self, dataset: Dataset, config: TrainConfig, world: World | None = None) -> None:
        self.world = world or World()
        places, pairs = config.places, config.pairs
        if dataset.n_places < places:
            raise RunError(
                f"a batch needs {places} places, the tiles hold {dataset.n_places}: sample more"
            )
        if dataset.positives < pairs:
            raise RunError(
                f"a batch needs {pairs} positives a place, the tiles hold {dataset.positives}"
            )
        if places % self.world.size:
            raise RunError(
                f"{places} places a batch cannot be shared out evenly "
                f"to {self.world.size} processes"
            )
        self.dataset, self.seed, self.places, self.pairs = dataset, config.seed, places, pairs
        self.channel_dropout, self.mirrored = config.channel_dropout, config.mirrored

    def batch(self, step: int) -> Batch:
        """Read the tiles of a step."""
        data, part = self.dataset, self.world.part(self.places)
        places = places_of_step(data.n_places, self.seed, step, self.places)
        slots = slots_of_step(data.positives, self.seed, step, self.places, self.pairs)
        # [P, 1 + K]
        rows = np.repeat(places[part, None], 1 + self.pairs, axis=1)
        columns = np.insert(slots[part], 0, 0, axis=1)
        near, kept = self._overlapping(places), self._kept(step)[part]
        size = data.geometry.size
        pixels = torch.empty((*rows.shape, len(data.channels), size, size), dtype=torch.uint8)
        data.tiles(rows.reshape(-1), columns.reshape(-1), pixels.flatten(0, 1).numpy())
        batch = Batch(pixels, *map(torch.from_numpy, (kept, near, places)))
        if self.mirrored:
            symmetry = torch.from_numpy(self._symmetry(step)[part])
            batch = replace(batch, symmetry=symmetry)
        return batch

    def prefetched(
        self, start: int, stop: int, readers: int = 0, pinned: bool = False
    ) -> Generator[Batch]:
        """Yield the batches of the steps start..stop-1 while processes read the next ones.

        Without `readers` this process reads each when it is asked for. Copies from `pinned` memory
        to a GPU overlap with computing. Processes are forked: they share what is open. Raises
        `RunError` when one of them is killed.
        """
        told = signal.getsignal(signal.SIGCHLD)
        coming = iter(
            DataLoader(
                _Steps(self),
                batch_size=None,
                sampler=range(start, stop),
                num_workers=readers,
                pin_memory=pinned,
                worker_init_fn=_leave_signals,
                multiprocessing_context="fork" if readers else None,
            )
        )
        if signal.getsignal(signal.SIGCHLD) is not told:  # it would raise anywhere in a step
            signal.signal(signal.SIGCHLD, told)
        while True:
            try:
                batch = next(coming)
            except StopIteration:
                return
            except (EOFError, OSError):  # the pipe or socket of a process that is no more
                break
            except RuntimeError as error:
                if "DataLoader worker (pid" not in str(error):
                    raise
                break
            if isinstance(batch, Exception):
                raise batch
            yield batch
        raise RunError(KILLED)

    def _overlapping(self, places: Places) -> Flags:
        """Return which places of a batch may share ground; `RunError` when all do."""
        data = self.dataset
        flags = overlapping(data.lat[places], data.lon[places], data.geometry.widest.radius_m)
        if flags.all():
            raise RunError(
                f"all {self.places} places of a batch overlap: tiles of a larger area are needed"
            )
        return flags

    def _kept(self, step: int) -> Flags:
        """Return which channels of a whole batch stay: bool [P, 1 + K, C], all of an anchor's."""
        channels, scales = len(self.dataset.channels), self.dataset.geometry.scales
        random = np.random.default_rng((self.seed, step, 1))
        shape = (self.places, self.pairs, channels // scales)
        kept = np.ones((self.places, 1 + self.pairs, channels), np.bool_)
        kept[:, 1:] = drawn_channels(random, shape, scales, self.channel_dropout)
        return kept

    def _symmetry(self, step: int) -> NDArray[np.uint8]:
        """Draw how the tiles of a whole batch are turned and mirrored: uint8 [P, 1 + K]."""
        random = np.random.default_rng((self.seed, step, 2))
        return random.integers(0, 8, (self.places, 1 + self.pairs), np.uint8)


class _Steps(Items[Batch | Loc2VecError | OSError]):
    """The batches of steps, for a `DataLoader`. An error is a value, to be raised as it is."""

    def __init__(self, batches: Batches) -> None:
        self.batches = batches

    def __getitem__(self, step: int) -> Batch | Loc2VecError | OSError:
        try:
            return self.batches.batch(step)
        except (Loc2VecError, OSError) as error:
            return error


def _leave_signals(_: int) -> None:
    """Let the main process decide what Ctrl-C means, in a process that reads."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
