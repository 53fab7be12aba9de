"""Vectors in a folder of parts: a job that resumes, spreads over machines and holds few in memory.

The folder holds, in the order in which they are written:

- `plan.json`: what the vectors are made of. Whoever writes it first claims the folder.
- `part-00000.parquet` and so on: GeoParquet, `PLACES_PER_PART` rows each but the last.
- `vectors.json`: the manifest, with the size and hash of each part. It completes the folder.

Every file appears in one step, and its bytes follow from the plan and the number of threads that
encode. So a job may be killed at any moment and run again, and several jobs may make parts of one
folder on several machines.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from loc2vec.embed.batch import Places, embed_each, places_of_file, require_inside
from loc2vec.embed.files import MANIFEST, Vectors, facts_of, table_of
from loc2vec.encoder import LocationEncoder
from loc2vec.errors import VectorsError
from tiling.dataset.executors import Executor
from tiling.dataset.job import Share
from tiling.errors import Loc2VecError
from tiling.files.atomic import json_bytes
from tiling.files.folders import Folder, absolute, open_folder
from tiling.files.geoparquet import parquet_bytes, with_points
from tiling.files.points import hash_of_points
from tiling.geo.grid import grid_rows
from tiling.store.source import FeatureSource
from tiling.store.store import Store
from tiling.values import Box, fingerprint

PLAN = "plan.json"
PLACES_PER_PART = 8192
Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class EmbedJob:
    """Which places to embed, and how: those of a grid `metres` apart in `box`, or of `points`."""

    store: Store
    model: str
    metres: float | None = None
    box: Box | None = None
    points: Path | None = None
    fast: bool = False

    def encoder(self) -> LocationEncoder:
        """Load the encoder of the job."""
        return LocationEncoder.load(self.model, fast=self.fast)


class Part(NamedTuple):
    """The work of one part."""

    number: int
    places: Places


@dataclass(frozen=True, slots=True)
class PartsSummary:
    """What a job did for its share; `outside`: of the places of the parts made now."""

    places: int
    outside: int
    parts_made: int
    parts_found: int
    finished: bool  # whether the folder is complete, all shares of it


def part_name(number: int) -> str:
    """Return the file name of a part."""
    return f"part-{number:05d}.parquet"


@dataclass(frozen=True, slots=True)
class Means:
    """What a job has: processes that render here, its share of the parts, perhaps a cluster."""

    workers: int = 0
    share: Share = Share()  # noqa: RUF009 - immutable
    cluster: Executor | None = None


def parts_of(job: EmbedJob, source: FeatureSource) -> Iterator[Part]:
    """Return the parts of a job in order; a grid is made as it is needed."""
    if job.points is None:
        return _parts_of_rows(grid_rows(source.coverage, job.metres or 0.0, job.box))
    places = places_of_file(job.points)
    require_inside(source, places)
    return _parts_of_places(places)


def _parts_of_places(places: Places) -> Iterator[Part]:
    for number, first in enumerate(range(0, len(places), PLACES_PER_PART)):
        rows = slice(first, first + PLACES_PER_PART)
        table = None if places.table is None else places.table[rows]
        yield Part(number, Places(places.lon_lat[rows], table))


def _parts_of_rows(rows: Iterator[NDArray[np.float64]]) -> Iterator[Part]:
    waiting, number = np.empty((0, 2)), 0
    for row in rows:
        waiting = np.concatenate([waiting, row])
        while len(waiting) > PLACES_PER_PART:
            yield Part(number, Places(waiting[:PLACES_PER_PART]))
            waiting, number = waiting[PLACES_PER_PART:], number + 1
    yield Part(number, Places(waiting))


def embed_parts(
    job: EmbedJob,
    out: str | Path,
    means: Means,
    progress: Callable[[int], object] = lambda n: None,
) -> PartsSummary:
    """Make the parts that `out`, a path or an fsspec URL, lacks.

    `progress` is told how many more places are done. Raises `VectorsError` when `out` belongs to
    another job, or the store was changed meanwhile.
    """
    folder = open_folder(absolute(out))
    points = None if job.points is None else job.points.absolute()
    job = replace(job, store=job.store.absolute(), points=points)
    with job.store.open() as source:
        encoder = job.encoder()
        parts = parts_of(job, source)
        plan = _claim(folder, facts_of_job(job, source, encoder))
        work = _Work(folder, plan, means.share)
        todo = work.todo(parts, progress)
        if means.cluster is not None:
            made = means.cluster.run(partial(make_part, job, folder.location, plan), todo)
        else:
            write = partial(_write, folder, plan)
            made = _made_here(write, source, encoder, means.workers, todo)
        try:
            for record in made:
                work.done(record)
                progress(record["rows"])
            if source.store.content_hash() != plan["store"]:
                raise VectorsError("the store was changed meanwhile: run again, into a new --out")
            return work.summary()
        except VectorsError:
            raise
        except Loc2VecError as error:
            raise type(error)(f"{error} (what is made stays: the same command goes on)") from error


def _made_here(
    write: Callable[[int, Vectors], Record],
    source: FeatureSource,
    encoder: LocationEncoder,
    workers: int,
    todo: Iterator[Part],
) -> Iterator[Record]:
    numbers = deque[int]()

    def places() -> Iterator[Places]:
        for part in todo:
            numbers.append(part.number)
            yield part.places

    for vectors in embed_each(source, encoder, places(), workers):
        yield write(numbers.popleft(), vectors)


def make_part(job: EmbedJob, location: str, plan: Mapping[str, Any], part: Part) -> Record:
    """Make a part in the folder at `location`: one task of a cluster. Returns its record."""
    source, encoder = _opened(job)
    (vectors,) = embed_each(source, encoder, [part.places], 0)
    return _write(open_folder(location), plan, part.number, vectors)


@lru_cache(maxsize=1)
def _opened(job: EmbedJob) -> tuple[FeatureSource, LocationEncoder]:
    """Open what the tasks of one process share."""
    return job.store.open(), job.encoder()


def _write(folder: Folder, plan: Mapping[str, Any], number: int, vectors: Vectors) -> Record:
    facts = {**facts_of(vectors), "plan": str(plan["plan"])}
    data = parquet_bytes(with_points(table_of(vectors), vectors.lat, vectors.lon, facts))
    folder.put(part_name(number), data)
    outside = len(vectors) - int(vectors.inside.sum())
    return {**_record(number, len(vectors), data), "outside": outside}


def _record(number: int, rows: int, data: bytes) -> Record:
    digest = sha256(data).hexdigest()
    return {"file": part_name(number), "rows": rows, "bytes": len(data), "sha256": digest}


def facts_of_job(job: EmbedJob, source: FeatureSource, encoder: LocationEncoder) -> Record:
    """Return what a job is, for its plan; `FingerprintError` when store and model differ."""
    source.catalogue.check(f"model {encoder.model_id}", encoder.fingerprint, encoder.geometry)
    return {
        "model": encoder.model_id,
        "fingerprint": encoder.fingerprint,
        "store": source.store.content_hash(),
        "grid_m": job.metres,
        "box": None if job.box is None else list(job.box),
        "points": None if job.points is None else hash_of_points(job.points),
        "places_per_part": PLACES_PER_PART,
        "fast": job.fast,
    }


def _claim(folder: Folder, facts: Record) -> Record:
    """Write the plan unless it is there; `VectorsError` when another job was first."""
    plan = with_plan(facts)
    folder.put_new(PLAN, json_bytes(plan))
    if folder.read(PLAN) != json_bytes(plan):
        raise VectorsError(
            f"{folder.location} belongs to another job: "
            "give the same options, store and model, or a new --out"
        )
    return plan


def with_plan(facts: Record) -> Record:
    """Return what a job is together with its short name, `plan`."""
    return {**facts, "plan": fingerprint(facts)}


class _Work:
    """The parts of a share: which are there, and which are made now."""

    def __init__(self, folder: Folder, plan: Mapping[str, Any], share: Share) -> None:
        self._folder, self._plan, self._share = folder, plan, share
        self._count = self._found = self._outside = 0
        self._made: dict[str, Record] = {}
        self._places = 0

    def todo(self, parts: Iterator[Part], progress: Callable[[int], object]) -> Iterator[Part]:
        """Yield the parts of this share that are not there."""
        sizes = self._folder.sizes()
        for part in parts:
            self._count += 1
            if part.number % self._share.parts != self._share.part - 1:
                continue
            name = part_name(part.number)
            if name in sizes and self._known(part.number) is not None:
                self._found, self._places = self._found + 1, self._places + len(part.places)
                progress(len(part.places))
            else:
                yield part

    def done(self, record: Record) -> None:
        """Count a part that was made."""
        self._outside += record.pop("outside")
        self._places += record["rows"]
        self._made[record["file"]] = record

    def _known(self, number: int) -> Record | None:
        """Return the record of a part that is there and of this plan."""
        try:
            data = self._folder.read(part_name(number))
            footer = pq.read_metadata(pa.BufferReader(data))
        except (FileNotFoundError, pa.ArrowException, OSError):
            return None
        plan = (footer.metadata or {}).get(b"plan", b"").decode()
        return _record(number, footer.num_rows, data) if plan == self._plan["plan"] else None

    def summary(self) -> PartsSummary:
        """Complete the folder if all parts are there, also those of other shares."""
        names = [part_name(number) for number in range(self._count)]
        there = self._folder.sizes().keys() >= set(names)
        records = [
            self._made.get(name) or self._known(number)
            for number, name in enumerate(names if there else [])
        ]
        finished = there and None not in records
        if finished:
            self._folder.put(MANIFEST, json_bytes({**self._plan, "parts": records}))
            self._folder.sweep()
        made = len(self._made)
        return PartsSummary(self._places, self._outside, made, self._found, finished)
