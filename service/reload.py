"""Taking a new index into use while the service answers."""

import asyncio
import logging
from pathlib import Path

from service.engine import Engine
from service.index import FACTS, NeighborIndex
from service.metrics import SWAPS
from tiling.errors import Loc2VecError

log = logging.getLogger(__name__)
Stamp = tuple[int, int] | None


def stamp(folder: Path) -> Stamp:
    """Return what changes when another index is put in the place of this one."""
    try:
        status = (folder / FACTS).stat()
    except OSError:  # between the old folder and the new one
        return None
    return status.st_ino, status.st_mtime_ns


def swap(engine: Engine, folder: Path) -> bool:
    """Take the index in `folder` into use; one that is damaged or of another model leaves the old one."""
    try:
        engine.use(NeighborIndex.open(folder, keep_cache=False))
    except (Loc2VecError, OSError) as error:
        SWAPS.labels("refused").inc()
        log.error("the new index was not taken into use, the old one still answers: %s", error)
        return False
    SWAPS.labels("done").inc()
    log.info("a new index is in use: %d places, %s", len(engine.search.index), engine.index_name)
    return True


async def watch(engine: Engine, folder: Path, every_s: float) -> None:
    """Look for a new index in `folder` for ever. A folder that is being replaced is looked at again."""
    seen = stamp(folder)
    while True:
        await asyncio.sleep(every_s)
        now = stamp(folder)
        if now is not None and now != seen:
            await asyncio.to_thread(swap, engine, folder)
            seen = now
