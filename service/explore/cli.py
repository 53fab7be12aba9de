"""`loc2vec explore`: pictures that show what was learned. Each command opens a space, makes a figure and saves it."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from tqdm import tqdm

from loc2vec.model.options import model_option
from tiling.cli.options import (
    FilePath,
    FolderPath,
    StoreType,
    json_option,
    read_box,
    store_option,
)
from tiling.values import Box

if TYPE_CHECKING:
    from loc2vec.explore.clusters import Method
    from loc2vec.explore.pca_tsne import Cloud
    from loc2vec.explore.space import Space
    from loc2vec.paper.plot import Shown
    from tiling.store.store import Store

PLACES = 2000

index_option = click.option(
    "--index", type=FolderPath, help="Index folder; without one, --places are embedded now."
)
places_option = click.option(
    "--places", type=click.IntRange(min=1), default=PLACES, show_default=True,
    help="How many places to draw from the store where no --index is given.",
)  # fmt: skip
box_option = click.option(
    "--bbox", "box", callback=read_box, metavar="W,S,E,N", help="Only places in this box, degrees."
)
out_option = click.option(
    "--out",
    type=FilePath,
    help="What to write, without a suffix: OUT.png, OUT.html, ...; by default the command's name.",
)
seed_option = click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
apart_option = click.option(
    "--min-distance-m", "apart_m", type=click.FloatRange(min=0), default=200.0, show_default=True,
    help="How far on the ground what is found lies from the places that were given.",
)  # fmt: skip


def space_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add what every command on a store and an index takes."""
    for option in (
        json_option,
        out_option,
        box_option,
        places_option,
        index_option,
        model_option,
        store_option,
    ):
        command = option(command)
    return command


@click.group("explore", epilog="Example: loc2vec explore walk 43.7384,7.4246 --store monaco.gpkg")
def explore_command() -> None:
    """Show what was learned: maps, clouds, walks, sums of places, filters, reasons.

    A place is "lat,lon", or a name that the store knows. Each command writes a picture (.png) and a
    page (.html).
    """
    from loc2vec.paper.extra import require_extra

    require_extra()


@contextmanager
def _opened(
    store: "Store",
    model: str,
    index: Path | None,
    places: int,
    box: Box | None,
    metres: float | None = None,
) -> Iterator["Space"]:
    from service.explore.open import open_space

    with (
        tqdm(unit=" places", desc="embed", disable=index is not None) as bar,
        open_space(store, model, index, places, box, metres, bar.update) as opened,
    ):
        bar.close()
        yield opened


def _finish(
    shown: "Shown",
    out: Path | None,
    facts: dict[str, Any],
    lines: list[str],
    as_json: bool,
    more: Sequence[Path] = (),
) -> None:
    from loc2vec.paper.plot import save

    files = [*save(shown, _target(out)), *more]
    if as_json:
        click.echo(json.dumps({**facts, "files": [str(file) for file in files]}))
    else:
        click.echo("\n".join([*lines, *(f"written: {file}" for file in files)]))


def _target(out: Path | None) -> Path:
    """Return the path to which suffixes are added: without one of these, or the command's name."""
    path = out or Path(str(click.get_current_context().command.name))
    return path.with_suffix("") if path.suffix in (".png", ".html", ".tif", ".webp") else path


def _place(view: Any) -> dict[str, Any]:
    return {"name": view.name, "lat": view.place.lat, "lon": view.place.lon}


