"""The dearest question of each route that the service accepts: CPU seconds, and the event loop.

The service runs in this process, with processes that render. Each route is asked what its limits
allow, about the densest places and the commonest names of the store. CPU is that of all processes
and of this client. `loop ms` is the longest step of the event loop, in CPU time: nobody else is
answered meanwhile.

    python benchmarks/dearest.py --store monaco.gpkg --index monaco.index [--json]
"""

import asyncio
import http.client
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import click
import numpy as np
import shapely
import uvicorn

from service.engine.engine import MOST_NEW, Engine
from service.http.app import create_app
from service.http.routes.parts import MOST_NAMES, MOST_PARAMETERS
from service.http.schemas.base import MAX_NEIGHBORS
from service.http.schemas.questions import MAX_LOCATIONS, MAX_STEPS
from service.http.server import bind
from service.settings import Settings
from tiling.cli.options import StoreType
from tiling.geo.mercator import to_world
from tiling.store.store import Store

MOST_CPU_S, MOST_LOOP_MS = 2.0, 50.0
TICKS = os.sysconf("SC_CLK_TCK")
WORLD = "-180,-90,180,90"
NAMES_TRIED = 3000  # of the store, for the dearest of them


@dataclass(frozen=True, slots=True)
class Row:
    """What one question cost."""

    route: str
    question: str
    status: int
    cpu_s: float
    loop_ms: float
    bytes: int


@dataclass(frozen=True, slots=True)
class Question:
    """A question to a route; `what` says what is dear about it."""

    route: str
    what: str
    path: str
    body: bytes | None = None


class LongestStep:
    """The longest step of every event loop of this process, in CPU seconds of its thread."""

    def __init__(self) -> None:
        self.seconds, run = 0.0, asyncio.events.Handle._run

        def timed(handle: asyncio.events.Handle) -> None:
            start = time.thread_time()
            run(handle)
            self.seconds = max(self.seconds, time.thread_time() - start)

        asyncio.events.Handle._run = timed  # type: ignore[method-assign, assignment]


def cpu_s() -> float:
    """Return the CPU seconds of this process and of those it started that still run."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    for thread in Path("/proc/self/task").iterdir():
        children += (thread / "children").read_text().split()
    used = time.process_time()
    for pid in set(children):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        used += (int(fields[11]) + int(fields[12])) / TICKS
    return used


def densest(store: Store) -> tuple[float, float]:
    """Return the latitude and longitude about which most features of the store lie."""
    with store.open() as source:
        middle = source.outline().middle
        inside = middle[shapely.intersects_xy(source.coverage, *middle.T)]
    cells, counts = np.unique(np.round(inside, 3), axis=0, return_counts=True)
    lon, lat = cells[np.argmax(counts)]
    return float(lat), float(lon)


def dearest_names(engine: Engine, many: int) -> list[str]:
    """Return names of the store that mean one place, those first that take longest to find."""
    with engine.source.store.open() as source:
        names = sorted({name.name for name in source.names_in(source.bounds)})[:NAMES_TRIED]
    taken: list[tuple[float, str]] = []
    for name in names:
        start = time.thread_time()
        try:
            engine.locate(name)
        except Exception:  # noqa: S112 - ambiguous, outside: such a name is answered at once
            continue
        taken.append((time.thread_time() - start, name))
    return [name for _, name in sorted(taken, reverse=True)[:many]]


def questions(engine: Engine, lat: float, lon: float, names: Sequence[str]) -> Iterator[Question]:
    """Yield the dear questions of every route; the places of each are new."""
    number = count(1)

    def new() -> dict[str, float]:
        return {"lat": round(lat + 1e-7 * next(number), 7), "lon": lon}

    def get(route: str, what: str, **query: Any) -> Question:
        return Question(f"GET {route}", what, f"{route}?{urlencode(query, doseq=True)}")

    def post(route: str, what: str, body: Any) -> Question:
        return Question(f"POST {route}", what, route, json.dumps(body).encode())

    far = {"min_distance_m": 1000.0}
    to = {"to_lat": lat, "to_lon": lon}
    regions = list(engine.source.regions)[:20]
    everywhere = {"bbox": WORLD, "within": regions}
    yield get("/embed", "new place", **new())
    yield get("/embed", "unknown name", place="zzyzzx" * 40)
    yield post("/embed", f"{MOST_NEW} new places", {"locations": [new() for _ in range(MOST_NEW)]})
    equal: list[dict[str, Any]] = [{"place": name} for name in names[:1]] or [new()]
    yield post("/embed", f"{MAX_LOCATIONS} equal names", {"locations": equal * MAX_LOCATIONS})
    different: list[dict[str, Any]] = [{"place": name} for name in names] or [new()]
    yield post("/embed", f"{len(different)} names", {"locations": different})
    known = [new()] * MAX_LOCATIONS
    yield post("/embed", f"{MAX_LOCATIONS} equal places", {"locations": known})
    ids = engine.search.index.ids[:MAX_LOCATIONS].tolist()
    index = engine.search.index
    indexed = [{"lat": float(index.lat[i]), "lon": float(index.lon[i])} for i in ids]
    yield post("/embed", f"{len(indexed)} indexed places", {"locations": indexed})
    faults = [{"lat": "x", "lon": "y", "h3": 1, "a": 1}] * MAX_LOCATIONS
    yield post("/embed", "wrong in each", {"locations": faults})
    keys = {f"k{n}": 1 for n in range(60_000)}
    yield post("/embed", "60,000 unknown keys", {"locations": [new()], **keys})
    yield post("/embed", "a megabyte of brackets", [[[]] * 100 for _ in range(3000)])
    yield get("/neighbors", "k, filters", k=MAX_NEIGHBORS, **far, **everywhere, **new())
    many = "&".join(f"p{n}=1" for n in range(8000))
    yield Question("GET /neighbors", "8,000 parameters", f"/neighbors?{many}")
    lists = "&".join("within=a" for _ in range(MOST_PARAMETERS))
    yield Question("GET /neighbors", "100 regions", f"/neighbors?{lists}")
    vector = {"embedding": [0.5] * engine.dim, "k": MAX_NEIGHBORS, "within": regions}
    yield post("/neighbors", "k, regions", vector)
    sums = {"plus": [new() for _ in range(16)], "minus": [new() for _ in range(16)]}
    yield post("/arithmetic", "32 new places", {**sums, **far, "k": MAX_NEIGHBORS})
    for steps in (2, 10, MAX_STEPS):
        asked = {"steps": steps, "k": MAX_NEIGHBORS // steps, **to, **everywhere, **new()}
        yield get("/interpolate", f"{steps} steps", **asked)
    yield get("/walk", "all steps", steps=MAX_STEPS, k=100, **everywhere, **new())
    yield get("/compare", "new places", **new(), **to)
    for name in ("a", "e", "rue", *names[:1]):
        yield get("/places", repr(name), q=name, limit=50)
    yield get("/tile.png", "turned", rotation=33, dx=900, dy=-900, **new())
    x, y = (float(part) for part in to_world(np.array(lon), np.array(lat)))
    for layer in ("base", "pca"):
        for zoom in range(0, 20, 1):
            at = f"{zoom}/{int(x * 2**zoom)}/{int(y * 2**zoom)}"
            path = f"/map/{layer}/{at}.png?scale=2&theme=dark"
            yield Question(f"GET /map/{layer}", f"zoom {zoom}", path)
    parts = ("page/main.js", "docs/swagger-ui-bundle.js", "x" * 9000)
    for path in ("/info", "/metrics", "/readyz", "/healthz", "/docs", "/openapi.json", "/",
                 *(f"/{part}" for part in parts)):  # fmt: skip
        yield Question(f"GET {path[:30]}", "", path)


def ask(port: int, question: Question) -> tuple[int, int]:
    """Return the status of an answer and its length."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    headers = {"content-type": "application/json", "accept-encoding": "gzip"}
    method = "GET" if question.body is None else "POST"
    connection.request(method, question.path, question.body, headers)
    answer = connection.getresponse()
    length = len(answer.read())
    connection.close()
    return answer.status, length


