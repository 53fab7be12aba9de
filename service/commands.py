"""The commands of this package: embed, index, serve, demo. Each parses, calls the library and prints.

What is heavy is imported inside the commands, so that `loc2vec --help` is quick.
"""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from tqdm import tqdm

from tiling.cli.options import without_password
from tiling.errors import UserError
from tiling.values import Box

if TYPE_CHECKING:
    from service.embed import Places
    from service.raster import RasterGrid

DEFAULT_MODEL = "loc2vec-16"

FolderPath = click.Path(file_okay=False, path_type=Path)
FilePath = click.Path(dir_okay=False, path_type=Path)

store_option = click.option(
    "--store", required=True, callback=without_password, help="Feature store, made by `loc2vec import`."
)
model_option = click.option(
    "--model", default=DEFAULT_MODEL, show_default=True, help="Name of a shipped model, or a model folder."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")


def _address_options(command: Callable[..., None]) -> Callable[..., None]:
    command = click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65535))(command)
    return click.option("--host", default="127.0.0.1", show_default=True)(command)


def read_box(ctx: click.Context, param: click.Parameter, value: str | None) -> Box | None:
    """Read --bbox; a usage error says what is wrong with it."""
    from tiling.geo.grid import parse_box

    try:
        return None if value is None else parse_box(value)
    except UserError as error:
        raise click.BadParameter(str(error), ctx, param) from error


@click.command("embed", epilog="Example: loc2vec embed --store monaco.gpkg --grid 50 --out vectors.parquet")
@store_option
@model_option
@click.option("--points", type=FilePath, help="CSV or Parquet with lat and lon; other columns are kept.")
@click.option("--grid", "metres", type=click.FloatRange(min=1), help="Or take places this many metres apart.")
@click.option("--bbox", callback=read_box, metavar="W,S,E,N", help="Part of the store that the grid covers, degrees.")
@click.option(
    "--only-changed",
    "earlier",
    type=FilePath,
    help="Or bring an earlier file of vectors up to date: what `loc2vec update` did not change stays as it is.",
)
@click.option(
    "--format", "file_format", type=click.Choice(["parquet", "geotiff"]), default="parquet", show_default=True,
    help="GeoTIFF: a raster of the --grid, one band a number.",
)  # fmt: skip
@click.option("--out", required=True, type=FilePath, help="File to write.")
@click.option(
    "--workers",
    type=click.IntRange(min=0),
    help="Processes that draw, by default one a CPU; 0: draw in this one.",
)
@json_option
def embed_command(
    store: str,
    model: str,
    points: Path | None,
    metres: float | None,
    bbox: Box | None,
    earlier: Path | None,
    file_format: str,
    out: Path,
    workers: int | None,
    as_json: bool,
) -> None:
    """Turn the places of a file or a grid into vectors.

    A place outside the store keeps its row and has a null embedding.
    """
    if sum(given is not None for given in (points, metres, earlier)) != 1:
        raise click.UsageError("give one of --points, --grid and --only-changed")
    if bbox is not None and metres is None:
        raise click.UsageError("--bbox goes with --grid")
    if file_format == "geotiff" and metres is None:
        raise click.UsageError("--format geotiff goes with --grid")
    from loc2vec.encoder import LocationEncoder
    from loc2vec.vectors import read_vectors, write_vectors
    from service.embed import Places, embed, embed_changed
    from service.raster import write_geotiff
    from tiling.machine import cpu_count

    _check_writable(out)
    encoder = LocationEncoder.load(model)
    workers = cpu_count() if workers is None else workers
    raster = _raster(store, metres, bbox) if file_format == "geotiff" else None
    if earlier is not None:
        before = read_vectors(earlier)
        with tqdm(unit=" places", desc="embed") as bar:
            vectors, embedded = embed_changed(store, encoder, before, workers, bar.update)
        click.echo(f"{embedded} of {len(before)} places embedded again", err=True)
    else:
        places = _places(store, points, metres, bbox) if raster is None else Places(raster.lon_lat)
        with tqdm(total=len(places), unit=" places", desc="embed") as bar:
            vectors = embed(store, encoder, places, workers, bar.update)
        embedded = len(places)
    if raster is None:
        write_vectors(out, vectors)
    else:
        write_geotiff(out, raster, vectors)
    count, outside = len(vectors), len(vectors) - int(vectors.inside.sum())
    if outside:
        click.echo(f"{outside} of {count} places lie outside the store: their embedding is null", err=True)
    facts = {
        "out": str(out),
        "places": count,
        "embedded": embedded,
        "outside": outside,
        "dim": encoder.dim,
        "model": encoder.model_id,
    }
    _print(facts, as_json, f"{count} places, {encoder.dim} numbers each, in {out}")