@explore_command.command(
    "walk", epilog="Example: loc2vec explore walk 43.7384,7.4246 --store monaco.gpkg"
)
@click.argument("place")
@space_options
@click.option("--steps", type=click.IntRange(1, 20), default=6, show_default=True)
@click.option(
    "-k",
    type=click.IntRange(min=1),
    default=5,
    show_default=True,
    help="Each step goes to one of so many.",
)
@click.option(
    "--min-distance-m", "apart_m", type=click.FloatRange(min=0), default=1000.0, show_default=True,
    help="How far on the ground the places of a walk lie from each other, at least.",
)  # fmt: skip
@click.option("--walks", type=click.IntRange(1, 10), default=3, show_default=True)
@seed_option
def walk_command(
    place: str,
    steps: int,
    k: int,
    apart_m: float,
    walks: int,
    seed: int,
    out: Path | None,
    as_json: bool,
    **space: Any,
) -> None:
    """Walk at random from PLACE to places alike in kind that are not near on the ground."""
    from loc2vec.explore.walk import kilometres, random_walks

    with _opened(**space) as opened:
        found = random_walks(opened, opened.locate(place), steps, k, apart_m, walks, seed)
    ways = [
        [
            {**_place(step.view), "distance": step.distance, "ground_m": step.ground_m}
            for step in way
        ]
        for way in found.walks
    ]
    lines = [
        " -> ".join(
            f"{step.view.name} ({kilometres(step.ground_m)})" if n else step.view.name
            for n, step in enumerate(way)
        )
        for way in found.walks
    ]
    _finish(found, out, {"walks": ways}, lines, as_json)


@explore_command.command(
    "interpolate",
    epilog="Example: loc2vec explore interpolate 43.7384,7.4246 43.7277,7.4157 --store monaco.gpkg",
)
@click.argument("start")
@click.argument("end")
@space_options
@click.option(
    "--steps",
    type=click.IntRange(3, 20),
    default=7,
    show_default=True,
    help="The two ends counted.",
)
@apart_option
def interpolate_command(
    start: str, end: str, steps: int, apart_m: float, out: Path | None, as_json: bool, **space: Any
) -> None:
    """Go from START to END in equal steps, each shown as the nearest real place."""
    from loc2vec.explore.interpolate import interpolate

    with _opened(**space) as opened:
        found = interpolate(opened, opened.locate(start), opened.locate(end), steps, apart_m)
    steps_found = [
        {"share": share, "distance": distance, **_place(view)}
        for share, distance, view in zip(
            found.shares.tolist(), found.distances, found.nearest, strict=True
        )
    ]
    lines = [
        f"{step['share']:.0%}  {step['name']} ({step['lat']:.5f},{step['lon']:.5f})"
        for step in steps_found
    ]
    _finish(
        found,
        out,
        {"start": _place(found.start), "end": _place(found.end), "steps": steps_found},
        lines,
        as_json,
    )


@explore_command.command(
    "arithmetic",
    epilog='Example: loc2vec explore arithmetic "43.7384,7.4246 - 43.7347,7.4213 + 43.7277,7.4157" --store monaco.gpkg',
)
@click.argument("expression")
@space_options
@click.option(
    "-k", type=click.IntRange(min=1), default=5, show_default=True, help="How many results."
)
@apart_option
def arithmetic_command(
    expression: str, k: int, apart_m: float, out: Path | None, as_json: bool, **space: Any
) -> None:
    """Reckon with places, as in "A - B + C", and show the real places nearest to the result.

    A name that holds + or - between spaces goes in double quotes.
    """
    from loc2vec.explore.arithmetic import arithmetic, parse

    parse(expression)  # before anything is opened
    with _opened(**space) as opened:
        found = arithmetic(opened, expression, k, apart_m)
    operands = [
        {"sign": term.sign, **_place(view)}
        for term, view in zip(found.terms, found.operands, strict=True)
    ]
    nearest = [
        {**_place(view), "distance": d}
        for view, d in zip(found.nearest, found.distances, strict=True)
    ]
    lines = [f"{n['distance']:.2f}  {n['name']} ({n['lat']:.5f},{n['lon']:.5f})" for n in nearest]
    _finish(
        found,
        out,
        {"operands": operands, "vector": found.vector.tolist(), "nearest": nearest},
        lines,
        as_json,
    )


