"""What figures are made of: places with vectors, and how to render, search and name places."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from loc2vec.embed.algebra import Neighbor
from loc2vec.embed.files import Vectors
from loc2vec.errors import ExploreError
from loc2vec.model.arrays import Pixels, Places, Vector
from loc2vec.model.compute import Encode
from loc2vec.paper.strips import View
from tiling.catalogue.catalogue import Catalogue
from tiling.values import Box, LonLat, TileGeometry

Tell = Callable[[int], object]  # a progress callback: how many more are done


@dataclass(frozen=True, eq=False)
class Ground:
    """What can be known of any place.

    `render` returns tiles uint8 [n, 12, H, W] of places, and raises `OutsideError` outside the
    data. `encode` returns their vectors, `name` what people call a place, `locate` the place that
    "lat,lon" or a name means. `chart(box, width)` is a map picture in Web Mercator, uint8
    [H, width, 3]. `title`: what all of it is called.
    """

    render: Callable[[Sequence[LonLat]], Pixels]
    encode: Encode
    name: Callable[[LonLat], str]
    locate: Callable[[str], LonLat]
    chart: Callable[[Box, int], Pixels]
    title: str
    channels: tuple[str, ...]
    catalogue: Catalogue
    geometry: TileGeometry

    def view(self, place: LonLat) -> View:
        """Look at a place."""
        return self.views([place])[0]

    def views(self, places: Sequence[LonLat]) -> list[View]:
        """Look at places."""
        tiles = self.render(places)
        return [
            View(place, self.name(place), tile, self.catalogue.palette)
            for place, tile in zip(places, tiles, strict=True)
        ]

    def embed(self, views: Sequence[View]) -> Vector:
        """Return the vectors of what was looked at: float32 [n, D]."""
        return self.encode(np.stack([view.tile for view in views]))

    @property
    def side_m(self) -> float:
        """How many metres a side of a tile is."""
        return 2 * self.geometry.radius_m


@dataclass(frozen=True, eq=False)
class Space(Ground):
    """Places with vectors, all of which are finite.

    `nearest(vector, k, apart_from, metres)` returns the `k` nearest rows of `vectors`, nearest
    first, that lie at least so far from these places on the ground.
    """

    vectors: Vectors
    nearest: Callable[[Vector, int, Sequence[LonLat], float], Sequence[Neighbor]]

    def rows(self, rows: Places) -> list[View]:
        """Look at the places of some rows of `vectors`."""
        lat, lon = self.vectors.lat[rows].tolist(), self.vectors.lon[rows].tolist()
        return self.views([LonLat(*place) for place in zip(lon, lat, strict=True)])

    def require(self, k: int, what: str = "k") -> None:
        """Raise `ExploreError` unless there are `k` places with vectors."""
        if k > len(self.vectors):
            raise ExploreError(
                f"{what} = {k}: only {len(self.vectors)} places are indexed; ask for fewer"
            )


def place_of(found: Neighbor) -> LonLat:
    """Return where an indexed place is."""
    return LonLat(found.lon, found.lat)
