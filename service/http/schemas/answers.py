"""What the service answers, as pydantic models."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from service.index.scale import ALIKE
from service.index.search import Neighbor
from tiling.osm.names import NamedPlace as Found
from tiling.store.gazetteer import Called

ModelName = Annotated[
    str, Field(description="Name of the model and the start of its weights' SHA-256")
]
IndexName = Annotated[
    str | None,
    Field(description="Start of the SHA-256 of the index's vectors; null where no index was used"),
]


class CalledPlace(BaseModel):
    """What a place is called."""

    name: str | None = Field(description="Of the nearest named thing; null where none is near")
    kind: str | None = Field(description="What that is: street, school, ...")
    region: str


class PlaceEmbedding(BaseModel):
    """A place and its vector."""

    lat: float
    lon: float
    embedding: list[float] | None = Field(
        description="Null for a place outside the data, where `outside` is `null`"
    )


class Embedding(BaseModel):
    """The answer of `GET /embed`."""

    lat: float
    lon: float
    model: ModelName
    index: IndexName
    dim: int = Field(description="How many numbers an embedding has")
    embedding: list[float]
    called: CalledPlace | None = Field(None, description="Where `names` were asked for")
    description: str | None = Field(
        None, description="What kind of place it is, where `describe` was asked for"
    )


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
        description="Great-circle distance on the ground from the first place given, metres; "
        "null when no place was given"
    )
    closer_than: float = Field(
        description="Share of random pairs of indexed places that are farther apart, 0 to 1"
    )
    columns: dict[str, Any] | None = Field(
        None, description="Values of the columns that were asked for"
    )
    called: CalledPlace | None = Field(None, description="Where `names` were asked for")


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
    embedding: list[float]
    neighbors: list[Near]


class PlaceScore(BaseModel):
    """How like the examples a place is."""

    lat: float
    lon: float
    label: str = Field(description="The likeliest of the kinds")
    probability: float = Field(
        description="Of that kind, 0 to 1; where there is one kind only, relative to its examples"
    )
    probabilities: dict[str, float] = Field(description="Of each kind; the rest is that of none")


class TaughtPlace(BaseModel):
    """An indexed place, and how like the examples it is."""

    id: int
    lat: float
    lon: float
    label: str
    probability: float
    columns: dict[str, Any] | None = None
    called: CalledPlace | None = None


class Prediction(BaseModel):
    """The answer of `POST /predict`."""

    model: ModelName
    index: IndexName
    kinds: list[str] = Field(description="The labels of the examples, in their order")
    colours: list[str] = Field(
        description="As tiles show them, #rrggbb: of each kind, or of a single kind from unlike to "
        "like"
    )
    places: list[PlaceScore] = Field(description="In the order of the request")
    best: list[TaughtPlace] = Field(description="Likeliest indexed places, kind by kind")
    ask: list[TaughtPlace] = Field(description="Places whose answer would teach most")


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
        description="How much farther apart the channel puts the places; below 0: nearer. "
        "The effects do not add up to the distance, because channels interact"
    )
    share: float = Field(description="How much of the first tile the channel covers, 0 to 1")
    to_share: float = Field(description="How much of the second")


class Comparison(BaseModel):
    """The answer of `GET /compare`: the distance of two places, and the effect of each channel."""

    lat: float
    lon: float
    to_lat: float
    to_lon: float
    model: ModelName
    index: IndexName
    distance: float = Field(description="Euclidean distance between the two embeddings")
    closer_than: float | None = Field(
        description="Share of random pairs of indexed places that are farther apart, 0 to 1; "
        "null without an index"
    )
    alike: bool | None = Field(
        description=f"Whether at least {ALIKE:.0%} of them are; null without an index"
    )
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
    columns: dict[str, str] = Field(
        description="Columns of the index for `where` and `columns`, and what each holds"
    )
    index_refused: str | None = Field(
        description="Why a newer index is not in use; null when none was refused"
    )
    fingerprint: str = Field(description="Hash of the channel catalogue and the tile geometry")
    channels: list[str] = Field(description="Names of the channels of each scale of a tile")
    radii_m: list[float] = Field(
        description="From the middle to the edge of each scale of a tile, metres"
    )
    colours: list[str] = Field(description="Colours of the channels in pictures, as #rrggbb")
    attribution: str
    licence: str


class Health(BaseModel):
    """The answer of `GET /healthz`."""

    status: str = "ok"


class Ready(Health):
    """The answer of `GET /readyz`."""

    status: Literal["ready", "degraded"] = Field(
        "ready", description="degraded: places are answered, but from older data than there is"
    )
    reasons: list[str] | None = Field(None, description="Why it is degraded")


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


def near(
    neighbors: Sequence[Neighbor],
    columns: Sequence[dict[str, Any]] = (),
    called: Sequence[Called] = (),
) -> list[Near]:
    """Return neighbours as they are answered, each with its values and what it is called."""
    found = [Near(**neighbor._asdict()) for neighbor in neighbors]
    for one, values in zip(found, columns, strict=False):
        one.columns = values
    for one, name in zip(found, called_places(called), strict=False):
        one.called = name
    return found


def called_places(called: Sequence[Called]) -> list[CalledPlace]:
    """Return what places are called as it is answered."""
    return [CalledPlace(**each._asdict()) for each in called]


def numbers(vector: NDArray[np.float32]) -> list[float]:
    """Return the shortest decimals that give the same float32 again."""
    return [float(text) for text in vector.astype(str)]
