"""What the service takes and answers, as pydantic models; the examples are places in Monaco."""

import contextlib
from collections.abc import Sequence
from typing import Annotated, Literal, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.config import JsonDict

from service.index.search import Filters, Neighbor
from tiling.errors import PlaceError
from tiling.geo.cells import place_of_cell
from tiling.geo.grid import check_box, parse_box
from tiling.geo.mercator import MAX_ZOOM
from tiling.osm.names import LONGEST
from tiling.osm.names import NamedPlace as Found
from tiling.values import N_CHANNELS, LonLat, Pose, check_place

MAX_LOCATIONS = 1000
MAX_NEIGHBORS = 1000
MAX_DIM = 4096
MAX_STEPS = 100
MAX_SHIFT_M = 1000.0
LAT, LON = "Latitude, degrees (WGS 84)", "Longitude, degrees (WGS 84)"
CELL = "Or an H3 cell, whose middle is meant"
NAMED = "Or a name that means one place of the store; `GET /places` tells what there is"

# Whether the numbers are a place is for `tiling.values.check_place` to say, in one voice for HTTP
# and files.
Degrees = Annotated[float, Field(strict=True)]
Count = Annotated[int, Field(ge=1, le=MAX_NEIGHBORS, description="How many neighbours")]
Metres = Annotated[float, Field(ge=0, le=2.1e7, allow_inf_nan=False)]
Name = Annotated[str, Field(min_length=1, max_length=100)]
PlaceName = Annotated[str, Field(min_length=1, max_length=LONGEST)]
# from further off all places look alike in float32
Number = Annotated[float, Field(strict=True, ge=-1e4, le=1e4)]
Vector = list[float]
Where = LonLat | str  # a place, or the name of one


def numbers(vector: NDArray[np.float32]) -> Vector:
    """Return the shortest decimals that give the same float32 again."""
    return [float(text) for text in vector.astype(str)]


# --- what is asked -----------------------------------------------------------------------------


class Query(BaseModel):
    """The parameters of a GET.

    One that is not known is refused, because it is most likely a slip of the pen.
    """

    model_config = ConfigDict(extra="forbid")


class _WithPlace(Protocol):
    lat: float | None
    lon: float | None
    h3: str | None
    place: str | None


Placed = TypeVar("Placed", bound=_WithPlace)


def _one_place(
    lat: float | None, lon: float | None, h3: str | None, place: str | None, prefix: str = ""
) -> Where:
    """Return where it is, given in one of three ways.

    `ValueError` when not, `PlaceError` when it is no place.
    """
    if (lat is None) != (lon is None) or sum(way is not None for way in (lat, h3, place)) != 1:
        raise ValueError(f"give {prefix}lat and {prefix}lon, or {prefix}h3, or {prefix}place")
    if place is not None:
        return place
    if h3 is not None:
        return place_of_cell(h3)
    return check_place(lat, lon)  # type: ignore[arg-type]  # neither is None


class OnePlace(BaseModel):
    """What says where it is in one of three ways: `lat` and `lon`, `h3` or `place`, which its subclasses have."""

    @model_validator(mode="after")
    def _one_way(self: Placed) -> Placed:
        with contextlib.suppress(PlaceError):  # is for `where` to raise
            _one_place(self.lat, self.lon, self.h3, self.place)
        return self

    def where(self: _WithPlace) -> Where:
        """Return the place, or the name of one; raise `PlaceError` for what is no place."""
        return _one_place(self.lat, self.lon, self.h3, self.place)


class PlaceQuery(Query, OnePlace):
    """A place, as coordinates, as an H3 cell or by its name."""

    lat: float | None = Field(None, description=LAT, examples=[43.7384])
    lon: float | None = Field(None, description=LON, examples=[7.4246])
    h3: str | None = Field(None, description=CELL, examples=["8a3969a41d37fff"])
    place: PlaceName | None = Field(None, description=NAMED, examples=["Monte-Carlo"])


class NameQuery(Query):
    """The parameters of `GET /places`."""

    q: PlaceName = Field(description="A name, or the beginning of its words", examples=["monte"])
    limit: int = Field(10, ge=1, le=50, description="How many places at most")


