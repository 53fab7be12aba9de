"""Batches the tiles of concurrent requests, because a network encodes them faster together."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import NamedTuple

import numpy as np

from loc2vec.model.arrays import Pixels, Vectors
from service.errors import STOPPING, BusyError
from service.observe.metrics import BATCH, timed
from service.observe.tracing import Cause, cause
from service.patience import left_s, too_slow

WINDOW_S = 0.002
MOST = 128  # tiles in a batch: larger ones are no faster per tile


class _Job(NamedTuple):
    tiles: Pixels
    vectors: Future[Vectors]
    cause: Cause | None


class Batcher:
    """A thread that encodes in one batch what arrives within `WINDOW_S`.

    It waits only while requests are `expected`, so a single request loses no time.
    """

    def __init__(self, encode: Callable[[Pixels], Vectors]) -> None:
        self._encode = encode
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._closed, self._putting = False, threading.Lock()
        self._expected, self._counting = 0, threading.Lock()
        self._thread = threading.Thread(target=self._run, name="encode", daemon=True)
        self._thread.start()

    @contextlib.contextmanager
    def expected(self) -> Iterator[None]:
        """Announce tiles: the block renders what it will then encode."""
        with self._counting:
            self._expected += 1
        try:
            yield
        finally:
            with self._counting:
                self._expected -= 1

    def encode(self, tiles: Pixels) -> Vectors:
        """Return the vectors float32 [n, D] of tiles uint8 [n, channels, H, W].

        Called from any thread; raises `BusyError` after `close`, and what the network raised.
        Raises `SlowError` when its client waits no longer.
        """
        left_s()
        job = _Job(tiles, Future(), cause())
        with self._putting:
            if self._closed:
                raise BusyError(STOPPING)
            self._jobs.put(job)
        try:
            return job.vectors.result(left_s())
        except TimeoutError as error:
            raise too_slow() from error

    def close(self) -> None:
        """Encode what waits, then end the thread."""
        with self._putting:
            self._closed = True
            self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (first := self._jobs.get()) is not None:
            jobs, last = self._collect(first)
            self._answer(jobs)
            if last:
                return

    def _collect(self, first: _Job) -> tuple[list[_Job], bool]:
        """Return the jobs of a batch that begins with `first`, and whether it is the last one."""
        jobs, count, end = [first], len(first.tiles), time.monotonic() + WINDOW_S
        while count < MOST:
            wait = end - time.monotonic() if self._expected else 0.0
            try:
                job = self._jobs.get(timeout=wait) if wait > 0 else self._jobs.get_nowait()
            except Empty:
                break
            if job is None:
                return jobs, True
            jobs.append(job)
            count += len(job.tiles)
        return jobs, False

    def _answer(self, jobs: list[_Job]) -> None:
        """Encode the tiles of the jobs and hand each job its rows, or the error to all."""
        try:
            tiles = jobs[0].tiles if len(jobs) == 1 else np.concatenate([job.tiles for job in jobs])
            BATCH.observe(len(tiles))
            with timed("encode", [job.cause for job in jobs]):
                vectors = self._encode(tiles)
        except BaseException as error:  # raised where the vectors are awaited
            for job in jobs:
                job.vectors.set_exception(error)
            return
        ends = np.cumsum([len(job.tiles) for job in jobs])
        for job, own in zip(jobs, np.split(vectors, ends[:-1]), strict=True):
            job.vectors.set_result(own)
