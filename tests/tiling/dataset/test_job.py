"""Drawing places, tiling them, and reading the dataset back."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely

from tests.catalogues import without
from tiling.dataset.dataset import MANIFEST, PLACES_PER_SHARD, TileDataset, shard_name
from tiling.dataset.executors import Processes
from tiling.dataset.job import Done, TileJob, locate, run_job
from tiling.dataset.places import sample_places
from tiling.dataset.sources import Sources
from tiling.errors import DatasetError, FingerprintError, OutsideError
from tiling.files.atomic import read_json, write_json
from tiling.files.points import read_points
from tiling.geo.geodesy import ground_distance_m
from tiling.render.renderer import Renderer
from tiling.store.source import FeatureSource
from tiling.values import LonLat, Pose

JOB = {"positives": 3, "seed": 7, "locations": 100}


@pytest.fixture(scope="module")
def dataset(job: TileJob, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("tiles") / "monaco"
    summary = run_job(job, out)
    assert (summary.places, summary.tiles, summary.shards_made) == (100, 400, 2)
    assert summary.finished
    assert summary.tiles_per_s == pytest.approx(400 / summary.seconds, rel=0.01)
    return out


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_places_are_seeded_and_inside_the_margin(monaco: FeatureSource, job: TileJob) -> None:
    places = sample_places([monaco], 200, job.margin_m, seed=1)
    assert len(places) == 200
    inner = monaco.coverage.buffer(-job.margin_m * 0.99 / 111_195)
    assert shapely.contains_xy(inner, places.lon, places.lat).all()
    again = sample_places([monaco], 200, job.margin_m, seed=1)
    assert np.array_equal(places.lat, again.lat)
    assert not np.array_equal(places.lat, sample_places([monaco], 200, job.margin_m, seed=2).lat)


def test_places_lie_where_people_go_and_along_ways(monaco: FeatureSource) -> None:
    places = sample_places([monaco], 150, 100, seed=0)
    renderer = Renderer(monaco)
    on_something = 0
    for lat, lon in zip(places.lat.tolist(), places.lon.tolist(), strict=True):
        middle = renderer.tiles(LonLat(lon, lat), [Pose(lat, lon)])[0, :, 58:70, 58:70]
        on_something += bool(middle[[0, 1, 2, 3, 4, 11]].any())
    assert on_something / len(places) > 0.95


def test_a_store_too_small_for_the_margin_is_refused(monaco: FeatureSource) -> None:
    with pytest.raises(DatasetError, match="no place lies 9000 m inside"):
        sample_places([monaco], 10, 9000, seed=0)


def test_places_are_sampled_near_channels_of_some_roles(monaco: FeatureSource) -> None:
    monaco.catalogue = without("building", "civic", "stop")
    with pytest.raises(DatasetError, match="no channel with the role building, civic or stop"):
        sample_places([monaco], 10, 100, seed=0)


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
    table = pq.read_table(dataset / shard_name(0))
    assert b'"primary_column": "geometry"' in table.schema.metadata[b"geo"]
    point = shapely.from_wkb(table["geometry"][5].as_py())
    assert (point.x, point.y) == (table["lon"][5].as_py(), table["lat"][5].as_py())
    assert table.num_rows == PLACES_PER_SHARD * 4


def test_the_dataset_is_the_same_for_any_number_of_workers_and_any_stop(
    job: TileJob, dataset: Path, tmp_path: Path
) -> None:
    told: list[Done] = []
    first = tmp_path / "processes"
    run_job(job, first, Processes(2), progress=lambda done, shards: told.append(done))
    assert sum(done.places for done in told) == 100
    assert contents(first) == contents(dataset)

    second = Path(shutil.copytree(first, tmp_path / "resumed"))
    (second / shard_name(0)).unlink()
    (second / shard_name(1)).write_bytes(b"half a shard")
    (second / "dataset.json").unlink()
    with pytest.raises(DatasetError, match="is unfinished, 1 of 2 shards are there: run the same"):
        TileDataset.open(second)
    assert run_job(job, second).shards_made == 2
    assert contents(second) == contents(dataset)
    assert run_job(job, second).shards_found == 2


def test_a_folder_of_another_job_is_left_alone(job: TileJob, dataset: Path) -> None:
    before = contents(dataset)
    with pytest.raises(DatasetError, match="belongs to another tile job"):
        run_job(replace(job, seed=8), dataset)
    assert contents(dataset) == before


def test_a_shard_that_was_written_again_is_refused(dataset: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(dataset, tmp_path / "again"))
    path = folder / shard_name(0)
    pq.write_table(pq.read_table(path), path, compression="zstd")
    manifest = read_json(folder / MANIFEST)
    manifest["shards"][0]["bytes"] = path.stat().st_size
    write_json(folder / MANIFEST, manifest)
    with pytest.raises(DatasetError, match=f"{path} was packed by another program: run the same"):
        TileDataset.open(folder)


def test_damage_is_found(dataset: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(dataset, tmp_path / "damaged"))
    path = folder / shard_name(0)
    whole = bytearray(path.read_bytes())
    frame = pq.read_table(path)["frame"][0].as_py()
    whole[whole.index(frame) + 40] ^= 1
    opened = TileDataset.open(folder)
    assert opened.tiles(np.array([0]), np.array([0])).any()
    path.write_bytes(whole)
    with pytest.raises(DatasetError, match="does not match its checksum"):  # read from the file
        opened.tiles(np.array([0]), np.array([0]))
    with pytest.raises(DatasetError, match="does not match its checksum"):
        TileDataset.open(folder).tiles(np.array([0]), np.array([0]))
    path.write_bytes(bytes(len(whole)))
    with pytest.raises(DatasetError, match="is damaged: run the same `loc2vec tile` with --repair"):
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
    write_json(
        folder / "dataset.json", read_json(folder / "dataset.json") | {"fingerprint": "f" * 16}
    )
    with pytest.raises(FingerprintError):
        TileDataset.open(folder)


def test_own_points_are_tiled_in_their_order_and_refused_outside(
    job: TileJob, tmp_path: Path
) -> None:
    path = tmp_path / "points.csv"
    path.write_text(
        "latitude,name,lon,kind\n43.7384,Prince,7.4246,palace\n43.7396,Chance,7.4283,casino\n"
    )
    out = tmp_path / "tiles"
    run_job(replace(job, locations=None, points=path), out)
    tiles = TileDataset.open(out)
    assert tiles.lat.tolist() == [43.7384, 43.7396]
    ours = ["place", "store", "store_number", "lat", "lon", "kind", "group"]
    assert tiles.places.column_names == [*ours, "name", "points_kind", "geometry"]
    assert tiles.places["name"].to_pylist() == ["Prince", "Chance"]
    assert tiles.places["points_kind"].to_pylist() == ["palace", "casino"]
    assert tiles.places["kind"].to_pylist() == ["given", "given"]
    path.write_text("lat,lon\n43.7384,7.4246\n50,7\n")
    sources = Sources(job.stores)
    with sources, pytest.raises(OutsideError, match=r"point 2 \(lat 50.0, lon 7.0\) is outside"):
        locate(sources, read_points(path))


def test_places_of_a_dataset_say_what_they_are(dataset: Path, job: TileJob) -> None:
    places = TileDataset.open(dataset).places
    kinds = places["kind"].to_pylist()
    assert (kinds.count("visited"), kinds.count("way")) == (67, 33)
    lat, lon, group = (places[name].to_numpy() for name in ("lat", "lon", "group"))
    near = ground_distance_m(lat[:, None], lon[:, None], lat, lon) < 2 * job.margin_m
    assert (group[:, None] == group)[near].all()


def test_a_dataset_without_its_places_is_refused(dataset: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(dataset, tmp_path / "spoilt"))
    (folder / "places.parquet").unlink()
    with pytest.raises(DatasetError, match=r"spoilt/places\.parquet is missing: .* --repair"):
        TileDataset.open(folder)
