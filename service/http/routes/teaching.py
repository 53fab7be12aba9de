"""Routes: scores of places, learned from a few examples."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from fastapi import APIRouter, Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from loc2vec.model.arrays import Vectors
from service.engine.engine import Engine
from service.http.asking import Admitted
from service.http.formats import ARROW, JSON, PARQUET, PNG, answer, choose, table_bytes
from service.http.problems import RESPONSES
from service.http.routes.parts import Visits
from service.http.schemas.answers import PlaceScore, Prediction, TaughtPlace, called_places
from service.http.schemas.questions import Lesson
from service.index.columns import values_of
from service.index.search import Mask, Search
from service.index.teach import Scores
from service.observe.metrics import timed
from tiling.values import ATTRIBUTION, LonLat

router = APIRouter(tags=["teaching"], route_class=Admitted)
SCORE_WEIGHT = 4  # scoring a million vectors costs about as much as so many places
BINARY = {"schema": {"type": "string", "format": "binary"}}
FOUND: dict[int | str, dict[str, Any]] = {
    **RESPONSES,
    200: {"content": dict.fromkeys((ARROW, PARQUET, PNG), BINARY)},
}


@router.post("/predict", response_model=Prediction, responses=FOUND)
async def predict(request: Request, visit: Visits, body: Lesson) -> Response:
    """Learn from examples, and tell which places are like them.

    As JSON: the scores of `places`, the `best` indexed places of each kind, and those whose answer
    would teach most. With `Accept`, the scores of the whole index as an Arrow stream or a Parquet
    file, or a map `tile` of them as a PNG. The 128 places that may be new are examples and
    `places` together.
    """
    engine = visit.engine
    kind, tile = choose(request, [JSON, ARROW, PARQUET, PNG]), body.tile_number()
    if kind == PNG and tile is None:
        raise HTTPException(422, "a picture is of a tile: give `tile` with zoom, x and y")
    search, filters = engine.search, body.filters(body.min_distance_m)
    search.require(filters, body.columns)
    wheres = [item.meant() for item in (*body.examples, *body.places)]
    places, count = await visit.located(wheres), len(body.examples)

    def find() -> bytes:
        vectors = engine.embed(places)
        with timed("teach"):
            scores = search.scores(vectors[:count], [one.label for one in body.examples])
        if kind == PNG and tile is not None:
            return engine.taught(tile, search, scores)
        if kind != JSON:
            return _table(kind, search, scores, engine.model)
        best, ask = _chosen(engine, search, scores, body, search.allowed(places[:count], filters))
        return (
            Prediction(
                model=engine.model,
                index=search.index.name,
                kinds=list(scores.lesson.kinds),
                colours=scores.lesson.colours,
                places=_scored(places[count:], vectors[count:], scores),
                best=best,
                ask=ask,
            )
            .model_dump_json()
            .encode()
        )

    weight = engine.count_new(places) + SCORE_WEIGHT
    return answer(request, await visit.run(weight, find), kind)


def _chosen(
    engine: Engine, search: Search, scores: Scores, body: Lesson, allowed: Mask
) -> tuple[list[TaughtPlace], list[TaughtPlace]]:
    """Return the best places of each kind, and those to ask about."""
    index, apart_m = search.index, body.spread_m
    best = [
        row
        for number in range(len(scores.lesson.kinds))
        for row in scores.best(index, number, body.k, allowed, apart_m)
    ]
    rows = np.array(best + scores.asked(index, body.ask, allowed, apart_m), np.int64)
    told = _told(search, scores, rows, body.columns)
    if body.names:
        where = [LonLat(one.lon, one.lat) for one in told]
        for one, called in zip(told, called_places(engine.called(where)), strict=True):
            one.called = called
    return told[: len(best)], told[len(best) :]


def _told(
    search: Search,
    scores: Scores,
    rows: np.ndarray[Any, np.dtype[np.int64]],
    columns: Sequence[str],
) -> list[TaughtPlace]:
    index = search.index
    values = values_of(index.table, columns, rows) if columns else [None] * len(rows)
    return [
        TaughtPlace(
            id=row,
            lat=float(index.lat[row]),
            lon=float(index.lon[row]),
            label=scores.lesson.kinds[scores.kind[row]],
            probability=float(scores.probability[row]),
            columns=own,
        )
        for row, own in zip(rows.tolist(), values, strict=True)
    ]


def _scored(places: Sequence[LonLat], vectors: Vectors, scores: Scores) -> list[PlaceScore]:
    if not places:
        return []
    kinds = scores.lesson.kinds
    return [
        PlaceScore(
            lat=place.lat,
            lon=place.lon,
            label=kinds[int(shares.argmax())],
            probability=float(shares.max()),
            probabilities=dict(zip(kinds, shares.tolist(), strict=True)),
        )
        for place, shares in zip(places, scores.lesson.probabilities(vectors), strict=True)
    ]


def _table(kind: str, search: Search, scores: Scores, model: str) -> bytes:
    """Return a row for each indexed place: id, lat, lon, label, probability."""
    index = search.index
    ids = index.ids
    labels = pa.DictionaryArray.from_arrays(scores.kind[ids], list(scores.lesson.kinds))
    table = pa.table(
        {
            "id": ids,
            "lat": index.lat[ids],
            "lon": index.lon[ids],
            "label": labels.cast(pa.string()),
            "probability": scores.probability[ids],
        }
    )
    facts = {"model": model, "index": index.name, "attribution": ATTRIBUTION}
    return table_bytes(table, kind, facts)
