"""Tile datasets: a folder of GeoParquet shards, one row a tile, and the `dataset.json` that describes them."""

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard
from numpy.typing import NDArray

from tiling.catalogue import load_catalogue
from tiling.errors import DatasetError
from tiling.files import read_json, sha256_of
from tiling.geoparquet import write_points
from tiling.values import Pose, TileGeometry, check_fingerprint

MANIFEST = "dataset.json"
ZSTD_LEVEL = 1  # larger levels cost more than they save


def shard_path(folder: Path, number: int) -> Path:
    """Return where shard `number` of a dataset lies."""
    return folder / f"tiles-{number:05d}.parquet"


@dataclass(frozen=True, slots=True, eq=False)
class PlaceTiles:
    """The tiles of one place: `tiles` uint8 [slots, 12, size, size] in slot order, slot 0 the anchor."""

    place: int
    store: str
    poses: list[Pose]
    tiles: NDArray[np.uint8]


def write_shard(path: Path, places: list[PlaceTiles], plan: str) -> None:
    """Write one shard, atomically; `plan` is the fingerprint of the job it belongs to."""
    compressor = zstandard.ZstdCompressor(level=ZSTD_LEVEL)
    frames = [compressor.compress(tile.tobytes()) for place in places for tile in place.tiles]
    poses = [pose for place in places for pose in place.poses]
    per_place = [len(place.poses) for place in places]
    table = pa.table(
        {
            "place": pa.array(np.repeat([place.place for place in places], per_place), pa.int64()),
            "slot": pa.array(np.concatenate([np.arange(n) for n in per_place]), pa.int16()),
            "role": ["positive" if slot else "anchor" for n in per_place for slot in range(n)],
            "store": [place.store for place in places for _ in place.poses],
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
    write_points(path, table, lat, lon, {"plan": plan}, compression="none")


def shard_plan(path: Path) -> str | None:
    """Return the fingerprint of the job that wrote a shard, or None when there is no whole shard."""
    try:
        metadata = pq.read_schema(path).metadata or {}
    except (OSError, pa.ArrowInvalid):
        return None
    return bytes(metadata.get(b"plan", b"")).decode()


class TileDataset:
    """A dataset open for reading: tiles by place and slot. Safe to share between threads."""

    def __init__(self, manifest: dict[str, Any], table: pa.Table) -> None:
        self.fingerprint = str(manifest["fingerprint"])
        self.channels = tuple(manifest["channels"])
        self.geometry = TileGeometry(**manifest["geometry"])
        self.positives = int(manifest["positives"])
        self.n_places = int(manifest["places"])
        self.facts = manifest
        anchors = table.take(pa.array(np.arange(self.n_places) * (1 + self.positives)))
        self.lat: NDArray[np.float64] = anchors["lat"].to_numpy()
        self.lon: NDArray[np.float64] = anchors["lon"].to_numpy()
        self.store: list[str] = anchors["store"].to_pylist()
        self._poses = table.select(["lat", "lon", "rotation_deg", "shift_x_m", "shift_y_m"])
        self._frames = [memoryview(frame.as_buffer()) for chunk in table["frame"].chunks for frame in chunk]
        self._crc32 = table["crc32"].to_numpy()

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open a dataset folder; its frames are read into memory.

        Raises `DatasetError` when the job has not finished or a shard is missing, damaged or of another
        length, `FingerprintError` when it was drawn with another catalogue.
        """
        if not (folder / MANIFEST).is_file():
            raise DatasetError(f"{folder} holds no {MANIFEST}: run `loc2vec tile --out {folder}` to its end")
        manifest = read_json(folder / MANIFEST)
        try:
            geometry = TileGeometry(**manifest["geometry"])
            check_fingerprint(str(folder), manifest["fingerprint"], load_catalogue().fingerprint(geometry))
            return cls(manifest, pa.concat_tables([_read_shard(folder, shard) for shard in manifest["shards"]]))
        except (KeyError, TypeError) as error:
            raise DatasetError(
                f"{folder / MANIFEST} is damaged ({error}): run the same `loc2vec tile` again"
            ) from error

    def pose(self, place: int, slot: int) -> Pose:
        """Return the pose of one tile."""
        return Pose(**self._poses.slice(place * (1 + self.positives) + slot, 1).to_pylist()[0])

    def tiles(
        self, places: NDArray[np.int64], slots: NDArray[np.int64], out: NDArray[np.uint8] | None = None
    ) -> NDArray[np.uint8]:
        """Return tiles uint8 [m, 12, size, size]; slot 0 is a place's anchor, 1..positives the others.

        They are decoded straight into `out` if it is given, without the GIL, so that several threads may read
        parts of one batch. Raises `DatasetError` when a frame does not match its checksum.
        """
        rows = (np.asarray(places) * (1 + self.positives) + np.asarray(slots)).tolist()
        size = self.geometry.size
        if out is None:
            out = np.empty((len(rows), len(self.channels), size, size), np.uint8)
        decompressor = zstandard.ZstdDecompressor()
        for tile, row in zip(out, rows, strict=True):
            frame = self._frames[row]
            if zlib.crc32(frame) != self._crc32[row]:
                raise DatasetError(f"tile {row} of the dataset does not match its checksum: make its shard again")
            with decompressor.stream_reader(frame) as reader:
                if reader.readinto(memoryview(tile).cast("B")) != tile.nbytes:
                    raise DatasetError(f"tile {row} of the dataset has another size: make its shard again")
        return out


def _read_shard(folder: Path, shard: dict[str, Any]) -> pa.Table:
    path = folder / str(shard["file"])
    if not path.is_file():
        raise DatasetError(f"{path} is missing: run the same `loc2vec tile` again to make it")
    if path.stat().st_size != shard["bytes"]:
        raise DatasetError(f"{path} has another length than when it was made: delete it and run `loc2vec tile` again")
    try:
        return pq.read_table(path, memory_map=True)
    except (OSError, pa.ArrowInvalid) as error:
        raise DatasetError(f"{path} is damaged: delete it and run `loc2vec tile` again") from error


def shard_record(folder: Path, number: int) -> dict[str, object]:
    """Return what the manifest keeps of a shard: file, rows, bytes, SHA-256."""
    path = shard_path(folder, number)
    rows = pq.read_metadata(path).num_rows
    return {"file": path.name, "rows": rows, "bytes": path.stat().st_size, "sha256": sha256_of(path)}
