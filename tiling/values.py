"""The values that travel through the system: coordinates, boxes, poses, features, tiles."""

import hashlib
import io
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tiling.errors import FingerprintError, PlaceError

# of the map data and of all that is made from it
ATTRIBUTION = "(c) OpenStreetMap contributors, ODbL"
TILE_SIZE = 128  # pixels a side
TILE_RADIUS_M = 100.0  # half the side of a tile, metres on the ground
N_CHANNELS = 12
PAPER = (247, 245, 240)  # red, green, blue under the channels of a picture


class LonLat(NamedTuple):
    """A position in degrees (EPSG:4326).

    >>> LonLat(7.4246, 43.7384).lat
    43.7384
    """

    lon: float
    lat: float


class Box(NamedTuple):
    """A box in degrees; `west > east` means that it crosses the antimeridian.

    >>> Box(179.9, -17.0, -179.9, -16.0).crosses_antimeridian
    True
    """

    west: float
    south: float
    east: float
    north: float

    @property
    def crosses_antimeridian(self) -> bool:
        return self.west > self.east

    def contains(self, place: LonLat) -> bool:
        """Tell whether `place` lies in the box or on its edge.

        >>> Box(179.9, -17.0, -179.9, -16.0).contains(LonLat(-179.95, -16.5))
        True
        """
        if not self.south <= place.lat <= self.north:
            return False
        if self.crosses_antimeridian:
            return place.lon >= self.west or place.lon <= self.east
        return self.west <= place.lon <= self.east


def halves(box: Box) -> tuple[Box, ...]:
    """Return the boxes that a query needs: two if `box` crosses the antimeridian, else one."""
    if not box.crosses_antimeridian:
        return (box,)
    return box._replace(east=180.0), box._replace(west=-180.0)


def check_place(lat: float, lon: float) -> LonLat:
    """Return the place, or raise `PlaceError` that says what is wrong with it.

    >>> check_place(43.7384, 7.4246)
    LonLat(lon=7.4246, lat=43.7384)
    """
    if not (math.isfinite(lat) and math.isfinite(lon)):
        raise PlaceError(f"lat {lat}, lon {lon}: both must be finite numbers of degrees")
    if abs(lat) > 90 and abs(lat) <= 180 and abs(lon) <= 90:
        raise PlaceError(f"lat {lat} is out of range -90..90: are lat {lat} and lon {lon} swapped?")
    if abs(lat) > 90:
        raise PlaceError(f"lat {lat} is out of range -90..90")
    if abs(lon) > 180:
        raise PlaceError(f"lon {lon} is out of range -180..180")
    return LonLat(float(lon), float(lat))


@dataclass(frozen=True, slots=True)
class Pose:
    """How the map lies under a tile: about the place it is first turned, then shifted.

    `rotation_deg` turns the map counter-clockwise; `shift_x_m` moves it to the right (east when it
    is not turned), `shift_y_m` up, both in metres on the ground.
    """

    lat: float
    lon: float
    rotation_deg: float = 0.0
    shift_x_m: float = 0.0
    shift_y_m: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """What a feature source returns for a box, in EPSG:4326, in the order of the store.

    `channel` int8 [n]; `width_m` float32 [n]: ground width of a line, radius of a point, 0 for an
    area; `wkb` object [n] of bytes.
    """

    channel: NDArray[np.int8]
    width_m: NDArray[np.float32]
    wkb: NDArray[np.object_]

    def __post_init__(self) -> None:
        if not len(self.channel) == len(self.width_m) == len(self.wkb):
            raise ValueError(
                f"lengths differ: {len(self.channel)}, {len(self.width_m)}, {len(self.wkb)}"
            )

    def __len__(self) -> int:
        return len(self.channel)


