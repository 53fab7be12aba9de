"""Routes: information, health and metrics of the service."""

from fastapi import APIRouter, Request
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST

from loc2vec.model.folder import LICENCE
from service.engine.engine import Engine
from service.http.asking import Admitted
from service.http.formats import answer
from service.http.problems import RESPONSES
from service.http.routes.parts import Visits
from service.http.schemas.answers import Health, Info, Ready
from service.index.columns import kinds_of
from service.observe.metrics import exposition
from service.version import version
from tiling.values import ATTRIBUTION

NOT_KEPT = {"Cache-Control": "no-store"}

public = APIRouter(tags=["operation"])  # without a key: a load balancer has none
private = APIRouter(tags=["operation"], route_class=Admitted)


@private.get("/info", response_model=Info, responses={k: RESPONSES[k] for k in (401, 406, 429)})
async def info(request: Request, visit: Visits) -> Response:
    """Return what is being served."""
    engine = visit.engine
    index, source = engine.index, engine.source
    kinds = {} if index is None else kinds_of(index.table)
    columns = {name: kind.value for name, kind in kinds.items()}
    return answer(
        request,
        Info(
            version=version(),
            model=engine.model,
            index=None if index is None else index.name,
            dim=engine.dim,
            store=source.name,
            bounds=list(engine.bounds),
            regions=sorted(source.regions),
            region_bounds={
                name: list(area.bounds) for name, area in sorted(source.regions.items())
            },
            index_count=None if index is None else len(index),
            columns=columns,
            index_refused=engine.index_refused,
            fingerprint=engine.fingerprint,
            channels=list(engine.catalogue.channels),
            radii_m=[scale.radius_m for scale in engine.geometry.each],
            colours=[channel.colour for channel in engine.catalogue.each],
            attribution=ATTRIBUTION,
            licence=LICENCE,
        ),
    )


@public.get("/healthz", response_model=Health)
async def healthz() -> Response:
    """Tell that the process answers, whatever the state of the store; it needs no thread."""
    return Response(Health().model_dump_json(), media_type="application/json", headers=NOT_KEPT)


@public.get("/readyz", response_model=Ready, responses={503: RESPONSES[503]})
async def readyz(request: Request) -> Response:
    """Tell that places are answered now: renders, encodes and searches one of them.

    The result is told for a second. An answer comes within a second, whatever hangs.
    """
    state = request.app.state
    engine: Engine = state.engine

    async def try_out() -> None:
        await state.gate.run(0, engine.try_out, client="readyz")

    await state.readiness.check(try_out)
    reasons = [reason for reason in (engine.index_refused, state.store_refused) if reason]
    ready = Ready(status="degraded", reasons=reasons) if reasons else Ready()
    return Response(
        ready.model_dump_json(exclude_none=True), media_type="application/json", headers=NOT_KEPT
    )


@private.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics() -> Response:
    """Return the metrics in the text format of Prometheus."""
    return Response(exposition(), media_type=CONTENT_TYPE_LATEST, headers=NOT_KEPT)