class FilterQuery(Query):
    """Where neighbours may lie."""

    bbox: str | None = Field(
        None,
        max_length=200,
        description="Only in this box: W,S,E,N in degrees",
        examples=["7.41,43.73,7.43,43.75"],
    )
    within: list[Name] = Field(
        [], max_length=20, description="Only in this region of the store; may be repeated"
    )
    not_within: list[Name] = Field(
        [], max_length=20, description="Not in this region of the store; may be repeated"
    )

    def filters(self, min_distance_m: float = 0.0) -> Filters:
        """Return the filters, or raise the error of a malformed box."""
        box = None if self.bbox is None else parse_box(self.bbox)
        return Filters(box, min_distance_m, tuple(self.within), tuple(self.not_within))


class NeighborQuery(PlaceQuery, FilterQuery):
    """The parameters of `GET /neighbors`."""

    k: Count = 10
    min_distance_m: Metres = Field(0.0, description="At least so far away on the ground, metres")


class PairQuery(PlaceQuery):
    """Two places."""

    to_lat: float | None = Field(None, description=LAT, examples=[43.7277])
    to_lon: float | None = Field(None, description=LON, examples=[7.4157])
    to_h3: str | None = Field(None, description=CELL)
    to_place: PlaceName | None = Field(None, description=NAMED)

    @model_validator(mode="after")
    def _one_way_to(self) -> Self:
        with contextlib.suppress(PlaceError):
            self.destination()
        return self

    def destination(self) -> Where:
        """Return the second place, or its name; raise `PlaceError` for what is no place."""
        return _one_place(self.to_lat, self.to_lon, self.to_h3, self.to_place, "to_")


class InterpolationQuery(PairQuery, FilterQuery):
    """The parameters of `GET /interpolate`."""

    steps: int = Field(
        5, ge=2, le=MAX_STEPS, description="How many embeddings, both ends among them"
    )
    k: Count = 1


class WalkQuery(PlaceQuery, FilterQuery):
    """The parameters of `GET /walk`."""

    steps: int = Field(10, ge=1, le=MAX_STEPS, description="How many places to come to")
    k: int = Field(
        10, ge=1, le=100, description="Each step goes to one of so many nearest that are new"
    )
    seed: int = Field(0, ge=0, lt=2**32, description="The same seed walks the same way")


class TileQuery(PlaceQuery):
    """The parameters of `GET /tile.png`."""

    rotation: float = Field(
        0.0, ge=-360, le=360, description="Turn of the map, degrees counter-clockwise"
    )
    dx: float = Field(
        0.0, ge=-MAX_SHIFT_M, le=MAX_SHIFT_M, description="Shift of the map to the right, metres"
    )
    dy: float = Field(
        0.0, ge=-MAX_SHIFT_M, le=MAX_SHIFT_M, description="Shift of the map upwards, metres"
    )
    channel: int | None = Field(None, ge=0, lt=N_CHANNELS, description="One channel in grey")

    def pose(self, place: LonLat) -> Pose:
        """Return the pose of the tile of `place`."""
        return Pose(place.lat, place.lon, self.rotation, self.dx, self.dy)


class MapPath(Query):
    """The path of `GET /map/{layer}/{zoom}/{x}/{y}.png`."""

    layer: Literal["base", "pca"] = Field(
        description="The base map, or the indexed places by their vectors' colours"
    )
    zoom: int = Field(ge=0, le=MAX_ZOOM, description="0 is the whole world", examples=[15])
    x: int = Field(ge=0, lt=2**MAX_ZOOM, description="Column from the west", examples=[17059])
    y: int = Field(ge=0, lt=2**MAX_ZOOM, description="Row from the north", examples=[11931])


class MapQuery(Query):
    """The parameters of `GET /map/{layer}/{zoom}/{x}/{y}.png`."""

    theme: Literal["light", "dark"] = Field("light", description="Colours of the base map")
    scale: int = Field(
        1, ge=1, le=2, description="2 for screens with small pixels: 512 instead of 256 a side"
    )


