"""`loc2vec trips walk` and `loc2vec trips classify`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from loc2vec.evaluation.cli import require_extra
from loc2vec.model.names import DEFAULT_MODEL
from tiling.cli.options import FilePath, WholeRange, json_option, store_option
from tiling.cli.progress import progress_bar
from tiling.files.outputs import require_output
from tiling.words import counted

if TYPE_CHECKING:
    from loc2vec.trips.classify import TripScore
    from loc2vec.trips.trip import Trips
    from tiling.store.store import Store


@click.group(
    "trips", epilog="Example: loc2vec trips walk a.osm.pbf b.osm.pbf --store s.gpkg --out t.parquet"
)
def trips_command() -> None:
    """Tell how somebody travelled from the vectors along the way."""


@trips_command.command(
    "walk",
    epilog="Example: loc2vec trips walk helsinki.osm.pbf --store helsinki.gpkg --out t.parquet",
)
@click.argument("extracts", nargs=-1, required=True, type=FilePath)
@store_option
@click.option(
    "--out",
    required=True,
    type=FilePath,
    help="GeoParquet to write: trip, mode, town, lat, lon, in order.",
)
@click.option(
    "--trips",
    "count",
    type=WholeRange(min=1),
    default=25,
    show_default=True,
    help="Of a mode, in a town.",
)
@click.option(
    "--points", type=WholeRange(min=2), default=16, show_default=True, help="Of each trip."
)
@click.option("--seed", type=WholeRange(min=0), default=0, show_default=True)
@json_option
def walk_command(
    extracts: tuple[Path, ...],
    store: "Store",
    out: Path,
    count: int,
    points: int,
    seed: int,
    as_json: bool,
) -> None:
    """Make up trips over the real ways of EXTRACTS: rail, road, cycle, foot.

    Each extract is one town. The modes differ in their ways alone. Number of points, spacing and
    the error of the receiver follow the same rules, and there is no time.
    """
    from loc2vec.trips.run import TripPlan, walk_towns, write_trips

    require_output(out, *extracts, Path(store.location))
    with store.open() as source, progress_bar("walk", "towns", len(extracts)) as bar:
        table = walk_towns(extracts, source, TripPlan(count, points, seed), bar.update)
    write_trips(out, table)
    numbers = _counts(table)
    if as_json:
        click.echo(json.dumps({"out": str(out), "trips": numbers}))
        return
    total = sum(numbers.values())
    click.echo(
        f"{counted(total, 'trip')} in {out}: "
        + ", ".join(f"{mode} {number}" for mode, number in numbers.items())
    )


def _counts(table: Any) -> dict[str, int]:
    trips = (
        table.group_by(["mode", "trip"])
        .aggregate([])
        .group_by("mode")
        .aggregate([([], "count_all")])
    )
    return dict(sorted(zip(trips["mode"].to_pylist(), trips["count_all"].to_pylist(), strict=True)))


@trips_command.command(
    "classify", epilog="Example: loc2vec trips classify t.parquet --store s.gpkg --model loc2vec-16"
)
@click.argument("file", type=FilePath)
@store_option
@click.option(
    "--model", "models", multiple=True, default=[DEFAULT_MODEL], show_default=True,
    help="Name of a shipped model, or a model folder; may be given several times.",
)  # fmt: skip
@click.option(
    "--without-ways",
    is_flag=True,
    help="Blank the channels of roads, paths and rail: what else tells?",
)
@click.option("--seeds", type=WholeRange(1, 100), default=3, show_default=True, help="Repetitions.")
@click.option(
    "--workers",
    type=WholeRange(min=0),
    default=1,
    show_default=True,
    help="Processes that draw; 0: none.",
)
@json_option
def classify_command(
    file: Path,
    store: "Store",
    models: tuple[str, ...],
    without_ways: bool,
    seeds: int,
    workers: int,
    as_json: bool,
) -> None:
    """Name the mode of each trip in FILE by classifiers that saw trips of other towns alone.

    FILE is CSV or Parquet with lat, lon, trip, mode and town, in the order of travel: made by
    `loc2vec trips walk`, or your own.
    """
    require_extra()
    from loc2vec.encoder import LocationEncoder
    from loc2vec.trips.classify import measure
    from loc2vec.trips.models import READERS
    from loc2vec.trips.run import encode_points, read_trips, ways_of

    encoders = {encoder.model_id: encoder for encoder in map(LocationEncoder.load, models)}
    geometries = {encoder.geometry for encoder in encoders.values()}
    radius_m = max(geometry.widest.radius_m for geometry in geometries)
    with store.open() as source:
        trips = read_trips(file, source, lambda line: click.echo(line, err=True), radius_m)
        trips.require()
        blank = ways_of(source) if without_ways else ()
        total = len(trips.lon_lat) * len(geometries)
        with progress_bar("draw, encode", "tiles", total) as bar:
            vectors = encode_points(source, trips.lon_lat, encoders, blank, workers, bar.update)
    with progress_bar("classify", "methods", 3 + (1 + len(READERS)) * len(vectors)) as bar:
        scores = measure(trips, vectors, seeds, bar.update)
    click.echo(json.dumps(_values(trips, scores)) if as_json else _report(trips, scores))


def _values(trips: "Trips", scores: list["TripScore"]) -> dict[str, Any]:
    from tiling.values import ATTRIBUTION

    return {
        "attribution": ATTRIBUTION,
        "trips": trips.task.counts,
        "towns": len(trips.towns),
        "modes": trips.modes,
        "scores": [
            {
                "vectors": score.vectors, "reader": score.reader, "metrics": score.metrics,
                "by_town": score.by_town, "confusion": score.confusion.tolist(),
            }
            for score in scores
        ],
    }  # fmt: skip


def _report(trips: "Trips", scores: list["TripScore"]) -> str:
    from loc2vec.evaluation.report.table import markdown
    from loc2vec.trips.classify import PRIMARY

    counts = ", ".join(f"{mode} {count}" for mode, count in trips.task.counts.items())
    rows = [["vectors", "reader", PRIMARY, "accuracy"]]
    for score in scores:
        cells = [
            f"{score.mean(name):.3f} ± {score.spread(name):.3f}" for name in (PRIMARY, "accuracy")
        ]
        rows.append([score.vectors, score.reader, *cells])
    where = f"{counted(len(trips), 'trip')} in {counted(len(trips.towns), 'town')}"
    head = f"{where} ({counts}); each told in a town not seen"
    return f"{head}\n\n{markdown(rows)}"
