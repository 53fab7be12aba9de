"""The HTTP application, built by a function from something that opens an engine."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any

import numpy as np
from fastapi import Depends, FastAPI, Query, Request
from fastapi.responses import RedirectResponse, Response
from numpy.typing import NDArray

from service.engine import Engine
from service.problems import RESPONSES, install
from service.schemas import (
    MAX_NEIGHBORS,
    Embedding,
    EmbeddingList,
    Health,
    Info,
    LocationList,
    Neighbor,
    NeighborList,
    PlaceEmbedding,
)
from service.version import version
from tiling.errors import OutsideError, PlaceError
from tiling.values import N_CHANNELS, LonLat, Pose, check_place

MAX_SHIFT_M = 1000.0

Lat = Annotated[float, Query(description="Latitude, degrees (WGS 84)", openapi_examples={"Monaco": {"value": 43.7384}})]
Lon = Annotated[float, Query(description="Longitude, degrees (WGS 84)", openapi_examples={"Monaco": {"value": 7.4246}})]
Shift = Query(ge=-MAX_SHIFT_M, le=MAX_SHIFT_M, allow_inf_nan=False, description="Shift of the map, metres")


class PngResponse(Response):
    """A picture."""

    media_type = "image/png"


def _engine(request: Request) -> Engine:
    engine: Engine = request.app.state.engine
    return engine


def _place(lat: Lat, lon: Lon) -> LonLat:
    return check_place(lat, lon)


Engines = Annotated[Engine, Depends(_engine)]
Place = Annotated[LonLat, Depends(_place)]


def create_app(open_engine: Callable[[], Engine]) -> FastAPI:
    """Return the application; `open_engine` is called when it starts, and the engine closed when it ends."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with open_engine() as engine:
            app.state.engine = engine
            yield

    app = FastAPI(
        title="Loc2Vec",
        version=version(),
        description="Any place of the extract as numbers, and the places that work alike. "
        "Map data (c) OpenStreetMap contributors, ODbL 1.0.",
        lifespan=lifespan,
        redoc_url=None,
    )
    install(app)
    _add_routes(app)
    return app


def _add_routes(app: FastAPI) -> None:
    problems: dict[str, Any] = {"responses": RESPONSES}
    app.get("/embed", **problems)(embed)
    app.post("/embed", **problems)(embed_many)
    app.get("/neighbors", **problems)(neighbors)
    app.get("/tile.png", response_class=PngResponse, **problems)(tile_png)
    app.get("/info")(info)
    app.get("/healthz")(healthz)
    app.get("/readyz", responses={503: RESPONSES[503]})(readyz)
    app.get("/", include_in_schema=False)(root)


def embed(engine: Engines, place: Place) -> Embedding:
    """Return the embedding of a place."""
    (vector,) = engine.embed([place])
    return Embedding(lat=place.lat, lon=place.lon, model=engine.model, dim=engine.dim, embedding=_numbers(vector))


def _numbers(vector: NDArray[np.float32]) -> list[float]:
    """Return the shortest decimals that give the same float32 again."""
    return [float(text) for text in vector.astype(str)]


def embed_many(engine: Engines, body: LocationList) -> EmbeddingList:
    """Return the embeddings of up to 1,000 places, in their order; one bad place refuses them all."""
    places = [_check_item(engine, position, i.lat, i.lon) for position, i in enumerate(body.locations)]
    vectors = engine.embed(places)
    embeddings = [
        PlaceEmbedding(lat=place.lat, lon=place.lon, embedding=_numbers(vector))
        for place, vector in zip(places, vectors, strict=True)
    ]
    return EmbeddingList(model=engine.model, dim=engine.dim, embeddings=embeddings)


def _check_item(engine: Engine, position: int, lat: float, lon: float) -> LonLat:
    try:
        place = check_place(lat, lon)
        engine.require(place)
    except (PlaceError, OutsideError) as error:
        raise type(error)(f"locations[{position}]: {error}") from error
    return place


def neighbors(engine: Engines, place: Place, k: Annotated[int, Query(ge=1, le=MAX_NEIGHBORS)] = 10) -> NeighborList:
    """Return the `k` indexed places whose embeddings are nearest, nearest first."""
    found = [Neighbor.model_validate(near, from_attributes=True) for near in engine.neighbors(place, k)]
    return NeighborList(lat=place.lat, lon=place.lon, k=k, model=engine.model, neighbors=found)


def tile_png(
    engine: Engines,
    place: Place,
    rotation: Annotated[float, Query(ge=-360, le=360, description="Turn of the map, degrees counter-clockwise")] = 0.0,
    dx: Annotated[float, Shift] = 0.0,
    dy: Annotated[float, Shift] = 0.0,
    channel: Annotated[int | None, Query(ge=0, lt=N_CHANNELS, description="One channel in grey")] = None,
) -> Response:
    """Return the tile of a place as a PNG: a colour composite of its channels, or one channel."""
    tile = engine.tile(Pose(place.lat, place.lon, rotation, dx, dy))
    return PngResponse(tile.png(channel))


def info(engine: Engines) -> Info:
    """Return what is being served."""
    return engine.info()


async def healthz() -> Health:
    """Tell that the process answers, whatever became of the store: no thread is asked for that could be busy."""
    return Health()


def readyz(engine: Engines) -> Health:
    """Tell that places are answered now: draws, encodes and searches one of them."""
    engine.try_out()
    return Health(status="ready")


def root() -> RedirectResponse:
    return RedirectResponse("/docs")
