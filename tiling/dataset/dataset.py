"""Tile datasets: folders of GeoParquet shards, with one row for each tile.

A dataset also has `places.parquet`, with one row for each place, and `dataset.json`, its manifest.
"""

import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard
from numpy.typing import NDArray

from tiling.catalogue.catalogue import Catalogue, carried_catalogue
from tiling.dataset.frames import Frames, ShardFrames
from tiling.errors import DatasetError, UserError
from tiling.files.atomic import json_bytes, parse_json
from tiling.files.folders import Folder, open_folder
from tiling.files.geoparquet import parquet_bytes, with_points
from tiling.values import Pose, TileGeometry, fingerprint

MANIFEST = "dataset.json"
PLACES = "places.parquet"
PLAN = "plan.json"
TARGETS = "targets.parquet"  # where `loc2vec tile` was given --targets
PLACES_PER_SHARD = 64
READERS = 8  # threads that read shards
REPAIR = "run the same `loc2vec tile` with --repair"


def shard_name(number: int) -> str:
    """Return the file name of shard `number` of a dataset."""
    return f"tiles-{number:05d}.parquet"


def shard_number(name: str) -> int | None:
    """Return the number of the shard with this file name, or None for other files."""
    digits = name.removeprefix("tiles-").removesuffix(".parquet")
    return int(digits) if digits.isdecimal() and name == shard_name(int(digits)) else None


@dataclass(frozen=True, slots=True, eq=False)
class ShardPlaces:
    """The places of one shard.

    `place` int64 [p]: their numbers in the dataset. `store` [p]: the names of their stores. `poses`
    [p]: those of the tiles of each place in the order of slots, slot 0 the anchor.
    """

    place: NDArray[np.int64]
    store: list[str]
    poses: list[list[Pose]]


def encode_shard(places: ShardPlaces, frames: Sequence[bytes], plan: str) -> bytes:
    """Return the file of one shard; equal values give equal bytes.

    `frames`: of all tiles, place by place in the order of slots. `plan`: fingerprint of the job.
    """
    poses = [pose for each in places.poses for pose in each]
    per_place = [len(each) for each in places.poses]
    table = pa.table(
        {
            "place": pa.array(np.repeat(places.place, per_place), pa.int64()),
            "slot": pa.array(np.concatenate([np.arange(n) for n in per_place]), pa.int16()),
            "role": ["positive" if slot else "anchor" for n in per_place for slot in range(n)],
            "store": [
                name for name, n in zip(places.store, per_place, strict=True) for _ in range(n)
            ],
            "lat": [pose.lat for pose in poses],
            "lon": [pose.lon for pose in poses],
            "rotation_deg": [pose.rotation_deg for pose in poses],
            "shift_x_m": [pose.shift_x_m for pose in poses],
            "shift_y_m": [pose.shift_y_m for pose in poses],
            "frame": pa.array(frames, pa.binary()),
            "crc32": pa.array([zlib.crc32(frame) for frame in frames], pa.uint32()),
        }
    )
    lat, lon = (np.array(table[name]) for name in ("lat", "lon"))
    return parquet_bytes(with_points(table, lat, lon, {"plan": plan}), "none")


def decode_table(data: bytes, what: str) -> pa.Table:
    """Return the table of a Parquet file, or raise a `DatasetError` about `what`."""
    try:
        return pq.read_table(pa.BufferReader(data))
    except (OSError, pa.ArrowInvalid) as error:
        raise DatasetError(f"{what} is damaged") from error


def frames_of(data: bytes) -> list[bytes] | None:
    """Return the frames of a shard, or None when its file is damaged."""
    try:
        frames: list[bytes] = decode_table(data, "the shard")["frame"].to_pylist()
    except (DatasetError, KeyError):
        return None
    return frames


def plan_fingerprint(plan: Mapping[str, Any]) -> str:
    """Return the fingerprint of all values of a plan except the fingerprint itself."""
    return fingerprint(
        {key: value for key, value in plan.items() if key != "plan"}, PLACES_PER_SHARD
    )


