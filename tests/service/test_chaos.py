"""The running service while processes, data, disk, database and network are taken from under it.

SOAK_S=1800 pytest -m soak tests/service/test_chaos.py -rP    # half an hour
"""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest

from loc2vec.embed.batch import Places, embed
from loc2vec.embed.files import Vectors
from loc2vec.encoder import LocationEncoder
from service.index.files.facts import FACTS
from service.index.index import NeighborIndex
from service.settings import Settings
from tests.disk import fill_disk, free_disk
from tests.postgres import Server
from tests.relay import Relay
from tests.service.engine.test_reload import moved
from tests.service.engine.test_store_replaced import otherwise
from tests.service.http.test_access import changed
from tests.service.http.test_server import running
from tiling.store.store import Store

# Clients in a row. What each thing does alone is tested beside: faults, hostile files, reloads.
pytestmark = [pytest.mark.untraced, pytest.mark.soak]

SOAK_S = int(os.environ.get("SOAK_S", "1800"))
DURATIONS = [
    pytest.param(8.0, id="short"),
    pytest.param(SOAK_S, marks=[pytest.mark.soak, pytest.mark.timeout(SOAK_S + 900)], id="soak"),
]
TIMEOUT_S = 20  # of the service
LATE_S = 25.0  # beyond it: what the machine does besides, in a test
RESTS_S = (0.8, 5.0)  # at most, between two things of a short and a long chaos
GONE_S = 120.0  # within which all is well again


class Chaos(threading.Thread):
    """Does several things in random order, again and again, until it is told to stop."""

    def __init__(self, things: Sequence[Callable[[], None]], seconds: float) -> None:
        """`seconds`: how long it lasts. A long one leaves the service time to recover."""
        super().__init__(daemon=True)
        self._things, self._random = things, random.Random(0)
        self._rest_s = RESTS_S[seconds >= 60]
        self._over = threading.Event()
        self.done: Counter[str] = Counter()

    def run(self) -> None:
        for thing in self._forever():
            if self._over.wait(self._random.uniform(0.1, self._rest_s)):
                return
            thing()
            self.done[thing.__name__] += 1

    def _forever(self) -> Iterator[Callable[[], None]]:
        while True:
            yield from self._random.sample(self._things, len(self._things))

    def end(self) -> None:
        """Stop, after what is being done."""
        self._over.set()
        self.join()


def children_of(pid: int) -> list[int]:
    """Return the processes that a process started, at the moment."""
    found: list[int] = []
    for thread in Path(f"/proc/{pid}/task").iterdir():
        try:
            found += map(int, (thread / "children").read_text().split())
        except OSError:
            continue
    return found


class Processes:
    """Of a running service: itself, and those that it started."""

    def __init__(self, pid: int) -> None:
        self._pid, self._random = pid, random.Random(1)

    def stop_one(self) -> None:
        self._signal_one(signal.SIGSTOP)

    def kill_one(self) -> None:
        self._signal_one(signal.SIGKILL)

    def _signal_one(self, number: int) -> None:
        if children := children_of(self._pid):
            _signal(self._random.choice(children), number)

    def fill_disk(self) -> None:
        for pid in (self._pid, *children_of(self._pid)):
            fill_disk(pid)

    def free_disk(self) -> None:
        for pid in (self._pid, *children_of(self._pid)):
            free_disk(pid)

    def mend(self) -> None:
        """Let all of them go on, and write."""
        self.free_disk()
        for child in children_of(self._pid):
            _signal(child, signal.SIGCONT)


class Watch:
    """A client that checks every answer: right, refused, and in time."""

    def __init__(self, url: str, right: Sequence[Any], places: Places) -> None:
        self._url, self._right, self._places = url, right, places
        self.statuses: Counter[tuple[str, int]] = Counter()
        self._http = httpx2.Client(timeout=TIMEOUT_S + LATE_S)

    def ask(self, number: int) -> None:
        """Ask one question of each kind."""
        at = number % len(self._places)
        lon, lat = self._places.lon_lat[at].tolist()
        place = {"lat": lat, "lon": lon}
        embedded = self._get("/embed", place)
        if embedded is not None:
            vector = np.array(embedded["embedding"], np.float32)
            assert any(np.allclose(vector, known[at], atol=1e-2) for known in self._right)
        near = self._get("/neighbors", {**place, "k": 3})
        if near is not None:
            distances = [each["distance"] for each in near["neighbors"]]
            assert distances == sorted(distances)
        self._get("/places", {"q": "monaco"})
        self._get("/readyz", {})
        assert self._http.get(f"{self._url}/healthz").status_code == 200

    def _get(self, path: str, asked: dict[str, Any]) -> Any:
        answer = self._http.get(self._url + path, params=asked)
        self.statuses[path, answer.status_code] += 1
        assert answer.status_code in (200, 503), answer.text
        if answer.status_code == 503:
            assert "retry-after" in answer.headers
        return answer.json() if answer.status_code == 200 else None

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def until_all_is_well(self, extra: dict[str, float]) -> None:
        """Wait until a place that nobody asked for is answered."""
        end = time.monotonic() + GONE_S
        while self._http.get(f"{self._url}/embed", params=extra).status_code != 200:
            assert time.monotonic() < end, "the service did not recover"
            time.sleep(0.2)


