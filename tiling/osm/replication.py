"""Change files of a replication server, such as OpenStreetMap's own.

https://wiki.openstreetmap.org/wiki/Planet.osm/diffs
"""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import osmium
from osmium.replication import newest_change_from_file
from osmium.replication.server import ReplicationServer
from osmium.replication.utils import get_replication_header

from tiling.errors import ExtractError, ReplicationError
from tiling.files.atomic import require_file
from tiling.osm.file import FAULTS

AT_ONCE_KB = 100 * 1024  # of changes, before they are compressed


def complete_until(extract: Path) -> datetime | None:
    """Return the time up to which an extract is complete: declared, or of its newest object.

    None when neither is known.
    """
    declared = get_replication_header(str(extract)).timestamp
    newest = newest_change_from_file(str(extract))  # 1970 when no object has a time
    return declared or (newest if newest.timestamp() > 0 else None)


def require_changes(path: Path) -> None:
    """Raise `ExtractError` unless `path` is a file with the name of a change file."""
    require_file(path, ExtractError, "give a file of changes, .osc or .osc.gz")
    if not path.name.endswith((".osc", ".osc.gz", ".osc.bz2")):
        raise ExtractError(f"{path} is no file of changes: its name must end in .osc or .osc.gz")


def tidy_changes(path: Path, tidy: Path) -> None:
    """Write a change file as osm2pgsql needs it: sorted, with only the newest version of an object.

    Raises `ExtractError` when `path` is no change file, or is truncated.
    """
    require_changes(path)
    changes = osmium.MergeInputReader()
    try:
        changes.add_file(str(path))
        with osmium.SimpleWriter(str(tidy)) as writer:
            changes.apply(writer, simplify=True)
    except FAULTS as error:
        raise ExtractError(
            f"cannot read {path} ({str(error).rstrip('.')}): is it a complete .osc file?"
        ) from error


def fetch_changes(url: str, since: datetime, folder: Path) -> Iterator[tuple[Path, datetime]]:
    """Yield all change files after `since`, oldest first, each with the time that it completes.

    Raises `ReplicationError` when the server does not answer, or does not go back to `since`.
    """
    with ReplicationServer(url) as server:
        if server.get_state_info() is None:
            raise ReplicationError(
                f"{url} does not answer as a replication server: is there {url}/state.txt?"
            )
        done = server.timestamp_to_sequence(since, limit_by_oldest_available=True)
        if done is None:
            raise ReplicationError(
                f"{url} does not go back to {since:%Y-%m-%d %H:%M}: import a newer extract"
            )
        while (found := server.collect_diffs(done + 1, AT_ONCE_KB)) is not None:
            state = server.get_state_info(found.id)
            if state is None:
                raise ReplicationError(f"{url} has no state of sequence {found.id}: try again")
            path = folder / f"{found.id}.osc.gz"
            with osmium.SimpleWriter(str(path)) as writer:
                found.reader.apply(writer, simplify=True)
            yield path, state.timestamp
            done = found.id