class Body(BaseModel):
    """The body of a POST."""

    model_config = ConfigDict(extra="forbid")


class Location(Body, OnePlace):
    """A place in degrees, WGS 84, an H3 cell, or a name."""

    lat: Degrees | None = None
    lon: Degrees | None = None
    h3: str | None = Field(None, description=CELL)
    place: PlaceName | None = Field(None, description=NAMED)


MONACO: JsonDict = {"lat": 43.7384, "lon": 7.4246}
HARBOUR: JsonDict = {"lat": 43.7347, "lon": 7.4213}
STADIUM: JsonDict = {"lat": 43.7277, "lon": 7.4157}


class LocationList(Body):
    """The body of `POST /embed`."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"locations": [MONACO, HARBOUR]}]})

    locations: list[Location] = Field(min_length=1, max_length=MAX_LOCATIONS)


class FilterBody(Body):
    """Where neighbours may lie."""

    k: Annotated[int, Field(strict=True, ge=1, le=MAX_NEIGHBORS)] = 10
    bbox: list[Degrees] | None = Field(
        None,
        min_length=4,
        max_length=4,
        description="Only in this box: west, south, east, north, degrees",
    )
    within: list[Name] = Field([], max_length=20, description="Only in these regions of the store")
    not_within: list[Name] = Field(
        [], max_length=20, description="Not in these regions of the store"
    )

    def filters(self, min_distance_m: float = 0.0) -> Filters:
        """Return the filters, or raise the error of a malformed box."""
        box = None if self.bbox is None else check_box(*self.bbox)
        return Filters(box, min_distance_m, tuple(self.within), tuple(self.not_within))


class VectorQuestion(FilterBody):
    """The body of `POST /neighbors`."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"embedding": [0.5] * 16, "k": 3}]})

    embedding: list[Number] = Field(min_length=1, max_length=MAX_DIM)