def network_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add what commands take that look at single places: no index."""
    for option in (json_option, out_option, model_option, store_option):
        command = option(command)
    return command


@explore_command.command(
    "why", epilog="Example: loc2vec explore why 43.7384,7.4246 43.7420,7.4275 --store monaco.gpkg"
)
@click.argument("a")
@click.argument("b")
@network_options
def why_command(
    a: str, b: str, store: "Store", model: str, out: Path | None, as_json: bool
) -> None:
    """Say which channels make A and B alike or different."""
    from loc2vec.explore.why import compare
    from service.explore.open import open_ground

    with open_ground(store, model) as opened:
        found = compare(opened, opened.locate(a), opened.locate(b))
    effect = dict(zip(found.channels, found.why.effect.tolist(), strict=True))
    facts = {
        "a": _place(found.a),
        "b": _place(found.b),
        "distance": found.why.distance,
        "effect": effect,
    }
    lines = [
        f"{value:+.2f}  {name}" for name, value in sorted(effect.items(), key=lambda item: -item[1])
    ]
    _finish(found, out, facts, [f"{found.why.distance:.2f} apart", *lines], as_json)


@explore_command.command(
    "saliency", epilog="Example: loc2vec explore saliency 43.7384,7.4246 --store monaco.gpkg"
)
@click.argument("place")
@network_options
def saliency_command(
    place: str, store: "Store", model: str, out: Path | None, as_json: bool
) -> None:
    """Show which channels, and which parts of the ground, the vector of PLACE depends on."""
    from loc2vec.explore.saliency import saliency
    from service.explore.open import open_ground

    with open_ground(store, model) as opened, tqdm(total=13, unit=" maps", desc="empty") as bar:
        found = saliency(opened, opened.locate(place), bar.update)
    moved = dict(zip(found.channels, found.channel.tolist(), strict=True))
    lines = [
        f"{value:.2f}  {name}" for name, value in sorted(moved.items(), key=lambda item: -item[1])
    ]
    _finish(
        found, out, {**_place(found.view), "moved": moved, "empty": found.empty}, lines, as_json
    )


@explore_command.command(
    "equal-histograms", epilog="Example: loc2vec explore equal-histograms --store monaco.gpkg"
)
@space_options
@click.option("--pairs", type=click.IntRange(1, 10), default=5, show_default=True)
@click.option(
    "--tolerance", type=click.FloatRange(0, 1), default=0.015, show_default=True,
    help="How much the channels may differ in cover, on the average.",
)  # fmt: skip
@seed_option
def histograms_command(
    pairs: int, tolerance: float, seed: int, out: Path | None, as_json: bool, **space: Any
) -> None:
    """Find places with as much of everything in their tiles, and far vectors."""
    from loc2vec.explore.histograms import equal_histograms

    with _opened(**space) as opened:
        count = min(space["places"], len(opened.vectors))
        with tqdm(total=count, unit=" tiles", desc="draw") as bar:
            found = equal_histograms(opened, pairs, count, tolerance, seed, bar.update)
    facts = [
        {"a": _place(p.a), "b": _place(p.b), "difference": p.difference, "distance": p.distance}
        for p in found.pairs
    ]
    lines = [
        f"{p.distance:.2f}  {p.a.where} and {p.b.where}: cover differs by {p.difference:.1%}"
        for p in found.pairs
    ]
    _finish(found, out, {"pairs": facts}, lines, as_json)


def count_option(default: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add how many places are shown."""
    return click.option(
        "--count",
        type=click.IntRange(min=1),
        default=default,
        show_default=True,
        help="How many places to show.",
    )


grid_option = click.option(
    "--grid", "metres", type=click.FloatRange(min=1), help="Or embed places this many metres apart."
)


