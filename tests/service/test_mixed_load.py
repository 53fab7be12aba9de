"""All kinds of questions at once, for an hour: none is lost, and the memory of the service does not grow.

SOAK_S=600 pytest -m soak tests/service/test_mixed_load.py -rP    # ten minutes of it, with the curve
"""

import itertools
import os
import shutil
import statistics
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import numpy as np
import pytest

from loc2vec.vectors import Vectors
from service.index import NeighborIndex
from service.settings import Settings
from tests.service.test_access import changed
from tests.service.test_server import running

SOAK_S = float(os.environ.get("SOAK_S", "3600"))
CLIENTS = 3
NAMES = ("monaco", "rue g", "gare", "parking", "Monte-Carlo", "qqqq")
Question = tuple[str, str, dict[str, object], int]  # method, path with its query, body, status of the answer


def questions(vectors: Vectors, seed: int) -> Iterator[Question]:
    """Make up questions for ever; the same place comes again now and then."""
    rng = np.random.default_rng(seed)
    spots = np.stack([vectors.lat, vectors.lon], axis=1)[vectors.inside]
    while True:
        (lat, lon), (to_lat, to_lon) = spots[rng.integers(len(spots), size=2)]
        lat += rng.integers(500) * 1e-7
        at = f"lat={lat:.7f}&lon={lon:.7f}"
        to = f"to_lat={to_lat:.7f}&to_lon={to_lon:.7f}"
        some = [{"lat": float(lat) + n * 1e-7, "lon": float(lon)} for n in range(int(rng.integers(1, 20)))]
        x, y = 17058 + int(rng.integers(3)), 11930 + int(rng.integers(3))
        yield from (
            ("GET", f"/embed?{at}", {}, 200),
            ("GET", f"/neighbors?{at}&k=5&min_distance_m=300", {}, 200),
            ("GET", f"/neighbors?{at}&bbox=7.41,43.72,7.43,43.75", {}, 200),
            ("POST", "/embed", {"locations": some}, 200),
            ("GET", f"/tile.png?{at}&rotation={rng.integers(360)}", {}, 200),
            ("GET", f"/map/base/15/{x}/{y}.png", {}, 200),
            ("GET", f"/map/pca/15/{x}/{y}.png", {}, 200),
            ("GET", f"/compare?{at}&{to}", {}, 200),
            ("GET", f"/interpolate?{at}&{to}", {}, 200),
            ("GET", f"/walk?{at}&steps=3&seed={rng.integers(99)}", {}, 200),
            ("POST", "/arithmetic", {"plus": some[:2], "minus": some[:1]}, 200),
            ("GET", f"/places?q={NAMES[int(rng.integers(len(NAMES)))]}", {}, 200),
            ("GET", "/embed?lat=0&lon=0", {}, 404),
            ("GET", "/embed?lat=x", {}, 422),
            ("GET", "/nowhere", {}, 404),
            ("GET", "/metrics", {}, 200),
        )


def memory_mb(pid: int) -> float:
    """Return the memory of a process and of those it started, each shared page counted once among its owners, MB."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        own = (line for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines() if line.startswith("Pss:"))
        mb = int(next(own).split()[1]) / 1000
    except (ProcessLookupError, FileNotFoundError, StopIteration):  # a process of an engine that was let go of
        return 0.0
    return mb + sum(memory_mb(int(child)) for child in children)


@pytest.mark.parametrize(
    "seconds", [4.0, pytest.param(SOAK_S, marks=[pytest.mark.soak, pytest.mark.timeout(SOAK_S + 600)])]
)
def test_nothing_is_lost_and_memory_does_not_grow(
    settings: Settings, vectors: Vectors, own_store: Path, tmp_path: Path, seconds: float
) -> None:
    folder = tmp_path / "index"
    NeighborIndex.build(vectors, folder)
    own = changed(settings, store=str(own_store), index=folder)
    statuses: Counter[int] = Counter()
    curve: list[tuple[float, float]] = []
    done = threading.Event()

    def ask(url: str, seed: int) -> int:
        count = 0
        with httpx2.Client(timeout=180) as client:
            for method, path, body, status in questions(vectors, seed):
                if time.monotonic() > end:
                    return count
                answer = client.request(method, url + path, **({"json": body} if body else {}))
                statuses[answer.status_code] += 1
                assert answer.status_code == status, f"{method} {path}: {answer.text[:500]}"
                count += 1
        raise AssertionError("questions never end")

    def renew() -> None:
        """Put a new index, and now and then a new store, in the place of the old."""
        for number in itertools.count(1):
            if done.wait(max(1.0, seconds / 60)):
                return
            NeighborIndex.build(vectors, folder)
            if number % 20 == 0:
                shutil.copy(own_store, tmp_path / "next.gpkg")
                (tmp_path / "next.gpkg").replace(own_store)

    with (
        running(own, cache_places="500", cache_s="60", render_processes="1", timeout_s="120") as (process, url),
        ThreadPoolExecutor(CLIENTS + 2) as pool,
    ):
        begin = time.monotonic()
        end = begin + seconds
        pool.submit(process.stderr.read)  # type: ignore[union-attr]  # or its pipe fills up
        askers = [pool.submit(ask, url, seed) for seed in range(CLIENTS)]
        renewing = pool.submit(renew)
        try:
            while time.monotonic() < end and not any(asker.done() for asker in askers):
                time.sleep(min(5.0, seconds / 8))
                curve.append((time.monotonic() - begin, memory_mb(process.pid)))
            done.set()
            count = sum(asker.result() for asker in askers)
            renewing.result()
        finally:
            done.set()
            process.kill()  # whose end the reader of its log waits for
    assert count == sum(statuses.values()) > 10
    if seconds == SOAK_S:
        halves = [[mb for at, mb in curve if low <= at / seconds < high] for low, high in ((0.25, 0.5), (0.75, 1.0))]
        before, after = (statistics.median(part) for part in halves)
        print(f"{count} answers {dict(statuses)} in {seconds:.0f} s; memory {before:.0f} -> {after:.0f} MB")  # noqa: T201
        print("MB:", [round(mb) for _, mb in curve[:: max(1, len(curve) // 40)]])  # noqa: T201
        assert after < 1.05 * before
