"""A database that hangs, or whose connections a fork inherits, keeps nobody waiting or mixed up."""

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator

import pytest

from tests.postgres import Server
from tiling.errors import StoreUnavailableError
from tiling.store.postgis.database import pool_of
from tiling.store.store import HANGS_S, Store
from tiling.values import Box

BOX = Box(7.41, 43.72, 7.44, 43.75)
BACKENDS = "SELECT pid FROM pg_stat_activity WHERE usename = 'loc2vec_api'"


@pytest.fixture
def stopped(server: Server) -> Iterator[list[int]]:
    """Backends that a test stopped; they go on after it."""
    pids: list[int] = []
    yield pids
    for pid in pids:
        os.kill(pid, signal.SIGCONT)


def test_a_query_to_a_backend_that_hangs_is_given_up_and_the_connection_replaced(
    server: Server, monaco_database: str, stopped: list[int]
) -> None:
    with Store.at(monaco_database).open(patience_s=0.0) as source:
        before = source.features(BOX)
        stopped += map(int, server.psql(BACKENDS).split())
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        start = time.monotonic()
        with pytest.raises(StoreUnavailableError, match="it hangs"):
            source.features(BOX)
        assert time.monotonic() - start < HANGS_S + 5
        assert list(source.features(BOX).wkb) == list(before.wkb)  # by another backend


def test_a_fork_takes_connections_of_its_own(server: Server, monaco_database: str) -> None:
    pool = pool_of(monaco_database)
    backend = "SELECT pg_backend_pid()"
    (own,) = {pool.ask(backend, None, 1)[0][0] for _ in range(3)}
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)

    def ask() -> None:
        there.send([pool.ask(backend, None, 1)[0][0] for _ in range(3)])

    child = context.Process(target=ask)
    child.start()
    assert own not in here.recv()
    child.join()
    assert pool.ask(backend, None, 1)[0][0] == own
