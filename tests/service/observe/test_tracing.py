"""Spans of OpenTelemetry: what a request spends its time on, without saying where somebody was."""

import socket
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from fastapi.testclient import TestClient
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from service.engine.batcher import Batcher
from service.engine.engine import Engine
from service.errors import SettingsError
from service.http.server import serve
from service.observe import tracing
from service.settings import Settings
from tests.service.conftest import serving
from tests.service.http.test_access import changed
from tests.service.http.test_app import MONACO

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    with tracing.recorded_spans(SimpleSpanProcessor(exporter)):
        yield exporter


def named(spans: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    found = spans.get_finished_spans()
    assert len({span.name for span in found}) == len(found)
    return {span.name: span for span in found}


def test_a_request_is_a_span_and_its_stages_are_in_it(
    client: TestClient, spans: InMemorySpanExporter
) -> None:
    place = {"lat": 43.73841, "lon": 7.42461}
    assert (
        client.get("/neighbors", params=place, headers={"traceparent": CALLER}).status_code == 200
    )
    found = named(spans)
    assert found.keys() == {"GET /neighbors", "render", "encode", "search"}
    request = found["GET /neighbors"]
    assert request.kind == SpanKind.SERVER
    assert request.attributes == {
        "http.request.method": "GET", "http.route": "/neighbors", "http.response.status_code": 200,
    }  # fmt: skip
    assert f"{request.context.trace_id:032x}-{request.parent.span_id:016x}" == CALLER[3:-3]  # type: ignore[union-attr]
    for stage in ("render", "encode", "search"):
        span = found[stage]
        assert span.parent == request.context, stage
        assert request.start_time <= span.start_time <= span.end_time <= request.end_time  # type: ignore[operator]
    assert found["render"].end_time <= found["encode"].start_time  # type: ignore[operator]
    assert not any("43.73" in span.to_json() for span in found.values())


def test_a_long_batch_has_all_its_stages_in_one_trace(
    client: TestClient, spans: InMemorySpanExporter
) -> None:
    locations = [{"lat": 43.7384 + n * 1e-5, "lon": 7.4246} for n in range(40)]
    assert client.post("/embed", json={"locations": locations}).status_code == 200
    found = spans.get_finished_spans()
    (request,) = (span for span in found if span.name == "POST /embed")
    assert sum(span.name == "render" for span in found) == 3
    assert {span.context.trace_id for span in found} == {request.context.trace_id}
    assert all(span.parent == request.context for span in found if span is not request)


def test_a_failure_is_one_and_a_refusal_is_none(
    client: TestClient, engine: Engine, spans: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert client.get("/embed", params={"lat": 0, "lon": 0}).status_code == 404
    assert client.get("/nowhere/43.7384").status_code == 404
    with monkeypatch.context() as patch:
        patch.setattr(Engine, "known", lambda *_: 1 / 0)
        assert client.get("/embed", params=MONACO).status_code == 500
    refused, unknown, failed = spans.get_finished_spans()
    assert (refused.name, refused.status.status_code) == ("GET /embed", StatusCode.UNSET)
    assert unknown.name == "GET none"
    assert failed.status.status_code == StatusCode.ERROR
    assert failed.attributes["http.response.status_code"] == 500  # type: ignore[index]


def test_one_batch_for_several_requests_is_linked_to_them_all(spans: InMemorySpanExporter) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def encode(tiles: np.ndarray) -> np.ndarray:
        begun.set()
        go_on.wait(30)
        return np.zeros((len(tiles), 1), np.float32)

    batcher = Batcher(encode)

    def ask(method: str) -> None:
        with tracing.request_span(method, {}):
            batcher.encode(np.zeros((1, 1, 2, 2), np.uint8))

    with ThreadPoolExecutor(4) as threads:
        asked = [threads.submit(ask, "first")]
        assert begun.wait(30)
        asked += [threads.submit(ask, f"later {number}") for number in range(3)]
        while batcher._jobs.qsize() < 3:
            time.sleep(0.001)
        go_on.set()
        for one in asked:
            one.result()
    batcher.close()
    found = spans.get_finished_spans()
    requests = {span.context.span_id for span in found if span.kind == SpanKind.SERVER}
    first, second = (span for span in found if span.name == "encode")
    assert not first.links
    causes = [second.parent.span_id, *(link.context.span_id for link in second.links)]  # type: ignore[union-attr]
    assert sorted(causes) == sorted(requests - {first.parent.span_id})  # type: ignore[union-attr]


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sequence[tuple[str, bytes]]]:
    """What a collector on this machine is sent."""
    received: list[tuple[str, bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append((self.path, self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{http.server_port}")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
        monkeypatch.setenv("OTEL_SERVICE_NAME", "map-of-monaco")
        yield received
        http.shutdown()


def test_a_service_sends_its_spans_to_a_collector(
    settings: Settings, engine: Engine, collector: Sequence[tuple[str, bytes]]
) -> None:
    with serving(changed(settings, tracing=True), engine) as client:
        assert client.get("/embed", params={"lat": 43.73842, "lon": 7.42461}).status_code == 200
    assert {path for path, _ in collector} == {"/v1/traces"}
    sent = b"".join(body for _, body in collector)
    for word in (b"GET /embed", b"render", b"encode", b"map-of-monaco"):
        assert word in sent, word


def test_without_a_wish_there_are_none_and_without_the_extra_the_wish_is_refused(
    settings: Settings, engine: Engine, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert client.get("/embed", params=MONACO, headers={"traceparent": CALLER}).status_code == 200
    assert tracing.cause() is None
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    wishing = changed(settings, tracing=True)
    with (
        socket.socket() as bound,
        pytest.raises(SettingsError, match=r"pip install 'loc2vec\[otel\]'"),
    ):
        serve(wishing, bound, lambda: pytest.fail("it started"))
    with pytest.raises(SettingsError), serving(wishing, engine):
        pass