@explore_command.command("map", epilog="Example: loc2vec explore map --store monaco.gpkg --grid 50")
@space_options
@grid_option
@click.option("--title", help="What the map is called, by default as the store.")
@seed_option
def map_command(
    metres: float | None,
    title: str | None,
    seed: int,
    out: Path | None,
    as_json: bool,
    **space: Any,
) -> None:
    """Colour every place by its first three principal components, over the streets.

    Writes a GeoTIFF (OUT.tif, Web Mercator) and map tiles (OUT-tiles/{z}/{x}/{y}.png), too.
    """
    from loc2vec.embed.raster import require_extra, write_picture
    from loc2vec.explore.map import town
    from service.explore.xyz import write_tiles

    require_extra()
    with _opened(**space, metres=metres) as opened:
        found = town(opened, title or opened.title, metres, seed)
    target = _target(out)
    tif, tiles = target.with_name(target.name + ".tif"), target.with_name(target.name + "-tiles")
    height, width = found.chart.shape[:2]
    about = {"model": opened.vectors.model, "fingerprint": opened.vectors.fingerprint}
    write_picture(tif, found.painting.paint(found.box, width, height), found.box, about)
    count = write_tiles(tiles, found.painting)
    facts = {
        "places": len(found.painting.lat),
        "shares": found.shares.tolist(),
        "bbox": found.box,
        "tiles": count,
    }
    lines = [
        f"{len(found.painting.lat)} places, three components hold {found.shares.sum():.0%} of the variance"
    ]
    _finish(found, out, facts, lines, as_json, [tif, tiles])


def cloud_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add what both clouds take."""
    for option in (seed_option, count_option(600), space_options):
        command = option(command)
    return command


@explore_command.command("pca", epilog="Example: loc2vec explore pca --store monaco.gpkg")
@cloud_options
def pca_command(count: int, seed: int, out: Path | None, as_json: bool, **space: Any) -> None:
    """Lay places out by three principal components, their tiles as the points.

    Writes an animation, too (.webp).
    """
    from loc2vec.explore.pca_tsne import pca

    with _opened(**space) as opened:
        _finish_cloud(pca(opened, count, seed), out, as_json)


@explore_command.command(
    "tsne", epilog="Example: loc2vec explore tsne --store monaco.gpkg --perplexity 20"
)
@cloud_options
@click.option("--perplexity", type=click.FloatRange(min=1), default=30.0, show_default=True)
def tsne_command(
    count: int, seed: int, perplexity: float, out: Path | None, as_json: bool, **space: Any
) -> None:
    """Lay places out by t-SNE in three dimensions; writes an animation, too (.webp)."""
    from loc2vec.explore.pca_tsne import tsne

    with _opened(**space) as opened:
        _finish_cloud(tsne(opened, count, perplexity, seed), out, as_json)


def _finish_cloud(cloud: "Cloud", out: Path | None, as_json: bool) -> None:
    from loc2vec.explore.pca_tsne import FRAMES, write_animation

    with tqdm(total=FRAMES, unit=" frames", desc="turn") as bar:
        moving = write_animation(cloud, _target(out), bar.update)
    places = [
        {**_place(view), "at": at} for view, at in zip(cloud.views, cloud.at.tolist(), strict=True)
    ]
    _finish(
        cloud,
        out,
        {"axes": cloud.axes, "places": places},
        [f"{len(places)} places"],
        as_json,
        [moving],
    )


@explore_command.command(
    "lda", epilog="Example: loc2vec explore lda monaco.osm.pbf --task way --out ways"
)
@click.argument("extracts", nargs=-1, required=True, type=FilePath)
@click.option(
    "--store",
    type=StoreType(),
    help="Feature store to draw from; by default one is made of EXTRACTS.",
)
@model_option
@click.option(
    "--task",
    "name",
    default="way",
    show_default=True,
    help="Classes, as `loc2vec evaluate` has them.",
)
@click.option(
    "--per-class",
    type=click.IntRange(min=10),
    default=300,
    show_default=True,
    help="Places of each class.",
)
@seed_option
@out_option
@json_option
def lda_command(
    extracts: tuple[Path, ...], store: "Store | None", model: str, name: str, per_class: int, seed: int, out: Path | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Project vectors on the two directions that best tell the classes of a task apart: classes of way, by default."""
    from loc2vec.encoder import LocationEncoder
    from loc2vec.evaluation.run import covered_by, read_towns, store_of
    from loc2vec.evaluation.tasks.osm import RECIPES, make_task
    from loc2vec.explore.lda import discriminate
    from service.explore.open import open_ground

    with_classes = [recipe for recipe in RECIPES if RECIPES[recipe].classes]
    if name not in with_classes:
        raise click.UsageError(
            f"no task with classes is called {name!r}: choose from {', '.join(with_classes)}"
        )
    made_by = LocationEncoder.load(model).catalogue
    with store_of(extracts, store, made_by) as drawn_from, open_ground(drawn_from, model) as ground:
        towns = read_towns(extracts, ground.catalogue)
        task = make_task(name, towns, covered_by(drawn_from), per_class, seed)
        with tqdm(total=len(task), unit=" places", desc="embed") as bar:
            found = discriminate(ground, task, seed, bar.update)
    counts = task.counts
    facts = {"classes": counts, "accuracy": found.accuracy, "chance": found.chance}
    lines = [f"{count:6,}  {label}" for label, count in counts.items()]
    _finish(
        found,
        out,
        facts,
        [*lines, f"nearest class mean: {found.accuracy:.1%} (chance {found.chance:.1%})"],
        as_json,
    )