@dataclass(frozen=True, slots=True)
class TileGeometry:
    """Size of a tile: `size` pixels a side, `radius_m` metres from its middle to an edge.

    With radii in `wider_m` the tile has further scales, in as many pixels: pictures of more ground,
    whose twelve channels follow those of the first.
    """

    size: int = TILE_SIZE
    radius_m: float = TILE_RADIUS_M
    wider_m: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "wider_m", tuple(self.wider_m))  # JSON has lists

    @property
    def each(self) -> "tuple[TileGeometry, ...]":
        """Return the scales, each a geometry of its own."""
        return tuple(TileGeometry(self.size, radius) for radius in (self.radius_m, *self.wider_m))

    @property
    def scales(self) -> int:
        return 1 + len(self.wider_m)

    @property
    def widest(self) -> "TileGeometry":
        """Return the scale that shows most ground."""
        return max(self.each, key=lambda scale: scale.radius_m)

    def as_values(self) -> dict[str, Any]:
        """Return what JSON keeps: `wider_m` only where there are several scales."""
        wider = {"wider_m": list(self.wider_m)} if self.wider_m else {}
        return {"size": self.size, "radius_m": self.radius_m} | wider

    @property
    def metres_per_pixel(self) -> float:
        return 2 * self.radius_m / self.size

    @property
    def pixels_per_metre(self) -> float:
        return self.size / (2 * self.radius_m)


@dataclass(frozen=True, slots=True)
class Palette:
    """The colours (red, green, blue) of the channels, and their numbers in painting order."""

    colours: tuple[tuple[int, int, int], ...]
    order: tuple[int, ...]

    @classmethod
    def of(cls, colours: Iterable[str], order: Iterable[int]) -> Self:
        """Return the palette of colours like "#d6603c".

        >>> Palette.of(["#d6603c"], [0]).colours
        ((214, 96, 60),)
        """
        rgb = [(int(c[1:3], 16), int(c[3:5], 16), int(c[5:7], 16)) for c in colours]
        return cls(tuple(rgb), tuple(order))

    def ink(self, channel: int) -> NDArray[np.float32]:
        """Return the colour of a channel, float32 [3]; every scale of a tile has the same ones."""
        return np.array(self.colours[channel % len(self.colours)], np.float32)

    def composite(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Paint the first scale's channels: uint8 [C, H, W] -> uint8 [H, W, 3]."""
        image = np.broadcast_to(np.array(PAPER, np.float32), (*pixels.shape[1:], 3)).copy()
        for channel in self.order:
            cover = pixels[channel, :, :, None].astype(np.float32) / 255
            image += cover * (self.ink(channel) - image)
        return image.round().astype(np.uint8)


@dataclass(frozen=True, slots=True, eq=False)
class Tile:
    """The picture of a place: `pixels` uint8 [channels, size, size], north up when not turned."""

    pixels: NDArray[np.uint8]
    pose: Pose
    channels: tuple[str, ...]
    metres_per_pixel: float
    palette: Palette

    def __post_init__(self) -> None:
        if self.pixels.dtype != np.uint8 or self.pixels.ndim != 3:
            raise ValueError(
                f"pixels must be uint8 [C, H, W], not {self.pixels.dtype} {self.pixels.shape}"
            )
        if len(self.pixels) != len(self.channels):
            raise ValueError(
                f"{len(self.pixels)} channels of pixels, {len(self.channels)} channel names"
            )

    @property
    def scales(self) -> int:
        return len(self.pixels) // N_CHANNELS

    def png(self, channel: int | None = None, scale: int = 0) -> bytes:
        """Encode one of the twelve channels of a scale as a grey PNG, or all as a colour composite.

        Scale 0 shows the nearest ground.
        """
        shown = self.pixels[scale * N_CHANNELS : (scale + 1) * N_CHANNELS]
        picture = self.palette.composite(shown) if channel is None else shown[channel]
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, "PNG")
        return buffer.getvalue()


def fingerprint(*parts: Any) -> str:
    """Hash the printed form of `parts` to 16 hexadecimal digits.

    >>> fingerprint("a", 1) == fingerprint("a", 1)
    True
    """
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def check_fingerprint(what: str, found: str, expected: str) -> None:
    """Raise `FingerprintError` when `what` was made with another catalogue or tile geometry."""
    if found != expected:
        raise FingerprintError(
            f"{what} was made with another channel catalogue or tile geometry "
            f"(fingerprint {found}, expected {expected}): make it again with this version"
        )
