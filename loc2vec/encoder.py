"""`LocationEncoder`: places or tiles in, vectors out."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from numbers import Real
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray

from loc2vec.errors import InputError
from loc2vec.model.compute import batch_size_on, encode_tiles, keep_freed_memory, pick_device
from loc2vec.model.folder import DEFAULT_MODEL, Model, load_model, model_path
from tiling.catalogue import carried_catalogue
from tiling.geo.cells import place_of_cell
from tiling.values import N_CHANNELS, LonLat, Pose, check_fingerprint, check_place

Vector = NDArray[np.float32]
Pair = tuple[float, float]  # (lat, lon) in degrees
Place = Pair | str  # or an H3 cell


class TileRenderer(Protocol):
    """What draws the tiles of places (`tiling.render.renderer.Renderer` is one)."""

    @property
    def fingerprint(self) -> str: ...
    def tiles(self, place: LonLat, poses: Sequence[Pose]) -> NDArray[np.uint8]:
        """Return the tiles of one place, uint8 [len(poses), 12, size, size]."""


class PlaceGuard(Protocol):
    """What knows where there is map data (any `tiling` feature source)."""

    def require(self, place: LonLat) -> None:
        """Raise an error unless the data cover `place`."""


class LocationEncoder:
    """A trained network that turns places into vectors.

    Near vectors mean places that work alike.
    """

    def __init__(
        self,
        model: Model,
        source: PlaceGuard | None = None,
        renderer: TileRenderer | None = None,
        device: str = "auto",
    ) -> None:
        if renderer is not None:
            check_fingerprint(
                f"model {model.config.name}", model.config.fingerprint, renderer.fingerprint
            )
        where = pick_device(device)
        keep_freed_memory(where)
        self._network = model.network.to(where, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._source, self._renderer = source, renderer
        self.geometry = model.config.geometry
        self.dim = int(model.config.options["dim"]) * self.geometry.scales  # each has its numbers
        self.name, self.family = model.config.name, model.config.encoder
        self.fingerprint = model.config.fingerprint  # of the tiles it was trained on
        self.catalogue = carried_catalogue(model.config.catalogue, f"model {self.name}")
        self.model_id = model.model_id

    @classmethod
    def load(
        cls,
        model: str | Path = DEFAULT_MODEL,
        source: PlaceGuard | None = None,
        renderer: TileRenderer | None = None,
        device: str = "auto",
    ) -> Self:
        """Load a shipped model by its name, or a model folder.

        A `renderer` is needed to encode coordinates; with a `source`, places that it does not cover
        raise its error instead of becoming the vector of an empty tile. Raises `ModelError`, and
        `FingerprintError` when the renderer draws other tiles than the model was trained on.
        """
        # In a thread that ends: OpenMP keeps threads for each one that computed as long as it
        # lives, and once there are more of them than processors none waits actively. A tile alone
        # would then take 7.5 ms and not 4.5.
        with ThreadPoolExecutor(1) as passing:
            return passing.submit(
                lambda: cls(load_model(model_path(model)), source, renderer, device)
            ).result()

    def encode(
        self,
        places_or_tiles: Place | Sequence[Place] | NDArray[np.generic],
        batch_size: int | None = None,
    ) -> Vector:
        """Encode one thing as float32 [D], many as float32 [n, D] in their order.

        A thing is a (lat, lon) pair in degrees (or a `LonLat`), the name of an H3 cell, whose
        middle is meant, or a tile uint8 [12, size, size]. `batch_size`: tiles at once, 16 on the
        CPU and else 64 when it is not given. Raises `InputError`, and `PlaceError` for coordinates
        out of range.
        """
        at_once = batch_size or batch_size_on(next(self._network.parameters()).device)
        if isinstance(places_or_tiles, np.ndarray) and places_or_tiles.ndim >= 3:
            return self._encode_tiles(places_or_tiles, at_once)
        if _is_place(places_or_tiles):
            return self._encode_places([_place(places_or_tiles)], at_once).reshape(-1)
        return self._encode_places([_place(pair) for pair in places_or_tiles], at_once)

    def similarity(self, a: Vector, b: Vector) -> Vector:
        """Return minus the Euclidean distance of each pair: [n, D], [m, D] -> float32 [n, m]."""
        exact = "donot_use_mm_for_euclid_dist"  # the matrix product rounds small distances away
        first, second = (torch.from_numpy(np.atleast_2d(np.array(v, np.float32))) for v in (a, b))
        if first.shape[1] != second.shape[1]:
            raise InputError(
                f"vectors of {first.shape[1]} and of {second.shape[1]} numbers do not compare"
            )
        # 0, not -0
        similarity: Vector = (0 - torch.cdist(first, second, compute_mode=exact)).numpy()
        return similarity

    def _encode_tiles(self, tiles: NDArray[np.generic], batch_size: int) -> Vector:
        shape = (N_CHANNELS * self.geometry.scales, self.geometry.size, self.geometry.size)
        if tiles.dtype != np.uint8 or tiles.shape[-3:] != shape or tiles.ndim > 4:
            raise InputError(
                f"tiles must be uint8 [n, {', '.join(map(str, shape))}], not {tiles.dtype} {list(tiles.shape)}"
            )
        pixels = np.asarray(tiles, np.uint8).reshape(-1, *shape)
        vectors = encode_tiles(self._network, pixels, batch_size)
        return vectors if tiles.ndim == 4 else vectors.reshape(-1)

    def _encode_places(self, places: list[LonLat], batch_size: int) -> Vector:
        if self._renderer is None:
            raise InputError(
                "coordinates need a renderer: LocationEncoder.load(renderer=Renderer(source))"
            )
        if self._source is not None:
            for place in places:
                self._source.require(place)
        parts = [np.empty((0, self.dim), np.float32)]
        for start in range(0, len(places), batch_size):
            tiles = [
                self._renderer.tiles(place, [Pose(place.lat, place.lon)])
                for place in places[start : start + batch_size]
            ]
            parts.append(encode_tiles(self._network, np.concatenate(tiles), batch_size))
        return np.concatenate(parts)


def _is_place(value: object) -> bool:
    """Tell a pair of numbers or a cell from a sequence of such."""
    return isinstance(value, str) or (
        isinstance(value, Sequence | np.ndarray)
        and len(value) == 2
        and all(isinstance(number, Real) for number in value)
    )


def _place(pair: Any) -> LonLat:
    """Check a (lat, lon) pair or a cell; a `LonLat` keeps its own order."""
    if isinstance(pair, str):
        return place_of_cell(pair)
    if isinstance(pair, LonLat):
        return check_place(pair.lat, pair.lon)
    if not _is_place(pair):
        raise InputError(f"{pair!r} is neither a (lat, lon) pair in degrees nor a tile")
    lat, lon = pair
    return check_place(lat, lon)
