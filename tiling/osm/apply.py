"""Change files applied to an extract: the extract that a provider would have made of both."""

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from pathlib import Path

import osmium
from osmium.replication.utils import get_replication_header

from tiling.errors import ExtractError, UserError
from tiling.osm.bounded.read import read_bounded
from tiling.osm.file import facts_of, osm_file, reading, unordered
from tiling.osm.replication import tidy_changes

SORTED = "Type_then_ID"  # what the header of a sorted file says
KINDS = "nwr"


def require_one(extracts: Sequence[Path]) -> Path:
    """Return the one extract of a store that takes updates; `UserError` when there are more."""
    if len(extracts) > 1:
        raise UserError(
            "--slim takes one extract: merge them first, with `osmium merge` or `osmium extract`"
        )
    return extracts[0]


def require_changeable(extract: Path) -> None:
    """Raise `ExtractError` for an extract that changes cannot be applied to."""
    read_bounded(extract, partial(_require_changeable, extract))


def _require_changeable(extract: Path, _board: object) -> None:
    if facts_of(extract).located:
        raise ExtractError(
            f"{extract} holds the positions of nodes in its ways, which changes do not: "
            "take a plain extract for updates"
        )
    if not _is_sorted(extract):
        raise unordered(extract)


def _is_sorted(extract: Path) -> bool:
    """Tell whether nodes, ways and relations follow each other by their ids."""
    with reading(extract):
        header = osmium.io.Reader(osm_file(extract), osmium.osm.NOTHING).header()
        if header.get("sorting") == SORTED:
            return True
        last = (0, -(1 << 63))
        for item in osmium.FileProcessor(osm_file(extract)):
            here = (KINDS.index(item.type_str()), item.id)
            if here <= last:
                return False
            last = here
    return True


def apply_changes(
    extract: Path, changes: Path, result: Path, until: datetime | None = None
) -> None:
    """Write `result`: the extract with the newest version of each object, without deleted ones.

    `result` is PBF; its folder is for scratch. The header stays, with the time `until` as that of
    the replication server. The changes are held in memory, the extract is not. Raises
    `ExtractError` when either cannot be read.
    """
    tidy = result.with_name("changes.osc")
    tidy_changes(changes, tidy)
    merging = osmium.MergeInputReader()
    merging.add_file(str(tidy))
    tidy.unlink()
    with reading(extract):
        before = osmium.io.Reader(osm_file(extract))
        header = before.header()
        if until is not None:
            header.set("osmosis_replication_timestamp", f"{until:%Y-%m-%dT%H:%M:%SZ}")
        writer = osmium.io.Writer(osmium.io.File(str(result), "pbf"), header)
        try:
            merging.apply_to_reader(before, writer)
        finally:
            writer.close()
            before.close()


def replication_of(extract: Path) -> str | None:
    """Return the URL of the replication server that an extract's header names, None without one."""
    with reading(extract):
        url: str | None = get_replication_header(osm_file(extract)).url  # type: ignore[arg-type]
    return url
