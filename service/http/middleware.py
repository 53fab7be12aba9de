"""Middleware of every request: id, log line, metrics, security headers, limits of the body."""

import asyncio
import logging
import re
import time
import uuid
from collections.abc import Iterable

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.http.problems import internal, refused
from service.observe.logs import REQUEST_ID
from service.observe.metrics import LATENCY, REQUESTS
from service.observe.tracing import answered, request_span

GIVEN_ID = re.compile("[A-Za-z0-9._-]{1,64}")
# Set unless the route sets them.
HEADERS = {
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-opener-policy": b"same-origin",
    # Swagger UI sets inline styles, and its style sheet has pictures as data.
    b"content-security-policy": (
        b"default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
        b"img-src 'self' data: blob:; font-src 'self'; connect-src 'self'; "
        b"worker-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
}

access = logging.getLogger("service.access")
log = logging.getLogger(__name__)


class Around:
    """The outermost layer; an unexpected error becomes a 500 that tells only its request id."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        request_id = given if GIVEN_ID.fullmatch(given) else uuid.uuid4().hex
        REQUEST_ID.set(request_id)
        start, status = time.perf_counter(), 0
        method = scope["method"]
        if method == "HEAD":  # RFC 9110, section 9.3.2: as GET, without the body
            scope = {**scope, "method": "GET"}

        async def sending(message: Message) -> None:
            nonlocal status
            if method == "HEAD" and message["type"] == "http.response.body":
                message = {**message, "body": b""}
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": _safe(message["headers"], request_id)}
            await send(message)

        with request_span(_known(method), headers) as span:
            try:
                await self._app(scope, receive, sending)
            except Exception as error:
                if status:  # the headers are sent: the server cuts the connection
                    raise
                log.error(
                    "request %s failed: %s %s",
                    request_id,
                    method,
                    scope["path"],
                    exc_info=error,
                )
                await internal(Request(scope), request_id)(scope, receive, sending)
            finally:
                _tell(scope, method, status, time.perf_counter() - start)
                answered(span, _known(method), _route(scope), status)
        return None


def _safe(headers: Iterable[tuple[bytes, bytes]], request_id: str) -> list[tuple[bytes, bytes]]:
    """Return the headers of an answer, and those that every answer has."""
    own = dict(headers)
    missing = [item for item in HEADERS.items() if item[0] not in own]
    return [*headers, *missing, (b"x-request-id", request_id.encode())]


def _tell(scope: Scope, method: str, status: int, seconds: float) -> None:
    """Log and count a request.

    Coordinates are not logged, because they may say where somebody was.
    """
    route = _route(scope)
    REQUESTS.labels(_known(method), route, str(status)).inc()
    LATENCY.labels(route).observe(seconds)
    facts = {
        "method": method,
        "path": scope["path"],
        "status": status,
        "ms": round(1000 * seconds, 2),
    }
    access.info("%s %s %d %.1f ms", method, scope["path"], status, 1000 * seconds, extra=facts)


def _route(scope: Scope) -> str:
    return getattr(scope.get("route"), "path", "none")


def _known(method: str) -> str:
    return method if method in METHODS else "other"


METHODS = {"GET", "HEAD", "POST", "OPTIONS", "PUT", "PATCH", "DELETE"}


class BodyGuard:
    """Refuses bodies that are too long (413), compressed (415), or too slow (408)."""

    def __init__(self, app: ASGIApp, max_bytes: int, timeout_s: float) -> None:
        self._app, self._max_bytes, self._timeout_s = app, max_bytes, timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        headers = Headers(scope=scope)
        if headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
            return await refused(Request(scope), 415, "send the body as it is, not compressed")(
                scope, receive, send
            )
        length = headers.get("content-length", "")
        if length.isdecimal() and (len(length) > 18 or int(length) > self._max_bytes):
            return await refused(Request(scope), 413, self._too_long)(scope, receive, send)
        end, size, done = time.monotonic() + self._timeout_s, 0, False

        async def receiving() -> Message:
            nonlocal size, done
            if done:  # the application waits for the client to disconnect
                return await receive()
            try:
                async with asyncio.timeout(max(0.0, end - time.monotonic())):
                    message = await receive()
            except TimeoutError as error:
                raise HTTPException(408, "the body did not come in time") from error
            size += len(message.get("body", b""))
            done = not message.get("more_body", False)
            if size > self._max_bytes:
                raise HTTPException(413, self._too_long)
            return message

        return await self._app(scope, receiving, send)

    @property
    def _too_long(self) -> str:
        return f"the body may have {self._max_bytes} bytes: ask for less at once"
