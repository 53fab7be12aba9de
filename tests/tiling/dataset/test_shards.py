"""Shards, manifests and plans as bytes: what is written is what is read, and each flaw is seen."""

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tiling.dataset.dataset import (
    PLACES_PER_SHARD,
    ShardPlaces,
    decode_table,
    encode_shard,
    frames_of,
    is_share,
    manifest_bytes,
    plan_fingerprint,
    read_facts,
    shard_name,
    shard_number,
    shard_plan,
    shard_record,
    unfinished,
)
from tiling.dataset.frames import compress
from tiling.errors import DatasetError
from tiling.files.atomic import json_bytes
from tiling.files.folders import LocalFolder
from tiling.values import Pose

POSES = [
    [Pose(43.7, 7.4), Pose(43.7, 7.4, 30.5, -12.25, 80.0)],
    [Pose(-17.0, 180.0), Pose(-17.0, 180.0, 359.0, 0.5, -0.5), Pose(-17.0, 180.0, 1.0)],
]
VALUES = ShardPlaces(np.array([64, 65]), ["north", "south"], POSES)


def pictures(count: int = 5) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 4, (count, 12, 8, 8)).astype(np.uint8)


def shard(plan: str = "ff") -> bytes:
    return encode_shard(VALUES, compress(pictures()), plan)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.integers(0, 10**7))
def test_a_shard_has_its_number_in_its_name(number: int) -> None:
    assert shard_number(shard_name(number)) == number


@pytest.mark.parametrize(
    "name",
    [
        "", "tiles-.parquet", "tiles-1.parquet", "tiles-000001.parquet", "tiles--0001.parquet",
        "tiles-00001", "00001.parquet", "tiles-0000x.parquet", "tiles-00001.parquet.tmp",
        "tiles-٠٠٠٠١.parquet", "places.parquet",
    ],
)  # fmt: skip
def test_another_name_is_no_shard(name: str) -> None:
    assert shard_number(name) is None


def test_frames_hold_the_pixels() -> None:
    tiles = pictures()
    frames = compress(tiles)
    for frame, tile in zip(frames, tiles, strict=True):
        assert zstandard.decompress(frame) == tile.tobytes()
        assert zstandard.frame_content_size(frame) == tile.nbytes
    assert compress(tiles) == frames


def test_a_shard_has_a_row_a_tile_with_its_pose() -> None:
    table = pq.read_table(pa.BufferReader(shard()))
    assert table["place"].to_pylist() == [64, 64, 65, 65, 65]
    assert table["slot"].to_pylist() == [0, 1, 0, 1, 2]
    assert table["role"].to_pylist() == ["anchor", "positive", "anchor", "positive", "positive"]
    assert table["store"].to_pylist() == ["north"] * 2 + ["south"] * 3
    poses = [pose for each in POSES for pose in each]
    for name in ("lat", "lon", "rotation_deg", "shift_x_m", "shift_y_m"):
        assert table[name].to_pylist() == [getattr(pose, name) for pose in poses]
    assert table["crc32"].to_pylist() == [zlib.crc32(f) for f in table["frame"].to_pylist()]
    points = shapely.from_wkb(table["geometry"].to_pylist())
    assert shapely.get_x(points).tolist() == table["lon"].to_pylist()
    types = {field.name: str(field.type) for field in table.schema}
    assert (types["place"], types["slot"], types["crc32"]) == ("int64", "int16", "uint32")
    assert pq.ParquetFile(pa.BufferReader(shard())).metadata.row_group(0).column(9).compression == (
        "UNCOMPRESSED"
    )


def test_the_same_values_are_the_same_bytes_and_others_are_others() -> None:
    assert shard() == shard()
    assert shard("ff") != shard("fe")
    moved = [POSES[0], [*POSES[1][:2], Pose(-17.0, 180.0, 1.5)]]
    other = encode_shard(ShardPlaces(VALUES.place, VALUES.store, moved), compress(pictures()), "ff")
    assert other != shard()


def test_a_shard_tells_its_frames_and_its_job() -> None:
    assert frames_of(shard()) == compress(pictures())
    assert shard_plan(shard("0123abcd")) == "0123abcd"


