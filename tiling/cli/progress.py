"""The progress of imports and tile jobs on standard error."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click
from tqdm import tqdm

if TYPE_CHECKING:
    from tiling.osm.gather.gather import Progress as ImportProgress

EVERY_S = 30.0  # between two lines


def progress_bar(what: str, things: str, total: int | None = None, disable: bool = False) -> tqdm:
    """Return a bar that counts things, and tells how many a second however slow it is."""
    count = "{n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_noinv_fmt}]"
    form = "{desc}: {n_fmt}{unit} [{elapsed}, {rate_noinv_fmt}]" if total is None else None
    return tqdm(
        desc=what,
        total=total,
        unit=f" {things}",
        bar_format=form or "{l_bar}{bar}| " + count,
        disable=disable,
    )


class Progress:
    """Counts the finished shards and their rate.

    The rate leaves out the first shard, whose time includes sampling and the start of processes. It
    also leaves out shards that were there already.
    """

    def __init__(self, tiles_per_place: int) -> None:
        self.done = self.shards = 0
        self._tiles_per_place = tiles_per_place
        self._tiles = self._made = 0
        self._start = self._told = time.monotonic()
        self._bar = tqdm(desc="tile", unit=" shards") if sys.stderr.isatty() else None

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *exc: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def update(self, places: int, made: bool, shards: int) -> None:
        """Count one more finished shard of `shards` in all, with so many places.

        `made`: it was made now, not found.
        """
        self.done, self.shards = self.done + 1, shards
        self._made += made
        if self._made > 1:
            self._tiles += places * self._tiles_per_place * made
        elif made:
            self._start = time.monotonic()
        if self._bar is not None:
            self._bar.total = shards
            self._bar.initial += not made  # the rate leaves out what was found
            self._bar.set_postfix_str(f"{self._tiles / self._seconds:.0f} tiles/s", refresh=False)
            self._bar.update()
        elif self.done == shards or time.monotonic() - self._told > EVERY_S:
            self._told = time.monotonic()
            click.echo(f"tile: {self}", err=True)

    @property
    def _seconds(self) -> float:
        return max(time.monotonic() - self._start, 1e-3)

    def __str__(self) -> str:
        if not self.done:
            return "its start"
        text = f"{self.done:,} of {self.shards:,} shards"
        if self._made < 2:
            return text
        left_s = (self.shards - self.done) * self._seconds / (self._made - 1)
        rate = f"{self._tiles / self._seconds:.0f} tiles/s"
        return f"{text}, {rate}, {tqdm.format_interval(left_s)} left"


@contextmanager
def import_bar() -> Iterator["ImportProgress"]:
    """Show how much of an import is done, the objects that were read, and the time left."""
    form = "{desc}: {percentage:3.0f} %, {postfix[0]:,} objects, {elapsed} ({remaining} left)"
    with tqdm(desc="import", total=1.0, bar_format=form, postfix=[0]) as bar:

        def told(objects: int, share: float) -> None:
            bar.postfix[0] += objects
            bar.update(share - bar.n)

        yield told
