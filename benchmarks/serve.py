"""Requests a second of the service, beside a bare FastAPI route and beside its own stages.

One real server, one client on one connection, all on the same machine. `ratio` is the median time
of a request over that of the same work called in this process. For a new place that is to render
and encode. For a known place it is the bare route, for neighbours route and search.

    python benchmarks/serve.py --store monaco.gpkg [--vectors 1000000 | --index FOLDER] [--requests
    300] [--json]
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import click
import httpx2
import numpy as np
import uvicorn
from fastapi import FastAPI
from numpy.typing import NDArray

from loc2vec.embed.files import Vectors
from loc2vec.encoder import LocationEncoder
from loc2vec.model.names import DEFAULT_MODEL
from service.http.server import bind, url_of
from service.index.index import NeighborIndex
from service.index.search import Filters, Search
from service.index.teach import Lesson, Scores
from tiling.cli.options import StoreType
from tiling.geo.grid import grid
from tiling.geo.mercator import to_world
from tiling.render.renderer import Renderer
from tiling.store.store import Store
from tiling.values import Box, LonLat

Work = Callable[[int], Any]
WARM_UP, IN_A_ROW = 3, 20
EXAMPLES = 5  # of a lesson: one new place, and four that were clicked before
ZOOM = 18  # at which a row of 20 tiles crosses a town


def in_turns(works: Mapping[str, Work], count: int) -> dict[str, NDArray[np.float64]]:
    """Return the seconds of at least `count` calls of each work, each with another number.

    They take turns, so that whatever else the machine does disturbs them all alike. A turn is
    `IN_A_ROW` calls after three that warm up: a processor that wakes from idling is slower.
    """
    times: dict[str, list[float]] = {name: [] for name in works}
    for start in range(0, count, IN_A_ROW):
        for name, work in works.items():
            taken = [seconds(work, number + 2 * start) for number in range(WARM_UP + IN_A_ROW)]
            times[name] += taken[WARM_UP:]
    return {name: np.array(taken) for name, taken in times.items()}


def seconds(work: Work, number: int) -> float:
    """Return how long a call takes."""
    start = time.perf_counter()
    work(number)
    return time.perf_counter() - start


def bare_route(bound: socket.socket) -> None:
    """Serve one route that does nothing."""
    app = FastAPI()

    @app.get("/")
    async def bare() -> dict[str, str]:
        return {"hello": "world"}

    uvicorn.Server(uvicorn.Config(app, log_level="error")).run(sockets=[bound])


@contextlib.contextmanager
def hello() -> Iterator[str]:
    """Serve the bare route in a process, and yield its URL."""
    # as the service does: another socket would wait for what TCP delays
    with bind("127.0.0.1", 0) as bound:
        process = get_context("spawn").Process(target=bare_route, args=(bound,))
        process.start()
        yield f"{url_of(bound)}/"
        process.terminate()
        process.join()


@contextlib.contextmanager
def serving(store: Store, index: Path) -> Iterator[tuple[str, int]]:
    """Run `loc2vec serve`, and yield its URL and process id."""
    command = [
        sys.executable,
        "-m",
        "loc2vec",
        "serve",
        "--port",
        "0",
        "--store",
        store.location,
        "--index",
        str(index),
    ]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, "the service did not start"
        try:
            yield line.split()[1].removesuffix("/docs"), process.pid
        finally:
            process.terminate()


def made_up(store: Store, encoder: LocationEncoder, count: int) -> Vectors:
    """Return `count` vectors: those of real places, each many times and a little moved."""
    with store.open() as source:
        lon, lat = grid(source.coverage, 200).T
        places = [LonLat(*row) for row in zip(lon.tolist(), lat.tolist(), strict=True)]
        real = encoder.encode(Renderer(source, encoder.geometry).north_up(places))
    rng = np.random.default_rng(0)
    rows = rng.integers(len(real), size=count)
    embedding = real[rows] + rng.normal(0, 0.3, (count, real.shape[1])).astype(np.float32)
    moved = rng.normal(0, 1e-3, (2, count))
    return Vectors(
        lat[rows] + moved[0],
        lon[rows] + moved[1],
        embedding,
        None,
        encoder.model_id,
        encoder.fingerprint,
    )


def peak_mb(pid: int) -> float:
    """Return the most memory that a process has had, MB."""
    (line,) = (
        line
        for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        if line.startswith("VmHWM")
    )
    return int(line.split()[1]) / 1000


def row(
    name: str, times: NDArray[np.float64], beside: float | None = None, per: int = 1
) -> dict[str, Any]:
    """Return a line of the table.

    `beside`: the seconds it is compared with, `per`: places a request.
    """
    p50, p99 = (float(value) for value in np.percentile(times, [50, 99]))
    ratio = None if beside is None else round(p50 / beside, 2)
    return {
        "what": name,
        "per_s": round(per / float(times.mean()), 1),
        "p50_ms": round(1000 * p50, 2),
        "p99_ms": round(1000 * p99, 2),
        "ratio": ratio,
    }


def measure(store: Store, encoder: LocationEncoder, index: Path, count: int) -> dict[str, Any]:
    """Ask everything `count` times."""
    with (
        store.open() as source,
        hello() as bare,
        serving(store, index) as (url, pid),
        httpx2.Client() as client,
    ):
        renderer = Renderer(source, encoder.geometry)
        middle = source.coverage.representative_point()
        search, spot = Search(NeighborIndex.open(index), source.regions), LonLat(middle.x, middle.y)

        def place(number: int) -> LonLat:
            return LonLat(middle.x + 1e-7 * number, middle.y)

        def get(path: str, **query: float) -> None:
            assert client.get(url + path, params=query).status_code == 200

        def post(number: int) -> None:
            spots = [
                {"lat": middle.y + 1e-7 * (number * 128 + n), "lon": middle.x} for n in range(128)
            ]
            assert (
                client.post(f"{url}/embed", json={"locations": spots}, timeout=60).status_code
                == 200
            )

        def predict(number: int, **more: Any) -> None:
            clicks = [place(-n) for n in (*range(1, EXAMPLES), EXAMPLES + number)]
            examples = [{"lat": spot.lat, "lon": spot.lon, "label": "like"} for spot in clicks]
            body = {"examples": examples, "k": 8, "ask": 4, "spread_m": 150, **more}
            accept = {"accept": "image/png"} if more else None
            assert client.post(f"{url}/predict", json=body, headers=accept).status_code == 200

        def learn(number: int) -> None:
            vectors = search.index.vectors_of(search.index.ids[number : number + EXAMPLES])
            Scores.of(Lesson.of(vectors, ["like"] * EXAMPLES, search.index), search.index, "")

        def colour(number: int) -> None:
            x, y = (int(part * 2**ZOOM) for part in to_world(*spot))
            predict(0, tile={"zoom": ZOOM, "x": x + number % 20 - 10, "y": y + number // 20})

        bounds = Box(middle.x - 0.01, middle.y - 0.01, middle.x + 0.01, middle.y + 0.01)
        inside, box = Filters(bounds), ",".join(map(str, bounds))
        known, query = {"lat": middle.y, "lon": middle.x}, client.get
        get("/embed", **known)
        (vector,) = encoder.encode(renderer.north_up([spot]))
        times = in_turns(
            {
                "called": lambda n: encoder.encode(renderer.north_up([place(n)])),
                "search": lambda n: search.nearest(vector, 10, [spot]),
                "boxed": lambda n: search.nearest(vector, 10, [spot], inside),
                "bare": lambda n: query(bare),
                "new": lambda n: get("/embed", lat=place(n + 1).lat, lon=place(n + 1).lon),
                "known": lambda n: get("/embed", **known),
                "near": lambda n: get("/neighbors", **known),
                "box": lambda n: query(f"{url}/neighbors?lat={middle.y}&lon={middle.x}&bbox={box}"),
                "learn": learn,
                "click": predict,
                "colour": colour,
            },
            count,
        )
        many = np.array([seconds(post, number) for number in range(max(2, count // 60))])
        once, look, boxed, route, learned = (
            float(np.median(times[name])) for name in ("called", "search", "boxed", "bare", "learn")
        )
        rows = [
            row("render + encode, called", times["called"]),
            row(f"search of {len(search.index)}, called", times["search"]),
            row("search in a box, called", times["boxed"]),
            row("bare FastAPI route", times["bare"]),
            row("/embed, new place", times["new"], once),
            row("/embed, known place", times["known"], route),
            row("/neighbors, known place", times["near"], route + look),
            row("/neighbors in a box", times["box"], route + boxed),
            row("/embed of 128, places", many, 128 * once, 128),
            row(f"learn from {EXAMPLES} and score, called", times["learn"]),
            row("/predict, a click", times["click"], route + once + learned),
            row("/predict, a tile of the map", times["colour"]),
        ]
        return {"rows": rows, "peak_mb": round(peak_mb(pid))}


@click.command()
@click.option("--store", type=StoreType(), required=True)
@click.option("--vectors", "count", default=1_000_000, show_default=True)
@click.option(
    "--index",
    type=click.Path(exists=True, path_type=Path),
    help="Search this one, not made-up vectors.",
)
@click.option("--requests", default=300, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def main(store: Store, count: int, index: Path | None, requests: int, as_json: bool) -> None:
    """Measure the service."""
    encoder = LocationEncoder.load(DEFAULT_MODEL)
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
        if index is None:
            index = Path(folder) / "index"
            NeighborIndex.build(made_up(store, encoder, count), index)
        found = measure(store, encoder, index, requests)
    if as_json:
        print(json.dumps(found))
        return
    print(f"{'service':<32}{'a second':>10}{'p50 ms':>9}{'p99 ms':>9}{'ratio':>7}")
    for line in found["rows"]:
        ratio = "" if line["ratio"] is None else f"{line['ratio']:.2f}"
        print(
            f"{line['what']:<32}{line['per_s']:>10.1f}{line['p50_ms']:>9.2f}{line['p99_ms']:>9.2f}{ratio:>7}"
        )
    print(f"peak memory of the service: {found['peak_mb']} MB")


if __name__ == "__main__":
    main()
