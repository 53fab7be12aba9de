"""`loc2vec changes`."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from loc2vec.model.options import model_option
from tiling.cli.options import (
    NumberRange,
    StoreType,
    WholeRange,
    json_option,
    print_result,
    read_box,
)
from tiling.cli.progress import import_bar, progress_bar
from tiling.files.atomic import write_text
from tiling.files.outputs import claimed, require_output
from tiling.files.write import require_ending
from tiling.machine import cpu_count
from tiling.osm.file import is_named_as_osm
from tiling.values import Box
from tiling.words import counted

if TYPE_CHECKING:
    from tiling.store.store import Store

RASTERS = (".tif", ".tiff")
TOLD = 10  # of the strongest changes


@click.command(
    "changes", epilog="Example: loc2vec changes before.gpkg after.gpkg --out changes.parquet"
)
@click.argument("old", type=StoreType())
@click.argument("new", type=StoreType())
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    help="File to write: .parquet, .csv, .gpkg, .geojson, or a raster, .tif.",
)
@click.option(
    "--grid", "metres", type=NumberRange(min=1), default=100, show_default=True,
    help="Compare places this many metres apart.",
)  # fmt: skip
@click.option("--bbox", callback=read_box, metavar="W,S,E,N", help="Part to compare, degrees.")
@click.option(
    "--page", type=click.Path(path_type=Path, dir_okay=False),
    help="Also write a page: the map of change, and the strongest, before and after (.html).",
)  # fmt: skip
@model_option
@click.option(
    "--workers",
    type=WholeRange(min=0),
    help="Processes that render, by default one a CPU; 0: render in this one.",
)
@json_option
def changes_command(
    old: "Store",
    new: "Store",
    out: Path,
    metres: float,
    bbox: Box | None,
    page: Path | None,
    model: str,
    workers: int | None,
    as_json: bool,
) -> None:
    """Tell where two states of a map differ, how far the vectors moved, and why.

    OLD and NEW are stores, or extracts (.osm.pbf), which are imported for this alone.
    """
    from loc2vec.embed.changes.report import Where, changes_between, write_changes
    from loc2vec.encoder import LocationEncoder

    require_ending(out, *RASTERS)
    for path in (out, *([] if page is None else [page])):
        require_output(path, Path(old.location), Path(new.location))
    processes = cpu_count() if workers is None else workers
    encoder = LocationEncoder.load(model)
    with ExitStack() as stack:
        stack.enter_context(claimed(out))
        sources = tuple(stack.enter_context(_opened(store)) for store in (old, new))
        with progress_bar("changes", "places") as bar:
            where = Where(metres, bbox, out.suffix.lower() in RASTERS)
            both = (sources[0], sources[1])
            found = changes_between(both, encoder, where, processes, bar.update)
        write_changes(out, found)
        if page is not None:
            from loc2vec.embed.changes.page import change_page

            write_text(page, change_page(found, both, encoder.geometry, metres))
    strongest = found.strongest(TOLD)
    facts = {
        "out": str(out),
        "places": len(found),
        "changed": found.changed,
        "strongest": strongest,
    }
    lines = [
        f"{place['distance']:.2f}  {place['lat']:.5f}, {place['lon']:.5f}  {place['sentence']}"
        f" ({place['kind']})"
        for place in strongest
    ]
    sentence = f"{found.changed:,} of {counted(len(found), 'place')} changed, in {out}"
    print_result(facts, as_json, "\n".join([*lines, sentence]))


@contextmanager
def _opened(store: "Store") -> Iterator[Any]:
    """Open a store; an extract is imported into one that goes afterwards."""
    from tiling.catalogue.catalogue import load_catalogue
    from tiling.store.store import Store

    if not is_named_as_osm(Path(store.location)) or "://" in store.location:
        with store.open() as source:
            yield source
        return
    with tempfile.TemporaryDirectory(prefix="loc2vec-") as folder:
        made = Store.at(Path(folder) / "store.gpkg")
        with import_bar() as told:
            made.import_extracts([Path(store.location)], load_catalogue(), told)
        with made.open() as source:
            yield source
