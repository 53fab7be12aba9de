"""What the report plots of a task: curves from few labels, and maps of where a probe errs."""

import numpy as np

from loc2vec.evaluation.measure import Outcome
from loc2vec.evaluation.probes import primary
from loc2vec.model.arrays import Flags, Floats
from loc2vec.paper.graphs import curves
from loc2vec.paper.plot import Axes, Figure, panels, styled, svg_of
from tiling.geo.geodesy import MetresPerDegree

MAPS = 6  # towns that are plotted for a task
COLUMNS = 3
RIGHT, WRONG = "#2a78b5", "#d1422b"


def few_label_curves(outcome: Outcome) -> str:
    """Plot the primary metric over the number of labels a class, a line a method: SVG."""
    return svg_of(curves(outcome.few, "labels a class, at most", primary(outcome.task)))


@styled()
def error_map(outcome: Outcome, method: str) -> str:
    """Plot the places of the largest towns by the error of the linear probe: SVG."""
    task, wrong = outcome.task, error(outcome, method)
    counts = np.bincount(task.place)
    towns = [town for town in np.argsort(-counts, kind="stable")[:MAPS].tolist() if counts[town]]
    figure, axes = panels(len(towns), min(COLUMNS, len(towns)), (3.2, 3.0))
    for town, panel in zip(towns, axes, strict=True):
        here = task.place == town
        _plot_town(figure, panel, outcome, here, wrong[here])
    return svg_of(figure)


def _plot_town(figure: Figure, axes: Axes, outcome: Outcome, here: Flags, wrong: Floats) -> None:
    """Plot the places `here`, a town, in the colours of their errors `wrong`."""
    task, (town, *_) = outcome.task, outcome.task.place[here]
    lon, lat, title = task.lon[here], task.lat[here], task.places[town]
    if task.classes:
        axes.scatter(lon, lat, s=7, c=np.where(wrong > 0, WRONG, RIGHT), lw=0)
        title += f": {(wrong == 0).mean():.0%} right"
    else:
        shown = axes.scatter(lon, lat, s=7, c=wrong, cmap="viridis_r", lw=0)
        figure.colorbar(shown, ax=axes, shrink=0.7, label="absolute error")
    scale = MetresPerDegree.at(float(lat.mean()))
    axes.set_aspect(scale.y / scale.x)
    axes.set_title(title, fontsize=9)
    axes.locator_params("x", nbins=4)  # more labels would touch each other
    axes.tick_params(labelsize=6)


def error(outcome: Outcome, method: str) -> Floats:
    """Return 1 where the predicted class is wrong, or the absolute error: float64 [n]."""
    task, predicted = outcome.task, outcome.predicted[method]
    if task.classes:
        return np.where(predicted.argmax(1) == task.target, 0.0, 1.0)
    distance: Floats = np.abs(predicted - task.target)
    return distance
