"""`LocationEncoder`: places or tiles in, vectors out."""

import importlib
import os
import threading
import weakref
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self, cast

import numpy as np
import torch
from numpy.typing import NDArray

from loc2vec.encoders.registry import vector_size
from loc2vec.errors import InputError, require_extra
from loc2vec.model.arrays import Pixels, Vectors
from loc2vec.model.compute import batch_size_on, encode_tiles, keep_freed_memory, pick_device
from loc2vec.model.fast import fast_network
from loc2vec.model.folder import Model, load_model, model_path
from loc2vec.model.names import DEFAULT_MODEL
from tiling.catalogue.catalogue import carried_catalogue
from tiling.geo.cells import place_of_cell
from tiling.values import N_CHANNELS, LonLat, TileGeometry, check_fingerprint, check_place

if TYPE_CHECKING:
    from tiling.render.renderer import Renderer
    from tiling.store.store import Store

Pair = tuple[float, float]  # (lat, lon) in degrees
Place = Pair | str | int  # or an H3 cell


class TileRenderer(Protocol):
    """What renders the tiles of places for an encoder."""

    @property
    def fingerprint(self) -> str:
        """Return the fingerprint of the channel catalogue and the tile geometry."""

    def require(self, place: LonLat) -> None:
        """Raise an error unless there is map data for `place`."""

    def north_up(self, places: Sequence[LonLat]) -> Pixels:
        """Return the tiles of places, uint8 [len(places), scales * 12, size, size]."""

    def close(self) -> None:
        """Let go of what it holds."""


class StoreRenderer:
    """Renders the tiles of a feature store, in any thread and process.

    SQLite connections and Mapnik maps belong to one thread, so each thread opens the store for
    itself when it first renders. A pickle holds only the location of the store.
    """

    def __init__(self, store: "Store", geometry: TileGeometry) -> None:
        """Open the store for this thread; raises the errors of `Store.open`."""
        self._store, self._geometry = store, geometry
        self._closed = False
        self._own = threading.local()
        self._ends: list[weakref.finalize[[], Renderer]] = []
        self.fingerprint = self._renderer.fingerprint

    @property
    def _renderer(self) -> "Renderer":
        """The renderer of this thread; a forked process may not use those of its parent."""
        if self._closed:
            raise InputError("the encoder is closed: load it again")
        if getattr(self._own, "process", None) != os.getpid():
            self._own.renderer, self._own.process = self._open(), os.getpid()
        renderer: Renderer = self._own.renderer
        return renderer

    def _open(self) -> "Renderer":
        from tiling.render.renderer import Renderer

        source = self._store.open()
        renderer = Renderer(source, self._geometry)
        # When the thread ends, its renderer goes, and this closes the store.
        end = weakref.finalize(renderer, source.close)
        self._ends = [end, *(other for other in self._ends if other.alive)]
        return renderer

    def require(self, place: LonLat) -> None:
        """Raise `OutsideError` unless the store covers `place`."""
        self._renderer.source.require(place)

    def north_up(self, places: Sequence[LonLat]) -> Pixels:
        """Return the tiles of places, uint8 [len(places), scales * 12, size, size]."""
        return self._renderer.north_up(places)

    def close(self) -> None:
        """Close the store in every thread."""
        self._closed = True
        for end in self._ends:
            end()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._store, self._geometry)


