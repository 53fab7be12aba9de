"""Requests a second of the service, beside a bare FastAPI route and beside the sum of its stages in this process.

One real server process, one client on one connection, all on the same machine. `over stages` is the median time of a request over
that of the same work called here (render + encode, or the search), `over route` over that of the bare route plus the search.

    python benchmarks/service.py --store monaco.gpkg [--vectors 1000000] [--requests 300] [--json]
"""

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import httpx2
import numpy as np
import uvicorn
from fastapi import FastAPI
from numpy.typing import NDArray
from table import Row, show

from loc2vec.encoder import DEFAULT_MODEL, LocationEncoder
from loc2vec.vectors import Vectors
from service.grid import grid
from service.index import NeighborIndex
from service.rendering import draw
from tiling.render import Renderer
from tiling.sources.registry import open_source
from tiling.values import LonLat

Work = Callable[[int], Any]


def seconds_of(work: Work, count: int) -> NDArray[np.float64]:
    """Return the seconds of each of `count` calls, after three to warm up."""
    for number in range(3):
        work(-1 - number)
    times = []
    for number in range(count):
        start = time.perf_counter()
        work(number)
        times.append(time.perf_counter() - start)
    return np.array(times)


@contextlib.contextmanager
def hello() -> Iterator[str]:
    """Serve a bare route in a thread, and yield its URL."""
    app = FastAPI()

    @app.get("/")
    async def bare() -> dict[str, str]:
        return {"hello": "world"}

    with socket.create_server(("127.0.0.1", 0)) as bound:
        server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        yield f"http://127.0.0.1:{bound.getsockname()[1]}/"
        server.should_exit = True
        thread.join()


@contextlib.contextmanager
def serving(store: str, index: Path) -> Iterator[tuple[str, int]]:
    """Run `loc2vec serve`, and yield its URL and process id."""
    command = [sys.executable, "-m", "service.cli", "serve", "--port", "0", "--store", store, "--index", str(index)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, "the service did not start"
        yield line.split()[1].removesuffix("/docs"), process.pid
        process.terminate()


def made_up(store: str, encoder: LocationEncoder, count: int) -> Vectors:
    """Return `count` vectors: those of real places, each many times and a little moved."""
    with open_source(store) as source:
        lon, lat = grid(source.coverage, 200).T
        places = [LonLat(*row) for row in zip(lon.tolist(), lat.tolist(), strict=True)]
        real = encoder.encode(draw(Renderer(source), places))
    rng = np.random.default_rng(0)
    rows = rng.integers(len(real), size=count)
    embedding = real[rows] + rng.normal(0, 0.3, (count, real.shape[1])).astype(np.float32)
    moved = rng.normal(0, 1e-3, (2, count))
    return Vectors(lat[rows] + moved[0], lon[rows] + moved[1], embedding, None, encoder.model_id, encoder.fingerprint)


def peak_mb(pid: int) -> float:
    """Return the most memory that a process has had, MB."""
    (line,) = (line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1000


def row(name: str, times: NDArray[np.float64], per: int = 1, **more: float) -> Row:
    """Return a line of the table; `per` places a request."""
    p50, p99 = np.percentile(times, [50, 99])
    return Row(name, per / float(times.mean()), {"p50_ms": 1000 * float(p50), "p99_ms": 1000 * float(p99), **more})


def measure(store: str, encoder: LocationEncoder, vectors: Vectors, index: Path, count: int) -> list[Row]:
    """Ask everything `count` times."""
    search = NeighborIndex.open(index)
    with open_source(store) as source, hello() as bare, serving(store, index) as (url, pid), httpx2.Client() as client:
        renderer, middle = Renderer(source), source.coverage.representative_point()

        def place(number: int) -> LonLat:
            return LonLat(middle.x + 1e-7 * number, middle.y)

        def get(path: str, **query: float) -> None:
            assert client.get(url + path, params=query).status_code == 200

        def post(number: int) -> None:
            spots = [{"lat": middle.y + 1e-7 * (number * 256 + n), "lon": middle.x} for n in range(256)]
            assert client.post(f"{url}/embed", json={"locations": spots}, timeout=60).status_code == 200

        stages = seconds_of(lambda n: encoder.encode(draw(renderer, [place(n)])), count)
        found = seconds_of(lambda n: search.search(vectors.embedding[n], 10), count)
        base = seconds_of(lambda n: client.get(bare), count)
        new = seconds_of(lambda n: get("/embed", lat=place(n).lat, lon=place(n).lon), count)
        kept = seconds_of(lambda n: get("/embed", lat=place(0).lat, lon=place(0).lon), count)
        near = seconds_of(lambda n: get("/neighbors", lat=place(0).lat, lon=place(0).lon), count)
        box = f"{middle.x - 0.01},{middle.y - 0.01},{middle.x + 0.01},{middle.y + 0.01}"
        within = seconds_of(lambda n: client.get(f"{url}/neighbors?lat={middle.y}&lon={middle.x}&bbox={box}"), count)
        many = seconds_of(post, max(2, count // 60))
        middle_of = {name: float(np.median(t)) for name, t in (("stages", stages), ("search", found), ("bare", base))}
        return [
            row("render + encode, called", stages),
            row(f"search of {len(search)}, called", found),
            row("bare FastAPI route", base),
            row("/embed, new place", new, times_stages=float(np.median(new)) / middle_of["stages"]),
            row("/embed, known place", kept, times_route=float(np.median(kept)) / middle_of["bare"]),
            row(
                "/neighbors, known place",
                near,
                times_route=float(np.median(near)) / (middle_of["bare"] + middle_of["search"]),
            ),
            row("/neighbors in a box", within),
            row("/embed of 256, places/s", many, 256, peak_mb=peak_mb(pid)),
        ]


@click.command()
@click.option("--store", required=True)
@click.option("--vectors", "count", default=1_000_000, show_default=True)
@click.option("--requests", default=300, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def main(store: str, count: int, requests: int, as_json: bool) -> None:
    """Measure the service."""
    encoder = LocationEncoder.load(DEFAULT_MODEL)
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
        vectors = made_up(store, encoder, count)
        NeighborIndex.build(vectors, Path(folder) / "index")
        show("service", measure(store, encoder, vectors, Path(folder) / "index", requests), as_json)


if __name__ == "__main__":
    main()