def read_facts(folder: Folder, name: str) -> dict[str, Any]:
    """Return the values of a JSON file of a dataset.

    Returns {} unless every byte is as `json_bytes` writes it.
    """
    data = folder.read(name)
    try:
        facts = parse_json(data, name)
    except UserError:
        return {}
    return facts if json_bytes(facts) == data else {}


def manifest_bytes(plan: Mapping[str, Any], shards: Sequence[Mapping[str, Any]]) -> bytes:
    """Return the manifest of a complete dataset: its plan, its shards, a checksum of both."""
    manifest = {**plan, "shards": shards}
    return json_bytes({**manifest, "checksum": sha256(json_bytes(manifest)).hexdigest()})


def is_share(name: str) -> bool:
    """Tell whether a file holds the records of a completed share, for the last share to collect."""
    return name.startswith("share-") and name.endswith(".json")


def shard_plan(data: bytes) -> str | None:
    """Return the fingerprint of the job that wrote a shard, or None when its file is damaged."""
    try:
        metadata = decode_table(data, "the shard").schema.metadata or {}
    except DatasetError:
        return None
    return bytes(metadata.get(b"plan", b"")).decode()


def unfinished(folder: Folder, sizes: Mapping[str, int]) -> str:
    """Return an error message for a folder without a manifest."""
    where = folder.location
    if PLAN not in sizes:
        return f"{where} holds no tile dataset: make one with `loc2vec tile --out {where}`"
    shards = read_facts(folder, PLAN).get("n_shards", "its")
    made = sum(shard_number(name) is not None for name in sizes)
    return (
        f"{where} is unfinished, {made} of {shards} shards are there: "
        "run the same `loc2vec tile` to its end"
    )


def shard_record(number: int, rows: int, data: bytes) -> dict[str, Any]:
    """Return the entry of a shard in the manifest: file, rows, bytes, SHA-256."""
    return {
        "file": shard_name(number),
        "rows": rows,
        "bytes": len(data),
        "sha256": sha256(data).hexdigest(),
    }


class Rows(NamedTuple):
    """One row for each tile, slots together: what is written of it, and its frame."""

    table: pa.Table
    frames: Frames


