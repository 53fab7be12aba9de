"""The extract that a GeoPackage store was made of, kept beside it for updates (`--slim`).

It lies in STORE.raw/HASH/REGION.osm.pbf. The store knows the hash, so it finds its own extract
however an import or update ends.
"""

import shutil
from contextlib import suppress
from pathlib import Path

from tiling.errors import ExtractError, StoreError
from tiling.files.atomic import sha256_of, sync

DIGITS = 16  # of the hash


def keep_extract(store: Path, extract: Path, sha256: str) -> None:
    """Copy an extract beside a store; `ExtractError` when it is not of this hash any more."""
    folder = _folder(store, sha256)
    folder.mkdir(parents=True, exist_ok=True)
    copy = folder / extract.name
    shutil.copyfile(extract, copy)
    if sha256_of(copy) != sha256:
        raise ExtractError(f"{extract} was changed while it was imported: run again")
    for path in (copy, folder, folder.parent, store.parent):
        sync(path)


def kept_extract(store: Path, sha256: str) -> Path:
    """Return the extract of a store; `StoreError` without it."""
    folder = _folder(store, sha256)
    kept = list(folder.iterdir()) if folder.is_dir() else []
    if len(kept) != 1:
        raise StoreError(
            f"{store} does not hold what updates need: import its extract again, with --slim"
        )
    return kept[0]


def sweep_extracts(store: Path, sha256: str | None) -> None:
    """Remove all kept extracts but the one of this hash."""
    root = _folder(store, "").parent
    for folder in root.iterdir() if root.is_dir() else ():
        if sha256 is None or folder != _folder(store, sha256):
            shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError):  # it holds one, or is not there
        root.rmdir()


def _folder(store: Path, sha256: str) -> Path:
    return store.with_name(f"{store.name}.raw") / (sha256[:DIGITS] or "none")
