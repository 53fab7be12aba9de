"""Routes: embeddings and tiles of places."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from fastapi import APIRouter, Request
from fastapi.responses import Response

from loc2vec.model.arrays import Vector
from service.engine.engine import Engine
from service.errors import ScaleError
from service.http.asking import Kept
from service.http.formats import ARROW, JSON, PARQUET, PNG, answer, choose, table_bytes
from service.http.problems import RESPONSES
from service.http.routes.parts import Visits
from service.http.schemas.answers import (
    Embedding,
    EmbeddingList,
    PlaceEmbedding,
    PlaceList,
    called_places,
    named,
    numbers,
)
from service.http.schemas.questions import (
    EmbedQuery,
    Location,
    LocationList,
    NameQuery,
    TileQuery,
    Where,
)
from tiling.errors import PlaceError
from tiling.values import ATTRIBUTION, LonLat

router = APIRouter(tags=["places"], route_class=Kept)
TABLE = {"schema": {"type": "string", "format": "binary"}}
MANY: dict[int | str, dict[str, Any]] = {
    **RESPONSES,
    200: {"content": {ARROW: TABLE, PARQUET: TABLE}},
}


class PngResponse(Response):
    """A picture."""

    media_type = PNG


@router.get(
    "/embed", response_model=Embedding, responses=RESPONSES, openapi_extra=EmbedQuery.documented()
)
async def embed(request: Request, visit: Visits) -> Response:
    """Return the embedding of a place, and on demand what it is called and like."""
    engine, asked = visit.engine, EmbedQuery.of(request)
    choose(request, [JSON])
    (place,) = await visit.located([asked.meant()])
    vector, index = engine.known(place), engine.index_name
    if vector is None:
        (vector,) = await visit.run(1, engine.embed_new, [place])
    called = await visit.run(1, engine.called, [place]) if asked.names else []
    told = await visit.run(1, engine.described, place, vector) if asked.describe else None
    return answer(
        request,
        Embedding(
            lat=place.lat,
            lon=place.lon,
            model=engine.model,
            index=index,
            dim=engine.dim,
            embedding=numbers(vector),
            called=next(iter(called_places(called)), None),
            description=told,
        ),
    )


@router.post("/embed", response_model=EmbeddingList, responses=MANY)
async def embed_many(request: Request, visit: Visits, body: LocationList) -> Response:
    """Return the embeddings of up to 1,000 places, in their order; one bad place fails them all.

    With `outside` = `null`, a place outside the data has no embedding, and the others have theirs.
    Up to 128 of them may be new, which are neither indexed nor were asked for a moment ago.
    As JSON, or with `Accept` as an Arrow stream or a Parquet file of lat, lon and embedding.
    """
    engine = visit.engine
    kind = choose(request, [JSON, ARROW, PARQUET])
    wheres = [_where(*item) for item in enumerate(body.locations)]
    places = await visit.located(wheres, "locations", body.outside == "null")
    held = [place for place in places if engine.source.covers(place)]
    write = _as_json if kind == JSON else partial(_as_table, kind)

    def embed() -> bytes:
        vectors = dict(zip(held, engine.embed(held), strict=True))
        return write(engine, places, engine.index_name, vectors)

    return answer(request, await visit.run(engine.count_new(held), embed), kind)


def _as_json(
    engine: Engine, places: Sequence[LonLat], index: str | None, vectors: Mapping[LonLat, Vector]
) -> bytes:
    embeddings = [
        PlaceEmbedding(
            lat=place.lat,
            lon=place.lon,
            embedding=numbers(vectors[place]) if place in vectors else None,
        )
        for place in places
    ]
    found = EmbeddingList(model=engine.model, index=index, dim=engine.dim, embeddings=embeddings)
    return found.model_dump_json().encode()


def _as_table(
    kind: str,
    engine: Engine,
    places: Sequence[LonLat],
    index: str | None,
    vectors: Mapping[LonLat, Vector],
) -> bytes:
    lon, lat = np.array(places, np.float64).T
    nothing = np.zeros(engine.dim, np.float32)
    flat = pa.array(np.concatenate([vectors.get(place, nothing) for place in places]))
    outside = pa.array([place not in vectors for place in places])
    embedding = pa.FixedSizeListArray.from_arrays(flat, engine.dim, mask=outside)
    facts = {"model": engine.model, "index": index or "", "attribution": ATTRIBUTION}
    table = pa.table(
        {"lat": np.ascontiguousarray(lat), "lon": np.ascontiguousarray(lon), "embedding": embedding}
    )
    return table_bytes(table, kind, facts)


def _where(position: int, item: Location) -> Where:
    try:
        return item.meant()
    except PlaceError as error:
        raise PlaceError(f"locations[{position}]: {error}") from error


@router.get(
    "/places", response_model=PlaceList, responses=RESPONSES, openapi_extra=NameQuery.documented()
)
async def places(request: Request, visit: Visits) -> Response:
    """Return the places of the store with a name; the last word may be unfinished.

    Ranking: exact match, then prefix, then word match; a town before a shop of the same name.
    """
    engine, asked = visit.engine, NameQuery.of(request)
    choose(request, [JSON])
    found = await visit.run(1, engine.find, asked.q, asked.limit)
    return answer(request, PlaceList(query=asked.q, places=named(found)))


@router.get(
    "/tile.png",
    response_class=PngResponse,
    responses=RESPONSES,
    openapi_extra=TileQuery.documented(),
)
async def tile_png(request: Request, visit: Visits) -> Response:
    """Return the tile of a place as a PNG: a colour composite of its channels, or one channel."""
    engine, asked = visit.engine, TileQuery.of(request)
    choose(request, [PNG])
    scales = engine.geometry.scales
    if asked.scale >= scales:
        raise ScaleError(f"scale {asked.scale}: {engine.model} reads {scales}, numbered from 0")
    (place,) = await visit.located([asked.meant()])
    pose = asked.pose(place)
    channel, scale = asked.channel, asked.scale
    return answer(request, await visit.run(1, lambda: engine.tile(pose).png(channel, scale)), PNG)
