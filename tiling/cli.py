"""The commands that make data: `loc2vec import` and `loc2vec tile`."""

import json
import os
from dataclasses import asdict
from pathlib import Path

import click
from tqdm import tqdm

from tiling.catalogue import load_catalogue

FILE = click.Path(path_type=Path)


@click.command("import")
@click.argument("extracts", nargs=-1, required=True, type=FILE)
@click.option("--store", required=True, type=FILE, help="GeoPackage to write, e.g. region.gpkg.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def import_command(extracts: tuple[Path, ...], store: Path, as_json: bool) -> None:
    """Import OSM extracts (.osm.pbf) into one feature store.

    \b
    Example:
        loc2vec import monaco.osm.pbf --store monaco.gpkg
    """
    from tiling.importer import import_extracts

    with tqdm(unit=" objects", unit_scale=True, desc="import") as bar:
        summary = import_extracts(extracts, store, load_catalogue(), bar.update)
    if as_json:
        click.echo(json.dumps({"store": str(store), **asdict(summary)}))
        return
    for channel, count in summary.by_channel.items():
        click.echo(f"{count:>9,}  {channel}")
    west, south, east, north = summary.bounds
    click.echo(f"{summary.features:>9,}  features in {store}, lat {south:.4f}..{north:.4f}, lon {west:.4f}..{east:.4f}")
    if summary.skipped:
        click.echo(f"{summary.skipped:,} objects lack nodes in the extract and were left out", err=True)


@click.command("tile")
@click.option("--store", "stores", required=True, multiple=True, type=FILE, help="Feature store; repeat for more.")
@click.option("--out", required=True, type=FILE, help="Folder of the dataset; run again to resume.")
@click.option("--locations", type=click.IntRange(1), help="How many places to draw from the stores.")
@click.option("--points", type=FILE, help="Or: a .csv or .parquet file of places (lat, lon).")
@click.option("--positives", default=20, show_default=True, type=click.IntRange(0), help="Turned tiles a place.")
@click.option("--workers", default=os.cpu_count() or 1, show_default="cores", type=click.IntRange(0))
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0))
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def tile_command(
    stores: tuple[Path, ...], out: Path, locations: int | None, points: Path | None,
    positives: int, workers: int, seed: int, as_json: bool,
) -> None:  # fmt: skip
    """Draw a dataset of tiles: an anchor and its turned and shifted positives for each place.

    \b
    Example:
        loc2vec tile --store monaco.gpkg --out tiles --locations 500
    """
    if (locations is None) == (points is None):
        raise click.UsageError("give --locations N or --points FILE, one of them")
    from tiling.job import TileJob, draw, locate, run_job
    from tiling.points import read_points

    job = TileJob(tuple(str(store) for store in stores), positives, seed)
    places = draw(job, locations) if locations else locate(job, read_points(points)) if points else None
    if places is None:
        raise click.UsageError("give --locations N or --points FILE")
    with tqdm(total=len(places), unit=" places", desc="tile") as bar:
        summary = run_job(job, places, out, workers, bar.update)
    if as_json:
        click.echo(json.dumps({"out": str(out), **asdict(summary)}))
        return
    click.echo(
        f"{summary.tiles:,} tiles of {summary.places:,} places in {out} ({summary.bytes / 1e6:.1f} MB): "
        f"{summary.shards_made} shards made, {summary.shards_found} found"
    )
