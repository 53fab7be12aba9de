"""Jobs that are killed, interrupted, run out of disk or lose their store or a worker, and go on."""

import itertools
import json
import logging
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import termios
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from tests.tiling.dataset.processes import (
    all_gone,
    contents,
    descendants,
    options_of,
    start,
    tile,
    wait_for,
)
from tiling.dataset.dataset import TileDataset, shard_name
from tiling.dataset.executors import Processes
from tiling.dataset.job import Done, Share, TileJob, run_job
from tiling.errors import DatasetError, StoreError, WorkerError
from tiling.render.pool import MAX_LOSSES
from tiling.store.store import Store

LOCATIONS, POSITIVES = 384, 1  # six shards
JOB = {"positives": POSITIVES, "seed": 7, "locations": LOCATIONS}


def command(job: TileJob, out: Path, *more: str) -> list[str]:
    return tile(*options_of(job), "--workers", "2", *more, out=out)


def kill_and_start_again(
    job: TileJob, out: Path, undisturbed: dict[str, bytes], kills: int, seed: int
) -> Counter[int]:
    """SIGKILL runs at random moments until `kills` have hit.

    Return how many hit when so many shards were there.

    Half of the blows hit the whole group of processes, half the first alone. Whenever a run comes
    to its end the dataset must be the undisturbed one, and the next run begins another.
    """
    moments = random.Random(seed)
    struck: Counter[int] = Counter()
    finished = 0
    began = time.monotonic()
    subprocess.run(command(job, out), check=True, capture_output=True)
    longest = 1.2 * (time.monotonic() - began)
    shutil.rmtree(out)
    while struck.total() < kills or out.exists() or not finished:
        running = start(command(job, out))
        try:
            running.wait(moments.uniform(0, longest) if struck.total() < kills else None)
        except subprocess.TimeoutExpired:
            processes = descendants(running.pid)
            if moments.random() < 0.5:
                os.killpg(running.pid, signal.SIGKILL)
            else:
                running.kill()
            running.communicate()
            assert all_gone(processes), "workers outlive the job"
            struck[len(list(out.glob("tiles-*")))] += 1
            continue
        _, said = running.communicate()
        assert running.returncode == 0, said
        assert contents(out) == undisturbed
        assert not [path for path in out.iterdir() if path.is_dir()], "temporary folders are left"
        shutil.rmtree(out)
        finished += 1
    logging.getLogger(__name__).info("%d datasets finished", finished)
    return struck


