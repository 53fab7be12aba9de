"""Bodies, time, headers: what is around every request."""

import asyncio
import gzip
import json
import logging
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from fastapi.testclient import TestClient

from service.engine.batcher import Batcher
from service.engine.engine import Engine
from service.errors import BusyError, SlowError
from service.http.gate import OUTLASTED, THREADS, Gate
from service.settings import Settings
from tests.service.conftest import serving
from tests.service.http.test_access import changed
from tests.service.http.test_app import MONACO, check_problem

STRANGE = [
    "nan",
    "inf",
    "-inf",
    "1e308",
    "-1e308",
    "1e999",
    "٤٣.٧",
    "４３",
    "0x2b",
    "",
    " ",
    "null",
    "1_0.0",
    "43,7",
    "--1",
]


def test_a_long_body_is_refused(client: TestClient) -> None:
    long = json.dumps({"locations": [MONACO] * 40_000}).encode()
    assert len(long) > 1_000_000
    assert "1000000 bytes" in check_problem(client.post("/embed", content=long), 413)["detail"]

    def parts() -> Iterator[bytes]:  # sent in chunks, without a length
        for start in range(0, len(long), 65536):
            yield long[start : start + 65536]

    check_problem(client.post("/embed", content=parts()), 413)
    headers = {"content-length": "9" * 30}
    check_problem(client.post("/embed", content=b"{}", headers=headers), 413)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "gzip, gzip", "x"])
def test_a_compressed_body_is_refused_as_it_is(client: TestClient, encoding: str) -> None:
    bomb = gzip.compress(b"[" * 10_000_000)
    headers = {"content-encoding": encoding, "content-type": "application/json"}
    check_problem(client.post("/embed", content=bomb, headers=headers), 415)


@pytest.mark.parametrize("depth", [1000, 100_000])
def test_a_deep_body_is_refused(client: TestClient, depth: int) -> None:
    headers = {"content-type": "application/json"}
    check_problem(client.post("/embed", content=b"[" * depth + b"]" * depth, headers=headers), 422)


@pytest.mark.parametrize(
    "body", [b"\xff\xfe", b"\x80g", b'{"locations": [{"place": "\xe9"}]}', b"", b"{", b"NaN"]
)
def test_a_body_that_is_no_json_is_refused(client: TestClient, body: bytes) -> None:
    for path in ("/embed", "/neighbors", "/arithmetic"):
        problem = check_problem(
            client.post(path, content=body, headers={"content-type": "application/json"}), 422
        )
        assert problem["detail"].startswith("body")


def test_half_a_character_is_no_name(client: TestClient) -> None:
    body = b'{"locations": [{"place": "\\ud800"}]}'
    answer = client.post("/embed", content=body, headers={"content-type": "application/json"})
    assert answer.status_code in (404, 422), answer.text


PAIR = {**MONACO, "to_lat": 43.7277, "to_lon": 7.4157}
NUMBERS = {
    "/embed": MONACO,
    "/neighbors": MONACO,
    "/tile.png": MONACO,
    "/walk": MONACO,
    "/interpolate": PAIR,
    "/compare": PAIR,
}


@pytest.mark.parametrize("path", NUMBERS)
def test_strange_numbers_are_no_places(client: TestClient, path: str) -> None:
    good = NUMBERS[path]
    # so that nothing else is wrong with the others
    assert client.get(path, params=good).status_code == 200
    for name in good:
        for value in STRANGE:
            answer = client.get(path, params={**good, name: value})
            assert answer.status_code in (404, 422), (name, value)
            check_problem(answer, answer.status_code)


@pytest.mark.parametrize(
    ("lat", "lon"),
    [
        (90, 0),
        (-90, 0),
        (0, 180),
        (0, -180),
        (-0.0, -0.0),
        (43.7384, -180),
        (90, 180),
        (5e-324, 5e-324),
    ],
)
def test_the_ends_of_the_earth_are_outside(client: TestClient, lat: float, lon: float) -> None:
    for path, good in NUMBERS.items():
        check_problem(client.get(path, params={**good, "lat": lat, "lon": lon}), 404)


