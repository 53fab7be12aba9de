"""Each kind of damage to a dataset made by hand, and what `verify` says of it."""

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tiling.catalogue.catalogue import load_catalogue
from tiling.dataset.dataset import (
    ShardPlaces,
    TileDataset,
    encode_shard,
    manifest_bytes,
    plan_fingerprint,
    shard_name,
    shard_record,
)
from tiling.dataset.frames import compress
from tiling.dataset.verify import verify
from tiling.errors import DatasetError, FingerprintError
from tiling.files.atomic import json_bytes
from tiling.files.geoparquet import parquet_bytes
from tiling.values import Pose, TileGeometry

GEOMETRY = TileGeometry(8)
PIXELS = np.random.default_rng(1).integers(0, 9, (2, 2, 12, 8, 8)).astype(np.uint8)


def shard(number: int, plan: str) -> bytes:
    poses = [[Pose(43.0 + number, 7.0), Pose(43.0 + number, 7.0, 90.0)]]
    values = ShardPlaces(np.array([number]), ["hand"], poses)
    return encode_shard(values, compress(PIXELS[number]), plan)


@pytest.fixture
def tiles(tmp_path: Path) -> Path:
    """A whole dataset of two places in two shards, with one positive each."""
    places = parquet_bytes(pa.table({"place": [0, 1], "lat": [43.0, 44.0], "lon": [7.0, 7.0]}))
    plan = {
        "fingerprint": load_catalogue().fingerprint(GEOMETRY),
        "geometry": GEOMETRY.as_values(),
        "channels": list(load_catalogue().channels),
        "positives": 1,
        "places": 2,
        "n_shards": 2,
        "places_sha256": sha256(places).hexdigest(),
    }
    plan["plan"] = plan_fingerprint(plan)
    folder = tmp_path / "tiles"
    folder.mkdir()
    shards = [shard(number, str(plan["plan"])) for number in (0, 1)]
    records = [shard_record(number, 2, data) for number, data in enumerate(shards)]
    files = {"plan.json": json_bytes(plan), "places.parquet": places}
    files |= {shard_name(number): data for number, data in enumerate(shards)}
    files["dataset.json"] = manifest_bytes(plan, records)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def test_a_dataset_made_by_hand_is_whole_and_opens(tiles: Path) -> None:
    assert verify(tiles) == []
    data = TileDataset.open(tiles)
    assert (data.n_places, data.positives, data.geometry) == (2, 1, GEOMETRY)
    assert (data.lat.tolist(), data.lon.tolist(), data.store) == ([43, 44], [7, 7], ["hand"] * 2)
    assert data.pose(1, 1) == Pose(44.0, 7.0, 90.0)
    every = data.tiles(np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1]))
    assert np.array_equal(every.reshape(PIXELS.shape), PIXELS)


def test_tiles_are_read_into_memory_that_is_given(tiles: Path) -> None:
    data, out = TileDataset.open(tiles), np.full((3, 12, 8, 8), 7, np.uint8)
    assert data.tiles(np.array([1, 0, 1]), np.array([1, 0, 1]), out) is out
    assert np.array_equal(out, PIXELS[[1, 0, 1], [1, 0, 1]])
    with pytest.raises(ValueError, match="zip"):
        data.tiles(np.array([1]), np.array([1]), out)


Damage = Callable[[Path], object]
FIRST = shard_name(0)