class Arithmetic(FilterBody):
    """The body of `POST /arithmetic`: the embeddings of `plus`, less those of `minus`."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"plus": [MONACO, STADIUM], "minus": [HARBOUR], "k": 3}]}
    )

    plus: list[Location] = Field(min_length=1, max_length=16)
    minus: list[Location] = Field([], max_length=16)
    min_distance_m: Metres = Field(0.0, description="At least so far from each place given, metres")


# --- what is answered --------------------------------------------------------------------------

ModelName = Annotated[
    str, Field(description="Name of the model and the start of its weights' SHA-256")
]
IndexName = Annotated[
    str | None,
    Field(
        description="Start of the SHA-256 of the index's vectors; null where no index had a part"
    ),
]


class PlaceEmbedding(BaseModel):
    """A place and its vector."""

    lat: float
    lon: float
    embedding: Vector


class Embedding(BaseModel):
    """The answer of `GET /embed`."""

    lat: float
    lon: float
    model: ModelName
    index: IndexName
    dim: int = Field(description="How many numbers an embedding has")
    embedding: Vector


class EmbeddingList(BaseModel):
    """The answer of `POST /embed`, in the order of the request."""

    model: ModelName
    index: IndexName
    dim: int
    embeddings: list[PlaceEmbedding]


class Near(BaseModel):
    """An indexed place."""

    id: int = Field(description="Row of the vectors file that the index was made of")
    lat: float
    lon: float
    distance: float = Field(description="Euclidean distance between the two embeddings")
    ground_distance_m: float | None = Field(
        description="Great-circle distance on the ground from the first place given, metres; null when none was"
    )


class NamedPlace(BaseModel):
    """A place with its name."""

    name: str
    kind: str = Field(description="What it is: town, street, school, ...")
    lat: float
    lon: float


class PlaceList(BaseModel):
    """The answer of `GET /places`, the likeliest first."""

    query: str
    places: list[NamedPlace]


class NeighborList(BaseModel):
    """The answer of `GET /neighbors`, nearest in the embedding first."""

    lat: float
    lon: float
    k: int
    model: ModelName
    index: IndexName
    neighbors: list[Near]


class VectorNeighbors(BaseModel):
    """The answer of `POST /neighbors`, nearest first."""

    k: int
    model: ModelName
    index: IndexName
    neighbors: list[Near]


class ArithmeticAnswer(BaseModel):
    """The answer of `POST /arithmetic`: the sum, and the places nearest to it."""

    k: int
    model: ModelName
    index: IndexName
    embedding: Vector
    neighbors: list[Near]


class InterpolationStep(BaseModel):
    """A share of the way between two embeddings, and the places nearest to it."""

    share: float = Field(description="0 at the start, 1 at the end")
    neighbors: list[Near]


class Interpolation(BaseModel):
    """The answer of `GET /interpolate`."""

    model: ModelName
    index: IndexName
    steps: list[InterpolationStep]


class Walk(BaseModel):
    """The answer of `GET /walk`: the places in the order of the way.

    Distances are those of each step.
    """

    model: ModelName
    index: IndexName
    seed: int
    steps: list[Near]


class ChannelEffect(BaseModel):
    """What one channel does to the distance of two places."""

    name: str
    effect: float = Field(
        description="How much farther apart the channel puts them; below 0 it brings them together. "
        "The effects do not add up to the distance: channels work together"
    )
    share: float = Field(description="How much of the first tile the channel covers, 0 to 1")
    to_share: float = Field(description="How much of the second")


class Comparison(BaseModel):
    """The answer of `GET /compare`: how far apart two places are, and what each channel has to do with it."""

    lat: float
    lon: float
    to_lat: float
    to_lon: float
    model: ModelName
    index: IndexName
    distance: float = Field(description="Euclidean distance between the two embeddings")
    ground_distance_m: float
    channels: list[ChannelEffect] = Field(description="In the order of the tile's channels")


class GeoPoint(BaseModel):
    """A point of GeoJSON."""

    type: Literal["Point"] = "Point"
    coordinates: list[float] = Field(min_length=2, max_length=2, description="Longitude, latitude")


class GeoNear(BaseModel):
    """A neighbour as a feature of GeoJSON."""

    type: Literal["Feature"] = "Feature"
    id: int
    geometry: GeoPoint
    properties: Near


class GeoNeighbors(BaseModel):
    """Neighbours as GeoJSON (RFC 7946)."""

    type: Literal["FeatureCollection"] = "FeatureCollection"
    model: ModelName
    index: IndexName
    features: list[GeoNear]

    @classmethod
    def of(cls, model: str, index: str, neighbors: Sequence[Near]) -> Self:
        """Return the neighbours in their order."""
        features = [
            GeoNear(id=n.id, geometry=GeoPoint(coordinates=[n.lon, n.lat]), properties=n)
            for n in neighbors
        ]
        return cls(model=model, index=index, features=features)


class Info(BaseModel):
    """What is being served."""

    version: str
    model: ModelName
    index: IndexName
    dim: int
    store: str
    bounds: list[float] = Field(
        min_length=4, max_length=4, description="West, south, east, north, degrees"
    )
    regions: list[str] = Field(description="Names for `within` and `not_within`")
    region_bounds: dict[str, list[float]] = Field(
        description="West, south, east, north of each region, degrees"
    )
    index_count: int | None = Field(
        description="How many places the index holds; null without an index"
    )
    index_refused: str | None = Field(
        description="Why a newer index is not in use; null when none was refused"
    )
    fingerprint: str = Field(description="Hash of the channel catalogue and the tile geometry")
    channels: list[str] = Field(description="Names of the channels of a tile")
    colours: list[str] = Field(description="Colours of the channels in pictures, as #rrggbb")
    attribution: str
    licence: str


class Health(BaseModel):
    """The answer of `GET /healthz` and `GET /readyz`."""

    status: str = "ok"


class Problem(BaseModel):
    """A problem document (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    instance: str


def named(places: Sequence[Found]) -> list[NamedPlace]:
    """Return places with names as they are answered."""
    return [NamedPlace(name=p.name, kind=p.kind, lat=p.lat, lon=p.lon) for p in places]


def near(neighbors: Sequence[Neighbor]) -> list[Near]:
    """Return neighbours as they are answered."""
    return [Near(**neighbor._asdict()) for neighbor in neighbors]
