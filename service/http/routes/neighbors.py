"""Routes: neighbours of places and vectors; arithmetic, interpolation, walks, comparison."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from fastapi import APIRouter, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response

from loc2vec.embed.algebra import between, combine, walk
from loc2vec.model.arrays import Vector
from service.engine.engine import Engine
from service.errors import CostError
from service.http.asking import Kept
from service.http.formats import GEOJSON, JSON, answer, choose
from service.http.problems import RESPONSES
from service.http.routes.parts import Visits
from service.http.schemas.answers import (
    ArithmeticAnswer,
    ChannelEffect,
    Comparison,
    GeoNeighbors,
    Interpolation,
    InterpolationStep,
    Near,
    NeighborList,
    VectorNeighbors,
    Walk,
    near,
    numbers,
)
from service.http.schemas.base import MAX_NEIGHBORS
from service.http.schemas.filters import Shown
from service.http.schemas.questions import (
    Arithmetic,
    InterpolationQuery,
    NeighborQuery,
    PairQuery,
    VectorQuestion,
    WalkQuery,
)
from service.index.columns import values_of
from service.index.scale import ALIKE
from service.index.search import Filters, Neighbor
from service.observe.metrics import timed
from tiling.geo.geodesy import ground_distance_m
from tiling.values import N_CHANNELS, LonLat

router = APIRouter(tags=["neighbours"], route_class=Kept)
SEARCH_WEIGHT = 1  # a search of a million vectors costs about as much as a place
FOUND: dict[int | str, dict[str, Any]] = {
    **RESPONSES,
    200: {
        "content": {
            GEOJSON: {
                "schema": GeoNeighbors.model_json_schema(
                    ref_template="#/components/schemas/{model}"
                )
            }
        }
    },
}


class Telling:
    """An index to search, and what is told of each place that is found."""

    def __init__(self, engine: Engine, filters: Filters, shown: Shown) -> None:
        """Raise the error of a column or a filter that the index cannot have."""
        self.search, self._engine, self._shown = engine.search, engine, shown
        self.search.require(filters, shown.columns)

    def near(self, found: Sequence[Neighbor]) -> list[Near]:
        """Return neighbours with what was asked for of each."""
        rows = np.array([neighbor.id for neighbor in found], np.int64)
        places = [LonLat(neighbor.lon, neighbor.lat) for neighbor in found]
        columns, names = self._shown
        values = values_of(self.search.index.table, columns, rows) if columns else []
        return near(found, values, self._engine.called(places) if names else [])


@router.get(
    "/neighbors",
    response_model=NeighborList,
    responses=FOUND,
    openapi_extra=NeighborQuery.documented(),
)
async def neighbors(request: Request, visit: Visits) -> Response:
    """Return the `k` indexed places whose embeddings are nearest, nearest first.

    Filters apply before the search: there are `k` results as long as `k` places pass. As JSON, or
    with `Accept` as GeoJSON.
    """
    engine, asked = visit.engine, NeighborQuery.of(request)
    kind, filters = choose(request, [JSON, GEOJSON]), asked.filters(asked.min_distance_m)
    telling = Telling(engine, filters, asked.shown())
    (place,) = await visit.located([asked.meant()])

    def find() -> list[Near]:
        (embedding,) = engine.embed([place])
        with timed("search"):
            return telling.near(telling.search.nearest(embedding, asked.k, [place], filters))

    found, name = await visit.run(SEARCH_WEIGHT, find), telling.search.index.name
    if kind == GEOJSON:
        return answer(request, GeoNeighbors.of(engine.model, name, found), GEOJSON)
    return answer(
        request,
        NeighborList(
            lat=place.lat, lon=place.lon, k=asked.k, model=engine.model, index=name, neighbors=found
        ),
    )


@router.post("/neighbors", response_model=VectorNeighbors, responses=FOUND)
async def neighbors_of_vector(request: Request, visit: Visits, body: VectorQuestion) -> Response:
    """Return the `k` indexed places whose embeddings are nearest to a vector."""
    engine = visit.engine
    kind, filters = choose(request, [JSON, GEOJSON]), body.filters()
    telling = Telling(engine, filters, body.shown())
    if len(body.embedding) != engine.dim:
        message = f"{len(body.embedding)} numbers: the model's embeddings have {engine.dim}"
        raise RequestValidationError([{"loc": ("body", "embedding"), "msg": message}])
    embedding = np.array(body.embedding, np.float32)

    def find() -> list[Near]:
        with timed("search"):
            return telling.near(telling.search.nearest(embedding, body.k, filters=filters))

    found, name = await visit.run(SEARCH_WEIGHT, find), telling.search.index.name
    if kind == GEOJSON:
        return answer(request, GeoNeighbors.of(engine.model, name, found), GEOJSON)
    return answer(
        request, VectorNeighbors(k=body.k, model=engine.model, index=name, neighbors=found)
    )


@router.post("/arithmetic", response_model=ArithmeticAnswer, responses=RESPONSES)
async def arithmetic(request: Request, visit: Visits, body: Arithmetic) -> Response:
    """Add and subtract embeddings of places; return the indexed places nearest to the result."""
    engine = visit.engine
    choose(request, [JSON])
    filters = body.filters(body.min_distance_m)
    telling = Telling(engine, filters, body.shown())
    places = await visit.located([item.meant() for item in (*body.plus, *body.minus)])
    count = len(body.plus)

    def find() -> ArithmeticAnswer:
        vectors = engine.embed(places)
        embedding = combine(vectors[:count], vectors[count:])
        with timed("search"):
            found = telling.near(telling.search.nearest(embedding, body.k, places, filters))
        return ArithmeticAnswer(
            k=body.k,
            model=engine.model,
            index=telling.search.index.name,
            embedding=numbers(embedding),
            neighbors=found,
        )

    return answer(request, await visit.run(len(places), find))


@router.get(
    "/interpolate",
    response_model=Interpolation,
    responses=RESPONSES,
    openapi_extra=InterpolationQuery.documented(),
)
async def interpolate(request: Request, visit: Visits) -> Response:
    """Interpolate two embeddings in equal steps; return the indexed places nearest to each."""
    engine, asked = visit.engine, InterpolationQuery.of(request)
    choose(request, [JSON])
    if asked.steps * asked.k > MAX_NEIGHBORS:
        raise CostError(
            f"{asked.steps} steps of {asked.k} neighbours: ask for at most {MAX_NEIGHBORS} in all"
        )
    filters = asked.filters()
    telling = Telling(engine, filters, asked.shown())
    search = telling.search
    ends = await visit.located([asked.meant(), asked.destination()])

    def find() -> Interpolation:
        start, end = engine.embed(ends)
        shares, way = between(start, end, asked.steps)
        with timed("search"):
            steps = [
                InterpolationStep(
                    share=share,
                    neighbors=telling.near(search.nearest(at, asked.k, ends, filters)),
                )
                for share, at in zip(shares.tolist(), way, strict=True)
            ]
        return Interpolation(model=engine.model, index=search.index.name, steps=steps)

    return answer(request, await visit.run(asked.steps, find))


@router.get(
    "/compare", response_model=Comparison, responses=RESPONSES, openapi_extra=PairQuery.documented()
)
async def compare(request: Request, visit: Visits) -> Response:
    """Compare two places: their distance, and the effect of each channel of their tiles."""
    engine, asked = visit.engine, PairQuery.of(request)
    choose(request, [JSON])
    here, there = await visit.located([asked.meant(), asked.destination()])
    search = None if engine.index is None else engine.search
    found, shares = await visit.run(2 * N_CHANNELS, engine.compare, here, there)
    channels = [
        ChannelEffect(name=name, effect=effect, share=share, to_share=to_share)
        for name, effect, (share, to_share) in zip(
            engine.catalogue.channels_of(engine.geometry),
            found.effect.tolist(),
            shares.T.tolist(),
            strict=True,
        )
    ]
    closer = None if search is None else float(search.scale.closer_than(found.distance))
    return answer(
        request,
        Comparison(
            lat=here.lat,
            lon=here.lon,
            to_lat=there.lat,
            to_lon=there.lon,
            model=engine.model,
            index=None if search is None else search.index.name,
            distance=found.distance,
            closer_than=closer,
            alike=None if closer is None else closer >= ALIKE,
            ground_distance_m=float(ground_distance_m(*reversed(here), *reversed(there))),
            channels=channels,
        ),
    )


@router.get("/walk", response_model=Walk, responses=RESPONSES, openapi_extra=WalkQuery.documented())
async def random_walk(request: Request, visit: Visits) -> Response:
    """Walk at random: each step goes to one of the nearest indexed places that are new."""
    engine, asked = visit.engine, WalkQuery.of(request)
    choose(request, [JSON])
    # A step is to lie apart from all before it, not only from those that it is chosen from.
    filters = replace(asked.filters(asked.spread_m), spread_m=0.0)
    telling = Telling(engine, filters, asked.shown())
    search = telling.search
    (place,) = await visit.located([asked.meant()])

    def nearest(embedding: Vector, k: int, way: Sequence[LonLat]) -> list[Neighbor]:
        return search.nearest(embedding, k, [place, *way], filters)

    def find() -> Walk:
        (start,) = engine.embed([place])
        with timed("search"):
            way = walk(nearest, search.index.vector_of, start, asked.steps, asked.k, asked.seed)
        return Walk(
            model=engine.model, index=search.index.name, seed=asked.seed, steps=telling.near(way)
        )

    return answer(request, await visit.run(asked.steps, find))