def spoil_a_frame(folder: Path) -> None:
    data = (folder / FIRST).read_bytes()
    frame = compress(PIXELS[0])[1]
    (folder / FIRST).write_bytes(flipped(data, data.index(frame) + len(frame) // 2))


def rewrite(name: str, change: Callable[[bytes], bytes]) -> Damage:
    return lambda folder: (folder / name).write_bytes(change((folder / name).read_bytes()))


def foreign_shard(folder: Path) -> None:
    data = (folder / FIRST).read_bytes()
    other = shard(0, "0123456789abcdef")
    assert len(other) == len(data)
    (folder / FIRST).write_bytes(other)


DAMAGES: list[tuple[Damage, list[str]]] = [
    (spoil_a_frame, [f"{FIRST}: damaged at place 0, slot 1"]),
    (foreign_shard, [f"{FIRST}: foreign, of another job"]),
    (rewrite(FIRST, lambda data: flipped(data, len(data) - 1)), [f"{FIRST}: damaged"]),
    (rewrite(FIRST, lambda data: bytes(len(data))), [f"{FIRST}: damaged"]),
    (lambda folder: (folder / FIRST).unlink(), [f"{FIRST}: missing"]),
    (lambda folder: (folder / "plan.json").unlink(), ["plan.json: missing"]),
    (lambda folder: (folder / "places.parquet").unlink(), ["places.parquet: missing"]),
    (rewrite("places.parquet", lambda data: flipped(data, 40)), ["places.parquet: damaged"]),
    (
        rewrite("plan.json", lambda data: data.replace(b"8", b"9", 1)),
        ["plan.json: damaged, or of another job than dataset.json"],
    ),
    (rewrite("plan.json", lambda data: data + b" "), ["plan.json: damaged, or of another job"]),
    (
        lambda folder: (folder / "share-1-of-2.json").write_text("{}"),
        ["share-1-of-2.json: left by a run that was stopped"],
    ),
    (lambda folder: (folder / "a.txt").write_text(""), ["a.txt: foreign, not of this dataset"]),
    (
        lambda folder: (folder / shard_name(2)).write_bytes(b""),
        ["tiles-00002.parquet: foreign, not of this dataset"],
    ),
]


@pytest.mark.parametrize(("damage", "expected"), DAMAGES)
def test_a_fault_is_named_with_its_file(tiles: Path, damage: Damage, expected: list[str]) -> None:
    damage(tiles)
    faults = verify(tiles)
    assert len(faults) == len(expected)
    for fault, words in zip(faults, expected, strict=True):
        assert fault.startswith(words)


def test_all_faults_are_named_the_shards_last(tiles: Path) -> None:
    (tiles / FIRST).unlink()
    (tiles / shard_name(1)).write_bytes(b"short")
    (tiles / "plan.json").unlink()
    (tiles / "b.txt").write_text("")
    (tiles / "a.txt").write_text("")
    length = len(shard(1, "0123456789abcdef"))
    assert verify(tiles) == [
        "plan.json: missing",
        "a.txt: foreign, not of this dataset",
        "b.txt: foreign, not of this dataset",
        f"{FIRST}: missing",
        f"{shard_name(1)}: 5 bytes long, was {length} when it was made",
    ]


@pytest.mark.parametrize("name", ["positives", "shards", "checksum", "plan"])
def test_a_manifest_that_was_edited_is_damaged(tiles: Path, name: str) -> None:
    facts = json.loads((tiles / "dataset.json").read_bytes())
    facts[name] = {"positives": 2, "shards": [], "checksum": "0" * 64, "plan": "f" * 16}[name]
    (tiles / "dataset.json").write_bytes(json_bytes(facts))
    assert verify(tiles) == ["dataset.json: damaged"]
    del facts[name]
    (tiles / "dataset.json").write_bytes(json_bytes(facts))
    assert verify(tiles) == ["dataset.json: damaged"]


def test_without_a_manifest_a_dataset_is_unfinished_and_without_a_plan_it_is_none(
    tiles: Path,
) -> None:
    (tiles / "dataset.json").unlink()
    (fault,) = verify(tiles)
    assert "is unfinished, 2 of 2 shards are there" in fault
    (tiles / "plan.json").unlink()
    with pytest.raises(DatasetError, match="holds no tile dataset: make one with"):
        verify(tiles)


def rewritten(tiles: Path, **facts: object) -> Path:
    manifest = json.loads((tiles / "dataset.json").read_bytes())
    (tiles / "dataset.json").write_bytes(json_bytes({**manifest, **facts}))
    return tiles


def test_a_dataset_that_does_not_fit_is_not_opened(tiles: Path) -> None:
    with pytest.raises(DatasetError, match=r"dataset\.json is damaged \(.*again"):
        TileDataset.open(rewritten(tiles, geometry={"size": 8, "colour": 1}))
    with pytest.raises(FingerprintError, match="another channel catalogue or tile geometry"):
        TileDataset.open(rewritten(tiles, geometry={"size": 16, "radius_m": 100.0}))


def test_a_tile_smaller_than_the_manifest_says_is_damaged(tiles: Path) -> None:
    large = TileGeometry(16)
    facts = {"geometry": large.as_values(), "fingerprint": load_catalogue().fingerprint(large)}
    data = TileDataset.open(rewritten(tiles, **facts))
    with pytest.raises(DatasetError, match="tile 1 of the dataset has another size"):
        data.tiles(np.array([0]), np.array([1]))
