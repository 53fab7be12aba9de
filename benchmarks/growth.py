"""How CPU time and memory of each step grow with the extract: figures, and the laws they follow.

Give extracts of several sizes, best of the same kind of ground. Each step is a command of its own:
its CPU time is that of all its processes, its memory the peak of the largest one. A law is the
least squares line through the figures, and the power by which they grow.

    python benchmarks/growth.py 5mb.osm.pbf 10mb.osm.pbf 20mb.osm.pbf 40mb.osm.pbf [--grid 500]
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import numpy as np
import pyarrow.parquet as pq

FEWEST = 2  # sizes that a line needs


@dataclass(frozen=True)
class Row:
    """One step of one extract: `amount` is what it grows with, in `unit`."""

    step: str
    unit: str
    amount: float
    cpu_s: float
    peak_mb: float


def run(*arguments: str | Path) -> tuple[float, float]:
    """Run a command of Loc2Vec, as `used` does."""
    return used([sys.executable, "-m", "loc2vec", *map(str, arguments)])


def used(
    command: Sequence[str], environment: Mapping[str, str] | None = None
) -> tuple[float, float]:
    """Run a command; return its CPU seconds and the peak of its largest process, MB."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise click.ClickException(f"{' '.join(command)} ended with status {status}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / 1e6


def steps(extract: Path, grid: int, folder: Path) -> Iterator[Row]:
    """Import an extract, embed a grid over it, index the vectors."""
    store, vectors = folder / "store.gpkg", folder / "vectors.parquet"
    yield Row(
        "import", "MB", extract.stat().st_size / 1e6, *run("import", extract, "--store", store)
    )
    used = run("embed", "--store", store, "--grid", str(grid), "--out", vectors)
    places = pq.read_metadata(vectors).num_rows / 1000
    yield Row("embed", "1,000 places", places, *used)
    yield Row("index", "1,000 places", places, *run("index", vectors, "--out", folder / "index"))


def law(rows: Sequence[Row], figure: str) -> str:
    """Return the line and the power that fit a figure of one step."""
    amount = np.array([row.amount for row in rows])
    value = np.array([getattr(row, figure) for row in rows])
    slope, start = np.polyfit(amount, value, 1)
    power = np.polyfit(np.log(amount), np.log(value), 1)[0]
    return f"{start:.3g} + {slope:.3g} a {rows[0].unit.removeprefix('1,')}, power {power:.2f}"


def show(rows: Sequence[Row], as_json: bool) -> None:
    """Print the rows step by step, each with its laws."""
    if as_json:
        click.echo(json.dumps([asdict(row) for row in rows]))
        return
    for step in dict.fromkeys(row.step for row in rows):
        mine = [row for row in rows if row.step == step]
        click.echo(f"{step:<24}{mine[0].unit:>14}{'CPU s':>10}{'peak MB':>10}")
        for row in mine:
            click.echo(f"{'':<24}{row.amount:>14.2f}{row.cpu_s:>10.1f}{row.peak_mb:>10.0f}")
        if len(mine) >= FEWEST:
            click.echo(f"{'':<24}CPU s: {law(mine, 'cpu_s')}; peak MB: {law(mine, 'peak_mb')}")


@click.command()
@click.argument("extracts", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--grid", default=500, show_default=True, help="Metres between places.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def main(extracts: tuple[Path, ...], grid: int, as_json: bool) -> None:
    """Measure each step on EXTRACTS of several sizes."""
    rows: list[Row] = []
    for extract in sorted(extracts, key=lambda path: path.stat().st_size):
        with tempfile.TemporaryDirectory() as folder:
            rows += steps(extract, grid, Path(folder))
    show(rows, as_json)


if __name__ == "__main__":
    main()
