"""Requests a second of the service, beside a bare FastAPI route and beside its own stages.

One real server, one client on one connection, all on the same machine. `ratio` is the median time
of a request over that of the same work called in this process. For a new place that is to render
and encode. For a known place it is the bare route, for neighbours route and search. `CPU ms` is
what the server's processes use for a request, and the last column its ratio to the same.

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
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import click
import httpx2
import numpy as np
import uvicorn
from fastapi import FastAPI
from turns import Times, Work, clock_of, in_turns, of_all
from uvicorn.supervisors import Multiprocess

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

EXAMPLES = 5  # of a lesson: one new place, and four that were clicked before
ZOOM = 18  # at which a row of 20 tiles crosses a town


def bare_app() -> FastAPI:
    """Return an application of one route that does nothing."""
    app = FastAPI()

    @app.get("/")
    async def bare() -> dict[str, str]:
        return {"hello": "world"}

    return app


def bare_route(bound: socket.socket, workers: int) -> None:
    """Serve it."""
    config = uvicorn.Config(bare_app, factory=True, log_level="error", workers=workers)
    if workers == 1:
        uvicorn.Server(config).run(sockets=[bound])
    else:
        Multiprocess(config, [bound]).run()


@contextlib.contextmanager
def hello(workers: int = 1) -> Iterator[tuple[str, int]]:
    """Serve the bare route in processes, and yield its URL and the process id of the first."""
    # as the service does: another socket would wait for what TCP delays
    with bind("127.0.0.1", 0) as bound:
        process = get_context("spawn").Process(target=bare_route, args=(bound, workers))
        process.start()
        assert process.pid is not None
        yield url_of(bound), process.pid
        process.terminate()
        process.join()


@contextlib.contextmanager
def serving(store: Store, index: Path, *more: str) -> Iterator[tuple[str, int]]:
    """Run `loc2vec serve`, and yield its URL and process id."""
    command = [sys.executable, "-m", "loc2vec", "serve", "--port", "0"]
    command += ["--store", store.location, "--index", str(index), *more]
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


def row(name: str, times: Times, beside: Sequence[Times] = (), per: int = 1) -> dict[str, Any]:
    """Return a line of the table.

    `beside`: the works that it is compared with, each a place. `per`: places a request.
    """
    p50, p99 = (float(value) for value in np.percentile(times.each, [50, 99]))
    whole, cpu = (
        per * sum(values) for values in ([b.median for b in beside], [b.cpu for b in beside])
    )
    return {
        "what": name,
        "per_s": round(per / float(times.each.mean()), 1),
        "p50_ms": round(1000 * p50, 2),
        "p99_ms": round(1000 * p99, 2),
        "ratio": round(p50 / whole, 2) if beside else None,
        "cpu_ms": round(1000 * times.cpu, 2),
        "cpu_ratio": round(times.cpu / cpu, 2) if beside else None,
    }


def measure(store: Store, encoder: LocationEncoder, index: Path, count: int) -> dict[str, Any]:
    """Ask everything `count` times."""
    with (
        store.open() as source,
        hello() as (bare, bare_pid),
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
        used = clock_of(pid)
        asked: dict[str, Callable[[int], Any]] = {
            "new": lambda n: get("/embed", lat=place(n + 1).lat, lon=place(n + 1).lon),
            "known": lambda n: get("/embed", **known),
            "near": lambda n: get("/neighbors", **known),
            "box": lambda n: query(f"{url}/neighbors?lat={middle.y}&lon={middle.x}&bbox={box}"),
            "click": predict,
            "colour": colour,
        }
        times = in_turns(
            {
                "called": Work(lambda n: encoder.encode(renderer.north_up([place(n)]))),
                "search": Work(lambda n: search.nearest(vector, 10, [spot])),
                "boxed": Work(lambda n: search.nearest(vector, 10, [spot], inside)),
                "learn": Work(learn),
                "bare": Work(lambda n: query(bare), clock_of(bare_pid)),
                **{name: Work(ask, used) for name, ask in asked.items()},
            },
            count,
        )
        many = of_all(Work(post, used), max(2, count // 60))
        once, route = times["called"], times["bare"]
        rows = [
            row("render + encode, called", once),
            row(f"search of {len(search.index)}, called", times["search"]),
            row("search in a box, called", times["boxed"]),
            row("bare FastAPI route", route),
            row("/embed, new place", times["new"], [once]),
            row("/embed, known place", times["known"], [route]),
            row("/neighbors, known place", times["near"], [route, times["search"]]),
            row("/neighbors in a box", times["box"], [route, times["boxed"]]),
            row("/embed of 128, places", many, [once], 128),
            row(f"learn from {EXAMPLES} and score, called", times["learn"]),
            row("/predict, a click", times["click"], [route, once, times["learn"]]),
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
    print(f"{'service':<34}{'a second':>9}{'p50 ms':>9}{'p99 ms':>9}{'ratio':>7}"
          f"{'CPU ms':>9}{'ratio':>7}")  # fmt: skip
    for line in found["rows"]:
        ratio, cpu_ratio = (
            "" if line[name] is None else f"{line[name]:.2f}" for name in ("ratio", "cpu_ratio")
        )
        print(
            f"{line['what']:<34}{line['per_s']:>9.1f}{line['p50_ms']:>9.2f}{line['p99_ms']:>9.2f}"
            f"{ratio:>7}{line['cpu_ms']:>9.2f}{cpu_ratio:>7}"
        )
    print(f"peak memory of the service: {found['peak_mb']} MB")


if __name__ == "__main__":
    main()
