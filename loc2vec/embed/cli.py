"""`loc2vec embed`."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from loc2vec.embed.options import FileOrTable, Options
from loc2vec.model.options import model_option
from tiling.cli.options import (
    FilePath,
    NumberRange,
    WholeRange,
    json_option,
    print_result,
    read_box,
    store_option,
)
from tiling.cli.progress import progress_bar
from tiling.cli.tile import ShareType
from tiling.errors import StoppedError
from tiling.files.outputs import claimed
from tiling.words import counted

if TYPE_CHECKING:
    from loc2vec.embed.batch import Places
    from loc2vec.embed.files import Vectors
    from loc2vec.embed.raster import RasterGrid
    from loc2vec.embed.table import VectorTable
    from loc2vec.encoder import LocationEncoder
    from tiling.store.source import FeatureSource


@click.command(
    "embed", epilog="Example: loc2vec embed --store monaco.gpkg --grid 50 --out vectors.parquet"
)
@store_option
@model_option
@click.option(
    "--points",
    type=FilePath,
    help="CSV, Parquet, GeoPackage, GeoJSON or Shapefile of places; other columns are kept.",
)
@click.option(
    "--grid", "metres", type=NumberRange(min=1), help="Or take places this many metres apart."
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
    type=FileOrTable(),
    help="Or update an earlier file or table of vectors: only places that `loc2vec update` "
    "changed. A table is updated in place: give it as --out, too.",
)
@click.option(
    "--out",
    required=True,
    type=FileOrTable(),
    help="File to write: .parquet, .csv, .gpkg, .geojson, or a raster of the --grid, .tif. "
    "A name without an ending: a folder of parts; run again to resume. "
    "Or a table, postgresql://USER@HOST/DATABASE/TABLE (docs/sql.md).",
)
@click.option(
    "--workers",
    type=WholeRange(min=0),
    help="Processes that render, by default one a CPU; 0: render in this one.",
)
@click.option(
    "--shard",
    "share",
    type=ShareType(),
    help="Make one of N parts of a folder, as one task of an array job.",
)
@click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="Where the parts of a folder are made.",
)
@click.option("--ray-address", help="Ray cluster, if not RAY_ADDRESS.")
@click.option("--fast", is_flag=True, help="Encode in bfloat16: up to 3 times as fast, 1 % off.")
@json_option
def embed_command(**given: Any) -> None:
    """Turn the places of a file or a grid into vectors.

    A place outside the store keeps its row and has a null embedding.
    """
    out, earlier = given["out"], given["earlier"]
    if not isinstance(out, Path):
        _embed_table(out, **given)
        return
    if not isinstance(earlier, Path | None):
        raise click.UsageError(f"a table is updated in place: give --out {earlier}, too")
    options = Options(**given)
    options.check()
    if options.out.suffix:
        _embed_file(options)
    else:
        _embed_parts(options)


def _embed_table(table: "VectorTable", **given: Any) -> None:
    from loc2vec.embed.into_table import embed_table, update_table

    options = Options(**{**given, "out": Path(table.name), "earlier": None})
    earlier = given["earlier"]
    options.check_places(earlier is not None)
    if options.share is not None or options.engine != "local":
        raise click.UsageError("--shard and --engine go with a folder: an --out without ending")
    if earlier is not None and str(earlier) != str(table):
        raise click.UsageError(f"a table is updated in place: give --only-changed {table}")
    with progress_bar("embed", "places") as bar:
        try:
            if earlier is not None:
                done = update_table(options.job, table, options.processes, bar.update)
            else:
                done = embed_table(options.job, table, options.processes, bar.update)
        except KeyboardInterrupt:
            raise StoppedError(
                f"stopped after {counted(bar.n, 'place')}: the same command goes on from there"
            ) from None
    _tell_outside(done.outside, done.places)
    sentence = f"{counted(done.places, 'place')} in {table}, {done.embedded:,} embedded now"
    print_result({"out": str(table), **asdict(done)}, options.as_json, sentence)


def _embed_file(options: Options) -> None:
    from loc2vec.embed.files import write_vectors
    from loc2vec.embed.raster import write_geotiff
    from loc2vec.encoder import LocationEncoder

    encoder = LocationEncoder.load(options.model, fast=options.fast)
    with options.store.open() as source, claimed(options.out):
        raster = _raster(options, source) if options.raster else None
        vectors, embedded = _vectors(options, source, encoder, raster)
        if raster is None:
            write_vectors(options.out, vectors)
        else:
            write_geotiff(options.out, raster, vectors)
    outside = len(vectors) - int(vectors.inside.sum())
    facts = {
        "out": str(options.out),
        "places": len(vectors),
        "embedded": embedded,
        "outside": outside,
        "dim": encoder.dim,
        "model": encoder.model_id,
    }
    _tell_outside(outside, len(vectors))
    sentence = f"{counted(len(vectors), 'place')}, {encoder.dim} numbers each, in {options.out}"
    print_result(facts, options.as_json, sentence)


def _tell_outside(outside: int, count: int) -> None:
    if outside:
        click.echo(
            f"{outside} of {count} places lie outside the store: their embedding is null", err=True
        )


def _vectors(
    options: Options,
    source: "FeatureSource",
    encoder: "LocationEncoder",
    raster: "RasterGrid | None",
) -> "tuple[Vectors, int]":
    """Return the vectors, and how many places were embedded for them."""
    from loc2vec.embed.batch import embed, embed_changed, require_inside
    from loc2vec.embed.files import read_vectors

    if options.earlier is not None:
        before = read_vectors(options.earlier)
        with progress_bar("embed", "places") as bar:
            changed = embed_changed(source, encoder, before, options.processes, bar.update)
        click.echo(f"{changed[1]} of {len(before)} places embedded again", err=True)
        return changed
    places = _places(options, source, raster)
    require_inside(source, places)
    with progress_bar("embed", "places", len(places)) as bar:
        return embed(source, encoder, places, options.processes, bar.update), len(places)


def _places(options: Options, source: "FeatureSource", raster: "RasterGrid | None") -> "Places":
    from loc2vec.embed.batch import Places, places_of_file, places_of_grid

    if raster is not None:
        return Places(raster.lon_lat)
    if options.points is not None:
        return places_of_file(options.points)
    assert options.metres is not None  # noqa: S101 - checked by the caller; narrows the type
    return places_of_grid(source, options.metres, options.bbox)


def _raster(options: Options, source: "FeatureSource") -> "RasterGrid":
    from loc2vec.embed.raster import raster_grid, require_extra

    require_extra()
    assert options.metres is not None  # noqa: S101 - checked by the caller; narrows the type
    return raster_grid(source.coverage, options.metres, options.bbox)


def _embed_parts(options: Options) -> None:
    from loc2vec.embed.parts import Means, embed_parts
    from tiling.dataset.job import Share

    cluster = None
    if options.engine == "ray":
        from tiling.dataset.ray import RayCluster

        cluster = RayCluster(options.ray_address, options.processes)
    means = Means(options.processes, Share(*(options.share or (1, 1))), cluster)
    with progress_bar("embed", "places") as bar:
        try:
            done = embed_parts(options.job, options.out, means, bar.update)
        except KeyboardInterrupt:
            raise StoppedError(
                f"stopped after {counted(bar.n, 'place')}: the same command goes on from there"
            ) from None
    _tell_outside(done.outside, done.places)
    rest = "" if done.finished else "; the folder is finished when the other parts are done"
    sentence = (
        f"{counted(done.places, 'place')} in {options.out}: "
        f"{done.parts_made} parts made, {done.parts_found} found{rest}"
    )
    print_result({"out": str(options.out), **asdict(done)}, options.as_json, sentence)
