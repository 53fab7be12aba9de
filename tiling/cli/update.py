"""`loc2vec update`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click
from shapely import to_geojson

from tiling.cli.options import FilePath, StoreType
from tiling.values import TileGeometry

if TYPE_CHECKING:
    from tiling.store.store import Store


@click.command("update")
@click.argument("changes", required=False, type=FilePath)
@click.option(
    "--store", required=True, type=StoreType(), help="PostGIS store, imported with --slim."
)
@click.option(
    "--replication",
    metavar="URL",
    help="Or: a replication server, for all changes that the store lacks.",
)
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print the summary as JSON, with the area whose tiles changed.",
)
def update_command(
    changes: Path | None, store: "Store", replication: str | None, as_json: bool
) -> None:
    """Apply a file of changes (.osc, .osc.gz) to a PostGIS store, and say what changed.

    `loc2vec embed --only-changed` then embeds the places whose tiles changed.

    \b
    Example:
        loc2vec update changes.osc.gz --store postgresql://loc2vec@localhost/osm
    """
    if changes is not None and replication is None:
        summary = store.update(changes)
    elif replication is not None and changes is None:
        summary = store.replicate(replication)
    else:
        raise click.UsageError("give either a file of changes or --replication URL")
    area = summary.changes.area(TileGeometry())
    facts = {
        "store": store.location,
        "came": summary.came,
        "went": summary.went,
        "changed": len(summary.changes),
    }
    if as_json:
        click.echo(json.dumps({**facts, "area": json.loads(to_geojson(area))}))
        return
    click.echo(f"{summary.went:,} features went, {summary.came:,} came in {store}")
    if len(summary.changes):
        west, south, east, north = area.bounds
        click.echo(f"tiles changed within lat {south:.4f}..{north:.4f}, lon {west:.4f}..{east:.4f}")
