"""A real `loc2vec serve`: stops, several processes, slow clients, floods."""

import collections
import contextlib
import itertools
import json
import os
import re
import resource
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import httpx2
import pytest

from loc2vec.embed.files import Vectors
from service.http.connections import use_all_files
from service.settings import Settings
from tests.service.http.test_app import MONACO

BEGUN = (b"GET /em", b"POST /embed HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
SERVE = [sys.executable, "-m", "loc2vec", "serve", "--port", "0"]


@contextlib.contextmanager
def running(
    settings: Settings, log: int | IO[str] = subprocess.PIPE, **environment: str
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server process and its URL; its standard error goes to a pipe, or to a file."""
    things = (
        "--store",
        settings.store.location,
        "--model",
        settings.model,
        "--index",
        str(settings.index),
    )
    told = {f"LOC2VEC_{name.upper()}": value for name, value in environment.items()}
    with subprocess.Popen(
        [*SERVE, *things],
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        env=os.environ | told,
    ) as process:
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            assert line.startswith("Ready: ")
            yield process, line.removeprefix("Ready: ").strip()
        finally:
            process.kill()


def locations(vectors: Vectors, shift: float) -> list[dict[str, float]]:
    """Places near those of the index, so that each has to be drawn."""
    return [
        {"lat": lat + shift, "lon": lon}
        for lat, lon in zip(vectors.lat.tolist(), vectors.lon.tolist(), strict=True)
    ]


def wait_until_begun(url: str) -> None:
    """Wait until the service works on a request."""
    end = time.monotonic() + 60
    while re.search(
        r"^loc2vec_queued_places 0\.0$", httpx2.get(f"{url}/metrics", timeout=60).text, re.MULTILINE
    ):
        assert time.monotonic() < end, "nothing was asked"
        time.sleep(0.02)


def test_a_stop_waits_for_answers_that_were_begun(settings: Settings, vectors: Vectors) -> None:
    with running(
        settings, render_processes="1", log_format="json", drain_s="90", timeout_s="90"
    ) as (
        process,
        url,
    ):
        asked = {"locations": locations(vectors, 1e-5)}
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(httpx2.post, f"{url}/embed", json=asked, timeout=90)
            wait_until_begun(url)
            process.send_signal(signal.SIGTERM)
            assert answer.result().status_code == 200
            _, log = process.communicate(timeout=90)
    assert process.returncode == -signal.SIGTERM
    lines = [json.loads(line) for line in log.splitlines()]
    (asked_line,) = [
        line for line in lines if line["logger"] == "service.access" and line["path"] != "/metrics"
    ]
    assert (asked_line["path"], asked_line["method"]) == ("/embed", "POST")
    assert len(asked_line["request_id"]) == 32


def test_a_stop_does_not_wait_for_ever(settings: Settings, vectors: Vectors) -> None:
    with running(settings, render_processes="1", drain_s="0") as (process, url):
        many = [place for n in range(15) for place in locations(vectors, 1e-6 * (n + 1))][:128]
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(httpx2.post, f"{url}/embed", json={"locations": many}, timeout=60)
            wait_until_begun(url)
            process.send_signal(signal.SIGTERM)
            assert answer.result().status_code == 503
            process.communicate(timeout=10)
    assert process.returncode == -signal.SIGTERM


def test_several_processes_answer_as_one_and_their_parent_stays_small(settings: Settings) -> None:
    with (
        running(settings, workers="2", render_processes="0") as (process, url),
        ThreadPoolExecutor(8) as pool,
    ):
        answers = list(
            pool.map(lambda _: httpx2.get(f"{url}/embed", params=MONACO, timeout=60), range(12))
        )
        assert {answer.status_code for answer in answers} == {200}
        assert len({answer.json()["index"] for answer in answers}) == 1
        figures = [httpx2.get(f"{url}/metrics", timeout=60).text for _ in range(4)]
        assert all(
            'loc2vec_requests_total{method="GET",route="/embed",status="200"} 12.0' in text
            for text in figures
        )
        status = Path(f"/proc/{process.pid}/status").read_text()
        assert int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) < 150_000
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "Traceback" not in log


@pytest.fixture(scope="module")
def small(settings: Settings) -> Iterator[str]:
    """The URL of a service with a short queue."""
    with running(settings, queue_places="8", cache_s="0", timeout_s="5", render_processes="1") as (
        process,
        url,
    ):
        drain = threading.Thread(target=process.communicate)
        drain.start()
        yield url
        process.kill()
        drain.join()


def rate(url: str, seconds: float) -> float:
    """Return how many questions a second one client gets answered."""
    with httpx2.Client() as client:
        start, count = time.perf_counter(), 0
        while time.perf_counter() - start < seconds:
            assert client.get(f"{url}/healthz").status_code == 200
            count += 1
    return count / seconds


@pytest.mark.parametrize(
    ("slow", "seconds"), [(200, 0.3), pytest.param(1000, 5.0, marks=pytest.mark.soak)]
)
def test_slow_connections_are_nobodys_burden(small: str, slow: int, seconds: float) -> None:
    address = (urlsplit(small).hostname, urlsplit(small).port)
    alone = statistics.median(rate(small, seconds) for _ in range(3))
    with contextlib.ExitStack() as stack:
        for begun in itertools.islice(itertools.cycle(BEGUN), slow):
            connection = stack.enter_context(socket.create_connection(address))
            connection.sendall(begun)
        beside = statistics.median(rate(small, seconds) for _ in range(3))
    assert beside > (0.9 if slow == 1000 else 0.2) * alone  # the short measurement is a rough one


def health_of(url: str, seconds: float) -> list[float]:
    """Return how long /healthz took to answer, each time; to be run in a process of its own."""
    taken, end = [], time.monotonic() + seconds
    with httpx2.Client(timeout=30) as client:
        while time.monotonic() < end:
            start = time.perf_counter()
            assert client.get(f"{url}/healthz").status_code == 200
            taken.append(time.perf_counter() - start)
            time.sleep(0.05)
    return taken


@pytest.mark.parametrize("seconds", [1.5, pytest.param(60.0, marks=pytest.mark.soak)])
def test_a_flood_is_refused_quickly_and_passes(
    small: str, vectors: Vectors, seconds: float
) -> None:
    places = itertools.cycle([place for n in range(40) for place in locations(vectors, 1e-6 * n)])
    crowd = 60

    def ask(client: httpx2.Client, answers: list[int]) -> None:
        answers.append(client.get(f"{small}/embed", params=next(places)).status_code)

    def flood(a_second: float, answers: list[int]) -> None:
        """Ask at a rate, also when the answers do not keep up with it."""
        begin = time.monotonic()
        with httpx2.Client(timeout=30) as client:
            for number in itertools.count(1):
                ask(client, answers)
                now = time.monotonic() - begin
                if now > seconds:
                    return
                time.sleep(max(0.0, number / a_second - now))

    with httpx2.Client(timeout=30) as client:
        alone: list[int] = []
        end = time.monotonic() + min(3.0, seconds)
        while time.monotonic() < end:
            ask(client, alone)
    capacity = len(alone) / min(3.0, seconds)
    answers: list[int] = []
    with ProcessPoolExecutor(1, get_context("spawn")) as beside, ThreadPoolExecutor(crowd) as pool:
        watching = beside.submit(health_of, small, seconds)
        for flooding in [pool.submit(flood, 10 * capacity / crowd, answers) for _ in range(crowd)]:
            flooding.result()
        health = watching.result()
    statuses = collections.Counter(answers)
    assert set(statuses) <= {200, 404, 503}
    assert statuses[200] > 0
    if seconds == 60.0:
        # To be seen with -rP.
        busy = f"{len(answers) / seconds:.0f} with {dict(statuses)}"
        rate = f"{capacity:.0f} a second alone, then {busy}"
        print(f"{rate}; /healthz {1000 * statistics.median(health):.0f} ms")
        assert statuses[503] > 0
        assert statistics.median(health) < 0.1
        time.sleep(5)
    assert httpx2.get(f"{small}/embed", params=MONACO).status_code == 200  # it is over


def test_a_damaged_index_is_refused_at_the_start(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "index.json").write_text("{")
    things = (
        "--store",
        settings.store.location,
        "--model",
        settings.model,
        "--index",
        str(tmp_path),
    )
    done = subprocess.run(
        [*SERVE, "--workers", "2", *things], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "not an index folder" in done.stderr


def test_a_stop_ends_what_hangs(settings: Settings) -> None:
    with running(settings, render_processes="1", drain_s="1") as (process, url):
        children = [
            child
            for child in Path(f"/proc/{process.pid}/task/{process.pid}/children")
            .read_text()
            .split()
            if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()
        ]
        assert children
        for child in children:
            os.kill(int(child), signal.SIGSTOP)
        with ThreadPoolExecutor(1) as pool:
            place = {"lat": 43.7385, "lon": 7.4247}
            asked = pool.submit(httpx2.get, f"{url}/tile.png", params=place, timeout=60)
            wait_until_begun(url)
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=20)
            with contextlib.suppress(httpx2.HTTPError):  # cut off, or told that the service stops
                assert asked.result().status_code == 503
    for child in children:
        assert not Path(f"/proc/{child}").exists() or "Z" in Path(f"/proc/{child}/stat").read_text()


def test_workers_end_with_their_parent(settings: Settings) -> None:
    with running(settings, workers="2", render_processes="0") as (process, url):
        assert httpx2.get(f"{url}/healthz", timeout=60).status_code == 200
        process.kill()
        address, end = (urlsplit(url).hostname, urlsplit(url).port), time.monotonic() + 60
        while True:
            try:
                socket.create_connection(address).close()
            except ConnectionRefusedError:
                break
            assert time.monotonic() < end, "a worker still listens"
            time.sleep(0.1)


def test_the_parent_of_workers_loads_no_network() -> None:
    code = (
        "import sys, service.cli.serve, service.http.server, service.settings\n"
        "print({'torch', 'faiss', 'mapnik', 'fastapi'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_more_connections_than_files_are_refused_and_pass(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = "import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200)); "
    command = [sys.executable, "-c", limit + "runpy.run_module('loc2vec', run_name='__main__')"]
    monkeypatch.setattr("tests.service.http.test_server.SERVE", [*command, "serve", "--port", "0"])
    with running(settings, render_processes="1") as (process, url):
        address = (urlsplit(url).hostname, urlsplit(url).port)
        with contextlib.ExitStack() as stack, ThreadPoolExecutor(20) as pool:

            def connect(_: int) -> None:
                """Also where the kernel waits a second, because too many knock at once."""
                with contextlib.suppress(OSError):
                    stack.enter_context(socket.create_connection(address, timeout=5))

            list(pool.map(connect, range(400)))
        end = time.monotonic() + 60
        while True:
            with contextlib.suppress(httpx2.HTTPError):
                if httpx2.get(f"{url}/embed", params=MONACO, timeout=60).status_code == 200:
                    break
            assert time.monotonic() < end, "the service did not recover"
        process.terminate()
        _, log = process.communicate(timeout=60)
    assert "Traceback" not in log


def test_too_few_files_are_told_before_anything_is_opened(settings: Settings) -> None:
    limit = "import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)); "
    code = limit + "runpy.run_module('loc2vec', run_name='__main__')"
    command = [
        sys.executable,
        "-c",
        code,
        "serve",
        "--port",
        "0",
        "--store",
        settings.store.location,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "64 open files are allowed here, and a service needs 160" in done.stderr


def test_files_without_a_limit_are_not_all_used(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[int, int]] = []
    endless = (256, resource.RLIM_INFINITY)
    monkeypatch.setattr(resource, "getrlimit", lambda _: endless)
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: told.append(limits))
    use_all_files()
    assert told == [(65_536, resource.RLIM_INFINITY)]
