"""`loc2vec predict`."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from loc2vec.errors import require_extra
from loc2vec.model.options import model_option
from tiling.cli.options import (
    FilePath,
    FolderPath,
    NumberRange,
    WholeRange,
    json_option,
    read_box,
    store_option,
)
from tiling.cli.progress import progress_bar
from tiling.values import Box
from tiling.words import counted

if TYPE_CHECKING:
    from loc2vec.embed.batch import Places
    from loc2vec.embed.raster import RasterGrid
    from loc2vec.model.arrays import Flags
    from loc2vec.predict.columns import Wanted
    from loc2vec.predict.examples import Region
    from loc2vec.predict.predictor import Predictions, Predictor
    from tiling.store.source import FeatureSource
    from tiling.store.store import Store


@dataclass(frozen=True)
class Options:
    """What the command line says; the options explain each."""

    store: "Store"
    model: str
    labels: Path | None
    target: str | None
    wanted: tuple["Wanted", ...]
    predictor: Path | None
    points: Path | None
    metres: float | None
    box: Box | None
    out: Path
    report: Path | None
    anyway: bool
    workers: int
    as_json: bool

    def check(self) -> None:
        """Raise `UsageError` for options that do not fit each other."""
        from loc2vec.predict.outputs import check_out

        if (self.labels is None) == (self.predictor is None):
            raise click.UsageError("give one of --labels and --predictor")
        if (self.points is None) == (self.metres is None):
            raise click.UsageError("give one of --points and --grid")
        if self.box is not None and self.metres is None:
            raise click.UsageError("--bbox goes with --grid")
        if self.wanted and self.labels is not None and self.target is None:
            raise click.UsageError("--with goes with --target, or with --predictor")
        if self.labels is None and (self.target or self.report):
            raise click.UsageError("--target and --report go with --labels")
        inputs = self.points, self.labels, Path(self.store.location)
        check_out(self.out, self.metres is not None, *inputs)


def _read_wanted(
    ctx: click.Context, param: click.Parameter, given: tuple[str, ...]
) -> tuple["Wanted", ...]:
    from loc2vec.predict.columns import Wanted

    wanted = tuple(Wanted.parse(text) for text in given)
    names = [one.name for one in wanted]
    if twice := {name for name in names if names.count(name) > 1}:
        raise click.BadParameter(f"{min(twice)} is given twice", ctx, param)
    return wanted


@click.command(
    "predict",
    epilog="Example: loc2vec predict --store porto.gpkg --labels stays.csv --target price "
    "--grid 50 --out price.tif --report report",
)
@store_option
@model_option
@click.option("--labels", type=FilePath, help="Labelled places: CSV, GeoJSON or Parquet.")
@click.option(
    "--target",
    help="The column of --labels to predict: text is classes. Without it: places like these.",
)
@click.option(
    "--with", "wanted", multiple=True, callback=_read_wanted, metavar="NAME[=VALUE]",
    help="A column to learn from, too; VALUE is that of all places to predict. May be repeated.",
)  # fmt: skip
@click.option(
    "--predictor", type=FolderPath, help="Or the predictor of an earlier --report, to use again."
)
@click.option("--points", type=FilePath, help="Places to predict: CSV or Parquet.")
@click.option("--grid", "metres", type=NumberRange(min=1), help="Or places this many metres apart.")
@click.option(
    "--bbox", "box", callback=read_box, metavar="W,S,E,N",
    help="Part of the store that the grid covers, degrees.",
)  # fmt: skip
@click.option(
    "--out", required=True, type=FilePath,
    help="File to write: .parquet, .csv, .gpkg, or of a grid .tif.",
)  # fmt: skip
@click.option("--report", type=FolderPath, help="Folder for report.html and the predictor.")
@click.option(
    "--anyway", is_flag=True, help="Write predictions also where the vectors are no better."
)
@click.option(
    "--workers", type=WholeRange(min=0), default=1, show_default=True,
    help="Processes that render; 0: none.",
)  # fmt: skip
@json_option
def predict_command(**given: Any) -> None:
    """Learn from labelled places, and predict the same for others.

    Classes get probabilities, numbers an interval that holds 90 %. The score is that of ground
    which was not seen, beside baselines.
    """
    options = Options(**given)
    options.check()
    require_extra("predict", "predicting", "sklearn", "skops", "matplotlib")
    from loc2vec.encoder import LocationEncoder
    from loc2vec.predict.examples import Region

    encoder = LocationEncoder.load(options.model)
    with options.store.open() as source:
        places, raster = _places(options, source)
        region = Region(source, encoder, options.workers)
        do = _learn if options.predictor is None else _use
        facts = do(options, region, places, raster)
    if options.as_json:
        click.echo(json.dumps(facts))


def _places(options: Options, source: "FeatureSource") -> tuple["Places", "RasterGrid | None"]:
    from loc2vec.embed.batch import Places, places_of_file, places_of_grid
    from loc2vec.embed.raster import raster_grid
    from loc2vec.embed.raster import require_extra as require_raster
    from loc2vec.predict.outputs import check_columns

    if options.points is not None:
        places = places_of_file(options.points)
        check_columns(places.table, options.target)
        return places, None
    assert options.metres is not None  # noqa: S101 - `check` saw to it
    if options.out.suffix.lower() != ".tif":
        return places_of_grid(source, options.metres, options.box), None
    require_raster()
    raster = raster_grid(source.coverage, options.metres, options.box)
    return Places(raster.lon_lat), raster


def _learn(
    options: Options,
    region: "Region",
    places: "Places",
    raster: "RasterGrid | None",
) -> dict[str, Any]:  # fmt: skip
    """Learn from the labels, say what it is worth, then predict."""
    from dataclasses import replace

    from loc2vec.predict.columns import further
    from loc2vec.predict.examples import examples_of, read_labelled
    from loc2vec.predict.judge import judge
    from loc2vec.predict.predictor import Predictor
    from loc2vec.predict.report import headline

    assert options.labels is not None  # noqa: S101 - `check` saw to it
    labelled = read_labelled(options.labels, options.target, region.source, options.wanted, _warn)
    further(labelled.columns, options.wanted, places.table, len(places))
    with progress_bar("render, encode", "tiles", len(labelled.lat)) as bar:
        examples = examples_of(labelled, region, bar.update)
    with progress_bar("judge", "methods", len(examples.features) + 1) as bar:
        verdict = judge(examples, bar.update)
    about = region.encoder.model_id, region.encoder.fingerprint
    predictor = Predictor.fit(
        examples.features["vectors"], examples.known, examples.group, examples.target, about
    )
    predictor = replace(predictor, scores=verdict.as_values(), columns=examples.columns)
    click.echo(headline(predictor, verdict), err=options.as_json)
    facts: dict[str, Any] = {"scores": verdict.as_values(), "family": predictor.estimator.family_}
    found = inside = None
    if verdict.better or options.anyway:
        found, inside = _predict(options, region, predictor, places, raster)
        facts["out"] = str(options.out)
    else:
        again = "" if options.report is None else f", or --predictor {options.report}/predictor"
        click.echo(f"no predictions are written: --anyway{again} writes them", err=True)
    if options.report is not None:
        mapped = _mapped(options, places, inside, found)
        _write_report(options.report, predictor, (verdict, examples, region, mapped))
        facts["report"] = str(options.report / "report.html")
    return facts


def _use(
    options: Options,
    region: "Region",
    places: "Places",
    raster: "RasterGrid | None",
) -> dict[str, Any]:  # fmt: skip
    from loc2vec.predict.predictor import Predictor

    assert options.predictor is not None  # noqa: S101 - `check` saw to it
    predictor = Predictor.load(options.predictor)
    predictor.check(region.encoder.model_id, region.encoder.fingerprint)
    if predictor.scores is not None and not predictor.scores["better"]:
        click.echo("the vectors were no better than a baseline where this was learned", err=True)
    _predict(options, region, predictor, places, raster)
    return {"scores": predictor.scores, "out": str(options.out)}


def _predict(
    options: Options, region: "Region", predictor: "Predictor", places: "Places",
    raster: "RasterGrid | None",
) -> tuple["Predictions", "Flags"]:  # fmt: skip
    from loc2vec.embed.batch import embed
    from loc2vec.errors import PredictorError
    from loc2vec.predict.columns import further
    from loc2vec.predict.outputs import write_places, write_raster

    with progress_bar("predict", "places", len(places)) as bar:
        vectors = embed(region.source, region.encoder, places, options.workers, bar.update)
    inside = vectors.inside
    if not inside.any():
        raise PredictorError("no place to predict lies in the store: give the store of that area")
    more = further(predictor.columns, options.wanted, places.table, len(places))
    found = predictor.predict(np.hstack([vectors.embedding, more])[inside])
    about = {"model": predictor.model, "fingerprint": predictor.fingerprint}
    if raster is not None:
        write_raster(options.out, raster, inside, found, about)
    else:
        write_places(options.out, places, inside, found, about)
    far = f"{found.far.mean():.0%} of them extrapolated" if found.far.any() else "none extrapolated"
    outside = f"; {(~inside).sum():,} lie outside the store" if not inside.all() else ""
    click.echo(
        f"{counted(int(inside.sum()), 'place')} in {options.out}, {far}{outside}",
        err=options.as_json,
    )
    return found, inside


def _mapped(
    options: Options, places: "Places", inside: "Flags | None", found: "Predictions | None"
) -> Any:
    from loc2vec.predict.report import Mapped

    if found is None or inside is None:
        return None
    lon, lat = np.ascontiguousarray(places.lon_lat[inside].T)
    return Mapped(lat, lon, found, options.metres)


def _write_report(folder: Path, predictor: "Predictor", parts: tuple[Any, ...]) -> None:
    from loc2vec.predict.report import page
    from tiling.files.atomic import write_text

    predictor.save(folder / "predictor")
    write_text(folder / "report.html", page(predictor, *parts))
    click.echo(f"report: {folder / 'report.html'}", err=True)


def _warn(line: str) -> None:
    click.echo(line, err=True)
