"""The report of a predictor: what it is worth, where it can be used, and a map."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loc2vec.encoder import LocationEncoder
from loc2vec.errors import ExploreError
from loc2vec.model.arrays import Flags, Floats, Pixels
from loc2vec.paper.colours import CLASSES, from_hex, ramp
from loc2vec.paper.graphs import bars
from loc2vec.paper.overlays import tinted
from loc2vec.paper.painting import Painting, spacing_of
from loc2vec.paper.plot import (
    FAINT,
    Axes,
    axes_in,
    logarithmic,
    map_panel,
    new_figure,
    panels,
    png_of,
    styled,
    svg_of,
)
from loc2vec.paper.template import fill, png_url
from loc2vec.predict.examples import Examples, Region
from loc2vec.predict.judge import Verdict
from loc2vec.predict.predictor import Predictions, Predictor
from tiling.render.basemap import draw_map
from tiling.store.source import FeatureSource

WIDTH_PX = 1000  # of the map
STEPS = 6  # of the scale of colours
HATCH_PX, LINE_PX = 7, 2  # between the lines over extrapolated ground, and their width
SURE = np.linspace(0, 1, 11)  # the ends of the bins of the calibration curve


@dataclass(frozen=True, eq=False)
class Mapped:
    """Places float64 [n] in the store, with their predictions."""

    lat: Floats
    lon: Floats
    found: Predictions
    spacing_m: float | None


def headline(predictor: Predictor, verdict: Verdict) -> str:
    """Say in a sentence whether the vectors are worth it."""
    own, best = verdict.scores[0], verdict.best_baseline
    said = (
        f"{verdict.metric} of {predictor.target.about} on ground that was not seen: "
        f"{own.value:.2f} ± {own.error:.2f}; {best.method}: {best.value:.2f} ± {best.error:.2f}"
    )
    if verdict.better:
        return f"The vectors help. {said}."
    if best.value >= own.value - own.error:
        return f"The vectors are no better than {best.method}. {said}."
    return f"The vectors are no better than chance. {said}."


def page(
    predictor: Predictor,
    verdict: Verdict,
    examples: Examples,
    region: Region,
    mapped: Mapped | None,
) -> str:
    """Return the report as one HTML page that needs nothing else."""
    target = predictor.target
    return fill(
        "predict.html.j2",
        target=target,
        headline=headline(predictor, verdict),
        better=verdict.better,
        verdict=verdict,
        split=examples.split,
        facts=_facts(predictor, examples),
        calibration=_calibration(examples, verdict) if target.kind == "classes" else "",
        errors=_errors(examples, verdict) if target.kind != "alike" else "",
        looks=_looks(predictor, examples, region.encoder),
        curve=_curve(verdict),
        map=_map(region.source, mapped) if mapped is not None else "",
    )


def _facts(predictor: Predictor, examples: Examples) -> Mapping[str, Any]:
    groups = len(np.unique(examples.group))
    facts = {
        "labelled places": f"{len(examples):,} in {groups} {examples.split}",
        "family, chosen on ground that was not seen": predictor.estimator.family_,
        "model": predictor.model,
    }
    if examples.columns:
        facts["further features"] = ", ".join(column.name for column in examples.columns)
    if examples.target.classes and examples.target.kind == "classes":
        counts = np.bincount(examples.known)
        each = (f"{name} {counts[n]:,}" for n, name in enumerate(examples.target.classes))
        facts["places of each class"] = ", ".join(each)
    if examples.target.kind == "alike":
        facts["labelled places"] = f"{int((examples.known == 1).sum()):,}"
        facts["other places, which may be like them"] = f"{int((examples.known == 0).sum()):,}"
    return facts


@styled()
def _calibration(examples: Examples, verdict: Verdict) -> str:
    """Plot how often the likeliest class is right by how likely it was said to be: SVG."""
    figure, (axes,) = panels(1, 1, (4.4, 3.4))
    said, right = verdict.unseen.max(1), verdict.unseen.argmax(1) == examples.known
    number = np.clip(np.digitize(said, SURE) - 1, 0, len(SURE) - 2)
    full = [n for n in range(len(SURE) - 1) if (number == n).sum() >= 5]
    axes.plot([0, 1], [0, 1], color=FAINT, lw=0.8, ls=":")
    axes.plot(
        [said[number == n].mean() for n in full], [right[number == n].mean() for n in full],
        marker="o", color=CLASSES[0],
    )  # fmt: skip
    axes.set_xlabel("probability that was told")
    axes.set_ylabel("share that was right")
    return svg_of(figure)


@styled()
def _errors(examples: Examples, verdict: Verdict) -> str:
    """Plot what was answered over what is true, for unseen places; or the confusion: SVG."""
    figure, (axes,) = panels(1, 1, (4.4, 3.4))
    if examples.target.classes:
        _confusion(axes, examples, verdict)
    else:
        truth, given = examples.target.told(examples.known), examples.target.told(verdict.unseen)
        axes.scatter(truth, given, s=5, color=CLASSES[0], alpha=0.35, lw=0)
        ends = np.nanpercentile(np.concatenate([truth, given]), [0.5, 99.5])
        axes.plot(ends, ends, color=FAINT, lw=0.8, ls=":")
        axes.set_xlim(*ends)
        axes.set_ylim(*ends)
        if examples.target.log:
            logarithmic(axes)
        axes.set_xlabel(f"true {examples.target.name}")
        axes.set_ylabel("answered")
    return svg_of(figure)


def _confusion(axes: Axes, examples: Examples, verdict: Verdict) -> None:
    count = len(examples.target.classes)
    table = np.zeros((count, count))
    np.add.at(table, (examples.known, verdict.unseen.argmax(1)), 1)
    share = table / np.maximum(table.sum(1, keepdims=True), 1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(count, count):
        ink = "white" if share[row, column] > 0.6 else "black"
        axes.text(column, row, f"{share[row, column]:.0%}", ha="center", va="center", color=ink)
    names = [name[:18] for name in examples.target.classes]
    axes.set_xticks(range(count), names, rotation=30, ha="right")
    axes.set_yticks(range(count), names)
    axes.set_xlabel("answered")
    axes.set_ylabel("true")


@styled()
def _looks(predictor: Predictor, examples: Examples, encoder: LocationEncoder) -> str:
    """Plot how far answers move when a channel of the map is emptied: SVG."""
    channels = encoder.catalogue.channels
    further = examples.further[examples.kept]

    def answers(tiles: Pixels) -> Predictions:
        return predictor.predict(np.hstack([encoder.encode(tiles), further]))

    before = answers(examples.tiles)
    moved = []
    for number in range(len(channels)):
        emptied = examples.tiles.copy()
        emptied[:, number :: len(channels)] = 0
        moved.append(_moved(before, answers(emptied)))
    figure, (axes,) = panels(1, 1, (5.2, 3.6))
    bars(axes, channels, np.array(moved), [CLASSES[0]] * len(channels))
    axes.set_xlabel("mean change of the answer without the channel", loc="right")
    return svg_of(figure)


def _moved(before: Predictions, after: Predictions) -> float:
    if before.probability is not None and after.probability is not None:
        return float(np.abs(before.probability - after.probability).sum(1).mean() / 2)
    return float(np.abs(before.shown - after.shown).mean())


@styled()
def _curve(verdict: Verdict) -> str:
    """Plot the score by the number of labels: SVG."""
    figure, (axes,) = panels(1, 1, (4.4, 3.0))
    axes.plot(list(verdict.curve), list(verdict.curve.values()), marker="o", color=CLASSES[0])
    axes.axhline(verdict.best_baseline.value, color=FAINT, lw=0.8, ls=":")
    axes.set_xscale("log")
    axes.set_xticks(list(verdict.curve), [f"{count:,}" for count in verdict.curve])
    axes.minorticks_off()
    axes.set_xlabel("labelled places")
    axes.set_ylabel(verdict.metric)
    return svg_of(figure)


def _map(source: FeatureSource, mapped: Mapped) -> str:
    """Plot the predictions over the streets, extrapolations hatched: a data URL."""
    try:
        spacing = mapped.spacing_m or spacing_of(mapped.lat, mapped.lon)
        rgb, names = _colours(mapped.found)
        painting = Painting(mapped.lat, mapped.lon, rgb, spacing)
        box = painting.box
    except ExploreError:
        return ""
    chart = draw_map(source, box, WIDTH_PX)
    height, width = chart.shape[:2]
    picture = tinted(chart, painting.paint(box, width, height))
    beyond = mapped.found.far
    far = Painting(mapped.lat[beyond], mapped.lon[beyond], rgb[beyond], spacing)
    picture = hatched(picture, far.paint(box, width, height)[:, :, 3] > 0)
    wide = 6.4
    high = wide * height / width
    figure = new_figure(wide + 2.2, high + 0.45, "")
    map_panel(axes_in(figure, 0.15, 0.1, wide, high), picture, box)
    key = axes_in(figure, wide + 0.35, 0.1, 1.7, 0.26 * (len(names) + 1))
    _key(key, names, bool(mapped.found.far.any()))
    return png_url(png_of(figure))


def hatched(picture: Pixels, where: Flags) -> Pixels:
    """Return a picture [H, W, 3] with dark slanting lines over a part of it, bool [H, W]."""
    row, column = np.indices(where.shape)
    lines = where & ((row + column) % HATCH_PX < LINE_PX)
    marked = picture.copy()
    marked[lines] = marked[lines] // 3
    return marked


def _colours(found: Predictions) -> tuple[Pixels, list[tuple[str, NDArray[np.uint8]]]]:
    """Return the colour of each place, uint8 [n, 3], and what the colours mean."""
    if found.target.kind == "classes":
        palette = from_hex(CLASSES)[np.arange(len(found.target.classes)) % len(CLASSES)]
        return palette[found.value], list(zip(found.target.classes, palette, strict=True))
    shown = found.shown
    ends = np.unique(np.quantile(shown, np.linspace(0, 1, STEPS + 1)))
    number = np.clip(np.searchsorted(ends, shown, side="right") - 1, 0, max(len(ends) - 2, 0))
    palette = ramp(max(len(ends) - 1, 1))
    steps = list(pairwise(ends)) or [(shown[0], shown[0])]
    names = [f"{low:.3g} to {high:.3g}" for low, high in steps]
    return palette[number], list(zip(names, palette, strict=True))


def _key(axes: Axes, names: list[tuple[str, NDArray[np.uint8]]], far: bool) -> None:
    """Plot what the colours mean, the last on top."""
    axes.set_axis_off()
    for row, (name, colour) in enumerate(names):
        axes.barh(row, 0.14, color=colour / 255, height=0.75)
        axes.text(0.2, row, name, va="center", fontsize=8.5)
    if far:
        axes.barh(len(names), 0.14, color="white", edgecolor="black", hatch="////", height=0.75)
        axes.text(0.2, len(names), "an extrapolation", va="center", fontsize=8.5)
    axes.set_xlim(0, 1)
    axes.set_ylim(-0.6, len(names) + 0.6)
