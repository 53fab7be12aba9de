"""No client takes the service away: shares, costs, clients that are gone, readiness."""

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.engine.engine import MOST_NEW, Engine
from service.errors import BusyError, GoneError, SlowError
from service.http import ready
from service.http.gate import SHARE, THREADS, Gate
from service.http.ready import Readiness
from service.http.routes.parts import MOST_NAMES
from service.patience import left_s
from service.settings import Settings
from tests.service.conftest import serving
from tests.service.http.test_access import changed
from tests.service.http.test_app import MONACO, check_problem
from tests.service.http.test_limits import PAIR


def with_gate(
    capacity: int,
    timeout_s: float,
    ask: Callable[[Gate, threading.Event], Coroutine[Any, Any, None]],
) -> None:
    """Run a coroutine with a gate and an event that ends what it lets wait."""
    free = threading.Event()

    async def run() -> None:
        gate = Gate(capacity, timeout_s)
        try:
            await ask(gate, free)
        finally:
            free.set()
            gate.close()

    asyncio.run(run())


def test_one_client_holds_half_of_the_threads_and_another_comes_at_once() -> None:
    async def ask(gate: Gate, free: threading.Event) -> None:
        begun: list[int] = []

        def work(number: int) -> None:
            begun.append(number)
            free.wait(30)

        greedy = [
            asyncio.create_task(gate.run(0, work, n, client="greedy")) for n in range(2 * THREADS)
        ]
        await asyncio.sleep(0.2)
        assert len(begun) == THREADS // SHARE
        assert await gate.run(0, str, 7, client="modest") == "7"
        free.set()
        await asyncio.gather(*greedy)

    with_gate(1000, 30, ask)


def test_one_client_fills_half_of_the_queue() -> None:
    async def ask(gate: Gate, free: threading.Event) -> None:
        first = asyncio.create_task(gate.run(50, free.wait, 30, client="greedy"))
        await asyncio.sleep(0)
        with pytest.raises(BusyError):
            await gate.run(1, str, client="greedy")
        assert await gate.run(50, str, 7, client="modest") == "7"
        free.set()
        await first

    with_gate(100, 30, ask)


def test_work_ends_when_nobody_waits_any_more() -> None:
    ended: list[str] = []

    def work(name: str) -> None:
        try:
            while True:
                left_s()
                time.sleep(0.01)
        except SlowError:
            ended.append(name)
            raise

    async def leave() -> None:
        await asyncio.sleep(0.1)

    async def ask(gate: Gate, free: threading.Event) -> None:
        with pytest.raises(GoneError):
            await gate.run(1, work, "gone", gone=leave)
        with pytest.raises(SlowError):
            await gate.run(1, work, "late")

    with_gate(10, 0.5, ask)
    assert sorted(ended) == ["gone", "late"]


def test_equal_names_are_searched_once_and_many_names_refused(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    locate = Engine.locate

    def counting(engine: Engine, where: Any) -> Any:
        asked.append(where)
        return locate(engine, where)

    monkeypatch.setattr(Engine, "locate", counting)
    body = {"locations": [{"place": "Stade Louis II"}] * 1000}
    answer = client.post("/embed", json=body)
    assert answer.status_code == 200, answer.text
    assert len(asked) == 1
    names = [{"place": f"name {number}"} for number in range(MOST_NAMES + 1)]
    assert (
        "at most 100"
        in check_problem(client.post("/embed", json={"locations": names}), 422)["detail"]
    )
    assert len(asked) == 1


def test_new_places_have_a_limit_and_known_ones_are_free(client: TestClient) -> None:
    def places(count: int) -> dict[str, Any]:
        return {"locations": [{**MONACO, "lat": MONACO["lat"] + 1e-6 * n} for n in range(count)]}

    problem = check_problem(client.post("/embed", json=places(MOST_NEW + 1)), 422)
    assert problem["detail"].startswith("129 places are new: give at most 128")
    assert client.post("/embed", json=places(MOST_NEW)).status_code == 200
    assert client.post("/embed", json=places(MOST_NEW + 50)).status_code == 200


def test_steps_times_neighbours_have_a_limit(client: TestClient) -> None:
    assert client.get("/interpolate", params={**PAIR, "steps": 10, "k": 100}).status_code == 200
    check_problem(client.get("/interpolate", params={**PAIR, "steps": 11, "k": 100}), 422)


def test_readiness_is_tried_once_a_second_and_told_within_one(
    settings: Settings, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[float] = []
    free = threading.Event()

    def try_out(_: Engine) -> None:
        tried.append(time.monotonic())
        if len(tried) > 1:
            free.wait(60)

    monkeypatch.setattr(Engine, "try_out", try_out)
    monkeypatch.setattr(ready, "BUSY_S", 1.5)
    with serving(settings, engine) as client:
        assert {client.get("/readyz").status_code for _ in range(20)} == {200}
        assert len(tried) == 1
        time.sleep(1.6)
        check_problem(client.get("/readyz"), 503)  # hangs: told all the same
        check_problem(client.get("/readyz"), 503)
        assert len(tried) == 2
        free.set()
        time.sleep(0.1)
        assert client.get("/readyz").json() == {"status": "ready"}


def test_a_busy_service_stays_ready_for_a_while() -> None:
    async def check() -> None:
        readiness = Readiness()

        async def quick() -> None:
            pass

        async def never() -> None:
            await asyncio.sleep(60)

        await readiness.check(quick)
        readiness._ended_s -= 2 * ready.KEPT_S
        await readiness.check(never)
        readiness._good_s -= 2 * ready.BUSY_S
        with pytest.raises(SlowError):
            await readiness.check(never)

    asyncio.run(check())


def test_a_client_that_is_gone_is_worked_for_no_more(
    settings: Settings, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = threading.Event()

    def slow(_: Engine, places: list[object]) -> object:
        try:
            while True:
                left_s()
                time.sleep(0.01)
        except SlowError:
            ended.set()
            raise

    engine.forget()
    monkeypatch.setattr(Engine, "embed_new", slow)
    with serving(changed(settings, timeout_s=300), engine) as client:
        asyncio.run(_ask_and_leave(client))
        assert ended.wait(10)


async def _ask_and_leave(client: TestClient) -> None:
    """Ask the application for a place, and close the connection soon after."""
    messages = [{"type": "http.request", "body": b"", "more_body": False}]
    query = f"lat={MONACO['lat']}&lon={MONACO['lon']}".encode()

    async def receive() -> dict[str, object]:
        if messages:
            return messages.pop()
        await asyncio.sleep(0.2)
        return {"type": "http.disconnect"}

    async def send(_: dict[str, object]) -> None:
        pass

    scope = {
        "type": "http", "method": "GET", "path": "/embed", "raw_path": b"/embed",
        "query_string": query, "headers": [], "client": ("127.0.0.1", 1), "root_path": "",
        "server": ("127.0.0.1", 80), "scheme": "http", "http_version": "1.1",
        "asgi": {"version": "3.0"},
    }  # fmt: skip
    await client.app(scope, receive, send)  # type: ignore[arg-type]
