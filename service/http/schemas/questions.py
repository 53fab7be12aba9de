"""What the service is asked, as pydantic models; the examples are places in Monaco."""

from typing import Annotated, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, FailFast, Field, model_validator
from pydantic.config import JsonDict

from service.http.schemas.base import MAX_NEIGHBORS, Body, Count, Degrees, Metres, Name, Query
from service.http.schemas.filters import NAMES, FilterBody, FilterQuery
from tiling.geo.cells import place_of_cell
from tiling.geo.mercator import MAX_ZOOM
from tiling.osm.names import LONGEST
from tiling.render.pictures import TileNumber
from tiling.values import N_CHANNELS, LonLat, Pose, check_place

MAX_LOCATIONS = 1000
MAX_EXAMPLES = 500
MAX_KINDS = 50
MAX_DIM = 4096
MAX_STEPS = 100
MAX_SCALES = 8  # of a tile
MAX_OFFSET_M = 1000.0  # of a tile from its place
LAT, LON = "Latitude, degrees (WGS 84)", "Longitude, degrees (WGS 84)"
CELL = "Or an H3 cell, whose middle is meant"
NAMED = "Or a name that means one place of the store; `GET /places` tells what there is"

PlaceName = Annotated[str, Field(min_length=1, max_length=LONGEST)]
# Beyond this range, distances are lost to rounding in float32.
Number = Annotated[float, Field(strict=True, ge=-1e4, le=1e4)]
Where = LonLat | str  # a place, or the name of one
ONE_FAULT = FailFast()  # of a list is told: an error for each of thousands takes too long


class _Given(NamedTuple):
    """What says where a place is; one of three ways holds, the others are None."""

    lat: float | None
    lon: float | None
    h3: str | None
    place: str | None

    def check(self, prefix: str = "") -> None:
        """Raise `ValueError` unless the place is given in exactly one way."""
        ways = sum(way is not None for way in (self.lat, self.h3, self.place))
        if (self.lat is None) != (self.lon is None) or ways != 1:
            raise ValueError(f"give {prefix}lat and {prefix}lon, or {prefix}h3, or {prefix}place")

    def meant(self) -> Where:
        """Return the place or its name; raise `PlaceError` for what is no place."""
        if self.place is not None:
            return self.place
        if self.h3 is not None:
            return place_of_cell(self.h3)
        return check_place(self.lat, self.lon)  # type: ignore[arg-type]  # neither is None


class OnePlace(BaseModel):
    """A place, given in one of three ways; subclasses describe the fields."""

    lat: float | None = None
    lon: float | None = None
    h3: str | None = None
    place: PlaceName | None = None

    @property
    def _given(self) -> _Given:
        return _Given(self.lat, self.lon, self.h3, self.place)

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        self._given.check()
        return self

    def meant(self) -> Where:
        """Return the place or its name; raise `PlaceError` for what is no place."""
        return self._given.meant()


class PlaceQuery(Query, OnePlace):
    """A place, as coordinates, as an H3 cell or by its name."""

    lat: float | None = Field(None, description=LAT, examples=[43.7384])
    lon: float | None = Field(None, description=LON, examples=[7.4246])
    h3: str | None = Field(None, description=CELL, examples=["8a3969a41d37fff"])
    place: PlaceName | None = Field(None, description=NAMED, examples=["Monte-Carlo"])


class EmbedQuery(PlaceQuery):
    """The parameters of `GET /embed`."""

    names: bool = Field(False, description=NAMES)
    describe: bool = Field(False, description="Also say in a sentence what kind of place it is")