class LocationEncoder:
    """A trained network that turns places into vectors; similar places get near vectors.

    It may be used from any thread, and pickled into other processes. Close it to close its store.

    `dim`: numbers in a vector. `name`, `family`: of the model and its encoder. `model_id`: name and
    start of the weights' SHA-256. `geometry`, `fingerprint`: of the tiles it was trained on.
    """

    def __init__(
        self,
        model: Model,
        renderer: TileRenderer | None = None,
        device: str = "auto",
        fast: bool = False,
    ) -> None:
        """Take a model, and what renders its tiles; without a renderer it encodes only tiles.

        Raises `FingerprintError` when the model was trained on other tiles than it renders, and
        `ExtraError` when it shall be `fast` without that extra.
        """
        config = model.config
        if renderer is not None:
            check_fingerprint(f"model {config.name}", config.fingerprint, renderer.fingerprint)
        where = pick_device(device)
        keep_freed_memory(where)
        self._network = model.network.to(where, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._model, self._renderer, self._device, self._fast = model, renderer, device, fast
        self.geometry = config.geometry
        if fast:
            self._network = fast_network(self._network, self._shape)
        self.dim = vector_size(config.encoder, int(config.options["dim"]), self.geometry.scales)
        self.name, self.family = config.name, config.encoder
        self.fingerprint = config.fingerprint
        self.catalogue = carried_catalogue(config.catalogue, f"model {self.name}")
        self.model_id = model.model_id

    @classmethod
    def load(
        cls,
        model: str | Path = DEFAULT_MODEL,
        store: "str | Path | Store | None" = None,
        device: str = "auto",
        fast: bool = False,
    ) -> Self:
        """Load a shipped model by its name, or a model folder.

        `store`: a feature store or its location, which encoding places needs. `device`: "auto",
        "cpu", "cuda" or "cuda:1". `fast`: encode in bfloat16, which is about 1 % off; on a CPU it
        needs the extra `fast`. Raises `ModelError`, `StoreError`, `DeviceError`, and
        `FingerprintError` when the store was made with another catalogue than the model's.
        """
        # In a thread that ends: OpenMP keeps threads for each one that computed as long as it
        # lives. Once they outnumber the processors, none waits actively, and a tile alone would
        # take 7.5 ms instead of 4.5.
        with ThreadPoolExecutor(1) as passing:
            loaded = passing.submit(load_model, model_path(model)).result()
            geometry = loaded.config.geometry
            renderer = None if store is None else StoreRenderer(_store(store), geometry)
            return passing.submit(cls, loaded, renderer, device, fast).result()

    def encode(
        self,
        places_or_tiles: Place | Sequence[Place] | NDArray[np.generic],
        batch_size: int | None = None,
    ) -> Vectors:
        """Encode one place or tile as float32 [D], many as float32 [n, D] in their order.

        A place is a (lat, lon) pair in degrees, a `LonLat`, or an H3 cell, which means its middle.
        A tile is uint8 [12, size, size]. `batch_size`: tiles at once, by default 16 on the CPU and
        64 on a GPU. Raises `InputError`, `PlaceError` for coordinates out of range, and
        `OutsideError` for a place that the store does not cover.
        """
        at_once = batch_size or batch_size_on(next(self._network.parameters()).device)
        if isinstance(places_or_tiles, np.ndarray) and places_or_tiles.ndim >= 3:
            return self._encode_tiles(places_or_tiles, at_once)
        if _is_place(places_or_tiles):
            return self._encode_places([_place(places_or_tiles)], at_once).reshape(-1)
        several = cast(Sequence[Place], places_or_tiles)
        return self._encode_places([_place(place) for place in several], at_once)

    def similarity(self, a: Vectors, b: Vectors) -> Vectors:
        """Return minus the Euclidean distance of each pair: [n, D], [m, D] -> float32 [n, m]."""
        exact = "donot_use_mm_for_euclid_dist"  # the matrix product rounds small distances away
        first, second = (torch.from_numpy(np.atleast_2d(np.array(v, np.float32))) for v in (a, b))
        if first.shape[1] != second.shape[1]:
            raise InputError(
                f"vectors of {first.shape[1]} and of {second.shape[1]} numbers do not compare"
            )
        # 0, not -0
        similarity: Vectors = (0 - torch.cdist(first, second, compute_mode=exact)).numpy()
        return similarity

    def fit(self, places: Sequence[Place], labels: Sequence[object]) -> Any:
        """Learn labels of places; return a `loc2vec.predict.fit.PlacePredictor`.

        Text, booleans and a few distinct whole numbers are classes. Raises `LabelsError` where the
        labels do not suffice, and the errors of `encode`. Needs the extra `predict`.
        """
        require_extra("predict", "predicting", "sklearn", "skops")
        located = [_place(pair) for pair in places]
        vectors = self.encode(located)
        # It stands above this module, which therefore loads it by name.
        return importlib.import_module("loc2vec.predict.fit").fit_places(
            self, located, vectors, labels
        )

    @property
    def _shape(self) -> tuple[int, int, int]:
        """The shape of a tile: [scales * 12, size, size]."""
        return N_CHANNELS * self.geometry.scales, self.geometry.size, self.geometry.size

    def _encode_tiles(self, tiles: NDArray[np.generic], batch_size: int) -> Vectors:
        shape = self._shape
        if tiles.dtype != np.uint8 or tiles.shape[-3:] != shape or tiles.ndim > 4:
            raise InputError(
                f"tiles must be uint8 [n, {', '.join(map(str, shape))}], "
                f"not {tiles.dtype} {list(tiles.shape)}"
            )
        pixels = np.asarray(tiles, np.uint8).reshape(-1, *shape)
        vectors = encode_tiles(self._network, pixels, batch_size)
        return vectors if tiles.ndim == 4 else vectors.reshape(-1)

    def _encode_places(self, places: list[LonLat], batch_size: int) -> Vectors:
        if self._renderer is None:
            raise InputError(
                'places need a renderer: give a store, LocationEncoder.load(store="region.gpkg")'
            )
        for place in places:  # before any is rendered
            self._renderer.require(place)
        parts = [np.empty((0, self.dim), np.float32)]
        for start in range(0, len(places), batch_size):
            tiles = self._renderer.north_up(places[start : start + batch_size])
            parts.append(encode_tiles(self._network, tiles, batch_size))
        return np.concatenate(parts)

    def close(self) -> None:
        """Close the store, in every thread; the encoder takes no more places, but still tiles."""
        if self._renderer is not None:
            self._renderer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._model, self._renderer, self._device, self._fast)


def _store(store: "str | Path | Store") -> "Store":
    from tiling.store.store import Store

    return store if isinstance(store, Store) else Store.at(store)


def _is_place(value: object) -> bool:
    """Tell a pair of numbers or a cell from a sequence of these."""
    return isinstance(value, str | int | np.integer) or (
        isinstance(value, Sequence | np.ndarray)
        and len(value) == 2
        and all(isinstance(number, Real) for number in value)
    )


def _place(pair: Any) -> LonLat:
    """Check a (lat, lon) pair or a cell; a `LonLat` keeps its own order."""
    if isinstance(pair, str | int | np.integer):
        return place_of_cell(pair if isinstance(pair, str) else int(pair))
    if isinstance(pair, LonLat):
        return check_place(pair.lat, pair.lon)
    if not _is_place(pair):
        raise InputError(f"{pair!r} is neither a (lat, lon) pair in degrees nor a tile")
    lat, lon = pair
    return check_place(lat, lon)