def test_headers_of_safety_are_on_every_answer(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(Engine, "tile", fail)
    for path, status in (
        ("/embed", 422),
        ("/healthz", 200),
        ("/docs", 200),
        ("/nothing", 404),
        ("/tile.png", 500),
    ):
        answer = client.get(path, params=MONACO if status == 500 else {})
        assert answer.status_code == status
        assert answer.headers["x-content-type-options"] == "nosniff"
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe-inline" not in re.findall("script-src([^;]*)", policy)[0]
        assert "server" not in answer.headers


def test_a_request_has_one_id_everywhere(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(Engine, "tile", fail)
    with caplog.at_level(logging.INFO, "service"):
        answer = client.get("/tile.png", params=MONACO, headers={"x-request-id": "mine-1"})
    assert answer.headers["x-request-id"] == answer.json()["request_id"] == "mine-1"
    assert any("mine-1" in record.getMessage() for record in caplog.records)
    for given in ("a b", "x" * 65, "<script>", ""):
        assert re.fullmatch(
            "[0-9a-f]{32}",
            client.get("/healthz", headers={"x-request-id": given}).headers["x-request-id"],
        )


def test_figures_tell_what_was_done(client: TestClient) -> None:
    def figure(name: str) -> float:
        text = client.get("/metrics").text
        found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    names = (
        'loc2vec_requests_total{method="GET",route="/embed",status="200"}',
        'loc2vec_vectors_total{source="made"}',
        'loc2vec_vectors_total{source="cache"}',
        'loc2vec_stage_seconds_count{stage="render"}',
        'loc2vec_stage_seconds_count{stage="encode"}',
        'loc2vec_stage_seconds_count{stage="search"}',
    )
    before = [figure(name) for name in names]
    client.get("/embed", params=MONACO)
    client.get("/neighbors", params=MONACO)
    assert [figure(name) - count for name, count in zip(names, before, strict=True)] == [
        1,
        1,
        1,
        1,
        1,
        1,
    ]
    assert figure("loc2vec_index_places") > 40
    assert "43.7384" not in client.get("/metrics").text


def test_pages_of_other_origins_may_ask_when_the_setting_says_so(
    settings: Settings, engine: Engine
) -> None:
    for origins, said in (((), None), (("https://a.example",), "https://a.example")):
        with serving(changed(settings, cors_origins=origins), engine) as client:
            answer = client.get("/embed", params=MONACO, headers={"origin": "https://a.example"})
            assert answer.headers.get("access-control-allow-origin") == said
            other = client.get("/embed", params=MONACO, headers={"origin": "https://b.example"})
            assert "access-control-allow-origin" not in other.headers


def test_a_full_queue_says_so_at_once_while_health_answers(
    settings: Settings, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    free, begun = threading.Event(), threading.Event()

    def slow(self: Engine, places: list[object]) -> np.ndarray:
        begun.set()
        assert free.wait(30)
        return np.zeros((len(places), 16), np.float32)

    engine.forget()
    monkeypatch.setattr(Engine, "embed", slow)
    with serving(changed(settings, queue_places=2), engine) as client:
        first = threading.Thread(
            target=client.post, args=("/embed",), kwargs={"json": {"locations": [MONACO] * 2}}
        )
        first.start()
        assert begun.wait(10)
        times, health = [], []
        for _ in range(20):
            start = time.perf_counter()
            answer = client.get("/embed", params=MONACO)
            times.append(time.perf_counter() - start)
            check_problem(answer, 503)
            assert answer.headers["retry-after"] == "1"
            start = time.perf_counter()
            assert client.get("/healthz").status_code == 200
            health.append(time.perf_counter() - start)
        free.set()
        first.join()
        assert min(times) < 0.05  # the others are what else the machine does
        assert min(health) < 0.1
        assert client.get("/embed", params=MONACO).status_code == 200


def test_what_takes_too_long_is_given_up_but_counted() -> None:
    free = threading.Event()

    async def ask() -> None:
        gate = Gate(2, 0.05)
        try:
            with pytest.raises(SlowError):
                await gate.run(2, free.wait, 10)
            with pytest.raises(BusyError):  # it is still being worked at
                await gate.run(1, str)
            free.set()
            for _ in range(200):
                await asyncio.sleep(0.01)
                try:
                    assert await gate.run(1, str, 7) == "7"
                except BusyError:
                    continue
                return
            pytest.fail("the place in the queue was never given back")
        finally:
            free.set()
            gate.close()

    asyncio.run(ask())


def test_who_cancels_a_request_is_not_told_that_the_service_stops() -> None:
    free = threading.Event()

    async def ask() -> None:
        gate = Gate(9, 30)
        try:
            asked = [asyncio.create_task(gate.run(1, free.wait, 10)) for _ in range(2)]
            await asyncio.sleep(0.05)
            asked[0].cancel("a client that waits no longer")
            asked[1].cancel(OUTLASTED)
            with pytest.raises(asyncio.CancelledError):
                await asked[0]
            with pytest.raises(BusyError, match="is stopping"):
                await asked[1]
        finally:
            free.set()
            gate.close()

    asyncio.run(ask())


def test_what_waits_at_a_closed_gate_is_told_that_the_service_stops() -> None:
    free = threading.Event()

    async def ask() -> None:
        gate = Gate(99, 30)
        asked = [
            asyncio.create_task(gate.run(1, free.wait, 10, client=str(number % 3)))
            for number in range(THREADS + 1)
        ]
        await asyncio.sleep(0.05)
        threading.Timer(0.1, free.set).start()
        gate.close()
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert [type(answer) for answer in answers] == [bool] * THREADS + [BusyError]

    asyncio.run(ask())


def test_an_answer_that_comes_with_the_deadline_is_given() -> None:
    async def ask() -> None:
        gate = Gate(9, 0.1)
        try:
            for work, expected in (
                (lambda: 7, 7),
                (_time_out, TimeoutError),
                (lambda: 1 / 0, ZeroDivisionError),
            ):
                asked = asyncio.create_task(gate.run(1, work))
                await asyncio.sleep(0)
                # a loop that has much to do: the answer and the deadline come at once
                time.sleep(0.2)
                (answer,) = await asyncio.gather(asked, return_exceptions=True)
                assert answer == expected or type(answer) is expected
        finally:
            gate.close()

    asyncio.run(ask())


def test_an_error_of_the_work_is_its_own() -> None:
    async def ask() -> None:
        gate = Gate(1, 5)
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                await gate.run(1, lambda: 1 / 0)
            with pytest.raises(TimeoutError, match="of the work"):
                await gate.run(1, _time_out)
        gate.close()

    asyncio.run(ask())


def _time_out() -> None:
    raise TimeoutError("of the work")


def test_a_slow_body_is_given_up(settings: Settings, engine: Engine) -> None:
    async def ask() -> list[int]:
        statuses: list[int] = []

        async def receive() -> dict[str, object]:
            await asyncio.sleep(30)
            return {}

        async def send(message: dict[str, object]) -> None:
            if message["type"] == "http.response.start":
                statuses.append(int(str(message["status"])))

        scope = {
            "type": "http",
            "method": "POST",
            "path": "/embed",
            "raw_path": b"/embed",
            "query_string": b"",
            "headers": [(b"content-type", b"application/json")],
            "client": ("127.0.0.1", 1),
            "root_path": "",
            "server": ("127.0.0.1", 80),
            "scheme": "http",
            "http_version": "1.1",
            "asgi": {"version": "3.0"},
        }
        await client.app(scope, receive, send)  # type: ignore[arg-type]
        return statuses

    with serving(changed(settings, timeout_s=0.1), engine) as client:
        assert asyncio.run(ask()) == [408]


def test_tiles_of_several_requests_are_encoded_together() -> None:
    sizes: list[int] = []
    begun, go_on = threading.Event(), threading.Event()

    def encode(tiles: np.ndarray) -> np.ndarray:
        sizes.append(len(tiles))
        begun.set()
        go_on.wait(30)
        return tiles.reshape(len(tiles), -1)[:, :1].astype(np.float32)

    batcher = Batcher(encode)

    def ask(number: int) -> float:
        return float(batcher.encode(np.full((1, 1, 2, 2), number, np.uint8))[0, 0])

    with ThreadPoolExecutor(30) as threads:
        first = threads.submit(ask, 0)
        assert begun.wait(30)
        others = [threads.submit(ask, number) for number in range(1, 30)]
        while batcher._jobs.qsize() < 29:
            time.sleep(0.001)
        go_on.set()
        assert [first.result(), *(other.result() for other in others)] == list(range(30))
    batcher.close()
    assert sizes == [1, 29]


def test_a_batch_that_fails_fails_for_those_who_wait_for_it() -> None:
    batcher = Batcher(lambda tiles: np.zeros(1 // 0, np.float32))
    for _ in range(2):
        with batcher.expected(), pytest.raises(ZeroDivisionError):
            batcher.encode(np.zeros((1, 1, 2, 2), np.uint8))
    batcher.close()


def test_documentation_comes_from_here(client: TestClient) -> None:
    page = client.get("/docs").text
    assert "http://" not in page
    assert "https://" not in page
    assert "<script>" not in page, "the policy forbids inline scripts"
    for name in re.findall('(?:src|href)="([^"]+)"', page):
        assert client.get(f"/{name}").status_code == 200
    assert "SwaggerUIBundle" in client.get("/docs/swagger-ui-bundle.js").text
    assert client.get("/openapi.json").json()["openapi"].startswith("3.1")