def vectors_of(store: Store, encoder: LocationEncoder, places: Places) -> Any:
    with store.open() as source:
        return embed(source, encoder, places, 0).embedding


def memory_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1000 for line in lines if line.startswith("VmRSS"))


def survive(
    process: subprocess.Popen[str], watch: Watch, chaos: Chaos, mend: Callable[[], None],
    seconds: float,
) -> None:  # fmt: skip
    """Ask while everything happens, then see that all is well, that memory is flat, and stop."""
    start = memory_mb(process.pid)
    chaos.start()
    end, number = time.monotonic() + seconds, 0
    try:
        while time.monotonic() < end:
            watch.ask(number := number + 1)
    finally:
        chaos.end()
        mend()
    watch.until_all_is_well({"lat": 43.7385, "lon": 7.4247})
    print(dict(chaos.done), dict(watch.statuses), f"{start:.0f} to {memory_mb(process.pid):.0f} MB")
    if seconds > 600:
        assert memory_mb(process.pid) < 1.5 * start + 300
    watch.close()
    process.send_signal(signal.SIGTERM)
    process.wait(60)


@contextlib.contextmanager
def attacked(settings: Settings, log: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A service whose log goes to a file; its end is shown when the test fails."""
    service = {"render_processes": "2", "cache_places": "3", "reload_s": "0.2"}
    try:
        with (
            log.open("w") as file,
            running(settings, file, timeout_s=str(TIMEOUT_S), **service) as (process, url),
        ):
            yield process, url
    except BaseException:
        print("".join(log.read_text().splitlines(keepends=True)[-200:]))
        raise


@pytest.mark.parametrize("seconds", DURATIONS)
def test_processes_stores_and_indexes_that_come_and_go(
    settings: Settings, own_store: Path, vectors: Vectors, encoder: LocationEncoder,
    places: Places, tmp_path: Path, seconds: float,
) -> None:  # fmt: skip
    good = [own_store.with_name("one.gpkg"), own_store.with_name("two.gpkg")]
    shutil.copy(own_store, good[0])
    otherwise(own_store, good[1])
    few = Places(places.lon_lat[:12])
    right = [vectors_of(Store.at(store), encoder, few) for store in good]
    index = tmp_path / "index"
    NeighborIndex.build(vectors, index)
    rng = random.Random(1)

    def replace_store() -> None:
        copy = shutil.copy(rng.choice(good), own_store.with_name("next.gpkg"))
        Path(copy).replace(own_store)

    def spoil_store() -> None:
        bad = own_store.with_name("bad.gpkg")
        bad.write_bytes(good[0].read_bytes()[: rng.randrange(200_000)])
        bad.replace(own_store)

    def replace_index() -> None:
        NeighborIndex.build(moved(vectors, rng.choice([0.0, 1.0])), index)

    def spoil_index() -> None:
        (index / FACTS).write_bytes(rng.randbytes(rng.randrange(500)))

    own = changed(settings, store=str(own_store), index=index)
    files = [replace_store, spoil_store, replace_index, spoil_index]
    with attacked(own, tmp_path / "log") as (process, url):
        its = Processes(process.pid)
        chaos = Chaos([*files, its.stop_one, its.kill_one, its.fill_disk, its.free_disk], seconds)
        survive(process, Watch(url, right, few), chaos, its.mend, seconds)


@pytest.mark.parametrize("seconds", DURATIONS)
def test_a_database_that_hangs_is_cut_off_and_comes_back(
    settings: Settings, server: Server, monaco_database: str, encoder: LocationEncoder,
    places: Places, tmp_path: Path, seconds: float,
) -> None:  # fmt: skip
    few = Places(places.lon_lat[:12])
    right = [vectors_of(Store.at(monaco_database), encoder, few)]
    backends = "SELECT pid FROM pg_stat_activity WHERE usename = 'loc2vec_api'"
    stopped: list[int] = []

    def hang() -> None:
        stopped[:] = map(int, server.psql(backends).split())
        for pid in stopped:
            _signal(pid, signal.SIGSTOP)

    def go_on() -> None:
        for pid in stopped:
            _signal(pid, signal.SIGCONT)
        stopped.clear()

    def cut() -> None:
        server.psql(backends.replace("pid", "pg_terminate_backend(pid)", 1))

    def restart() -> None:
        go_on()
        server.restart("immediate")

    secret = dict(Store.at(monaco_database).secrets)
    with contextlib.ExitStack() as stack:
        relay = stack.enter_context(Relay(server.port))
        stack.callback(go_on)
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        for name, value in secret.items():
            patch.setenv(name, value)
        away = monaco_database.replace(f":{server.port}/", f":{relay.port}/")
        own = changed(settings, store=away)
        process, url = stack.enter_context(attacked(own, tmp_path / "log"))
        things = [hang, go_on, cut, restart, relay.swallow, relay.pass_on]
        survive(process, Watch(url, right, few), Chaos(things, seconds), relay.pass_on, seconds)


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
