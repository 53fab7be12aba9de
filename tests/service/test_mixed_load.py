"""All kinds of requests at once for an hour: none is lost, and memory does not grow.

SOAK_S=600 pytest -m soak tests/service/test_mixed_load.py -rP    # ten minutes
"""

import itertools
import os
import re
import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import numpy as np
import pytest

from loc2vec.embed.files import Vectors
from service.index.index import NeighborIndex
from service.settings import Settings
from tests.service.http.test_access import changed
from tests.service.http.test_server import running

pytestmark = pytest.mark.untraced  # clients in a row

SOAK_S = float(os.environ.get("SOAK_S", "3600"))
SHORT_S = 60.0  # at most: it ends with the first new index, which a process of its own tries
CLIENTS = 3
ROUND = 16 * CLIENTS  # questions when each client has asked all kinds of them
PACE_S = 0.5  # between two questions of a client: the hour is about what stays, not about speed
# The run in parts in which the same things happen; in the first of them caches fill, and it is not
# looked at.
PARTS, STORES, INDEXES = 6, 2, 40  # parts, and new stores and indexes in each of them
NAMES = ("monaco", "rue g", "gare", "parking", "Monte-Carlo", "qqqq")
# method, path with its query, body, status of the answer
Question = tuple[str, str, Mapping[str, object], int]


def questions(vectors: Vectors, seed: int) -> Iterator[Question]:
    """Make up questions for ever; the same place comes again now and then."""
    rng = np.random.default_rng(seed)
    spots = np.stack([vectors.lat, vectors.lon], axis=1)[vectors.inside]
    while True:
        (lat, lon), (to_lat, to_lon) = spots[rng.integers(len(spots), size=2)]
        lat += rng.integers(500) * 1e-7
        at = f"lat={lat:.7f}&lon={lon:.7f}"
        to = f"to_lat={to_lat:.7f}&to_lon={to_lon:.7f}"
        some = [
            {"lat": float(lat) + n * 1e-7, "lon": float(lon)}
            for n in range(int(rng.integers(1, 20)))
        ]
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
    """Return the memory that a process and those it started hold alone, MB.

    Pages of libraries are left out: how many there are, and among how many they are shared, is the
    system's affair.
    """
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        own = (
            line
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            if line.startswith("Pss_Anon:")
        )
        mb = int(next(own).split()[1]) / 1000
    # a process of an engine that was let go of
    except (ProcessLookupError, FileNotFoundError, StopIteration):
        return 0.0
    return mb + sum(memory_mb(int(child)) for child in children)


def swaps(url: str, what: str) -> float:
    """Return how often a service took a new store or index into use."""
    figures = httpx2.get(f"{url}/metrics", timeout=180).text
    done = re.findall(rf'loc2vec_{what}_swaps_total{{outcome="done"}} (.+)', figures)
    return sum(map(float, done))


def turned(vectors: Vectors, by: int) -> Vectors:
    """Return another index of the same store: the same vectors in another order."""
    lat, lon = (np.roll(column, by) for column in (vectors.lat, vectors.lon))
    embedding = np.roll(vectors.embedding, by, axis=0)
    return Vectors(lat, lon, embedding, None, vectors.model, vectors.fingerprint, vectors.store)


def medians(curve: Sequence[tuple[float, float]], seconds: float) -> list[float]:
    """Return the median memory in each part, MB; it falls when freed memory is returned."""
    parts = [
        [mb for at, mb in curve if part <= PARTS * at / seconds < part + 1] for part in range(PARTS)
    ]
    return [float(np.median(part)) for part in parts]


@pytest.mark.soak  # tests of the routes and of reloads ask the same, one thing at a time
@pytest.mark.parametrize(
    "seconds",
    [SHORT_S, pytest.param(SOAK_S, marks=pytest.mark.timeout(SOAK_S + 600))],
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
    pace_s, every_s = (PACE_S, seconds / (PARTS * INDEXES)) if seconds == SOAK_S else (0.0, 5.0)

    def ask(url: str, seed: int) -> int:
        count, due = 0, time.monotonic()
        with httpx2.Client(timeout=180) as client:
            for method, path, body, status in questions(vectors, seed):
                if done.wait(max(0.0, due - time.monotonic())) or time.monotonic() > end:
                    return count
                due = time.monotonic() + pace_s
                answer = client.request(method, url + path, json=body or None)
                statuses[answer.status_code] += 1
                assert answer.status_code == status, f"{method} {path}: {answer.text[:500]}"
                count += 1
        raise AssertionError("questions never end")

    def renew() -> None:
        """Put a new index, and now and then a new store, in the place of the old."""
        for number in itertools.count(1):
            if done.wait(max(0.0, begin + number * every_s - time.monotonic())):
                return
            NeighborIndex.build(turned(vectors, number), folder)
            if number % (INDEXES // STORES) == 0:
                shutil.copy(own_store, tmp_path / "next.gpkg")
                (tmp_path / "next.gpkg").replace(own_store)

    with (
        running(own, cache_places="500", cache_s="60", render_processes="1", timeout_s="60") as (
            process,
            url,
        ),
        ThreadPoolExecutor(CLIENTS + 2) as pool,
    ):
        begin = time.monotonic()
        end = begin + seconds
        pool.submit(process.stderr.read)  # type: ignore[union-attr]  # or its pipe fills up
        askers = [pool.submit(ask, url, seed) for seed in range(CLIENTS)]
        renewing = pool.submit(renew)
        try:
            over = False
            while time.monotonic() < end and not over:
                time.sleep(5.0 if seconds == SOAK_S else 1.0)
                curve.append((time.monotonic() - begin, memory_mb(process.pid)))
                enough = seconds == SHORT_S and statuses.total() > ROUND
                over = any(asker.done() for asker in askers) or (enough and swaps(url, "index") > 0)
            done.set()
            count = sum(asker.result() for asker in askers)
            renewing.result()
            stores, indexes = swaps(url, "store"), swaps(url, "index")
        finally:
            done.set()
            process.kill()  # whose end the reader of its log waits for
    assert count == statuses.total() > ROUND
    assert indexes > 0
    if seconds == SOAK_S:
        parts = medians(curve, seconds)[1:]
        slope, level = np.polyfit(range(len(parts)), parts, 1)
        growth = (len(parts) - 1) * slope / level
        print(
            f"{count} answers {dict(statuses)}, {stores:.0f} stores, "
            f"{indexes:.0f} indexes in {seconds:.0f} s"
        )
        print(f"MB, medians of the parts {[round(mb) for mb in parts]}: {growth:+.1%}")
        print("MB:", [round(mb) for _, mb in curve[:: max(1, len(curve) // 120)]])
        assert stores >= PARTS * STORES - 1
        assert growth < 0.05
