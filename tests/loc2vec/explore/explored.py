"""A space of places whose tiles, vectors and neighbours are known, for tests of figures."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from loc2vec.embed.files import Vectors
from loc2vec.explore.space import Space
from tiling.catalogue.catalogue import load_catalogue
from tiling.errors import OutsideError
from tiling.geo.geodesy import ground_distance_m
from tiling.values import N_CHANNELS, TILE_SIZE, Box, LonLat, TileGeometry

SIDE = 12  # places along each side of the town
STEP_DEG = 0.002  # 220 m to the north
SOUTH, WEST = 50.0, 8.0
CHANNELS = tuple(f"channel {number}" for number in range(N_CHANNELS))


class Near(NamedTuple):
    id: int
    lat: float
    lon: float
    distance: float


def tile_at(place: LonLat) -> NDArray[np.uint8]:
    """Channel 2 covers more to the north, channel 4 more to the east.

    Channel 7 is a speck in the middle.
    """
    north, east = (place.lat - SOUTH) / (SIDE * STEP_DEG), (place.lon - WEST) / (SIDE * STEP_DEG)
    tile = np.zeros((N_CHANNELS, TILE_SIZE, TILE_SIZE), np.uint8)
    tile[2, : round(TILE_SIZE * np.clip(north, 0, 1))] = 255
    tile[4, :, : round(TILE_SIZE * np.clip(east, 0, 1))] = 255
    tile[7, 60:68, 60:68] = 255
    return tile


def render(places: Sequence[LonLat]) -> NDArray[np.uint8]:
    for place in places:
        if not (SOUTH <= place.lat <= SOUTH + 1 and WEST <= place.lon <= WEST + 1):
            raise OutsideError(f"lat {place.lat}, lon {place.lon} is outside")
    return np.stack([tile_at(place) for place in places])


def encode(tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The covers of channels 2 and 4, and a tenth of their product: nearly two dimensions."""
    cover = tiles[:, [2, 4]].mean((2, 3), dtype=np.float32) / 255
    return np.concatenate(
        [cover, 0.1 * cover.prod(1, keepdims=True), np.zeros((len(tiles), 1), np.float32)], axis=1
    )


def locate(text: str) -> LonLat:
    lat, lon = (float(part) for part in text.split(","))
    return LonLat(lon, lat)


def make_space() -> Space:
    lat, lon = (
        grid.ravel()
        for grid in np.meshgrid(
            SOUTH + STEP_DEG * np.arange(SIDE), WEST + STEP_DEG * np.arange(SIDE)
        )
    )
    places = [LonLat(*place) for place in zip(lon.tolist(), lat.tolist(), strict=True)]
    vectors = Vectors(lat, lon, encode(render(places)), None, "known", "0123456789abcdef")

    def nearest(
        vector: NDArray[np.float32], k: int, apart: Sequence[LonLat], metres: float
    ) -> list[Near]:
        distance = np.linalg.norm(vectors.embedding - vector, axis=1)
        for place in apart:
            distance[ground_distance_m(place.lat, place.lon, lat, lon) < metres] = np.inf
        rows = [
            int(row)
            for row in np.argsort(distance, kind="stable")[:k]
            if np.isfinite(distance[row])
        ]
        return [Near(row, float(lat[row]), float(lon[row]), float(distance[row])) for row in rows]

    return Space(
        render=render,
        encode=encode,
        name=lambda place: f"Place {place.lat:.3f} & {place.lon:.3f}",
        locate=locate,
        chart=lambda box, width: chart(box, width),
        title="Known Town",
        channels=CHANNELS,
        catalogue=load_catalogue(),
        geometry=TileGeometry(),
        vectors=vectors,
        nearest=nearest,
    )


def chart(box: Box, width: int) -> NDArray[np.uint8]:
    return np.full((3 * width // 2, width, 3), 240, np.uint8)
