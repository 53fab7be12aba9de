"""The poses of a place's tiles, and how places become shards."""

from dataclasses import replace

import numpy as np
import pytest

from tiling.dataset.dataset import PLACES_PER_SHARD
from tiling.dataset.job import Share, TileJob, shards_of
from tiling.dataset.places import Places
from tiling.dataset.poses import MAX_SHIFT_M, place_poses
from tiling.store.store import Store
from tiling.values import LonLat, Pose, TileGeometry


def poses_of(job: TileJob, lat: float, lon: float, row: int) -> list[Pose]:
    return place_poses(LonLat(lon, lat), row, job.positives, job.seed)


JOB = TileJob((Store.at("store.gpkg"),), positives=400, seed=3, locations=1)


def test_the_first_pose_is_the_place_itself() -> None:
    first, *others = poses_of(JOB, 43.7, 7.4, 0)
    assert first == Pose(43.7, 7.4)
    assert len(others) == 400
    assert {(pose.lat, pose.lon) for pose in others} == {(43.7, 7.4)}
    assert poses_of(replace(JOB, positives=0), 43.7, 7.4, 0) == [first]


def test_turns_and_shifts_are_spread_evenly() -> None:
    poses = poses_of(JOB, 43.7, 7.4, 0)[1:]
    turns = np.array([pose.rotation_deg for pose in poses])
    shifts = np.array([(pose.shift_x_m, pose.shift_y_m) for pose in poses])
    assert 0 <= turns.min() < 10
    assert 350 < turns.max() < 360
    assert np.histogram(turns, 4, (0, 360))[0].min() > 70
    for axis in shifts.T:
        assert MAX_SHIFT_M - 5 < np.abs(axis).max() <= MAX_SHIFT_M
        assert np.histogram(axis, 4, (-MAX_SHIFT_M, MAX_SHIFT_M))[0].min() > 70
    assert abs(np.corrcoef(shifts.T)[0, 1]) < 0.15, "each axis is on its own"
    assert len({tuple(shift) for shift in shifts.tolist()}) == 400


def test_poses_follow_the_seed_and_the_number_of_the_place_alone() -> None:
    poses = poses_of(JOB, 43.7, 7.4, 5)
    assert poses_of(JOB, 43.7, 7.4, 5) == poses
    assert poses_of(replace(JOB, geometry=TileGeometry(64)), 43.7, 7.4, 5) == poses
    moved = poses_of(JOB, 1.0, 2.0, 5)
    assert [pose.rotation_deg for pose in moved] == [pose.rotation_deg for pose in poses]
    for other in (poses_of(JOB, 43.7, 7.4, 6), poses_of(replace(JOB, seed=4), 43.7, 7.4, 5)):
        assert other[1:] != poses[1:]
        assert len({pose.rotation_deg for pose in (*other[1:], *poses[1:])}) == 800


@pytest.mark.parametrize(
    ("geometry", "margin"),
    [
        (TileGeometry(), 180 * np.sqrt(2)),
        (TileGeometry(radius_m=400.0), 480 * np.sqrt(2)),
        (TileGeometry(wider_m=(400.0,)), 480 * np.sqrt(2)),
        (TileGeometry(radius_m=50.0, wider_m=(20.0,)), 130 * np.sqrt(2)),
    ],
)
def test_the_margin_is_as_far_as_a_shifted_and_turned_tile_shows(
    geometry: TileGeometry, margin: float
) -> None:
    assert replace(JOB, geometry=geometry).margin_m == pytest.approx(margin)


def places(count: int) -> Places:
    numbers = np.arange(count)
    kind = np.array([f"kind {n}" for n in numbers], object)
    return Places(numbers % 3, numbers / 1000, numbers / 500, kind)


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 200])
def test_shards_hold_the_places_in_their_order(count: int) -> None:
    shards = list(shards_of(places(count)))
    assert len(shards) == -(-count // PLACES_PER_SHARD)
    assert [shard.number for shard in shards] == list(range(len(shards)))
    assert all(len(shard.places) == PLACES_PER_SHARD for shard in shards[:-1])
    for shard in shards:
        numbers = np.arange(shard.first, shard.first + len(shard.places))
        assert shard.first == shard.number * PLACES_PER_SHARD
        assert shard.places.lat.tolist() == (numbers / 1000).tolist()
        assert shard.places.lon.tolist() == (numbers / 500).tolist()
        assert shard.places.store.tolist() == (numbers % 3).tolist()
        assert shard.places.kind.tolist() == [f"kind {n}" for n in numbers]
    assert sum(len(shard.places) for shard in shards) == count


def test_a_job_is_one_share_unless_it_is_told() -> None:
    assert Share() == Share(1, 1)