class TileDataset:
    """A dataset open for reading: tiles by place and slot. Threads may share it.

    `places` has one row for each place: place, store, lat, lon, kind, group, and the columns of the
    user's file. `tiling.geo.groups` explains groups. `targets` has one row for each place, too
    (`tiling.dataset.targets`), or is `None`.
    """

    def __init__(
        self,
        manifest: dict[str, Any],
        catalogue: Catalogue,
        rows: Rows,
        places: pa.Table,
        targets: pa.Table | None = None,
    ) -> None:
        self.fingerprint = str(manifest["fingerprint"])
        self.channels = tuple(manifest["channels"])
        self.catalogue = catalogue
        self.geometry = TileGeometry(**manifest["geometry"])
        self.positives = int(manifest["positives"])
        self.n_places = int(manifest["places"])
        self.facts = manifest
        table, self._frames = rows
        first = pa.array(np.arange(self.n_places) * (1 + self.positives))
        anchors = table.select(["lat", "lon", "store"]).take(first)
        self.lat: NDArray[np.float64] = anchors["lat"].to_numpy()
        self.lon: NDArray[np.float64] = anchors["lon"].to_numpy()
        self.store: list[str] = anchors["store"].to_pylist()
        self.places, self.targets = places, targets
        self._poses = table.select(["lat", "lon", "rotation_deg", "shift_x_m", "shift_y_m"])
        self._crc32 = table["crc32"].to_numpy()

    @classmethod
    def open(cls, location: str | Path) -> Self:
        """Open the dataset at a path or an fsspec URL; the files behind a URL are kept in memory.

        Raises `DatasetError` when the job is incomplete, or a file is missing, damaged or of
        another length. Raises `FingerprintError` when the catalogue was another one.
        """
        folder = open_folder(location)
        sizes = folder.sizes()
        if MANIFEST not in sizes:
            raise DatasetError(unfinished(folder, sizes))
        manifest = parse_json(folder.read(MANIFEST), f"{location}/{MANIFEST}")
        try:
            geometry = TileGeometry(**manifest["geometry"])
            catalogue = carried_catalogue(manifest.get("catalogue"), str(location))
            catalogue.check(str(location), manifest["fingerprint"], geometry)
            with ThreadPoolExecutor(READERS) as readers:
                shards = list(readers.map(partial(_read_shard, folder, sizes), manifest["shards"]))
            tables, frames = zip(*shards, strict=True)
            if PLACES not in sizes:
                raise DatasetError(f"{location}/{PLACES} is missing: {REPAIR}")
            places = decode_table(folder.read(PLACES), f"{location}/{PLACES}")
            table, targets = pa.concat_tables(tables), _targets(folder, sizes)
            return cls(manifest, catalogue, Rows(table, Frames(frames)), places, targets)
        except (KeyError, TypeError) as error:
            raise DatasetError(
                f"{location}/{MANIFEST} is damaged ({error}): run the same `loc2vec tile` again"
            ) from error

    def pose(self, place: int, slot: int) -> Pose:
        """Return the pose of one tile."""
        return Pose(**self._poses.slice(place * (1 + self.positives) + slot, 1).to_pylist()[0])

    def tiles(
        self,
        places: NDArray[np.int64],
        slots: NDArray[np.int64],
        out: NDArray[np.uint8] | None = None,
    ) -> NDArray[np.uint8]:
        """Return the tiles of `places` [m] in `slots` [m], uint8 [m, channels, size, size].

        Slot 0 is the anchor of a place, 1..positives are the others. Tiles are decoded straight
        into `out` if it is given. zstd releases the GIL, so threads may fill parts of one batch.
        Raises `DatasetError` when a frame does not match its checksum.
        """
        rows = (np.asarray(places) * (1 + self.positives) + np.asarray(slots)).tolist()
        size = self.geometry.size
        if out is None:
            out = np.empty((len(rows), len(self.channels), size, size), np.uint8)
        decompressor = zstandard.ZstdDecompressor()
        for tile, row in zip(out, rows, strict=True):
            frame = self._frames[row]
            if zlib.crc32(frame) != self._crc32[row]:
                raise DatasetError(
                    f"tile {row} of the dataset does not match its checksum: {REPAIR}"
                )
            with decompressor.stream_reader(frame) as reader:
                if reader.readinto(memoryview(tile).cast("B")) != tile.nbytes:
                    raise DatasetError(f"tile {row} of the dataset has another size: {REPAIR}")
        return out


def _targets(folder: Folder, sizes: Mapping[str, int]) -> pa.Table | None:
    if TARGETS not in sizes:
        return None
    return decode_table(folder.read(TARGETS), f"{folder.location}/{TARGETS}")


def _read_shard(
    folder: Folder, sizes: Mapping[str, int], shard: Mapping[str, Any]
) -> tuple[pa.Table, ShardFrames]:
    """Return the rows of a shard without their frames, and where these lie."""
    name = str(shard["file"])
    where = f"{folder.location}/{name}"
    if name not in sizes:
        raise DatasetError(f"{where} is missing: {REPAIR}")
    if sizes[name] != shard["bytes"]:
        raise DatasetError(f"{where} has another length than when it was made: {REPAIR}")
    data = folder.read(name)
    try:
        table = decode_table(data, where)
        frames = ShardFrames.find(table["frame"], data, folder.pieces(name, data), where)
    except DatasetError as error:
        raise DatasetError(f"{error}: {REPAIR}") from error
    return table.drop_columns("frame"), frames
