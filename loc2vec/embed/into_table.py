"""Vectors straight into a table of PostgreSQL: a job that resumes, and updates in place."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from loc2vec.embed.batch import Places, changed_rows, embed, embed_each
from loc2vec.embed.files import Vectors
from loc2vec.embed.parts import PLACES_PER_PART, EmbedJob, Part, facts_of_job, parts_of, with_plan
from loc2vec.embed.table import OpenTable, VectorTable
from loc2vec.errors import VectorsError
from tiling.store.source import FeatureSource
from tiling.values import ATTRIBUTION


@dataclass(frozen=True, slots=True)
class TableSummary:
    """The places of a table: all, those embedded now, and those of them outside the store."""

    places: int
    embedded: int
    outside: int


Progress = Callable[[int], object]


def embed_table(
    job: EmbedJob, table: VectorTable, workers: int, progress: Progress = lambda n: None
) -> TableSummary:
    """Fill a new table; the same job goes on where it was stopped.

    Raises `VectorsError` when the table exists, `StoreError` when the database does not allow it.
    """
    with job.store.open() as source, table.opened() as rows:
        encoder = job.encoder()
        facts = {"dim": encoder.dim, "attribution": ATTRIBUTION}
        plan = with_plan({**facts_of_job(job, source, encoder), **facts})
        if (there := rows.facts()) is not None:
            if there.get("plan") == plan["plan"]:
                return TableSummary(len(rows.places()[0]), 0, 0)
            raise VectorsError(f"{table} exists: drop it, or update it with --only-changed {table}")
        filling = _Filling(rows, plan, progress)
        for vectors in embed_each(source, encoder, filling.todo(job, source), workers):
            filling.put(vectors)
        if source.store.content_hash() != plan["store"]:
            raise VectorsError("the store was changed meanwhile: drop the table and run again")
        rows.finish(plan)
        return filling.summary


class _Filling:
    """The parts of a table: which are there, and which are made now."""

    def __init__(self, rows: OpenTable, plan: dict[str, Any], progress: Progress) -> None:
        self._rows, self._plan, self._progress = rows, plan, progress
        self._waiting: list[Part] = []
        self.summary = TableSummary(0, 0, 0)

    def todo(self, job: EmbedJob, source: FeatureSource) -> Iterator[Places]:
        """Yield the places of the parts that the table lacks."""
        there: set[int] | None = None
        for part in parts_of(job, source):
            if there is None:
                table = part.places.table
                there = self._rows.claim(
                    self._plan, pa.schema([]) if table is None else table.schema
                )
            count = self.summary.places + len(part.places)
            self.summary = replace(self.summary, places=count)
            if part.number in there:
                self._progress(len(part.places))
            else:
                self._waiting.append(part)
                yield part.places

    def put(self, vectors: Vectors) -> None:
        """Write the part that was embedded, the first of those that wait."""
        part = self._waiting.pop(0)
        self._rows.put(part.number * PLACES_PER_PART, vectors)
        outside = self.summary.outside + len(vectors) - int(vectors.inside.sum())
        done = self.summary.embedded + len(vectors)
        self.summary = replace(self.summary, embedded=done, outside=outside)
        self._progress(len(vectors))


def update_table(
    job: EmbedJob, table: VectorTable, workers: int, progress: Progress = lambda n: None
) -> TableSummary:
    """Put new vectors into the rows whose tiles changed since the table was written.

    Raises `VectorsError` without such a table, `EarlierError` when another model made it,
    `StoreError` when the store does not know its changes.
    """
    with job.store.open() as source, table.opened() as rows:
        facts = rows.facts()
        if facts is None:
            raise VectorsError(f"{table} does not exist: make it with `loc2vec embed --out`")
        encoder = job.encoder()
        content = source.store.content_hash()
        numbers, lon_lat = rows.places()
        changed = changed_rows(source, encoder, (facts["model"], facts["store"]), lon_lat)
        vectors = embed(source, encoder, Places(lon_lat[changed]), workers, progress)
        rows.update(numbers[changed], vectors, {**facts, "store": content})
        outside = int(np.sum(~vectors.inside))
        return TableSummary(len(numbers), len(changed), outside)
