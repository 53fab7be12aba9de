"""The tile job: places to a dataset of anchors and positives, shard by shard, on the cores of one machine."""

import multiprocessing
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import partial
from multiprocessing import connection
from pathlib import Path
from typing import Any

import numpy as np

from tiling.catalogue import load_catalogue
from tiling.dataset import MANIFEST, PlaceTiles, shard_path, shard_plan, shard_record, write_shard
from tiling.errors import DatasetError, OutsideError, WorkerError
from tiling.files import read_json, write_json
from tiling.places import Places, draw_places
from tiling.points import Points
from tiling.render import Renderer
from tiling.sheet import write_sheet
from tiling.sources.registry import content_hash, open_source, store_name
from tiling.values import ATTRIBUTION, MAX_SHIFT_M, LonLat, Pose, TileGeometry, fingerprint

PLACES_PER_SHARD = 64
PLAN = "plan.json"


@dataclass(frozen=True, slots=True)
class TileJob:
    """What a tile job makes: `stores` to draw from, `positives` a place, all random numbers from `seed`."""

    stores: tuple[str, ...]
    positives: int = 20
    seed: int = 0
    geometry: TileGeometry = field(default_factory=TileGeometry)

    @property
    def margin_m(self) -> float:
        """Return how far inside the data a place must lie for all its tiles to be full."""
        return float(np.sqrt(2) * (self.geometry.radius_m + MAX_SHIFT_M))


@dataclass(frozen=True, slots=True)
class TileSummary:
    """What a job did: places and tiles in the dataset, shards made now and found from before, bytes of all."""

    places: int
    tiles: int
    shards_made: int
    shards_found: int
    bytes: int


def draw(job: TileJob, count: int) -> Places:
    """Draw the places of a job from its stores."""
    with ExitStack() as stack:
        sources = [stack.enter_context(open_source(store)) for store in job.stores]
        return draw_places(sources, count, job.margin_m, job.seed)


def locate(job: TileJob, points: Points) -> Places:
    """Assign each of the user's points to the first store that covers it; `OutsideError` for one that none covers."""
    with ExitStack() as stack:
        sources = [stack.enter_context(open_source(store)) for store in job.stores]
        stores = []
        for row, (lat, lon) in enumerate(zip(points.lat.tolist(), points.lon.tolist(), strict=True), 1):
            covering = (n for n, source in enumerate(sources) if source.covers(LonLat(lon, lat)))
            store = next(covering, None)
            if store is None:
                raise OutsideError(f"point {row} (lat {lat}, lon {lon}) is outside the data of every store")
            stores.append(store)
    return Places(np.array(stores, np.int64), points.lat, points.lon)


def draw_sheet(job: TileJob, places: Places, path: Path) -> None:
    """Draw the unturned tiles of some places as one PNG for people to look at."""
    tiles, labels = [], []
    with ExitStack() as stack:
        renderers = [Renderer(stack.enter_context(open_source(store)), job.geometry) for store in job.stores]
        for store, lat, lon in zip(places.store.tolist(), places.lat.tolist(), places.lon.tolist(), strict=True):
            tiles.append(renderers[store].tile(Pose(lat, lon)))
            labels.append(f"{renderers[store].source.name}   lat {lat:.5f}, lon {lon:.5f}")
    write_sheet(path, tiles, labels)


