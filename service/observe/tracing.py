"""Spans of OpenTelemetry (extra `otel`): requests and their stages render, encode, search.

Off by default. OpenTelemetry's own variables configure the export: OTEL_EXPORTER_OTLP_ENDPOINT,
OTEL_SERVICE_NAME and so on. Spans hold no coordinates or names, because these may reveal where
somebody was. OpenTelemetry's instrumentation of ASGI would record the whole URL.
"""

import contextlib
import importlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from service.errors import SettingsError

Span = Any  # OpenTelemetry's, which may not be installed
Cause = Any  # the context of a span, in which another one has its reason

_tracers: list[Any] = []  # the one in use; none while spans are off


def require_tracing() -> None:
    """Raise `SettingsError` when the extra is missing."""
    try:
        importlib.import_module("opentelemetry.exporter.otlp.proto.http.trace_exporter")
    except ImportError as error:
        raise SettingsError(
            "LOC2VEC_TRACING needs more packages: pip install 'loc2vec[otel]'"
        ) from error


@contextlib.contextmanager
def exported_spans() -> Iterator[None]:
    """Export the spans of the block as the environment configures it.

    Raises `SettingsError` when the extra is missing.
    """
    require_tracing()
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    with recorded_spans(BatchSpanProcessor(OTLPSpanExporter())):
        yield


@contextlib.contextmanager
def recorded_spans(processor: Any) -> Iterator[None]:
    """Hand the spans of the block to a span processor."""
    from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import TracerProvider

    # Attributes from the environment win.
    provider = TracerProvider(
        resource=Resource({SERVICE_NAME: "loc2vec"}).merge(OTELResourceDetector().detect())
    )
    provider.add_span_processor(processor)
    _tracers.append(provider.get_tracer("loc2vec"))
    try:
        yield
    finally:
        _tracers.pop()
        provider.shutdown()


@contextlib.contextmanager
def request_span(method: str, headers: Mapping[str, str]) -> Iterator[Span | None]:
    """Make a span of the block, which answers a request; its `traceparent` header is the parent."""
    if not _tracers:
        yield None
        return
    from opentelemetry.propagate import extract
    from opentelemetry.trace import SpanKind

    with _tracers[-1].start_as_current_span(
        method, extract(headers), SpanKind.SERVER, {"http.request.method": method}
    ) as span:
        yield span


def answered(span: Span | None, method: str, route: str, status: int) -> None:
    """Set the route and the status of a request's span."""
    if span is None:
        return
    from opentelemetry.trace import StatusCode

    span.update_name(f"{method} {route}")
    span.set_attributes({"http.route": route, "http.response.status_code": status})
    if status >= 500 or not status:
        span.set_status(StatusCode.ERROR)


@contextlib.contextmanager
def stage_span(name: str, causes: Sequence[Cause] = ()) -> Iterator[None]:
    """Make a span of the block; the first of `causes` is its parent, the others are links.

    Without causes, the current span is the parent.
    """
    if not _tracers:
        yield
        return
    from opentelemetry.trace import Link, NonRecordingSpan, set_span_in_context

    known = [cause for cause in causes if cause is not None]
    parent = set_span_in_context(NonRecordingSpan(known[0])) if known else None
    links = [Link(cause) for cause in known[1:]]
    with _tracers[-1].start_as_current_span(name, parent, links=links):
        yield


def cause() -> Cause | None:
    """Return the context of the span around, for a thread that goes on with the work."""
    if not _tracers:
        return None
    from opentelemetry.trace import get_current_span

    return get_current_span().get_span_context()
