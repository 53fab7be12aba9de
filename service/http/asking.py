"""Routes that first ask who comes, and those that give an answer again to who asks the same."""

from collections.abc import Callable, Coroutine, Hashable
from typing import Any, NamedTuple

from cachetools import TTLCache
from fastapi import Request
from fastapi.responses import Response
from fastapi.routing import APIRoute

from service.http.formats import answer
from service.observe.metrics import KEPT

KEPT_BYTES = 32_000_000  # of answers in memory: ten thousand or more
LEAST = 32  # answers for which there is room; longer ones are not kept
BESIDE_BYTES = 600  # that an answer takes beside its body and its question

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class Answer(NamedTuple):
    """An answer that may be given again."""

    body: bytes
    media_type: str
    size: int  # in memory, bytes


Answers = TTLCache[Hashable, Answer]


def no_answers(seconds: float) -> Answers:
    """Return room for answers, each of which is kept for so long."""
    return TTLCache(KEPT_BYTES, seconds, getsizeof=lambda kept: kept.size)


class Admitted(APIRoute):
    """A route for clients that may ask; that is found out before the request is read."""

    def get_route_handler(self) -> Handler:
        """Return what answers a request, or raises 401 or 429."""
        handle = self.handler(super().get_route_handler())

        async def admit(request: Request) -> Response:
            request.state.client = request.app.state.access.admit(request)
            return await handle(request)

        return admit

    def handler(self, handle: Handler) -> Handler:
        """Return what answers a client that may ask."""
        return handle


class Kept(Admitted):
    """A route whose GET depends on the map, the index and the question alone.

    So an answer is given again for a while, without a look at the question: that takes a third of
    the time. The event loop alone touches the answers.
    """

    def handler(self, handle: Handler) -> Handler:
        """Return what answers a client, from memory where the same was asked a moment ago."""
        if self.methods != {"GET"}:
            return handle

        async def again(request: Request) -> Response:
            answers: Answers = request.app.state.answers
            question = _question(request)
            kept = answers.get(question)
            if kept is not None:
                KEPT.inc()
                return answer(request, kept.body, kept.media_type)
            response = await handle(request)
            size = len(response.body) + len(request.scope["query_string"]) + BESIDE_BYTES
            # An answer of a map or an index that was replaced meanwhile is not kept.
            if (
                response.status_code == 200
                and size <= answers.maxsize // LEAST
                and _question(request) == question
            ):
                answers[question] = Answer(bytes(response.body), str(response.media_type), size)
            return response

        return again


def _question(request: Request) -> Hashable:
    """Return all that an answer depends on."""
    engine, scope = request.app.state.engine, request.scope
    accept = request.headers.get("accept")
    return engine.revision, engine.index_name, scope["path"], scope["query_string"], accept
