"""Drawing places, tiling them, and reading the dataset back."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely

from tiling.dataset import TileDataset, shard_path
from tiling.errors import DatasetError, FingerprintError, OutsideError
from tiling.files import read_json, write_json
from tiling.job import PLACES_PER_SHARD, TileJob, draw, locate, run_job
from tiling.places import draw_places
from tiling.points import read_points
from tiling.render import Renderer
from tiling.sources.base import FeatureSource
from tiling.values import LonLat, Pose


@pytest.fixture(scope="module")
def job(monaco_store: Path) -> TileJob:
    return TileJob((str(monaco_store),), positives=3, seed=7)


@pytest.fixture(scope="module")
def dataset(job: TileJob, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("tiles") / "monaco"
    summary = run_job(job, draw(job, 100), out, workers=0)
    assert (summary.places, summary.tiles, summary.shards_made) == (100, 400, 2)
    return out


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_places_are_seeded_and_inside_the_margin(monaco: FeatureSource, job: TileJob) -> None:
    places = draw_places([monaco], 200, job.margin_m, seed=1)
    assert len(places) == 200
    inner = monaco.coverage.buffer(-job.margin_m * 0.99 / 111_195)
    assert shapely.contains_xy(inner, places.lon, places.lat).all()
    again = draw_places([monaco], 200, job.margin_m, seed=1)
    assert np.array_equal(places.lat, again.lat)
    assert not np.array_equal(places.lat, draw_places([monaco], 200, job.margin_m, seed=2).lat)


def test_places_lie_where_people_go_and_along_ways(monaco: FeatureSource) -> None:
    places = draw_places([monaco], 150, 100, seed=0)
    renderer = Renderer(monaco)
    on_something = 0
    for lat, lon in zip(places.lat.tolist(), places.lon.tolist(), strict=True):
        middle = renderer.tiles(LonLat(lon, lat), [Pose(lat, lon)])[0, :, 58:70, 58:70]
        on_something += bool(middle[[0, 1, 2, 3, 4, 11]].any())
    assert on_something / len(places) > 0.95


def test_a_store_too_small_for_the_margin_is_refused(monaco: FeatureSource) -> None:
    with pytest.raises(DatasetError, match="no place lies 9000 m inside"):
        draw_places([monaco], 10, 9000, seed=0)


def test_tiles_read_back_are_the_tiles_of_their_poses(dataset: Path, monaco: FeatureSource) -> None:
    tiles = TileDataset.open(dataset)
    assert (tiles.n_places, tiles.positives, set(tiles.store)) == (100, 3, {"monaco"})
    renderer = Renderer(monaco)
    for place, slot in ((0, 0), (5, 2), (99, 3)):
        pose = tiles.pose(place, slot)
        assert (pose.lat, pose.lon) == (tiles.lat[place], tiles.lon[place])
        (read,) = tiles.tiles(np.array([place]), np.array([slot]))
        assert np.array_equal(read, renderer.tile(pose).pixels)
        assert (pose.rotation_deg == pose.shift_x_m == 0) == (slot == 0)
        assert abs(pose.shift_x_m) <= 80


def test_a_shard_is_geoparquet(dataset: Path) -> None:
    table = pq.read_table(shard_path(dataset, 0))
    assert b'"primary_column": "geometry"' in table.schema.metadata[b"geo"]
    point = shapely.from_wkb(table["geometry"][5].as_py())
    assert (point.x, point.y) == (table["lon"][5].as_py(), table["lat"][5].as_py())
    assert table.num_rows == PLACES_PER_SHARD * 4


def test_the_dataset_is_the_same_for_any_number_of_workers_and_any_stop(
    job: TileJob, dataset: Path, tmp_path: Path
) -> None:
    places = draw(job, 100)
    done: list[int] = []
    first = tmp_path / "processes"
    run_job(job, places, first, workers=2, progress=done.append)
    assert sum(done) == 100
    assert contents(first) == contents(dataset)

    second = Path(shutil.copytree(first, tmp_path / "resumed"))
    shard_path(second, 0).unlink()
    shard_path(second, 1).write_bytes(b"half a shard")
    (second / "dataset.json").unlink()
    with pytest.raises(DatasetError, match="to its end"):
        TileDataset.open(second)
    assert run_job(job, places, second, workers=0).shards_made == 2
    assert contents(second) == contents(dataset)
    assert run_job(job, places, second, workers=0).shards_found == 2


def test_a_folder_of_another_job_is_left_alone(job: TileJob, dataset: Path) -> None:
    before = contents(dataset)
    with pytest.raises(DatasetError, match="belongs to another tile job"):
        run_job(TileJob(job.stores, 3, seed=8), draw(job, 100), dataset, workers=0)
    assert contents(dataset) == before


def test_damage_is_found(dataset: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(dataset, tmp_path / "damaged"))
    path = shard_path(folder, 0)
    whole = bytearray(path.read_bytes())
    frame = pq.read_table(path)["frame"][0].as_py()
    whole[whole.index(frame) + 40] ^= 1
    path.write_bytes(whole)
    with pytest.raises(DatasetError, match="does not match its checksum"):
        TileDataset.open(folder).tiles(np.array([0]), np.array([0]))
    path.write_bytes(bytes(len(whole)))
    with pytest.raises(DatasetError, match="is damaged: delete it"):
        TileDataset.open(folder)
    os.truncate(path, 1000)
    with pytest.raises(DatasetError, match="another length"):
        TileDataset.open(folder)
    path.unlink()
    with pytest.raises(DatasetError, match="is missing"):
        TileDataset.open(folder)


def test_a_manifest_without_its_facts_is_refused(dataset: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(dataset, tmp_path / "bare"))
    facts = read_json(folder / "dataset.json")
    write_json(folder / "dataset.json", {key: facts[key] for key in facts if key != "shards"})
    with pytest.raises(DatasetError, match=r"dataset\.json is damaged \('shards'\)"):
        TileDataset.open(folder)


def test_a_manifest_of_another_catalogue_is_refused(dataset: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(dataset, tmp_path / "foreign"))
    write_json(folder / "dataset.json", read_json(folder / "dataset.json") | {"fingerprint": "f" * 16})
    with pytest.raises(FingerprintError):
        TileDataset.open(folder)


def test_own_points_are_tiled_in_their_order_and_refused_outside(job: TileJob, tmp_path: Path) -> None:
    path = tmp_path / "points.csv"
    path.write_text("lat,lon\n43.7384,7.4246\n43.7396,7.4283\n")
    out = tmp_path / "tiles"
    run_job(job, locate(job, read_points(path)), out, workers=0)
    assert TileDataset.open(out).lat.tolist() == [43.7384, 43.7396]
    path.write_text("lat,lon\n43.7384,7.4246\n50,7\n")
    with pytest.raises(OutsideError, match=r"point 2 \(lat 50.0, lon 7.0\) is outside"):
        locate(job, read_points(path))


def _descendants(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [child for each in children for child in (int(each), *_descendants(int(each)))]


def _gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGINT], ids=["killed", "ctrl-c"])
def test_a_stopped_job_leaves_no_process_and_goes_on(job: TileJob, tmp_path: Path, blow: signal.Signals) -> None:
    out = tmp_path / "tiles"
    command = [sys.executable, "-m", "service.cli", "tile", "--store", job.stores[0], "--out", str(out)]
    command += ["--locations", "320", "--positives", "3", "--seed", "7", "--workers", "2"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, start_new_session=True) as running:
        while not list(out.glob("tiles-*.parquet")):
            time.sleep(0.05)
        processes = _descendants(running.pid)
        running.send_signal(blow)
        said = running.stderr.read().decode() if running.stderr else ""
        assert running.wait(60) == (-9 if blow == signal.SIGKILL else 130)
    assert len(processes) >= 2
    until = time.monotonic() + 30
    while not all(map(_gone, processes)) and time.monotonic() < until:
        time.sleep(0.1)
    assert all(map(_gone, processes)), "workers outlive the job"
    assert "Traceback" not in said
    (out / ".tiles-00002.parquet.0123abcd").mkdir()  # as a kill in the middle of a shard leaves it
    done = {path: path.read_bytes() for path in out.glob("tiles-*.parquet")}
    summary = run_job(job, draw(job, 320), out, workers=0)
    assert summary.shards_found >= len(done) > 0
    assert all(path.read_bytes() == content for path, content in done.items())
    assert not list(out.glob(".*")), "no half-written shard is left"
