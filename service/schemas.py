"""What the service takes and answers, as pydantic models; the examples are places in Monaco."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

MAX_LOCATIONS = 1000
MAX_NEIGHBORS = 1000

# Whether the numbers are a place is for `tiling.values.check_place` to say, in one voice for HTTP and files.
Degrees = Annotated[float, Field(strict=True)]


class Location(BaseModel):
    """A place in degrees, WGS 84."""

    lat: Degrees
    lon: Degrees


class LocationList(BaseModel):
    """The body of `POST /embed`."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"locations": [{"lat": 43.7384, "lon": 7.4246}, {"lat": 43.7310, "lon": 7.4197}]}]
        }
    )

    locations: list[Location] = Field(min_length=1, max_length=MAX_LOCATIONS)


class PlaceEmbedding(BaseModel):
    """A place and its vector."""

    lat: float
    lon: float
    embedding: list[float]


class Embedding(BaseModel):
    """The answer of `GET /embed`."""

    lat: float
    lon: float
    model: str = Field(description="Name of the model and the start of its weights' SHA-256")
    dim: int = Field(description="How many numbers an embedding has")
    embedding: list[float]


class EmbeddingList(BaseModel):
    """The answer of `POST /embed`, in the order of the request."""

    model: str
    dim: int
    embeddings: list[PlaceEmbedding]


class Neighbor(BaseModel):
    """An indexed place."""

    id: int = Field(description="Row of the vectors file that the index was made of")
    lat: float
    lon: float
    distance: float = Field(description="Euclidean distance between the two embeddings")
    ground_distance_m: float = Field(description="Great-circle distance on the ground, metres")


class NeighborList(BaseModel):
    """The answer of `GET /neighbors`, nearest in the embedding first."""

    lat: float
    lon: float
    k: int
    model: str
    neighbors: list[Neighbor]


class Info(BaseModel):
    """What is being served."""

    version: str
    model: str
    dim: int
    store: str
    bounds: tuple[float, float, float, float] = Field(description="West, south, east, north, degrees")
    index_count: int | None = Field(description="How many places the index holds; null without an index")
    fingerprint: str = Field(description="Hash of the channel catalogue and the tile geometry")
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
