"""Folders of parts: resumed, spread and read as one, the same bytes whatever happened."""

import itertools
import json
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.dataset
import pytest
from click.testing import CliRunner, Result

from loc2vec.embed.batch import embed, places_of_grid
from loc2vec.embed.files import MANIFEST, read_vectors
from loc2vec.embed.parts import EmbedJob, Means, embed_parts
from loc2vec.encoder import LocationEncoder
from loc2vec.errors import VectorsError
from service.cli.main import main
from tiling.dataset.job import Share
from tiling.errors import OutsideError
from tiling.store.source import FeatureSource
from tiling.store.store import Store

PER_PART = 20  # of some 70 places of the grid: four parts


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loc2vec.embed.parts.PLACES_PER_PART", PER_PART)


@pytest.fixture
def job(monaco_store: Path, model_folder: Path) -> EmbedJob:
    return EmbedJob(Store.at(monaco_store), str(model_folder), metres=250.0)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.fixture(scope="module")
def whole(
    monaco_store: Path, model_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, bytes]:
    """The folder as one run makes it that nothing stops."""
    out = tmp_path_factory.mktemp("whole") / "vectors"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("loc2vec.embed.parts.PLACES_PER_PART", PER_PART)
        job = EmbedJob(Store.at(monaco_store), str(model_folder), metres=250.0)
        done = embed_parts(job, out, Means(workers=0))
    assert (done.parts_made, done.parts_found, done.finished) == (
        -(-done.places // PER_PART),
        0,
        True,
    )
    return contents(out)


def test_parts_are_read_as_one(
    whole: dict[str, bytes], monaco: FeatureSource, encoder: LocationEncoder, tmp_path: Path
) -> None:
    for name, data in whole.items():
        (tmp_path / name).write_bytes(data)
    found = read_vectors(tmp_path)
    places = places_of_grid(monaco, 250)
    np.testing.assert_array_equal(np.stack([found.lon, found.lat], axis=1), places.lon_lat)
    expected = embed(monaco, encoder, places, workers=0)
    np.testing.assert_allclose(found.embedding, expected.embedding, atol=1e-3)  # other batches
    assert (found.model, found.store) == (expected.model, expected.store)
    files = sorted(tmp_path.glob("part-*.parquet"))
    assert pyarrow.dataset.dataset(files).count_rows() == len(places)
    (tmp_path / "part-00001.parquet").write_bytes(b"")
    with pytest.raises(VectorsError, match=r"part-00001\.parquet is missing, or not as it was"):
        read_vectors(tmp_path)


def test_shares_and_workers_make_the_same_bytes(
    job: EmbedJob, whole: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "vectors"
    first = embed_parts(job, out, Means(2, Share(1, 2)))
    assert not first.finished
    with pytest.raises(VectorsError, match=r"holds no vectors\.json: run the `loc2vec embed`"):
        read_vectors(out)
    second = embed_parts(job, out, Means(0, Share(2, 2)))
    assert second.finished
    assert first.parts_made + second.parts_made == len(whole) - 2
    assert contents(out) == whole
    again = embed_parts(job, out, Means())
    assert (again.parts_made, again.parts_found) == (0, len(whole) - 2)
    assert contents(out) == whole


def test_a_lost_or_damaged_part_is_made_again(
    job: EmbedJob, whole: dict[str, bytes], tmp_path: Path
) -> None:
    for name, data in whole.items():
        (tmp_path / name).write_bytes(data if name != "part-00002.parquet" else data[:-9])
    (tmp_path / MANIFEST).unlink()
    (tmp_path / "part-00000.parquet").unlink()
    assert embed_parts(job, tmp_path, Means()).parts_made == 2
    assert contents(tmp_path) == whole


def test_the_folder_of_another_job_is_left_alone(
    job: EmbedJob, whole: dict[str, bytes], tmp_path: Path
) -> None:
    for name, data in whole.items():
        (tmp_path / name).write_bytes(data)
    other = EmbedJob(job.store, job.model, metres=101)
    with pytest.raises(VectorsError, match="belongs to another job: give the same options"):
        embed_parts(other, tmp_path, Means())
    assert contents(tmp_path) == whole


def test_points_keep_their_columns_and_equal_ones_are_rendered_once(
    job: EmbedJob, tmp_path: Path
) -> None:
    file = tmp_path / "points.csv"
    rows = ["02139,43.7384,7.4246", "00501,48.85,2.35", "3,43.7384,7.4246"]
    file.write_text("zip,lat,lon\n" + "\n".join(rows) + "\n")
    of_file = EmbedJob(job.store, job.model, points=file)
    done = embed_parts(of_file, tmp_path / "out", Means())
    assert (done.places, done.outside, done.finished) == (3, 1, True)
    found = read_vectors(tmp_path / "out")
    assert found.table is not None
    assert found.table["zip"].to_pylist() == ["02139", "00501", "3"]
    assert found.inside.tolist() == [True, False, True]
    file.write_text("lat,lon\n7.4246,43.7384\n")
    with pytest.raises(OutsideError, match="are lat and lon swapped"):
        embed_parts(of_file, tmp_path / "swapped", Means())
    assert not (tmp_path / "swapped").exists()


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_a_folder_becomes_an_index(job: EmbedJob, tmp_path: Path) -> None:
    out = tmp_path / "vectors"
    one = ("embed", "--store", job.store, "--model", job.model, "--grid", 300, "--out", out)
    for number in (1, 2):
        result = run(*one, "--workers", 0, "--shard", f"{number}/2", "--json")
        assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["finished"]
    indexed = json.loads(run("index", out, "--out", tmp_path / "index", "--json").stdout)
    assert indexed["count"] == len(read_vectors(out))


def command(job: EmbedJob) -> list[str]:
    """Return a command that embeds into parts of 20 places, up to its `--out`."""
    code = (
        "import sys, loc2vec.embed.parts as parts; parts.PLACES_PER_PART = 20\n"
        "from service.cli.main import main; main(sys.argv[1:])"
    )
    options = ["--store", job.store.location, "--model", job.model, "--grid", "250"]
    return [sys.executable, "-c", code, "embed", *options, "--workers", "1", "--out"]


def test_a_killed_run_goes_on_to_the_same_bytes(
    job: EmbedJob, whole: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # as here: sums of more threads round otherwise
    out = tmp_path / "killed"
    with subprocess.Popen([*command(job), str(out)], stderr=subprocess.DEVNULL) as running:
        while not (out / "part-00001.parquet").exists():
            assert running.poll() is None
            time.sleep(0.01)
        running.send_signal(signal.SIGKILL)
    assert not (out / MANIFEST).exists()
    made = embed_parts(job, out, Means(workers=0))
    assert made.parts_found >= 2
    assert contents(out) == whole


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_killed_200_times_it_makes_the_same_bytes(job: EmbedJob, tmp_path: Path) -> None:
    began = time.monotonic()
    subprocess.run([*command(job), str(tmp_path / "whole")], check=True, capture_output=True)
    longest = time.monotonic() - began
    moments, whole, killed = random.Random(1), contents(tmp_path / "whole"), 0
    for round_ in itertools.count():
        out = tmp_path / f"killed-{round_}"
        while not (out / MANIFEST).exists():
            with subprocess.Popen([*command(job), str(out)], stderr=subprocess.DEVNULL) as running:
                try:
                    running.wait(moments.uniform(0, longest))
                except subprocess.TimeoutExpired:
                    running.kill()
                    killed += 1
        assert contents(out) == whole
        if killed >= 200:
            return


def test_a_cluster_makes_the_same_parts(
    job: EmbedJob, whole: dict[str, bytes], tmp_path: Path
) -> None:
    ray = pytest.importorskip("tiling.dataset.ray")
    done = embed_parts(job, tmp_path / "vectors", Means(cluster=ray.RayCluster(None, 2)))
    assert done.finished
    made = contents(tmp_path / "vectors")
    assert made.keys() == whole.keys()
    assert made["plan.json"] == whole["plan.json"]
    for name in (each for each in whole if each.startswith("part-")):
        (tmp_path / "expected.parquet").write_bytes(whole[name])
        expected = read_vectors(tmp_path / "expected.parquet").embedding
        found = read_vectors(tmp_path / "vectors" / name).embedding
        # Sums of another number of threads round otherwise.
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_fast_parts_are_another_job(job: EmbedJob, whole: dict[str, bytes], tmp_path: Path) -> None:
    out = tmp_path / "fast"
    embed_parts(replace(job, fast=True), out, Means(workers=0))
    with pytest.raises(VectorsError, match="belongs to another job"):
        embed_parts(job, out, Means(workers=0))
    exact = tmp_path / "exact"
    exact.mkdir()
    for name, data in whole.items():
        (exact / name).write_bytes(data)
    fast, expected = read_vectors(out).embedding, read_vectors(exact).embedding
    assert 0 < np.linalg.norm(fast - expected) / np.linalg.norm(expected) < 0.02