def _check_writable(out: Path) -> None:
    """Fail before hours of work, not after, where `out` cannot be written."""
    nearest = next(folder for folder in out.absolute().parents if folder.exists())
    with tempfile.TemporaryFile(dir=nearest):
        pass


def _places(store: str, points: Path | None, metres: float | None, box: Box | None) -> "Places":
    from service.embed import places_of_file, places_of_grid

    if points is not None:
        return places_of_file(points)
    assert metres is not None  # noqa: S101 - checked by the caller; narrows the type
    return places_of_grid(store, metres, box)


def _raster(store: str, metres: float | None, box: Box | None) -> "RasterGrid":
    from service.raster import raster_grid, require_extra
    from tiling.store.registry import open_source

    require_extra()
    assert metres is not None  # noqa: S101 - checked by the caller; narrows the type
    with open_source(store) as source:
        return raster_grid(source.coverage, metres, box)


@click.command("index", epilog="Example: loc2vec index vectors.parquet --out monaco.index")
@click.argument("vectors", type=FilePath)
@click.option("--out", required=True, type=FolderPath, help="Index folder to write.")
@click.option("--add", is_flag=True, help="Put the vectors behind those that are in the index already.")
@json_option
def index_command(vectors: Path, out: Path, add: bool, as_json: bool) -> None:
    """Make vectors searchable: `loc2vec serve --index` answers with the nearest of them.

    A service that is running takes the new index into use by itself.
    """
    from loc2vec.vectors import read_vectors
    from service.index import NeighborIndex

    index = (NeighborIndex.add if add else NeighborIndex.build)(read_vectors(vectors), out)
    facts = {"out": str(out), "count": len(index), "dim": index.dim, "model": index.model, "index": index.name}
    _print(facts, as_json, f"{len(index)} places indexed in {out}")


@click.command("serve", epilog="Example: loc2vec serve --store monaco.gpkg --index monaco.index")
@click.option("--store", callback=without_password, help="Feature store, made by `loc2vec import`.")
@click.option("--model", help="Name of a shipped model, or a model folder.")
@click.option("--index", type=FolderPath, help="Index folder, made by `loc2vec index`.")
@click.option("--host", help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on; 0 takes any.")
@click.option("--workers", type=click.IntRange(1, 256), help="Processes that answer.")
def serve_command(**options: Any) -> None:
    """Answer over HTTP with embeddings, neighbours and tiles.

    What is not given here is looked up in the environment (LOC2VEC_STORE, LOC2VEC_API_KEYS, ...), then
    in the TOML file that LOC2VEC_SETTINGS names; docs/service.md lists all settings.
    """
    from service.server import bind, serve, url_of
    from service.settings import load_settings

    settings = load_settings(options)
    with bind(settings.host, settings.port) as bound:
        serve(settings, bound, lambda: click.echo(f"Ready: {url_of(bound)}"))


@click.command("demo", epilog="Example: loc2vec demo")
@model_option
@click.option("--work", type=FolderPath, help="Folder for what is made, by default in the user's cache.")
@_address_options
def demo_command(model: str, work: Path | None, host: str, port: int) -> None:
    """Go the whole way with the bundled extract of Monaco: store, vectors, index, service.

    What an earlier run made is used again.
    """
    from service.demo import default_work_folder, prepare_demo, urls_to_try
    from service.server import bind, serve, url_of
    from service.settings import load_settings

    with bind(host, port) as bound:
        paths = prepare_demo(work or default_work_folder(), model, lambda line: click.echo(line, err=True))
        settings = load_settings({"store": str(paths.store), "model": model, "index": paths.index})
        serve(settings, bound, lambda: click.echo("\n".join(urls_to_try(url_of(bound)))))


def _print(facts: dict[str, Any], as_json: bool, sentence: str) -> None:
    click.echo(json.dumps(facts) if as_json else sentence)
