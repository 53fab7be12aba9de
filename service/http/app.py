"""The HTTP application, built from its settings and a function that opens an engine."""

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware

from service.engine.engine import Engine
from service.engine.reload import Reloader
from service.http.access import Access
from service.http.asking import no_answers
from service.http.gate import Gate
from service.http.middleware import Around, BodyGuard
from service.http.problems import install
from service.http.ready import Readiness
from service.http.routes import docs, embedding, map, neighbors, operation, page, teaching
from service.observe.tracing import exported_spans
from service.settings import Settings
from service.version import version

TOPICS = embedding, neighbors, teaching, map, docs, page
ROUTERS = *(topic.router for topic in TOPICS), operation.private, operation.public
# Those that the service reads, apart from those that every page may send.
READ_HEADERS = (
    "Authorization",
    "Content-Type",
    "If-None-Match",
    "Traceparent",
    "Tracestate",
    "X-API-Key",
    "X-Request-ID",
)


def create_app(
    settings: Settings, open_engine: Callable[[Settings], AbstractContextManager[Engine]]
) -> FastAPI:
    """Return the application.

    `open_engine` is called when it starts, and the engine closed when it ends.
    """

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with (
            exported_spans() if settings.tracing else contextlib.nullcontext(),
            contextlib.closing(Gate(settings.queue_places, settings.timeout_s)) as gate,
            # Closed first, so that work in progress ends early.
            open_engine(settings) as engine,
        ):
            app.state.engine, app.state.gate = engine, gate
            app.state.readiness, app.state.store_refused = Readiness(), None
            app.openapi()  # takes a tenth of a second, which nobody shall wait for
            with _watching(Reloader(app.state, settings)):
                yield

    app = FastAPI(
        title="Loc2Vec",
        version=version(),
        description="Embeddings of the places of an extract, and the places that are similar. "
        "Map data (c) OpenStreetMap contributors, ODbL 1.0.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        servers=[{"url": "."}],  # beside the schema, also behind a proxy's path
        # One list: a router that is included is asked twice for each path.
        routes=[route for router in ROUTERS for route in router.routes],
    )
    shared = "private" if settings.api_keys else "public"
    app.state.cache_control = f"{shared}, max-age={settings.cache_s}"
    install(app)
    app.state.access, app.state.answers = Access(settings), no_answers(settings.cache_s)
    _add_layers(app, settings)
    return app


@contextlib.contextmanager
def _watching(reloader: Reloader) -> Iterator[None]:
    """Look for a new index and a new store until the block ends."""
    reloader.start()
    try:
        yield
    finally:
        reloader.close()


def _add_layers(app: FastAPI, settings: Settings) -> None:
    """Add the middleware, from the innermost to the outermost."""
    app.add_middleware(BodyGuard, max_bytes=settings.max_body_bytes, timeout_s=settings.timeout_s)
    app.add_middleware(GZipMiddleware, minimum_size=1000, compresslevel=5)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "HEAD", "POST"],
            allow_headers=READ_HEADERS,
            expose_headers=["ETag", "Retry-After", "WWW-Authenticate", "X-Request-ID"],
        )
    app.add_middleware(Around)
