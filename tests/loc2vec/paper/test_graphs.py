"""Bars, points, densities and curves: what matplotlib was given, and what can be seen."""

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.text import Annotation

from loc2vec.paper.colours import CLASSES
from loc2vec.paper.graphs import (
    FEWEST_DENSE,
    LETTERS,
    MARKERS,
    bars,
    curves,
    densities,
    scatter,
)
from loc2vec.paper.plot import Figure, axes_in, logarithmic, new_figure, png_of, svg_of


@pytest.fixture
def axes() -> Axes:
    return axes_in(new_figure(5, 4, ""), 1.5, 0.5, 3, 3)


def lengths(axes: Axes) -> list[float]:
    return [float(patch.get_width()) for patch in axes.patches]  # type: ignore[attr-defined]


def numbers(axes: Axes) -> list[Annotation]:
    return [text for text in axes.texts if isinstance(text, Annotation)]


def test_every_bar_has_its_name_its_length_and_its_number(axes: Axes) -> None:
    values = np.array([1.5, -0.25, 0.0])
    bars(axes, ["roads", "water", "rail"], values, ["#ff0000", "#00ff00", "#0000ff"])
    assert lengths(axes) == values.tolist()
    assert [label.get_text() for label in axes.get_yticklabels()] == ["roads", "water", "rail"]
    assert [to_hex(patch.get_facecolor()) for patch in axes.patches] == [
        "#ff0000",
        "#00ff00",
        "#0000ff",
    ]
    assert [text.get_text() for text in numbers(axes)] == ["1.50", "-0.25", "0.00"]
    assert [text.get_horizontalalignment() for text in numbers(axes)] == ["left", "right", "left"]
    assert axes.yaxis_inverted(), "the first is on top"
    assert axes.figure.axes == [axes]


@pytest.mark.parametrize(
    "values", [[0.0, 0.0], [3.0, 1.0], [-3.0, -1.0], [-0.001, 12.0], [-7.0, 0.5], [1e-6, 0.0]]
)
def test_the_numbers_behind_bars_lie_within_the_axes(axes: Axes, values: list[float]) -> None:
    bars(axes, ["a", "b"], np.array(values), CLASSES[:2])
    low, high = axes.get_xlim()
    assert low < min(*values, 0.0)
    assert max(*values, 0.0) < high
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()
    frame = axes.get_window_extent()
    for text in numbers(axes):
        extent = text.get_window_extent()
        assert frame.x0 - 40 < extent.x0
        assert extent.x1 < frame.x1 + 2


def test_a_number_that_rounds_to_nothing_has_no_sign(axes: Axes) -> None:
    bars(axes, ["a", "b"], np.array([-0.0004, -0.006]), CLASSES[:2])
    assert [text.get_text() for text in numbers(axes)] == ["0.00", "-0.01"]


def test_long_names_of_bars_are_shortened(axes: Axes) -> None:
    bars(axes, ["short", "buildings " * 9], np.ones(2), CLASSES[:2])
    short, long = (label.get_text() for label in axes.get_yticklabels())
    assert short == "short"
    assert len(long) <= LETTERS
    assert long.endswith("…")


def test_every_class_has_its_points_its_colour_and_its_shape(axes: Axes) -> None:
    at = np.random.default_rng(0).normal(size=(40, 2))
    label = np.arange(40) % 3
    scatter(axes, at, label, ("a", "b", "c"))
    for number, group in enumerate(axes.collections):
        assert group.get_label() == "abc"[number]
        np.testing.assert_array_equal(np.asarray(group.get_offsets()), at[label == number])
        assert to_hex(np.asarray(group.get_facecolor())[0]) == CLASSES[number].lower()
    outlines = {np.asarray(group.get_paths()[0].vertices).tobytes() for group in axes.collections}
    assert len(outlines) == 3
    assert len(set(MARKERS)) == len(MARKERS) == len(CLASSES)


def test_an_empty_class_has_no_points(axes: Axes) -> None:
    scatter(axes, np.zeros((2, 2)), np.array([0, 2]), ("a", "b", "c"))
    assert [len(np.asarray(group.get_offsets())) for group in axes.collections] == [1, 0, 1]


def test_the_lines_of_a_class_hold_half_and_nine_tenths_of_it(axes: Axes) -> None:
    points = np.random.default_rng(0).normal(size=(400, 2))
    densities(axes, points, np.zeros(400, np.int64), 1)
    lines, _ = axes.collections
    outer, inner = (path for path in lines.get_paths() if np.size(path.vertices))
    assert outer.contains_points(points).mean() == pytest.approx(0.9, abs=0.03)
    assert inner.contains_points(points).mean() == pytest.approx(0.5, abs=0.05)


def test_only_classes_with_enough_points_have_a_density(axes: Axes) -> None:
    rng = np.random.default_rng(0)
    at = np.concatenate([rng.normal(0, 1, (50, 2)), rng.normal(9, 1, (3, 2))])
    densities(axes, at, np.repeat([0, 1], [50, 3]), 2)
    lines, _ = axes.collections  # of the first class alone: lines, and the ground within
    assert to_hex(np.asarray(lines.get_edgecolor())[0]) == CLASSES[0].lower()
    shares = [path.contains_points(at[:50]).mean() for path in lines.get_paths()]
    assert shares == pytest.approx([0.9, 0.5], abs=0.12)


def test_few_points_and_equal_points_have_no_density(axes: Axes) -> None:
    few = np.random.default_rng(0).normal(size=(FEWEST_DENSE - 1, 2))
    densities(axes, few, np.zeros(len(few), np.int64), 1)
    assert not axes.collections
    many = np.random.default_rng(0).normal(size=(FEWEST_DENSE, 2))
    densities(axes, many, np.zeros(len(many), np.int64), 1)
    assert axes.collections


def test_curves_have_their_points_and_all_ticks() -> None:
    lines = {"ours": {10: 0.5, 100: 0.75}, "theirs": {10: 0.25, 30: 0.5, 100: 0.625}}
    figure = curves(lines, "labels", "accuracy")
    (axes,) = figure.axes
    assert axes.get_xscale() == "log"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("labels", "accuracy")
    for line, (name, points) in zip(axes.lines, lines.items(), strict=True):
        assert line.get_label() == name
        assert np.asarray(line.get_xdata()).tolist() == list(points)
        assert np.asarray(line.get_ydata()).tolist() == list(points.values())
    assert axes.get_xticks().tolist() == [10, 30, 100]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["10", "30", "100"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["ours", "theirs"]
    assert png_of(figure)


def test_logarithmic_axes_have_plain_numbers(axes: Axes) -> None:
    axes.scatter([30, 4000], [30, 4000])
    logarithmic(axes)
    assert isinstance(axes.figure, Figure)
    text = svg_of(axes.figure)
    assert ">50<" in text
    assert ">2,000<" in text
    assert "$" not in text


@pytest.mark.parametrize("spread", [(1, 1), (0.2, 3), (5, 0.01)])
def test_no_line_of_a_density_is_clipped(axes: Axes, spread: tuple[float, float]) -> None:
    rng = np.random.default_rng(1)
    at = rng.normal(0, spread, (40, 2))
    densities(axes, at, np.zeros(40, np.int64), 1)
    lines, _ = axes.collections
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    for path in lines.get_paths():
        for line in map(np.asarray, path.to_polygons(closed_only=False)):
            assert np.array_equal(line[0], line[-1]), "it runs to the edge of the grid"
            assert np.all(line > [left, low])
            assert np.all(line < [right, high])
    assert np.all(at > [left, low])
    assert np.all(at < [right, high])
