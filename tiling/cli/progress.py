"""How far a tile job is, told on standard error: a bar on a terminal, elsewhere a line now and then."""

import sys
import time

import click
from tqdm import tqdm

EVERY_S = 30.0  # between two lines


class Progress:
    """Counts shards as they come.

    The rate is of the shards made after the first one, whose time holds the drawing of the places
    and the start of the processes; what was found is no part of it.
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
        """Count one more whole shard of `shards`."""
        self.done, self.shards = self.done + 1, shards
        self._made += made
        if self._made > 1:
            self._tiles += places * self._tiles_per_place * made
        elif made:
            self._start = time.monotonic()
        if self._bar is not None:
            self._bar.total = shards
            self._bar.initial += not made  # found, so no part of its rate
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
        return f"{text}, {self._tiles / self._seconds:.0f} tiles/s, {tqdm.format_interval(left_s)} left"
