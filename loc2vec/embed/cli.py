"""`loc2vec embed`."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click
from tqdm import tqdm

from loc2vec.model.options import model_option
from tiling.cli.options import FilePath, json_option, print_result, read_box, store_option
from tiling.values import Box

if TYPE_CHECKING:
    from loc2vec.embed.batch import Places
    from loc2vec.embed.raster import RasterGrid
    from tiling.store.source import FeatureSource
    from tiling.store.store import Store


@click.command(
    "embed", epilog="Example: loc2vec embed --store monaco.gpkg --grid 50 --out vectors.parquet"
)
@store_option
@model_option
@click.option(
    "--points", type=FilePath, help="CSV or Parquet with lat and lon; other columns are kept."
)
@click.option(
    "--grid", "metres", type=click.FloatRange(min=1), help="Or take places this many metres apart."
)
@click.option(
    "--bbox",
    callback=read_box,
    metavar="W,S,E,N",
    help="Part of the store that the grid covers, degrees.",
)
@click.option(
    "--only-changed",
    "earlier",
    type=FilePath,
    help="Or update an earlier file of vectors: only places that `loc2vec update` changed.",
)
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["parquet", "geotiff"]),
    default="parquet",
    show_default=True,
    help="GeoTIFF: a raster of the --grid, one band a number.",
)
@click.option("--out", required=True, type=FilePath, help="File to write.")
@click.option(
    "--workers",
    type=click.IntRange(min=0),
    help="Processes that render, by default one a CPU; 0: render in this one.",
)
@json_option
def embed_command(
    store: "Store",
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
    from loc2vec.embed.batch import Places, embed, embed_changed
    from loc2vec.embed.files import read_vectors, write_vectors
    from loc2vec.embed.raster import write_geotiff
    from loc2vec.encoder import LocationEncoder
    from tiling.machine import cpu_count

    _check_writable(out)
    encoder = LocationEncoder.load(model)
    workers = cpu_count() if workers is None else workers
    with store.open() as source:
        raster = _raster(source, metres, bbox) if file_format == "geotiff" else None
        if earlier is not None:
            before = read_vectors(earlier)
            with tqdm(unit=" places", desc="embed") as bar:
                vectors, embedded = embed_changed(source, encoder, before, workers, bar.update)
            click.echo(f"{embedded} of {len(before)} places embedded again", err=True)
        else:
            places = (
                _places(source, points, metres, bbox) if raster is None else Places(raster.lon_lat)
            )
            with tqdm(total=len(places), unit=" places", desc="embed") as bar:
                vectors = embed(source, encoder, places, workers, bar.update)
            embedded = len(places)
    if raster is None:
        write_vectors(out, vectors)
    else:
        write_geotiff(out, raster, vectors)
    count, outside = len(vectors), len(vectors) - int(vectors.inside.sum())
    if outside:
        click.echo(
            f"{outside} of {count} places lie outside the store: their embedding is null", err=True
        )
    facts = {
        "out": str(out),
        "places": count,
        "embedded": embedded,
        "outside": outside,
        "dim": encoder.dim,
        "model": encoder.model_id,
    }
    print_result(facts, as_json, f"{count} places, {encoder.dim} numbers each, in {out}")


def _check_writable(out: Path) -> None:
    """Fail before hours of work, not after, where `out` cannot be written."""
    nearest = next(folder for folder in out.absolute().parents if folder.exists())
    with tempfile.TemporaryFile(dir=nearest):
        pass


def _places(
    source: "FeatureSource", points: Path | None, metres: float | None, box: Box | None
) -> "Places":
    from loc2vec.embed.batch import places_of_file, places_of_grid

    if points is not None:
        return places_of_file(points)
    assert metres is not None  # noqa: S101 - checked by the caller; narrows the type
    return places_of_grid(source, metres, box)


def _raster(source: "FeatureSource", metres: float | None, box: Box | None) -> "RasterGrid":
    from loc2vec.embed.raster import raster_grid, require_extra

    require_extra()
    assert metres is not None  # noqa: S101 - checked by the caller; narrows the type
    return raster_grid(source.coverage, metres, box)
