"""A tile job survives restarts of its database and cut connections without a blank tile."""

import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.postgres import Server
from tiling.dataset.executors import Processes
from tiling.dataset.job import TileJob, run_job
from tiling.errors import StoreUnavailableError
from tiling.store.store import Store
from tiling.values import Box

CUT = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'loc2vec_api'"


class Faults(threading.Thread):
    """Restarts the server and cuts connections, in random order."""

    def __init__(self, server: Server, restarts: int, cuts: int, pause_s: float) -> None:
        super().__init__()
        self._server, self._pause_s = server, pause_s
        self._wanted: list[Callable[[], int]] = [self._restart] * restarts + [self._cut] * cuts
        random.Random(0).shuffle(self._wanted)
        self.ended = 0  # connections

    def run(self) -> None:
        for fault in self._wanted:
            time.sleep(self._pause_s)
            self.ended += fault()

    def _restart(self) -> int:
        self._server.restart(random.choice(["fast", "immediate"]))
        return 0

    def _cut(self) -> int:
        return int(self._server.psql(CUT))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def survive(
    server: Server, location: str, out: Path, restarts: int, cuts: int, places: int, pause_s: float
) -> None:
    """Run a job again and again until all faults have happened.

    Each time it must make what it makes undisturbed.
    """
    job = TileJob((Store.at(location),), positives=1, seed=3, locations=places)
    run_job(job, out / "undisturbed")
    expected = contents(out / "undisturbed")
    faults = Faults(server, restarts, cuts, pause_s)
    faults.start()
    runs = 0
    while faults.is_alive() or not runs:
        runs += 1
        run_job(job, out / str(runs), Processes(2))
        assert contents(out / str(runs)) == expected
    faults.join()
    assert faults.ended >= cuts / 2, "the connections of the job were cut"


def test_a_job_survives_restarts_and_cut_connections(
    server: Server, monaco_database: str, tmp_path: Path
) -> None:
    survive(server, monaco_database, tmp_path, restarts=2, cuts=8, places=150, pause_s=0.3)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_a_job_survives_20_restarts_and_100_cut_connections(
    server: Server, monaco_database: str, tmp_path: Path
) -> None:
    survive(server, monaco_database, tmp_path, restarts=20, cuts=100, places=500, pause_s=0.4)


def test_a_query_that_is_cut_is_asked_again_and_one_that_nobody_answers_ends(
    server: Server, monaco_database: str, caplog: pytest.LogCaptureFixture
) -> None:
    box = Box(7.41, 43.72, 7.44, 43.75)
    with Store.at(monaco_database).open(patience_s=2) as source:
        before = source.features(box)
        assert int(server.psql(CUT)) >= 1
        assert list(source.features(box).wkb) == list(before.wkb)
        server.stop("fast")
        try:
            with pytest.raises(StoreUnavailableError, match="does not answer"):
                source.features(box)
        finally:
            server.start()
        assert "asking again" in caplog.text
        assert list(source.features(box).wkb) == list(before.wkb)
