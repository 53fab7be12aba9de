"""How far a tile job is, told on standard error: a bar on a terminal, elsewhere a line now and then."""

import sys
import time

import click
from tqdm import tqdm

EVERY_S = 30.0  # between two lines


class Progress:
    """Counts shards as they come; the rate is of those made now, not of those found."""

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
        if not self.done:
            self._start = time.monotonic()
        self.done, self.shards = self.done + 1, shards
        self._made += made
        self._tiles += places * self._tiles_per_place * made
        if self._bar is not None:
            self._bar.total = shards
            self._bar.initial += not made  # found, so no part of its rate
            self._bar.set_postfix_str(f"{self.tiles_per_s:.0f} tiles/s", refresh=False)
            self._bar.update()
        elif self.done == shards or time.monotonic() - self._told > EVERY_S:
            self._told = time.monotonic()
            click.echo(f"tile: {self}", err=True)

    @property
    def tiles_per_s(self) -> float:
        """Return the tiles made a second since the first shard."""
        return self._tiles / max(time.monotonic() - self._start, 1e-3)

    def __str__(self) -> str:
        if not self.done:
            return "its start"
        text = f"{self.done:,} of {self.shards:,} shards"
        if not self._made:
            return text
        left_s = (self.shards - self.done) * (time.monotonic() - self._start) / self._made
        return f"{text}, {self.tiles_per_s:.0f} tiles/s, {tqdm.format_interval(left_s)} left"
