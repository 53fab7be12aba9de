"""`loc2vec tile`."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tiling.cli.options import FilePath, NumberRange, StoreType, WholeRange
from tiling.cli.progress import Progress
from tiling.errors import DamagedError, StoppedError
from tiling.files.outputs import require_output
from tiling.machine import cpu_count
from tiling.values import TILE_RADIUS_M, TileGeometry
from tiling.words import counted

if TYPE_CHECKING:  # a command imports what it needs when it runs, to keep --help quick
    from tiling.dataset.executors import Executor
    from tiling.dataset.job import Done, Share, TileJob, TileSummary
    from tiling.store.store import Store

FILE = click.Path(path_type=Path)


class ShareType(click.ParamType[tuple[int, int]]):
    """One of N parts of a job, I/N."""

    name = "I/N"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        """Return (I, N)."""
        if isinstance(value, tuple):
            return value
        part, _, parts = str(value).partition("/")
        if not (part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts)):
            self.fail(f"{value!r} is not one of 1/N, 2/N, ... N/N", param, ctx)
        return int(part), int(parts)


class Radii(click.ParamType[tuple[float, ...]]):
    """Rising metres, separated by commas."""

    name = "M,M,..."

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, ...]:
        """Return the radii."""
        if isinstance(value, tuple):
            return value
        try:
            radii = tuple(map(float, str(value).split(",")))
        except ValueError:
            self.fail(f"{value!r} is not a list of metres such as 100,400", param, ctx)
        if list(radii) != sorted(set(radii)) or not all(10 <= radius <= 1000 for radius in radii):
            self.fail(f"{value!r}: the radii must rise, from 10 to 1000 m", param, ctx)
        return radii


@click.command("tile")
@click.option(
    "--store",
    "stores",
    multiple=True,
    type=StoreType(),
    help="Feature store; repeat for more.",
)
@click.option(
    "--out", help="Folder of the dataset, or a URL such as s3://bucket/tiles; run again to resume."
)
@click.option("--preview", type=FILE, help="Or: render the places into one PNG to look at.")
@click.option("--locations", type=WholeRange(1), help="How many places to sample from the stores.")
@click.option(
    "--points",
    type=FILE,
    help="Or: a .csv or .parquet file of places (lat, lon; other columns are kept).",
)
@click.option(
    "--tile-radius", type=NumberRange(10, 1000), show_default=f"{TILE_RADIUS_M:g}",
    help="Metres from the middle of a tile to its edge; the pixels stay 128 x 128.",
)  # fmt: skip
@click.option(
    "--radii",
    type=Radii(),
    help="Or several, such as 100,400: tiles of as many scales, for one model.",
)
@click.option(
    "--positives",
    default=20,
    show_default=True,
    type=WholeRange(0),
    help="Rotated and shifted tiles of each place.",
)
@click.option(
    "--close-positives", "close", default=0, show_default=True, type=WholeRange(0),
    help="So many of the positives are shifted by 15 m at most, the others by 80 m.",
)  # fmt: skip
@click.option(
    "--targets", "extracts", multiple=True, type=FilePath,
    help="Extract whose tags are counted around each place, for `train --head tags`; repeat.",
)  # fmt: skip
@click.option(
    "--workers",
    default=cpu_count(),
    show_default="cores",
    type=WholeRange(0),
    help="Processes; 0: render in this one.",
)
@click.option("--seed", default=0, show_default=True, type=WholeRange(0))
@click.option("--engine", type=click.Choice(["local", "ray"]), default="local", show_default=True)
@click.option(
    "--ray-address", help="Ray cluster, if not RAY_ADDRESS; without either, one is started here."
)
@click.option(
    "--shard",
    "share",
    type=ShareType(),
    default="1/1",
    help="Make one of N parts, as one task of an array job.",
)
@click.option(
    "--verify", is_flag=True, help="Read every byte of the dataset in --out and report faults."
)
@click.option(
    "--repair", is_flag=True, help="Check the shards that are there, and make damaged ones again."
)
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def tile_command(
    stores: "tuple[Store, ...]",
    out: str | None,
    preview: Path | None,
    locations: int | None,
    points: Path | None,
    tile_radius: float | None,
    radii: tuple[float, ...] | None,
    positives: int,
    close: int,
    extracts: tuple[Path, ...],
    workers: int,
    seed: int,
    engine: str,
    ray_address: str | None,
    share: tuple[int, int],
    verify: bool,
    repair: bool,
    as_json: bool,
) -> None:
    """Render a dataset of tiles: for each place an anchor, and rotated and shifted positives.

    A job that was stopped resumes when the same command runs again.

    \b
    Examples:
        loc2vec tile --store monaco.gpkg --out tiles --locations 500
        loc2vec tile --store monaco.gpkg --preview tiles.png --locations 5
        loc2vec tile --out tiles --verify
    """
    from tiling.dataset.job import Share, TileJob, render_sheet
    from tiling.dataset.targets import add_targets
    from tiling.osm.extract import require_extract

    if (out is None) == (preview is None):
        raise click.UsageError("give --out FOLDER or --preview FILE.png, one of them")
    if verify and out is not None:
        _verify(out, as_json)
        return
    if not stores:
        raise click.UsageError("give --store, once or more")
    if (locations is None) == (points is None):
        raise click.UsageError("give --locations N or --points FILE, one of them")
    if close > positives:
        raise click.UsageError(f"--close-positives {close} is more than --positives {positives}")
    geometry = _geometry(tile_radius, radii)
    job = TileJob(stores, positives, seed, geometry, locations, points, close)
    if preview is not None:
        require_output(preview, points, *(Path(store.location) for store in stores))
        click.echo(f"{counted(render_sheet(job, preview), 'place')} in {preview}")
    elif out is not None:
        for extract in extracts:  # the tiles take long
            require_extract(extract)
        executor = _executor(engine, ray_address, workers)
        summary = _make(job, out, executor, Share(*share), repair)
        if extracts and summary.finished:
            add_targets(out, extracts, workers)
        click.echo(json.dumps({"out": out, **asdict(summary)}) if as_json else _told(summary, out))


def _make(
    job: "TileJob", out: str, executor: "Executor", share: "Share", repair: bool
) -> "TileSummary":
    """Run a job and show its progress."""
    from tiling.dataset.job import run_job

    with Progress(1 + job.positives) as progress:

        def update(done: "Done", shards: int) -> None:
            progress.update(done.places, done.made, shards)

        try:
            return run_job(job, out, executor, share, repair, update)
        except KeyboardInterrupt:
            raise StoppedError(
                f"stopped at {progress}: the same command goes on from there"
            ) from None


def _geometry(radius: float | None, radii: tuple[float, ...] | None) -> TileGeometry:
    if radius is not None and radii is not None:
        raise click.UsageError("give --tile-radius or --radii, one of them")
    first, *wider = radii or (radius or TILE_RADIUS_M,)
    return TileGeometry(radius_m=first, wider_m=tuple(wider))


def _executor(name: str, ray_address: str | None, workers: int) -> "Executor":
    if name == "ray":
        from tiling.dataset.ray import RayCluster

        return RayCluster(ray_address, workers)
    if ray_address is not None:
        raise click.UsageError("--ray-address goes with --engine ray")
    from tiling.dataset.executors import InProcess, Processes

    return Processes(workers) if workers else InProcess()


def _verify(out: str, as_json: bool) -> None:
    from tiling.dataset.verify import verify

    faults = verify(out)
    if as_json:
        click.echo(json.dumps({"out": out, "faults": faults}))
    else:
        click.echo("\n".join(faults) if faults else f"{out} is whole")
    if faults:
        count = counted(len(faults), "fault")
        raise DamagedError(f"{count} in {out}: run the `loc2vec tile` that made it with --repair")


def _told(summary: "TileSummary", out: str) -> str:
    return (
        f"{counted(summary.tiles, 'tile')} of {counted(summary.places, 'place')} in {out} "
        f"({summary.bytes / 1e6:.1f} MB): "
        f"{counted(summary.shards_made, 'shard')} made, {summary.shards_found} found"
        + ("" if summary.finished else "; the dataset is finished when the other parts are done")
    )
