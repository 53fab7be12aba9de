"""Finding and mending what has happened to a dataset since it was made."""

import json
import random
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from service.cli.main import main
from tests.tiling.dataset.processes import contents
from tiling.dataset.dataset import TileDataset, shard_name
from tiling.dataset.job import Share, TileJob, run_job
from tiling.dataset.verify import verify
from tiling.errors import DatasetError

FLIPS = 60

JOB = {"positives": 1, "seed": 3, "locations": 150}


@pytest.fixture(scope="module")
def whole(job: TileJob, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "tiles"
    run_job(job, out)
    return out


@pytest.fixture
def tiles(whole: Path, tmp_path: Path) -> Path:
    """A dataset of three shards that a test may damage."""
    return Path(shutil.copytree(whole, tmp_path / "tiles"))


def loc2vec(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["tile", *map(str, arguments)])


def test_verify_names_each_fault_and_repair_mends_those_alone(
    job: TileJob, whole: Path, tiles: Path, tmp_path: Path
) -> None:
    assert loc2vec("--out", tiles, "--verify").stdout == f"{tiles} is whole\n"
    data = bytearray((tiles / shard_name(0)).read_bytes())
    frame = TileDataset.open(tiles)._frames[7]
    data[data.index(frame) + 20] ^= 4
    (tiles / shard_name(0)).write_bytes(data)
    cut = (tiles / shard_name(1)).read_bytes()[:-100]
    (tiles / shard_name(1)).write_bytes(cut)
    (tiles / shard_name(7)).write_bytes(cut)
    (tiles / "notes.txt").write_text("mine")
    result = loc2vec("--out", tiles, "--verify")
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        "notes.txt: foreign, not of this dataset",
        "tiles-00007.parquet: foreign, not of this dataset",
        "tiles-00000.parquet: damaged at place 3, slot 1",
        f"tiles-00001.parquet: {len(cut)} bytes long, was {len(cut) + 100} when it was made",
    ]
    assert "4 faults" in result.stderr
    assert len(json.loads(loc2vec("--out", tiles, "--verify", "--json").stdout)["faults"]) == 4

    before = (tiles / shard_name(2)).stat()
    command = (
        "--store",
        job.stores[0].location,
        "--out",
        tiles,
        "--locations",
        "150",
        "--positives",
        "1",
        "--seed",
        "3",
    )
    result = loc2vec(*command, "--workers", "0", "--repair", "--json")
    assert result.exit_code == 0, result.stderr
    summary = json.loads(result.stdout)
    assert (summary["shards_made"], summary["shards_found"]) == (2, 1)
    assert (tiles / shard_name(2)).stat() == before, "a whole shard is left alone"
    assert contents(tiles) == contents(whole) | {"notes.txt": b"mine"}, (
        "a user's file is not ours to delete"
    )


def test_a_flipped_bit_anywhere_is_found_and_mended(job: TileJob, whole: Path, tiles: Path) -> None:
    names = sorted(contents(whole))
    at_random = random.Random(0)
    for number in range(FLIPS):
        name = names[number % len(names)]
        data = bytearray((whole / name).read_bytes())
        data[at_random.randrange(len(data))] ^= 1 << at_random.randrange(8)
        (tiles / name).write_bytes(data)
        faults = verify(tiles)
        assert any(fault.startswith(name) for fault in faults), (name, faults)
        if number < 2 * len(names):
            run_job(job, tiles, repair=True)
            assert contents(tiles) == contents(whole), name
        shutil.copy(whole / name, tiles / name)


def test_every_missing_file_is_found_and_mended(job: TileJob, whole: Path, tiles: Path) -> None:
    for name in contents(whole):
        (tiles / name).unlink()
        if name == "dataset.json":
            (fault,) = verify(tiles)
            assert "is unfinished, 3 of 3 shards are there" in fault
        else:
            assert verify(tiles) == [f"{name}: missing"]
        run_job(job, tiles)
        assert contents(tiles) == contents(whole)


def test_a_shard_of_another_job_is_foreign(
    job: TileJob, whole: Path, tiles: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    run_job(replace(job, seed=4), other, share=Share(2, 3))
    shutil.copy(other / shard_name(1), tiles / shard_name(1))
    (fault,) = verify(tiles)
    assert fault.startswith("tiles-00001.parquet: ")
    run_job(job, tiles, repair=True)
    assert contents(tiles) == contents(whole)
    (tiles / "plan.json").unlink()
    (tiles / "dataset.json").unlink()
    with pytest.raises(DatasetError, match="belongs to another tile job"):
        run_job(replace(job, seed=4), tiles)


def test_verify_of_what_is_no_dataset(whole: Path, tiles: Path, tmp_path: Path) -> None:
    result = loc2vec("--out", tmp_path / "none", "--verify")
    assert (result.exit_code, "holds no tile dataset" in result.stderr) == (2, True)
    (tiles / "dataset.json").unlink()
    (tiles / shard_name(2)).unlink()
    result = loc2vec("--out", tiles, "--verify")
    assert result.exit_code == 1
    assert (
        "is unfinished, 2 of 3 shards are there: run the same `loc2vec tile` to its end"
        in result.stdout
    )
