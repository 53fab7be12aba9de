"""What a second worker is worth to the service and to a bare FastAPI route, and what it costs.

One client asks for a known place on eight connections, in turns with one worker and with two. The
machine must have two processors, and the client takes a part of them. So the bare route shows how
much a second worker can be worth. The last line is the memory of the parent of two workers.

    python benchmarks/workers.py --store monaco.gpkg --index FOLDER [--seconds 3] [--rounds 5]
"""

import contextlib
import selectors
import socket
import time
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit

import click
import httpx2
from serve import hello, peak_mb, serving

from tiling.cli.options import StoreType
from tiling.store.store import Store

CONNECTIONS = 8
ANSWER_BYTES = 1 << 16  # an answer is shorter, and comes in one piece


def rate(url: str, seconds: float) -> float:
    """Return how many answers a second come."""
    parts, found, count = urlsplit(url), selectors.DefaultSelector(), 0
    request = f"GET {parts.path}?{parts.query} HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode()
    with contextlib.ExitStack() as opened:
        for _ in range(CONNECTIONS):
            address = parts.hostname, parts.port
            connection = opened.enter_context(socket.create_connection(address))
            found.register(connection, selectors.EVENT_READ)
            connection.sendall(request)
        start = time.perf_counter()
        while time.perf_counter() - start < seconds:
            for key, _ in found.select():
                ready = key.fileobj
                assert isinstance(ready, socket.socket)
                assert ready.recv(ANSWER_BYTES).startswith(b"HTTP/1.1 200")
                ready.sendall(request)
                count += 1
        return count / (time.perf_counter() - start)


@click.command()
@click.option("--store", type=StoreType(), required=True)
@click.option("--index", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--seconds", default=3.0, show_default=True)
@click.option("--rounds", default=5, show_default=True)
def main(store: Store, index: Path, seconds: float, rounds: int) -> None:
    """Measure both."""
    with store.open() as source:
        middle = source.coverage.representative_point()
    known = f"/embed?lat={middle.y}&lon={middle.x}"
    with (
        hello() as (bare, _),
        hello(2) as (bare_two, _),
        serving(store, index) as (one, _),
        serving(store, index, "--workers", "2") as (two, parent),
    ):
        urls = {
            "bare FastAPI route": (f"{bare}/", f"{bare_two}/"),
            "/embed, known place": (one + known, two + known),
        }
        for name, pair in urls.items():
            for url in pair:
                assert httpx2.get(url, timeout=60).status_code == 200
                rate(url, 1.0)
            rates = [[rate(url, seconds) for url in pair] for _ in range(rounds)]
            single, double = (median(column) for column in zip(*rates, strict=True))
            print(
                f"{name:<22}{single:>8.0f} a second{double:>8.0f} with two, {double / single:.2f}x"
            )
        print(f"peak memory of the parent of two workers: {peak_mb(parent):.0f} MB")


if __name__ == "__main__":
    main()