def parquet(**columns: list[object]) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    return bytes(sink.getvalue())


@pytest.mark.parametrize("data", [b"", b"half a shard", shard()[:-20], bytes(1_000)])
def test_what_is_no_shard_has_neither_frames_nor_a_job(data: bytes) -> None:
    assert frames_of(data) is None
    assert shard_plan(data) is None
    with pytest.raises(DatasetError, match=r"^it is damaged$"):
        decode_table(data, "it")


def test_a_table_of_another_program_is_no_shard() -> None:
    foreign = parquet(n=[1, 2])
    assert frames_of(foreign) is None
    assert shard_plan(foreign) == ""
    assert decode_table(foreign, "it")["n"].to_pylist() == [1, 2]


def test_the_record_of_a_shard_is_its_length_and_its_hash() -> None:
    assert shard_record(7, 5, b"abc") == {
        "file": "tiles-00007.parquet",
        "rows": 5,
        "bytes": 3,
        "sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    }


PLAN: dict[str, Any] = {"seed": 1, "places": 100, "stores": [{"name": "a", "sha256": "0"}]}


def test_the_fingerprint_of_a_plan_follows_all_that_it_says() -> None:
    first = plan_fingerprint(PLAN)
    assert plan_fingerprint({**PLAN, "plan": first}) == first, "but the fingerprint itself"
    others: list[dict[str, Any]] = [
        {**PLAN, "seed": 2},
        {**PLAN, "more": None},
        {"seed": 1},
        {**PLAN, "places": 100.0},
    ]
    assert len({first, *map(plan_fingerprint, others)}) == 5


def test_the_size_of_a_shard_is_part_of_the_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    first = plan_fingerprint(PLAN)
    monkeypatch.setattr("tiling.dataset.dataset.PLACES_PER_SHARD", PLACES_PER_SHARD // 2)
    assert plan_fingerprint(PLAN) != first


def test_a_manifest_carries_a_checksum_of_all_of_it() -> None:
    data = manifest_bytes(PLAN, [shard_record(0, 5, b"abc")])
    facts = json.loads(data)
    assert list(facts) == [*PLAN, "shards", "checksum"]
    assert facts["shards"][0]["bytes"] == 3
    for plan, records in ((PLAN, []), ({**PLAN, "seed": 2}, facts["shards"])):
        assert json.loads(manifest_bytes(plan, records))["checksum"] != facts["checksum"]
    again = {key: facts[key] for key in PLAN}
    assert manifest_bytes(again, facts["shards"]) == data


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (json_bytes({"a": 1}), {"a": 1}),
        (b'{"a": 1}', {}),
        (json_bytes({"a": 1}) + b"\n", {}),
        (json_bytes([1]), {}),
        (b"\xff", {}),
        (b"", {}),
    ],
)
def test_facts_that_are_not_as_they_were_written_count_as_none(
    tmp_path: Path, data: bytes, found: dict[str, int]
) -> None:
    (tmp_path / "plan.json").write_bytes(data)
    assert read_facts(LocalFolder(tmp_path), "plan.json") == found


@pytest.mark.parametrize(
    ("name", "share"),
    [
        ("share-1-of-2.json", True), ("share-.json", True), ("share-1-of-2.json.tmp", False),
        ("my-share-1.json", False), ("dataset.json", False),
    ],
)  # fmt: skip
def test_a_share_is_told_by_its_name(name: str, share: bool) -> None:
    assert is_share(name) is share


def test_a_folder_without_a_manifest_says_how_far_it_is(tmp_path: Path) -> None:
    folder = LocalFolder(tmp_path)
    assert unfinished(folder, {}).startswith(f"{tmp_path} holds no tile dataset: make one with")
    sizes = {"plan.json": 1, "places.parquet": 1, shard_name(0): 1, shard_name(9): 1, "x": 1}
    (tmp_path / "plan.json").write_bytes(json_bytes({"n_shards": 12}))
    assert "is unfinished, 2 of 12 shards are there: run the same" in unfinished(folder, sizes)
    (tmp_path / "plan.json").write_bytes(b"broken")
    assert "2 of its shards are there" in unfinished(folder, sizes)
