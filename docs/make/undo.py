"""An extract as it was at an earlier date, as far as it tells: what was made since is left out.

An extract holds the newest version of each object. So an object that was made after the date loses
its tags; one that was only changed stays as it is. Objects that were deleted do not come back.

    python docs/make/undo.py REGION.osm.pbf --until 2022-01-01 --out before.osm.pbf
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import osmium


def undo(extract: Path, until: datetime, out: Path) -> tuple[int, int]:
    """Write the older extract; returns how many objects went, and how many stay too new."""
    header = osmium.io.Reader(str(extract), osmium.osm.NOTHING).header()
    gone = changed = 0
    items: Iterable[Any] = osmium.FileProcessor(str(extract))
    with osmium.SimpleWriter(str(out), header=header) as writer:
        for item in items:
            fresh = item.timestamp > until and (not item.is_node() or len(item.tags) > 0)
            if fresh and item.version == 1:
                gone += 1
                if not item.is_relation():  # what was there before may be made of it
                    writer.add(item.replace(tags={}))
            else:
                changed += fresh
                writer.add(item)
    return gone, changed


@click.command()
@click.argument("extract", type=click.Path(exists=True, path_type=Path))
@click.option("--until", type=click.DateTime(["%Y-%m-%d"]), required=True)
@click.option("--out", type=click.Path(path_type=Path), required=True)
def main(extract: Path, until: datetime, out: Path) -> None:
    """Write the extract."""
    gone, changed = undo(extract, until.replace(tzinfo=UTC), out)
    print(f"{gone:,} objects undone, {changed:,} changed since and kept as they are: {out}")


if __name__ == "__main__":
    main()
