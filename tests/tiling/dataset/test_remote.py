"""Datasets behind URLs: an S3 service on this machine (moto's server), fsspec's memory, file://."""

import itertools
import threading
from pathlib import Path

import fsspec
import numpy as np
import pytest
from click.testing import CliRunner, Result

from service.cli.main import main
from tiling.dataset.dataset import TileDataset, shard_name
from tiling.dataset.executors import Processes
from tiling.dataset.job import Share, TileJob, run_job
from tiling.dataset.verify import verify
from tiling.errors import DatasetError, UserError, WriteError
from tiling.files.folders import Folder, open_folder

NUMBERS = itertools.count()

JOB = {"positives": 1, "seed": 5, "locations": 150}


@pytest.fixture(params=["s3", "memory", "file"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A URL where nothing is yet."""
    name = f"tiles-{next(NUMBERS)}"
    if request.param == "s3":
        return f"{request.getfixturevalue('bucket')}/deep/{name}"
    return f"memory://{name}" if request.param == "memory" else f"file://{tmp_path}/{name}"


def all_of(folder: Folder) -> dict[str, bytes]:
    return {name: folder.read(name) for name in folder.sizes()}


def test_a_job_writes_the_same_bytes_to_a_url_and_they_can_be_read(
    url: str, job: TileJob, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    assert not run_job(job, url, share=Share(2, 3)).finished
    assert run_job(job, url).shards_found == 1
    folder = open_folder(url)
    assert all_of(folder) == undisturbed
    assert verify(url) == []
    tiles = TileDataset.open(url)
    assert (tiles.n_places, tiles.places.num_rows) == (150, 150)
    assert tiles.tiles(np.arange(150), np.arange(150) % 2).any(axis=(1, 2, 3)).all()

    folder.put(shard_name(1), undisturbed[shard_name(1)][:-7])
    folder.put("tiles-00009.parquet", b"foreign")
    assert [fault.partition(":")[0] for fault in verify(url)] == [
        "tiles-00009.parquet",
        shard_name(1),
    ]
    with pytest.raises(DatasetError, match="another length"):
        TileDataset.open(url)
    assert run_job(job, url, repair=True).shards_made == 1
    assert all_of(folder) == undisturbed


def test_processes_write_to_an_object_store(
    bucket: str, job: TileJob, undisturbed: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    run_job(job, f"{bucket}/by-processes", Processes(2))
    assert all_of(open_folder(f"{bucket}/by-processes")) == undisturbed


def test_of_many_writers_one_creates_a_file(url: str) -> None:
    created: list[bytes] = []

    def create(data: bytes) -> None:
        if open_folder(url).put_new("plan.json", data):
            created.append(data)

    writers = [threading.Thread(target=create, args=(b"%d" % number,)) for number in range(8)]
    for each in writers:
        each.start()
    for each in writers:
        each.join()
    assert len(created) == 1
    assert open_folder(url).read("plan.json") == created[0]


def loc2vec(*arguments: str | Path | int) -> Result:
    return CliRunner().invoke(main, [*map(str, arguments)])


def test_the_command_takes_a_url(bucket: str, monaco_store: Path) -> None:
    out = f"{bucket}/by-command"
    result = loc2vec(
        "tile",
        "--store",
        monaco_store,
        "--out",
        out,
        "--locations",
        20,
        "--positives",
        1,
        "--workers",
        0,
    )
    assert f"40 tiles of 20 places in {out}" in result.stdout, result.stderr
    assert loc2vec("tile", "--out", out, "--verify").stdout == f"{out} is whole\n"


def test_what_is_wrong_with_a_url_is_said_in_a_line(
    bucket: str, job: TileJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="nosuch://x: nosuch:// is not known"):
        run_job(job, "nosuch://x")
    with pytest.raises(WriteError, match="s3://missing/x"):
        run_job(job, "s3://missing/x")
    with pytest.raises(DatasetError, match="s3://places/none holds no tile dataset"):
        TileDataset.open("s3://places/none")
    s3 = fsspec.get_filesystem_class("s3")
    s3.clear_instance_cache()  # it keeps the endpoint that it began with
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(WriteError, match="s3://places/x: EndpointConnectionError"):
        open_folder("s3://places/x").sizes()
    s3.clear_instance_cache()