def test_killed_at_random_moments_it_makes_the_same_bytes(
    job: TileJob, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    assert kill_and_start_again(job, tmp_path / "tiles", undisturbed, kills=2, seed=1).total() == 2


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_killed_200_times_it_makes_the_same_bytes(
    job: TileJob, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    struck = kill_and_start_again(job, tmp_path / "tiles", undisturbed, kills=200, seed=2)
    logging.getLogger(__name__).info(
        "kills by the number of shards that were there: %s", sorted(struck.items())
    )
    assert min(struck[shards] for shards in range(6)) > 0, struck


KILLED_AT = """
import os, pathlib, runpy, shutil, signal, sys, tempfile
left = int(sys.argv.pop(1))
def deadly(function):
    def run(*arguments, **options):
        global left
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **options)
    return run
for owner, name in ((os, "fsync"), (os, "link"), (pathlib.Path, "replace"),
                    (pathlib.Path, "unlink"), (pathlib.Path, "write_bytes"),
                    (tempfile, "mkdtemp"), (shutil, "rmtree")):
    setattr(owner, name, deadly(getattr(owner, name)))
sys.argv[0] = "loc2vec"
runpy.run_module("loc2vec", run_name="__main__")
"""


@pytest.mark.soak
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("share", [Share(2, 2), Share()], ids=["share", "all"])
def test_killed_before_any_step_of_writing_it_makes_the_same_bytes(
    job: TileJob, tmp_path: Path, share: Share
) -> None:
    two = replace(job, locations=65, positives=0)
    run_job(two, tmp_path / "whole")
    for step in itertools.count(1):
        out = tmp_path / f"killed-{step}"
        if share == Share():
            # so that there is a share's file to delete at the end
            run_job(two, out, share=Share(1, 2))
        options = command(two, out, "--workers", "0", "--shard", f"{share.part}/{share.parts}")[3:]
        run = subprocess.run(
            [sys.executable, "-c", KILLED_AT, str(step), *options], capture_output=True, check=False
        )
        assert run.returncode in (0, -signal.SIGKILL), run.stderr
        run_job(two, out)
        assert contents(out) == contents(tmp_path / "whole"), step
        assert not [path for path in out.iterdir() if path.is_dir()], step
        if run.returncode == 0:
            break
    assert step > 10
    logging.getLogger(__name__).info("killed before each of %d steps", step - 1)


def test_ctrl_c_ends_a_job_and_says_how_to_go_on(
    job: TileJob, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "tiles"
    running = start(command(job, out))
    wait_for(out, "tiles-*", running)
    processes = descendants(running.pid)
    assert len(processes) >= 2
    os.killpg(running.pid, signal.SIGINT)  # as a terminal does, to all of them
    _, said = running.communicate(timeout=60)
    assert running.returncode == 130
    assert re.search(
        r"stopped at (its start|\d of 6 shards.*): the same command goes on from there", said
    ), said
    assert "Traceback" not in said
    assert all_gone(processes), "workers outlive the job"
    with pytest.raises(DatasetError, match="is unfinished"):
        TileDataset.open(out)
    done = {path: path.read_bytes() for path in out.glob("tiles-*")}
    assert run_job(job, out).shards_found >= len(done) > 0
    assert contents(out) == undisturbed


def test_ctrl_c_does_not_wait_for_the_shards_at_work(job: TileJob, tmp_path: Path) -> None:
    long = replace(job, positives=1000)  # a shard takes minutes
    out = tmp_path / "tiles"
    running = start(command(long, out))
    wait_for(out, "places.parquet", running)
    while len(processes := descendants(running.pid)) < 2:
        time.sleep(0.02)
    time.sleep(1)
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=30)
    assert (running.returncode, "stopped at its start: the same command goes on" in said) == (
        130,
        True,
    ), said
    assert all_gone(processes), "workers outlive the job"


def test_what_a_killed_writer_left_is_swept_away(
    job: TileJob, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "tiles"
    out.mkdir()
    for name in ("plan.json", "places.parquet", shard_name(3), "dataset.json"):
        left = out / f".{name}.0123abcd"
        left.mkdir()
        (left / name).write_bytes(b"half")
    (out / ".mine.0123abcd").mkdir()
    (out / ".mine.0123abcd" / "notes.txt").write_text("not a temporary file")
    run_job(job, out)
    assert contents(out) == undisturbed | {".mine.0123abcd/notes.txt": b"not a temporary file"}


def test_a_lost_worker_is_replaced(
    job: TileJob, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "tiles"
    running = start(command(job, out, "--json"))
    wait_for(out, "tiles-*", running)
    workers = [
        pid
        for pid in descendants(running.pid)
        if "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text()
    ]
    os.kill(workers[-1], signal.SIGKILL)
    printed, said = running.communicate(timeout=60)
    assert running.returncode == 0, said
    assert json.loads(printed)["shards_retried"] > 0
    assert re.search(r"^tile: 6 of 6 shards, \d+ tiles/s, 00:00 left$", said, re.M), said
    assert contents(out) == undisturbed


def die(item: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return item


def test_work_that_kills_every_worker_ends_the_job() -> None:
    executor = Processes(1)
    with pytest.raises(WorkerError, match="a worker process was killed 4 times over the same work"):
        list(executor.run(die, [1]))
    assert executor.retried == MAX_LOSSES


def test_a_store_that_vanishes_ends_the_job_and_the_next_goes_on(
    job: TileJob, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    store, away, out = tmp_path / "monaco.gpkg", tmp_path / "away.gpkg", tmp_path / "tiles"
    shutil.copy(job.stores[0].location, store)
    mine = replace(job, stores=(Store.at(store),))

    def take_away(done: Done, shards: int) -> None:
        if store.exists():
            store.rename(away)

    with pytest.raises(
        StoreError, match=r"monaco.gpkg is not a file: .* \(what is made stays: the same command"
    ):
        run_job(mine, out, progress=take_away)
    assert list(out.glob("tiles-*"))
    away.rename(store)
    run_job(mine, out)
    assert contents(out) == undisturbed


def test_a_terminal_gets_a_bar(job: TileJob, tmp_path: Path) -> None:
    terminal, end = os.openpty()
    termios.tcsetwinsize(end, (24, 100))
    running = subprocess.Popen(command(replace(job, locations=65), tmp_path / "tiles"), stderr=end)
    os.close(end)
    said = b""
    with suppress(OSError):  # Linux ends a terminal that nobody writes to any more with an error
        while more := os.read(terminal, 1 << 16):
            said += more
    os.close(terminal)
    assert running.wait() == 0
    assert re.search(rb"tile: 100%.* 2/2 .*tiles/s", said), said


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 3 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if (
        os.geteuid()
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], check=False
        ).returncode
    ):
        pytest.skip("this user or machine mounts no tmpfs")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_ends_the_job_and_with_more_room_it_goes_on(
    job: TileJob, undisturbed: dict[str, bytes], small_disk: Path
) -> None:
    out = small_disk / "tiles"
    full = subprocess.run(command(job, out), capture_output=True, text=True, check=False)
    assert full.returncode == 1
    assert "No space left on device (what is made stays: the same command goes on)" in full.stderr
    assert "Traceback" not in full.stderr
    made = list(out.glob("tiles-*"))
    assert made
    assert not [path for path in out.iterdir() if path.is_dir()], "half-written files take room"
    assert all(path.read_bytes() == undisturbed[path.name] for path in made)
    subprocess.run(["mount", "-o", "remount,size=60m", small_disk], check=True)
    assert run_job(job, out).shards_found == len(made)
    assert contents(out) == undisturbed


def test_shares_make_the_same_dataset_in_any_order(
    job: TileJob, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "tiles"
    part = subprocess.run(
        command(job, out, "--shard", "3/3", "--json"), capture_output=True, check=True
    )
    summary = json.loads(part.stdout)
    assert (summary["finished"], summary["shards"]) == (False, 2)
    first = run_job(job, out, share=Share(1, 3))
    assert (first.finished, first.shards) == (False, 2)
    with pytest.raises(DatasetError, match="is unfinished, 4 of 6 shards are there"):
        TileDataset.open(out)
    last = run_job(job, out)
    assert (last.shards_made, last.shards_found, last.finished) == (2, 4, True)
    assert contents(out) == undisturbed


def test_shares_that_start_together_make_one_dataset(
    job: TileJob, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "tiles"
    running = [
        start(command(job, out, "--shard", f"{number}/2", "--workers", "0", "--json"))
        for number in (1, 2)
    ]
    said = [each.communicate() for each in running]
    assert [each.returncode for each in running] == [0, 0], said
    assert any(json.loads(printed)["finished"] for printed, _ in said)
    assert contents(out) == undisturbed


def test_jobs_that_differ_and_start_together_do_not_mix(job: TileJob, tmp_path: Path) -> None:
    out = tmp_path / "tiles"
    outcome: dict[int, object] = {}

    def make(seed: int) -> None:
        try:
            outcome[seed] = run_job(replace(job, seed=seed, locations=64), out)
        except DatasetError as error:
            outcome[seed] = error

    threads = [threading.Thread(target=make, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    refused = [each for each in outcome.values() if isinstance(each, DatasetError)]
    assert len(refused) == 3, outcome
    assert "belongs to another tile job" in str(refused[0])
    assert TileDataset.open(out).n_places == 64
