"""Change files of a replication server, such as OpenStreetMap's own.

https://wiki.openstreetmap.org/wiki/Planet.osm/diffs
"""

import tempfile
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import osmium
import requests
from osmium.replication import newest_change_from_file
from osmium.replication.server import ReplicationServer
from osmium.replication.utils import get_replication_header

from tiling.errors import ExtractError, ReplicationAwayError, ReplicationError
from tiling.files.atomic import require_file
from tiling.osm.bounded.read import HELD_A_BYTE, read_bounded
from tiling.osm.file import FAULTS, osm_file
from tiling.words import in_one_line

T = TypeVar("T")

AT_ONCE_KB = 100 * 1024  # of changes, before they are compressed


def complete_until(extract: Path) -> datetime | None:
    """Return the time up to which an extract is complete: declared, or of its newest object.

    None when neither is known.
    """
    declared: datetime | None = get_replication_header(osm_file(extract)).timestamp  # type: ignore[arg-type]
    return declared or read_bounded(extract, partial(_newest, extract))


def _newest(extract: Path, _board: object) -> datetime | None:
    newest = newest_change_from_file(osm_file(extract))
    return newest if newest.timestamp() > 0 else None  # 1970 when no object has a time


def require_changes(path: Path) -> None:
    """Raise `ExtractError` unless `path` is a file with the name of a change file."""
    require_file(path, ExtractError, "give a file of changes, .osc or .osc.gz")
    if not path.name.endswith((".osc", ".osc.gz", ".osc.bz2")):
        raise ExtractError(f"{path} is no file of changes: its name must end in .osc or .osc.gz")


def tidy_changes(path: Path, tidy: Path) -> None:
    """Write a change file sorted, with only the newest version of an object.

    It is read into the memory of a process of its own, which its size bounds. Raises `ExtractError`
    when `path` is no change file, or is truncated.
    """
    require_changes(path)
    read_bounded(path, partial(_tidy, path, tidy), memory_a_byte=HELD_A_BYTE)


def _tidy(path: Path, tidy: Path, _board: object) -> None:
    changes = osmium.MergeInputReader()
    try:
        changes.add_file(str(path))
    except FAULTS as error:
        raise ExtractError(
            f"cannot read {path} ({str(error).rstrip('.')}): is it a complete .osc file?"
        ) from error
    with osmium.SimpleWriter(str(tidy)) as writer:
        changes.apply(writer, simplify=True)


def fetch_changes(url: str, since: datetime, folder: Path) -> Iterator[tuple[Path, datetime]]:
    """Yield all change files after `since`, oldest first, each with the time that it completes.

    Raises `ReplicationAwayError` when the server does not answer for now, `ReplicationError` when
    it does not go back to `since`, or lacks changes in between.
    """
    with ReplicationServer(url) as server:
        if server.get_state_info() is None:
            raise ReplicationAwayError(
                f"{url} does not answer as a replication server: is there {url}/state.txt?"
            )
        done = server.timestamp_to_sequence(since, limit_by_oldest_available=True)
        if done is None:
            raise ReplicationError(
                f"{url} does not go back to {since:%Y-%m-%d %H:%M}: import a newer extract"
            )
        while (found := _collect(server, done + 1)) is not None:
            state = server.get_state_info(found.id)
            if state is None:
                raise ReplicationAwayError(f"{url} has no state of sequence {found.id}: try again")
            path = folder / f"{found.id}.osc.gz"
            with osmium.SimpleWriter(str(path)) as writer:
                found.reader.apply(writer, simplify=True)
            yield path, state.timestamp
            done = found.id


def apply_all(url: str, since: datetime, apply: Callable[[Path, datetime], T]) -> Iterator[T]:
    """Yield what `apply` makes of each change file of `fetch_changes`, which then goes."""
    with tempfile.TemporaryDirectory(prefix="loc2vec-") as folder:
        for path, until in fetch_changes(url, since, Path(folder)):
            yield apply(path, until)
            path.unlink()


def _collect(server: ReplicationServer, first: int) -> Any:
    """Return the changes from the sequence number `first` on, None when there are no newer ones.

    Raises `ReplicationError` when `first` is gone, though there are newer ones.
    """
    try:
        found = server.collect_diffs(first, AT_ONCE_KB)
    except requests.RequestException as error:
        gone = error.response is not None and error.response.status_code in (404, 410)
        if not gone:
            raise ReplicationAwayError(f"{server.baseurl}: {in_one_line(error)}") from error
        found = None
    newest = None if found else server.get_state_info()
    if newest is not None and newest.sequence >= first:
        raise ReplicationError(
            f"{server.baseurl} lacks the changes of sequence {first}, though it has newer ones: "
            "import a newer extract"
        )
    return found
