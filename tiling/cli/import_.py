"""`loc2vec import`."""

import json
from dataclasses import asdict
from pathlib import Path

import click
from tqdm import tqdm

from tiling.catalogue import load_catalogue
from tiling.cli.options import FilePath, without_password


@click.command("import")
@click.argument("extracts", nargs=-1, required=True, type=FilePath)
@click.option(
    "--store",
    required=True,
    callback=without_password,
    help="GeoPackage to write (region.gpkg), or postgresql://...",
)
@click.option(
    "--slim", is_flag=True, help="PostGIS: keep the raw objects, so that `loc2vec update` works."
)
@click.option(
    "--reader",
    metavar="ROLE",
    help="PostGIS: a role that is let in to read the store, as loc2vec_api.",
)
@click.option(
    "--if-changed", is_flag=True, help="Do nothing when the store was made of just these extracts."
)
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def import_command(
    extracts: tuple[Path, ...],
    store: str,
    slim: bool,
    reader: str | None,
    if_changed: bool,
    as_json: bool,
) -> None:
    """Import OSM extracts (.osm.pbf) into one feature store.

    \b
    Example:
        loc2vec import monaco.osm.pbf --store monaco.gpkg
        loc2vec import monaco.osm.pbf --store postgresql://loc2vec@localhost/osm --slim
    """
    from tiling.store.registry import holds, is_database

    if if_changed and holds(store, extracts):
        click.echo(
            json.dumps({"store": store, "up_to_date": True})
            if as_json
            else f"{store} is up to date"
        )
        return
    with tqdm(unit=" objects", unit_scale=True, desc="import") as bar:
        if is_database(store):
            from tiling.store.import_postgis import import_extracts as import_into_database

            summary = import_into_database(
                extracts, store, load_catalogue(), bar.update, slim, reader
            )
        elif slim or reader:
            raise click.UsageError("--slim and --reader go with --store postgresql://...")
        else:
            from tiling.store.import_geopackage import import_extracts

            summary = import_extracts(extracts, Path(store), load_catalogue(), bar.update)
    if as_json:
        click.echo(json.dumps({"store": store, **asdict(summary)}))
        return
    for channel, count in summary.by_channel.items():
        click.echo(f"{count:>9,}  {channel}")
    west, south, east, north = summary.bounds
    click.echo(
        f"{summary.features:>9,}  features in {store}, lat {south:.4f}..{north:.4f}, lon {west:.4f}..{east:.4f}"
    )
    if summary.skipped:
        click.echo(
            f"{summary.skipped:,} objects lack nodes in the extract and were left out", err=True
        )
