"""The tile job on a real Ray cluster of this machine, to a folder and to an object store."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
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
from tiling.dataset.dataset import TileDataset
from tiling.dataset.job import TileJob, run_job
from tiling.dataset.ray import RayCluster
from tiling.errors import StoreError, UserError, WorkerError
from tiling.files.folders import open_folder
from tiling.render.pool import MAX_LOSSES

JOB = {"positives": 1, "seed": 5, "locations": 384}


def command(job: TileJob, out: Path | str) -> list[str]:
    return tile(*options_of(job), "--engine", "ray", "--workers", "2", "--json", out=out)


def workers(pid: int) -> list[int]:
    """Return the Ray processes that are making a shard now."""
    return [
        each
        for each in descendants(pid)
        if b"ray::shard" in Path(f"/proc/{each}/cmdline").read_bytes()
    ]


@pytest.mark.soak
def test_a_lost_worker_is_replaced_and_the_bytes_are_the_same(
    job: TileJob, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "tiles"
    running = start(command(job, out))
    wait_for(out, "tiles-*", running)
    while not (working := workers(running.pid)):
        time.sleep(0.01)
    os.kill(working[0], signal.SIGKILL)
    processes = descendants(running.pid)
    printed, said = running.communicate(timeout=120)
    assert running.returncode == 0, said
    summary = json.loads(printed)
    # A worker that dies between its shard's rename and its answer has made it: the next one finds
    # it.
    assert (summary["shards_made"] + summary["shards_found"], summary["finished"]) == (6, True)
    assert summary["shards_retried"] == 1
    assert contents(out) == undisturbed
    assert all_gone(processes), "processes of Ray outlive the job"


def test_ctrl_c_ends_a_job_and_leaves_no_process(job: TileJob, tmp_path: Path) -> None:
    out = tmp_path / "tiles"
    running = start(command(job, out))
    wait_for(out, "tiles-*", running)
    processes = descendants(running.pid)
    os.killpg(running.pid, signal.SIGINT)
    _, said = running.communicate(timeout=60)
    assert running.returncode == 130, said
    assert "the same command goes on from there" in said
    assert "Traceback" not in said
    assert all_gone(processes), "processes of Ray outlive the job"


@pytest.fixture(scope="module")
def cluster(bucket: str) -> Iterator[str]:
    """A Ray cluster that is not the job's own: a head that a command starts, with two CPUs.

    It knows the bucket.
    """
    ray = str(Path(sys.executable).with_name("ray"))
    folder = tempfile.mkdtemp(dir="/tmp")  # a short name: sockets lie in it
    options = [
        "--num-cpus=2",
        "--port=0",
        "--node-ip-address=127.0.0.1",
        "--object-store-memory=100000000",
    ]
    options += ["--include-dashboard=false", "--disable-usage-stats", f"--temp-dir={folder}"]
    head = subprocess.Popen(
        [ray, "start", "--head", "--block", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"RAY_AUTH_MODE": "disabled"},
        start_new_session=True,
    )
    said = ""
    assert head.stdout is not None
    while "--address=" not in said:
        line = head.stdout.readline()
        assert line, said
        said += line
    processes = [head.pid, *descendants(head.pid)]
    yield said.partition("--address='")[2].partition("'")[0]
    head.terminate()
    head.communicate(timeout=60)
    assert all_gone(processes), "the cluster outlives the tests"
    shutil.rmtree(folder)


def test_a_cluster_writes_the_same_bytes_to_an_object_store(
    cluster: str, bucket: str, job: TileJob, undisturbed: dict[str, bytes]
) -> None:
    out = f"{bucket}/by-ray"
    summary = run_job(job, out, RayCluster(cluster, 0))
    assert (summary.shards_made, summary.shards_retried) == (6, 0)
    folder = open_folder(out)
    assert {name: folder.read(name) for name in folder.sizes()} == undisturbed
    assert TileDataset.open(out).n_places == 384


def refuse(item: int) -> int:
    raise StoreError(f"shard {item} has no store")


def test_an_error_of_a_task_ends_the_job_with_its_own_words(cluster: str) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(StoreError, match=r"^shard 3 has no store$"):
        list(RayCluster(cluster, 0).run(refuse, [3]))
    assert signal.getsignal(signal.SIGTERM) is before, "processes forked later would not end by it"


def die(item: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return item


def test_work_that_kills_every_worker_ends_the_job(cluster: str) -> None:
    executor = RayCluster(cluster, 0)
    with pytest.raises(WorkerError, match="a worker process was killed 4 times over the same work"):
        list(executor.run(die, [1]))
    assert executor.retried == MAX_LOSSES


def test_a_cluster_that_is_not_there_is_named(job: TileJob, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no Ray cluster at 127\.0\.0\.1:9"):
        run_job(job, tmp_path / "tiles", RayCluster("127.0.0.1:9", 0))
