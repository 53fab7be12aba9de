"""Verification of a dataset: every byte is read again to find what is damaged or foreign."""

import zlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from tiling.dataset.dataset import (
    MANIFEST,
    PLACES,
    PLAN,
    decode_table,
    is_share,
    manifest_bytes,
    read_facts,
    shard_plan,
    unfinished,
)
from tiling.errors import DatasetError
from tiling.files.folders import Folder, open_folder
from tiling.machine import cpu_count


def verify(location: str | Path) -> list[str]:
    """Return what is wrong with the dataset at a path or an fsspec URL, one line for each file.

    The list is empty when all is well, and says so when the dataset is incomplete. Raises
    `DatasetError` when there is no dataset.
    """
    folder = open_folder(location)
    sizes = folder.sizes()
    if MANIFEST not in sizes and PLAN not in sizes:
        raise DatasetError(unfinished(folder, sizes))
    if MANIFEST not in sizes:
        return [unfinished(folder, sizes)]
    manifest = read_facts(folder, MANIFEST)
    plan = {key: value for key, value in manifest.items() if key not in ("shards", "checksum")}
    shards = manifest.get("shards", [])
    if not manifest or manifest_bytes(plan, shards) != folder.read(MANIFEST):
        return [f"{MANIFEST}: damaged"]
    with ThreadPoolExecutor(cpu_count()) as readers:
        faults = readers.map(partial(_shard_fault, folder, sizes, plan), shards)
        return [
            *_other_faults(folder, sizes, plan, {shard["file"] for shard in shards}),
            *filter(None, faults),
        ]


def _other_faults(
    folder: Folder, sizes: Mapping[str, int], plan: Mapping[str, Any], shards: set[str]
) -> Iterator[str]:
    """Yield what is wrong with the files other than `shards`."""
    if PLAN not in sizes:
        yield f"{PLAN}: missing"
    elif read_facts(folder, PLAN) != plan:
        yield f"{PLAN}: damaged, or of another job than {MANIFEST}"
    if PLACES not in sizes:
        yield f"{PLACES}: missing"
    elif sha256(folder.read(PLACES)).hexdigest() != plan["places_sha256"]:
        yield f"{PLACES}: damaged"
    for name in sorted(sizes.keys() - shards - {PLAN, PLACES, MANIFEST}):
        stopped = is_share(name)
        why = "left by a run that was stopped" if stopped else "foreign, not of this dataset"
        yield f"{name}: {why}"


def _shard_fault(
    folder: Folder, sizes: Mapping[str, int], plan: Mapping[str, Any], shard: Mapping[str, Any]
) -> str | None:
    name = str(shard["file"])
    if name not in sizes:
        return f"{name}: missing"
    data = folder.read(name)
    if len(data) != shard["bytes"]:
        return f"{name}: {len(data)} bytes long, was {shard['bytes']} when it was made"
    if sha256(data).hexdigest() == shard["sha256"]:
        return None
    if shard_plan(data) not in (None, plan["plan"]):
        return f"{name}: foreign, of another job"
    return f"{name}: damaged{_where(data)}"


def _where(data: bytes) -> str:
    """Name the tiles that do not match their checksums, or nothing if the table is unreadable."""
    try:
        table = decode_table(data, "the shard")
        rows = zip(
            *(table[name].to_pylist() for name in ("place", "slot", "frame", "crc32")), strict=True
        )
        wrong = [
            f"place {place}, slot {slot}"
            for place, slot, frame, crc in rows
            if zlib.crc32(frame) != crc
        ]
    except (DatasetError, KeyError, TypeError):
        return ""
    return f" at {'; '.join(wrong)}" if wrong else ""
