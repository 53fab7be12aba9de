"""The commands that make data: `loc2vec import` and `loc2vec tile`."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click
from shapely import to_geojson
from tqdm import tqdm

from tiling.catalogue import load_catalogue
from tiling.machine import cpu_count
from tiling.options import without_password, without_passwords
from tiling.values import TileGeometry

if TYPE_CHECKING:  # a command loads what it needs when it runs, so that --help is quick
    from tiling.job import TileJob, TileSummary
    from tiling.places import Places

FILE = click.Path(path_type=Path)


@click.command("import")
@click.argument("extracts", nargs=-1, required=True, type=FILE)
@click.option(
    "--store", required=True, callback=without_password, help="GeoPackage to write (region.gpkg), or postgresql://..."
)
@click.option("--slim", is_flag=True, help="PostGIS: keep the raw objects, so that `loc2vec update` works.")
@click.option("--reader", metavar="ROLE", help="PostGIS: a role that is let in to read the store, as loc2vec_api.")
@click.option("--if-changed", is_flag=True, help="Do nothing when the store was made of just these extracts.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def import_command(
    extracts: tuple[Path, ...], store: str, slim: bool, reader: str | None, if_changed: bool, as_json: bool
) -> None:
    """Import OSM extracts (.osm.pbf) into one feature store.

    \b
    Example:
        loc2vec import monaco.osm.pbf --store monaco.gpkg
        loc2vec import monaco.osm.pbf --store postgresql://loc2vec@localhost/osm --slim
    """
    from tiling.sources.registry import holds, is_database

    if if_changed and holds(store, extracts):
        click.echo(json.dumps({"store": store, "up_to_date": True}) if as_json else f"{store} is up to date")
        return
    with tqdm(unit=" objects", unit_scale=True, desc="import") as bar:
        if is_database(store):
            from tiling.postgis import import_extracts as import_into_database

            summary = import_into_database(extracts, store, load_catalogue(), bar.update, slim, reader)
        elif slim or reader:
            raise click.UsageError("--slim and --reader go with --store postgresql://...")
        else:
            from tiling.importer import import_extracts

            summary = import_extracts(extracts, Path(store), load_catalogue(), bar.update)
    if as_json:
        click.echo(json.dumps({"store": store, **asdict(summary)}))
        return
    for channel, count in summary.by_channel.items():
        click.echo(f"{count:>9,}  {channel}")
    west, south, east, north = summary.bounds
    click.echo(f"{summary.features:>9,}  features in {store}, lat {south:.4f}..{north:.4f}, lon {west:.4f}..{east:.4f}")
    if summary.skipped:
        click.echo(f"{summary.skipped:,} objects lack nodes in the extract and were left out", err=True)


@click.command("update")
@click.argument("changes", required=False, type=FILE)
@click.option("--store", required=True, callback=without_password, help="PostGIS store, imported with --slim.")
@click.option("--replication", metavar="URL", help="Or: a replication server; all that it has and the store has not.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print the summary as JSON, with the area that is to be seen anew."
)
def update_command(changes: Path | None, store: str, replication: str | None, as_json: bool) -> None:
    """Apply a file of changes (.osc, .osc.gz) to a PostGIS store, and say what changed.

    `loc2vec embed --only-changed` then embeds the places again whose tiles changed.

    \b
    Example:
        loc2vec update changes.osc.gz --store postgresql://loc2vec@localhost/osm
    """
    from tiling.sources.registry import is_database
    from tiling.update import apply_replication, update_store

    if (changes is None) == (replication is None):
        raise click.UsageError("give either a file of changes or --replication URL")
    if not is_database(store):
        raise click.UsageError("a GeoPackage is not updated: import the new extract in its place")
    if changes is not None:
        summary = update_store(store, changes, load_catalogue())
    else:
        summary = apply_replication(store, str(replication), load_catalogue())
    area = summary.changes.area(TileGeometry())
    facts = {"store": store, "came": summary.came, "went": summary.went, "changed": len(summary.changes)}
    if as_json:
        click.echo(json.dumps({**facts, "area": json.loads(to_geojson(area))}))
        return
    click.echo(f"{summary.went:,} features went, {summary.came:,} came in {store}")
    if len(summary.changes):
        west, south, east, north = area.bounds
        click.echo(f"tiles changed within lat {south:.4f}..{north:.4f}, lon {west:.4f}..{east:.4f}")


@click.command("tile")
@click.option(
    "--store",
    "stores",
    required=True,
    multiple=True,
    callback=without_passwords,
    help="Feature store; repeat for more.",
)
@click.option("--out", type=FILE, help="Folder of the dataset; run again to resume.")
@click.option("--preview", type=FILE, help="Or: draw the places as one PNG to look at, and no dataset.")
@click.option("--locations", type=click.IntRange(1), help="How many places to draw from the stores.")
@click.option("--points", type=FILE, help="Or: a .csv or .parquet file of places (lat, lon).")
@click.option("--positives", default=20, show_default=True, type=click.IntRange(0), help="Turned tiles a place.")
@click.option("--workers", default=cpu_count(), show_default="cores", type=click.IntRange(0))
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0))
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def tile_command(
    stores: tuple[str, ...],
    out: Path | None,
    preview: Path | None,
    locations: int | None,
    points: Path | None,
    positives: int,
    workers: int,
    seed: int,
    as_json: bool,
) -> None:
    """Draw a dataset of tiles: an anchor and its turned and shifted positives for each place.

    \b
    Example:
        loc2vec tile --store monaco.gpkg --out tiles --locations 500
        loc2vec tile --store monaco.gpkg --preview tiles.png --locations 5
    """
    from tiling.job import TileJob, draw_sheet, run_job

    job = TileJob(stores, positives, seed)
    if (out is None) == (preview is None):
        raise click.UsageError("give --out FOLDER or --preview FILE.png, one of them")
    places = _places(job, locations, points)
    if preview is not None:
        draw_sheet(job, places, preview)
        click.echo(f"{len(places)} places in {preview}")
    elif out is not None:
        with tqdm(total=len(places), unit=" places", desc="tile") as bar:
            summary = run_job(job, places, out, workers, bar.update)
        click.echo(json.dumps({"out": str(out), **asdict(summary)}) if as_json else _told(summary, out))


def _places(job: "TileJob", locations: int | None, points: Path | None) -> "Places":
    from tiling.job import draw, locate
    from tiling.points import read_points

    if locations is not None and points is None:
        return draw(job, locations)
    if points is not None and locations is None:
        return locate(job, read_points(points))
    raise click.UsageError("give --locations N or --points FILE, one of them")


def _told(summary: "TileSummary", out: Path) -> str:
    return (
        f"{summary.tiles:,} tiles of {summary.places:,} places in {out} ({summary.bytes / 1e6:.1f} MB): "
        f"{summary.shards_made} shards made, {summary.shards_found} found"
    )