@explore_command.command(
    "filters", epilog="Example: loc2vec explore filters --model loc2vec-16 --layer features.3"
)
@model_option
@click.option("--layer", help="Name of a convolution; without one, the names are listed.")
@count_option(64)
@seed_option
@out_option
@json_option
def filters_command(
    model: str, layer: str | None, count: int, seed: int, out: Path | None, as_json: bool
) -> None:
    """Seek the input that most excites each filter of a layer, and count the dead filters."""
    from loc2vec.explore.filters import STEPS, excite, layers_of
    from loc2vec.model.folder import load_model, model_path

    loaded = load_model(model_path(model))
    if layer is None:
        layers = {
            name: convolution.out_channels
            for name, (convolution, _) in layers_of(loaded.network).items()
        }
        click.echo(
            json.dumps(layers)
            if as_json
            else "\n".join(f"{n:5}  {name}" for name, n in layers.items())
        )
        return
    with tqdm(total=STEPS, unit=" steps", desc="ascend") as bar:
        found = excite(
            loaded.network, layer, loaded.config.channels, count, STEPS, seed, bar.update
        )
    facts = {
        "layer": layer, "filters": len(found.alive), "dead": np.flatnonzero(~found.alive).tolist(),
        "before": found.before.tolist(), "after": found.after.tolist(),
    }  # fmt: skip
    _finish(
        found, out, facts, [f"{len(found.alive)} filters of {layer}, {found.dead} dead"], as_json
    )


@explore_command.command(
    "clusters",
    epilog="Example: loc2vec explore clusters monaco.osm.pbf --store monaco.gpkg --kinds 6",
)
@click.argument("extracts", nargs=-1, type=FilePath)
@space_options
@grid_option
@click.option("--kinds", "count", type=click.IntRange(2, 7), default=6, show_default=True)
@click.option(
    "--method", type=click.Choice(["k-means", "hdbscan"]), default="k-means", show_default=True
)
@click.option("--title", help="What the region is called, by default as the store.")
@seed_option
def clusters_command(
    extracts: tuple[Path, ...], count: int, method: "Method", title: str | None, seed: int, out: Path | None,
    as_json: bool, **space: Any,
) -> None:  # fmt: skip
    """Divide places into kinds, named by the tags of EXTRACTS, or without any by the channels of their tiles.

    Writes the places with their kinds as GeoParquet and GeoJSON, too.
    """
    from loc2vec.explore.clusters import TAGS, kinds_of
    from service.explore.open import write_places
    from tiling.osm.extract import read_objects

    with _opened(**space) as opened:
        by = opened.catalogue
        objects = [item for path in extracts for item in read_objects(path, by, TAGS)]
        found = kinds_of(opened, title or opened.title, count, method, objects, seed)
        files = write_places(_target(out), opened.vectors, found.columns)
        facts = [{"name": kind.name, "places": len(kind.rows)} for kind in found.kinds]
        lines = [f"{fact['places']:6,}  {fact['name']}" for fact in facts]
        _finish(
            found,
            out,
            {"kinds": facts, "none": int((found.label < 0).sum())},
            lines,
            as_json,
            files,
        )
