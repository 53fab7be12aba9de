"""`loc2vec update`."""

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click
from shapely import to_geojson

from tiling.cli.options import FilePath, NumberRange, StoreType
from tiling.errors import ReplicationAwayError, ReplicationError, StoreUnavailableError
from tiling.values import TileGeometry

if TYPE_CHECKING:
    from tiling.store.store import Store, UpdateSummary


@click.command("update")
@click.argument("changes", required=False, type=FilePath)
@click.option("--store", required=True, type=StoreType(), help="Store, imported with --slim.")
@click.option(
    "--replication",
    metavar="URL",
    help="Or: a replication server, for all changes that the store lacks.",
)
@click.option(
    "--follow",
    is_flag=True,
    help="Catch up, then wait for more; without --replication by the URL that the extract names.",
)
@click.option(
    "--every",
    "every_s",
    type=NumberRange(min=1),
    default=600,
    show_default=True,
    help="Seconds between two looks at the server, with --follow.",
)
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print the summary as JSON, with the area whose tiles changed.",
)
def update_command(
    changes: Path | None,
    store: "Store",
    replication: str | None,
    follow: bool,
    every_s: float,
    as_json: bool,
) -> None:
    """Apply a file of changes (.osc, .osc.gz) to a store, and say what changed.

    `loc2vec embed --only-changed` then embeds the places whose tiles changed.

    \b
    Example:
        loc2vec update changes.osc.gz --store monaco.gpkg
        loc2vec update --follow --store postgresql://loc2vec@localhost/osm
    """
    if (changes is None) == (replication is None and not follow):
        raise click.UsageError("give a file of changes, --replication URL or --follow")
    if changes is not None:
        _tell(store, store.update(changes), as_json)
    elif not follow:
        _tell(store, store.replicate(str(replication)), as_json)
    else:
        url = replication or store.replication_url()
        if url is None:
            raise ReplicationError(
                f"the extract of {store} names no replication server: give --replication URL"
            )
        _follow(store, url, every_s, as_json)


def _follow(store: "Store", url: str, every_s: float, as_json: bool) -> NoReturn:
    """Take in what is new, again and again; a server or database that is away is waited for."""
    while True:
        try:
            summary = store.replicate(url)
            if summary.came or summary.went:
                _tell(store, summary, as_json)
        except (ReplicationAwayError, StoreUnavailableError) as error:
            click.echo(f"{error}: again in {every_s:g} s", err=True)
        time.sleep(every_s)


def _tell(store: "Store", summary: "UpdateSummary", as_json: bool) -> None:
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