class NameQuery(Query):
    """The parameters of `GET /places`."""

    q: PlaceName = Field(description="A name, or the beginning of its words", examples=["monte"])
    limit: int = Field(10, ge=1, le=50, description="How many places at most")


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

    @property
    def _given_to(self) -> _Given:
        return _Given(self.to_lat, self.to_lon, self.to_h3, self.to_place)

    @model_validator(mode="after")
    def _one_way_to(self) -> Self:
        self._given_to.check("to_")
        return self

    def destination(self) -> Where:
        """Return the second place or its name; raise `PlaceError` for what is no place."""
        return self._given_to.meant()


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
        0.0, ge=-MAX_OFFSET_M, le=MAX_OFFSET_M, description="Shift of the map to the right, metres"
    )
    dy: float = Field(
        0.0, ge=-MAX_OFFSET_M, le=MAX_OFFSET_M, description="Shift of the map upwards, metres"
    )
    channel: int | None = Field(None, ge=0, lt=N_CHANNELS, description="One channel in grey")
    scale: int = Field(
        0, ge=0, lt=MAX_SCALES, description="Which scale of the tile; 0 is the nearest ground"
    )

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

    locations: Annotated[list[Location], ONE_FAULT] = Field(min_length=1, max_length=MAX_LOCATIONS)
    outside: Literal["refuse", "null"] = Field(
        "refuse",
        description="Whether one place outside the data fails all, or its embedding is null",
    )


class VectorQuestion(FilterBody):
    """The body of `POST /neighbors`."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"embedding": [0.5] * 16, "k": 3}]})

    embedding: Annotated[list[Number], ONE_FAULT] = Field(min_length=1, max_length=MAX_DIM)


class Example(Location):
    """A place, and what it is an example of."""

    label: Name | None = Field(
        None, description="The kind that it is an example of; null: of none of them"
    )


class TileWanted(Body):
    """A tile of the map (Web Mercator)."""

    zoom: Annotated[int, Field(strict=True, ge=0, le=MAX_ZOOM)]
    x: Annotated[int, Field(strict=True, ge=0, lt=2**MAX_ZOOM)]
    y: Annotated[int, Field(strict=True, ge=0, lt=2**MAX_ZOOM)]
    scale: Annotated[int, Field(strict=True, ge=1, le=2)] = 1

    @model_validator(mode="after")
    def _in_the_world(self) -> Self:
        if max(self.x, self.y) >= 2**self.zoom:
            raise ValueError(f"zoom {self.zoom} has columns and rows 0..{2**self.zoom - 1}")
        return self


class Lesson(FilterBody):
    """The body of `POST /predict`: examples, and which places shall be told of."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "examples": [{**HARBOUR, "label": "harbour"}, MONACO],
                    "places": [STADIUM],
                    "spread_m": 200,
                }
            ]
        }
    )

    examples: Annotated[list[Example], ONE_FAULT] = Field(min_length=1, max_length=MAX_EXAMPLES)
    places: Annotated[list[Location], ONE_FAULT] = Field([], max_length=MAX_LOCATIONS)
    ask: Annotated[int, Field(strict=True, ge=0, le=100)] = Field(
        4, description="How many places to tell whose answer would teach most"
    )
    tile: TileWanted | None = Field(None, description="Which tile is wanted as a picture")
    min_distance_m: Metres = Field(0.0, description="At least so far from each example, metres")

    @model_validator(mode="after")
    def _few_kinds(self) -> Self:
        kinds = {example.label for example in self.examples} - {None}
        if len(kinds) > MAX_KINDS or len(kinds) * self.k > MAX_NEIGHBORS:
            raise ValueError(
                f"{len(kinds)} labels, {self.k} places of each: give at most {MAX_KINDS} labels "
                f"and {MAX_NEIGHBORS} places in all"
            )
        return self

    def tile_number(self) -> TileNumber | None:
        """Return the tile that is wanted."""
        if self.tile is None:
            return None
        return TileNumber(self.tile.zoom, self.tile.x, self.tile.y, self.tile.scale)


class Arithmetic(FilterBody):
    """The body of `POST /arithmetic`: the embeddings of `plus`, less those of `minus`."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"plus": [MONACO, STADIUM], "minus": [HARBOUR], "k": 3}]}
    )

    plus: list[Location] = Field(min_length=1, max_length=16)
    minus: list[Location] = Field([], max_length=16)
    min_distance_m: Metres = Field(0.0, description="At least so far from each place given, metres")
