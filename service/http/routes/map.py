"""Routes: the tiles of the map."""

from typing import Annotated

from fastapi import APIRouter, Path, Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from service.http.asking import Admitted
from service.http.formats import PNG, answer, choose
from service.http.problems import RESPONSES
from service.http.routes.embedding import PngResponse
from service.http.routes.parts import Visits
from service.http.schemas.questions import MapPath, MapQuery
from tiling.render.pictures import TileNumber

router = APIRouter(tags=["map"], route_class=Admitted)


@router.get(
    "/map/{layer}/{zoom}/{x}/{y}.png",
    response_class=PngResponse,
    responses=RESPONSES,
    openapi_extra=MapQuery.documented(),
)
async def map_tile(request: Request, visit: Visits, path: Annotated[MapPath, Path()]) -> Response:
    """Return a tile of the map (Web Mercator, 256 pixels).

    `base` is the base map. `pca` colours the indexed places by the first three principal
    components of all vectors of the index, so similar colours mean similar vectors.
    """
    engine, asked = visit.engine, MapQuery.of(request)
    choose(request, [PNG])
    if max(path.x, path.y) >= 2**path.zoom:
        raise HTTPException(404, f"zoom {path.zoom} has columns and rows 0..{2**path.zoom - 1}")
    tile = TileNumber(path.zoom, path.x, path.y, asked.scale)
    if path.layer == "base":
        return answer(request, await visit.run(1, engine.base_map, tile, asked.theme), PNG)
    return answer(request, await visit.run(1, engine.overlay, tile), PNG)
