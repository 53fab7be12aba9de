"""Errors as RFC 9457 problem documents: the one place where the service turns an exception into an answer."""

import logging
import uuid
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from service.errors import NoIndexError
from service.schemas import Problem
from tiling.errors import Loc2VecError, OutsideError, PlaceError, StoreUnavailableError

log = logging.getLogger(__name__)

# Status, kind and title of each error that says to the client what to do; every other error is a 500.
KNOWN: Mapping[type[Loc2VecError], tuple[int, str, str]] = {
    PlaceError: (422, "not-a-place", "This is not a place"),
    OutsideError: (404, "outside-extract", "The place lies outside the extract"),
    NoIndexError: (503, "no-index", "No index is loaded"),
}
MAX_ERRORS = 10  # of a request that is wrong in many ways
RETRY_AFTER_S = 5  # about what a database takes to come back
RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {
        "description": text,
        "content": {"application/problem+json": {"schema": Problem.model_json_schema()}},
    }
    for status, text in ((404, "Outside the extract"), (422, "Not a valid request"), (503, "Not now: try again later"))
}


class ProblemResponse(JSONResponse):
    """JSON under the media type of RFC 9457."""

    media_type = "application/problem+json"


def install(app: FastAPI) -> None:
    """Answer every error of `app` with a problem document."""
    for kind in KNOWN:
        app.exception_handler(kind)(_known)
    app.exception_handler(StoreUnavailableError)(_unavailable)
    app.exception_handler(RequestValidationError)(_invalid)
    app.exception_handler(HTTPException)(_http)
    app.exception_handler(Exception)(_internal)


def _problem(request: Request, status: int, kind: str, title: str, detail: str, **more: Any) -> ProblemResponse:
    """`more` are extension members of the document."""
    query = f"?{request.url.query}" if request.url.query else ""
    document = {
        "type": f"urn:loc2vec:problem:{kind}",
        "title": title,
        "status": status,
        "detail": detail,
        "instance": request.url.path + query,
    }
    return ProblemResponse(document | more, status)


async def _known(request: Request, error: Loc2VecError) -> ProblemResponse:
    status, kind, title = next(KNOWN[c] for c in type(error).__mro__ if c in KNOWN)
    more = {"bounds": request.app.state.engine.bounds} if isinstance(error, OutsideError) else {}
    return _problem(request, status, kind, title, str(error), **more)


async def _invalid(request: Request, error: RequestValidationError) -> ProblemResponse:
    # The offending input is left out: it may be NaN, which JSON cannot say, or very long.
    errors = [{"where": ".".join(map(str, e["loc"])), "message": e["msg"]} for e in error.errors()[:MAX_ERRORS]]
    detail = "; ".join(f"{e['where']}: {e['message']}" for e in errors)
    return _problem(request, 422, "invalid-request", "The request is not valid", detail, errors=errors)


async def _http(request: Request, error: HTTPException) -> ProblemResponse:
    """Answer what the framework itself refuses: an unknown path, a wrong method, a body that is no JSON."""
    phrase = HTTPStatus(error.status_code).phrase
    kind = phrase.lower().replace(" ", "-")
    answer = _problem(request, error.status_code, kind, phrase, f"{phrase}: see /docs for what there is")
    answer.headers.update(error.headers or {})
    return answer


async def _unavailable(request: Request, error: StoreUnavailableError) -> ProblemResponse:
    """Say when to ask again; where the store is, and what it said, is for the log."""
    request_id = uuid.uuid4().hex
    log.warning("request %s failed: %s %s: %s", request_id, request.method, request.url.path, error)
    detail = f"The map store does not answer: try again in {RETRY_AFTER_S} seconds"
    answer = _problem(request, 503, "store-away", "The map store is away", detail, request_id=request_id)
    answer.headers["Retry-After"] = str(RETRY_AFTER_S)
    return answer


async def _internal(request: Request, error: Exception) -> ProblemResponse:
    request_id = uuid.uuid4().hex
    log.error("request %s failed: %s %s", request_id, request.method, request.url.path, exc_info=error)
    detail = f"The request failed on our side; the server's log says why under request id {request_id}"
    return _problem(request, 500, "internal", "Internal server error", detail, request_id=request_id)