def run_job(
    job: TileJob, places: Places, out: Path, workers: int, progress: Callable[[int], object] = lambda n: None
) -> TileSummary:
    """Make the shards that `out` lacks, with `workers` processes (0 = in this one), then the manifest.

    `progress` is told the number of places done. The dataset is the same, byte for byte, whatever
    the number of workers and however often the job was stopped. Raises `DatasetError` when `out`
    belongs to another job.
    """
    facts = _facts(job, places)
    plan = _claim(out, facts, places)
    numbers = range(-(-len(places) // PLACES_PER_SHARD))
    missing = [number for number in numbers if shard_plan(shard_path(out, number)) != plan]
    found_places = len(places) - sum(len(_rows(number, len(places))) for number in missing)
    progress(found_places)
    for made in _each(partial(make_shard, job, places, out, plan), missing, workers):
        progress(made)
    shards = [shard_record(out, number) for number in numbers]
    write_json(out / MANIFEST, facts | {"channels": load_catalogue().channels, "shards": shards})
    for left_by_a_kill in out.glob(".tiles-*"):
        shutil.rmtree(left_by_a_kill)
    return TileSummary(
        places=len(places),
        tiles=len(places) * (1 + job.positives),
        shards_made=len(missing),
        shards_found=len(numbers) - len(missing),
        bytes=sum(int(str(shard["bytes"])) for shard in shards),
    )


def _facts(job: TileJob, places: Places) -> dict[str, Any]:
    return {
        "fingerprint": load_catalogue().fingerprint(job.geometry),
        "geometry": asdict(job.geometry),
        "stores": [{"name": store_name(store), "sha256": content_hash(store)} for store in job.stores],
        "seed": job.seed,
        "places": len(places),
        "positives": job.positives,
        "max_shift_m": MAX_SHIFT_M,
        "attribution": ATTRIBUTION,
    }


def _claim(out: Path, facts: dict[str, Any], places: Places) -> str:
    """Write the plan of a job to `out`, or check that the one there is the same; return its fingerprint."""
    drawn = (places.store.tolist(), places.lat.tolist(), places.lon.tolist())
    plan = {**facts, "plan": fingerprint(facts, drawn, PLACES_PER_SHARD)}
    path = out / PLAN
    if path.is_file():
        if read_json(path) != plan:
            raise DatasetError(f"{out} belongs to another tile job: give the same options and stores, or a new --out")
    else:
        write_json(path, plan)
    return str(plan["plan"])


def _rows(number: int, count: int) -> range:
    return range(number * PLACES_PER_SHARD, min((number + 1) * PLACES_PER_SHARD, count))


def _each(task: Callable[[int], int], numbers: Sequence[int], workers: int) -> Iterator[int]:
    """Run `task` for each number, in this process or in `workers` fresh ones; yield the results as they come."""
    if workers == 0 or len(numbers) < 2:
        yield from map(task, numbers)
        return
    # Spawned, not forked: Mapnik and SQLite keep threads and locks.
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _start_worker)
    try:
        futures: list[Future[int]] = [pool.submit(task, number) for number in numbers]
        for future in as_completed(futures):
            yield future.result()
    except BrokenProcessPool as error:
        raise WorkerError(
            "a worker process was killed (out of memory?): run the same command again with fewer --workers"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    """Leave Ctrl-C to the main process, and end with it however it ends, also when it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def make_shard(job: TileJob, places: Places, out: Path, plan: str, number: int) -> int:
    """Draw and write one shard; return its number of places."""
    rows = _rows(number, len(places))
    with ExitStack() as stack:
        renderers: dict[int, Renderer] = {}
        drawn = []
        for row in rows:
            store = int(places.store[row])
            if store not in renderers:
                renderers[store] = Renderer(stack.enter_context(open_source(job.stores[store])), job.geometry)
            poses = place_poses(job, float(places.lat[row]), float(places.lon[row]), row)
            tiles = renderers[store].tiles(LonLat(poses[0].lon, poses[0].lat), poses)
            drawn.append(PlaceTiles(row, renderers[store].source.name, poses, tiles))
    write_shard(shard_path(out, number), drawn, plan)
    return len(rows)


def place_poses(job: TileJob, lat: float, lon: float, row: int) -> list[Pose]:
    """Return the anchor's pose and the positives': any angle, U(0, 80 m) on each axis with a random sign."""
    rng = np.random.default_rng([job.seed, row])
    angle = rng.uniform(0, 360, job.positives)
    shift = rng.uniform(0, MAX_SHIFT_M, (job.positives, 2)) * rng.choice([-1, 1], (job.positives, 2))
    turned = [Pose(lat, lon, a, x, y) for a, (x, y) in zip(angle.tolist(), shift.tolist(), strict=True)]
    return [Pose(lat, lon), *turned]
