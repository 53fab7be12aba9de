"""`loc2vec import`."""

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

import click

from tiling.catalogue.catalogue import load_catalogue
from tiling.cli.fetch import ExtractType, fetched, provider_option
from tiling.cli.options import FilePath, StoreType
from tiling.cli.progress import import_bar
from tiling.errors import StoppedError
from tiling.osm.gather.part import told_losses
from tiling.store.store import ImportOptions

if TYPE_CHECKING:
    from tiling.store.store import Store


@click.command("import")
@click.argument("extracts", nargs=-1, required=True, type=ExtractType())
@click.option(
    "--store",
    required=True,
    type=StoreType(),
    help="GeoPackage to write (region.gpkg), or postgresql://...",
)
@click.option("--slim", is_flag=True, help="Keep the raw objects, which `loc2vec update` needs.")
@click.option(
    "--reader",
    metavar="ROLE",
    help="PostGIS: a role that may read the store, such as loc2vec_api.",
)
@click.option(
    "--catalogue",
    type=FilePath,
    help="TOML file of your own twelve channels (docs/catalogue.md); default: those of loc2vec.",
)
@click.option(
    "--if-changed",
    is_flag=True,
    help="Do nothing if the store was made from just these extracts with this catalogue.",
)
@click.option(
    "--allow-loss",
    is_flag=True,
    help="Import an extract even if more than 10 % of its objects cannot be built.",
)
@provider_option
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def import_command(
    extracts: tuple[Path | str, ...],
    store: "Store",
    slim: bool,
    reader: str | None,
    catalogue: Path | None,
    if_changed: bool,
    allow_loss: bool,
    provider: str,
    as_json: bool,
) -> None:
    """Import OSM extracts (.osm.pbf) into one feature store.

    An extract is a file, or the name of a region that `loc2vec fetch` knows.

    \b
    Example:
        loc2vec import monaco --store monaco.gpkg
        loc2vec import monaco.osm.pbf --store monaco.gpkg
        loc2vec import monaco.osm.pbf --store postgresql://loc2vec@localhost/osm --slim
    """
    by = load_catalogue(catalogue)
    paths = fetched(extracts, provider)
    if if_changed and store.holds(paths, by, slim):
        click.echo(
            json.dumps({"store": store.location, "up_to_date": True})
            if as_json
            else f"{store} is up to date"
        )
        return
    options = ImportOptions(allow_loss, slim, reader)
    with _sigterm_stops(), import_bar() as told:
        summary = store.import_extracts(paths, by, told, options)
    if as_json:
        click.echo(json.dumps({"store": store.location, **asdict(summary)}))
        return
    for channel, count in summary.by_channel.items():
        click.echo(f"{count:>9,}  {channel}")
    west, south, east, north = summary.bounds
    click.echo(
        f"{summary.features:>9,}  features in {store}, "
        f"lat {south:.4f}..{north:.4f}, lon {west:.4f}..{east:.4f}"
    )
    if summary.lost:
        click.echo(f"left out: {told_losses(summary.lost)}", err=True)
    if len(extracts) > 1:
        click.echo(f"regions: {', '.join(summary.regions)}")


@contextmanager
def _sigterm_stops() -> Iterator[None]:
    """Let SIGTERM end the command as an error does, with nothing left of the import."""
    before = signal.signal(signal.SIGTERM, _stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _stop(_number: int, _frame: FrameType | None) -> NoReturn:
    raise StoppedError("stopped: the store is the one before")