def measure(settings: Settings) -> Iterator[Row]:
    """Yield what each question costs."""
    longest = LongestStep()
    lat, lon = densest(settings.store)
    with bind("127.0.0.1", 0) as bound, Engine.open(settings) as engine:
        names = dearest_names(engine, MOST_NAMES)
        server = uvicorn.Server(
            uvicorn.Config(create_app(settings, lambda _: engine), log_level="error")
        )
        serving = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        serving.start()
        while not server.started:
            time.sleep(0.05)
        for question in questions(engine, lat, lon, names):
            before, longest.seconds = cpu_s(), 0.0
            status, length = ask(bound.getsockname()[1], question)
            time.sleep(0.02)  # for what the loop does behind the answer
            yield Row(
                question.route, question.what, status, round(cpu_s() - before, 3),
                round(1000 * longest.seconds, 1), length,
            )  # fmt: skip
        server.should_exit = True
        serving.join()


@click.command()
@click.option("--store", type=StoreType(), required=True)
@click.option("--index", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.option("--all", "every", is_flag=True, help="Print every question, not the dearest alone.")
def main(store: Store, index: Path, as_json: bool, every: bool) -> None:
    """Measure the dearest questions; exit with 1 when one costs more than a request may."""
    settings = Settings(store=store, index=index, timeout_s=60)
    rows = list(measure(settings))
    shown = rows if every else _dearest(rows, lambda row: row.route)
    if as_json:
        print(json.dumps([asdict(row) for row in shown]))
    else:
        print(f"{'route':<32}{'question':<26}{'status':>6}{'CPU s':>8}{'loop ms':>9}{'bytes':>10}")
        for row in shown:
            print(
                f"{row.route:<32}{row.question[:25]:<26}{row.status:>6}{row.cpu_s:>8.3f}"
                f"{row.loop_ms:>9.1f}{row.bytes:>10,}"
            )
    dear = [row for row in rows if row.cpu_s > MOST_CPU_S or row.loop_ms > MOST_LOOP_MS]
    raise SystemExit(bool(dear))


def _dearest(rows: Sequence[Row], by: Callable[[Row], str]) -> list[Row]:
    """Return the row of each route that takes most CPU, and the one that holds the loop longest."""
    found: list[Row] = []
    for route in dict.fromkeys(map(by, rows)):
        own = [row for row in rows if by(row) == route]
        best = [max(own, key=lambda row: row.cpu_s), max(own, key=lambda row: row.loop_ms)]
        found += dict.fromkeys(best)
    return found


if __name__ == "__main__":
    main()
