"""Errors as RFC 9457 problem documents: here alone the service answers exceptions."""

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from service.errors import (
    BusyError,
    ColumnError,
    CostError,
    FilterError,
    GoneError,
    LessonError,
    NoIndexError,
    RegionError,
    ScaleError,
    SlowError,
)
from service.http.schemas.answers import Problem, named
from service.observe.logs import REQUEST_ID
from tiling.errors import (
    AmbiguousNameError,
    GridError,
    Loc2VecError,
    NameSearchError,
    OutsideError,
    PlaceError,
    StoreReplacedError,
    StoreUnavailableError,
    UnknownNameError,
    WorkerError,
)

log = logging.getLogger(__name__)

# Status, kind and title of each error that a client can act on; every other error is a 500.
KNOWN: Mapping[type[Loc2VecError], tuple[int, str, str]] = {
    PlaceError: (422, "not-a-place", "This is not a place"),
    GridError: (422, "not-a-box", "This is not a box"),
    RegionError: (422, "no-region", "There is no such region"),
    ColumnError: (422, "no-column", "The index has no such column"),
    FilterError: (422, "not-a-filter", "This is not a filter"),
    LessonError: (422, "no-lesson", "Nothing can be learned from these examples"),
    ScaleError: (422, "no-scale", "The tiles have no such scale"),
    UnknownNameError: (404, "unknown-name", "No place has this name"),
    AmbiguousNameError: (422, "ambiguous-name", "Several places have this name"),
    OutsideError: (404, "outside-extract", "The place lies outside the extract"),
    NoIndexError: (503, "no-index", "No index is loaded"),
    BusyError: (503, "busy", "The service is busy"),
    SlowError: (503, "slow", "The answer took too long"),
    GoneError: (499, "gone", "The client is gone"),
    CostError: (422, "too-dear", "The question costs too much"),
    WorkerError: (503, "not-drawn", "The place could not be drawn"),
    StoreUnavailableError: (503, "store-away", "The map store is away"),
    StoreReplacedError: (503, "store-replaced", "The map store was replaced"),
}
RETRY_AFTER_S = {
    BusyError: 1,
    SlowError: 5,
    WorkerError: 1,
    StoreReplacedError: 1,
    StoreUnavailableError: 5,  # about a database's restart
}
UNREADABLE = "The body is not JSON in UTF-8, or too deep, or has a number that is too long"
ON_OUR_SIDE: Mapping[type[Loc2VecError], str] = {
    StoreUnavailableError: "The map store does not answer: try again in a few seconds",
    WorkerError: "A drawing process was lost, and another one takes its place: try again",
}
MAX_ERRORS = 10  # of a request that is wrong in many ways
DESCRIPTIONS = {
    401: "No valid key",
    404: "Outside the extract, or nothing has this name",
    406: "Not in a format that the client takes",
    413: "The body is too long",
    415: "The body is compressed",
    422: "Not a valid request",
    429: "Too many requests",
    503: "Not now: try again later",
}
RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {
        "description": text,
        "content": {"application/problem+json": {"schema": Problem.model_json_schema()}},
    }
    for status, text in DESCRIPTIONS.items()
}


class ProblemResponse(JSONResponse):
    """JSON under the media type of RFC 9457."""

    media_type = "application/problem+json"


def install(app: FastAPI) -> None:
    """Answer every error of `app` that is expected with a problem document."""
    for kind in KNOWN:
        app.exception_handler(kind)(_known)
    app.exception_handler(RequestValidationError)(_invalid)
    app.exception_handler(HTTPException)(_http)


def internal(request: Request, request_id: str) -> ProblemResponse:
    """Return the answer to a request that failed on our side; the log alone tells why."""
    detail = (
        f"The request failed on our side; the server's log says why under request id {request_id}"
    )
    return _problem(
        request, 500, "internal", "Internal server error", detail, request_id=request_id
    )


def refused(request: Request, status: int, detail: str) -> ProblemResponse:
    """Return the answer to a request that was refused before a route read it."""
    phrase = HTTPStatus(status).phrase
    return _problem(request, status, phrase.lower().replace(" ", "-"), phrase, detail)


def _problem(
    request: Request, status: int, kind: str, title: str, detail: str, **more: Any
) -> ProblemResponse:
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
    found = next(c for c in type(error).__mro__ if c in KNOWN)
    status, kind, title = KNOWN[found]
    more: dict[str, Any] = {}
    detail = str(error)
    if isinstance(error, OutsideError):
        more["bounds"] = request.state.engine.bounds
    if isinstance(error, NameSearchError):
        more["candidates"] = [place.model_dump() for place in named(error.candidates)]
    if isinstance(error, StoreReplacedError):
        detail = "The map has just been replaced, and is being opened: try again in a second"
    # The location of the store and its message are for the log only.
    if isinstance(error, (StoreUnavailableError, WorkerError)):
        request_id = REQUEST_ID.get()
        log.warning(
            "request %s failed: %s %s: %s", request_id, request.method, request.url.path, error
        )
        more["request_id"] = request_id
        detail = ON_OUR_SIDE[found]
    answer = _problem(request, status, kind, title, detail, **more)
    if found in RETRY_AFTER_S:
        answer.headers["Retry-After"] = str(RETRY_AFTER_S[found])
    return answer


async def _invalid(request: Request, error: RequestValidationError) -> ProblemResponse:
    # The offending input is left out: it may be NaN, which JSON cannot say, or very long.
    errors = [
        {"where": ".".join(map(str, e["loc"])), "message": e["msg"].removeprefix("Value error, ")}
        for e in error.errors()[:MAX_ERRORS]
    ]
    detail = "; ".join(f"{e['where']}: {e['message']}" for e in errors)
    return _problem(
        request, 422, "invalid-request", "The request is not valid", detail, errors=errors
    )


async def _http(request: Request, error: HTTPException) -> ProblemResponse:
    """Answer an unknown path, a wrong method, a missing key, a format that is not offered."""
    # FastAPI has no answer of its own: not UTF-8, a number of thousands of digits, too deep.
    if isinstance(error.__cause__, (ValueError, RecursionError)):
        return await _invalid(
            request, RequestValidationError([{"loc": ("body",), "msg": UNREADABLE}])
        )
    phrase = HTTPStatus(error.status_code).phrase
    own = error.detail if error.detail != phrase else f"{phrase}: see /docs for what there is"
    answer = refused(request, error.status_code, own)
    answer.headers.update(error.headers or {})
    if "GET" in answer.headers.get("allow", ""):
        answer.headers["Allow"] += ", HEAD"
    return answer
