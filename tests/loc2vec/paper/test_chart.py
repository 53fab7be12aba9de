"""SVG charts without matplotlib: where their lines lie, and what a page shows of them."""

import re

import numpy as np
import pytest

from loc2vec.paper.chart import Chart, histogram_chart, line_chart


def points(path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"(-?[\d.]+),(-?[\d.]+)", path)]


def test_a_line_reaches_from_edge_to_edge_of_the_frame() -> None:
    chart = line_chart("loss", [("loss", [(10, 4.0), (20, 1.0), (30, 0.0)])])
    assert points(chart.paths[0]) == [(0, 0), (150, 97.5), (300, 130)]
    assert (chart.x, chart.y) == (("10", "30"), ("0", "4"))


def test_two_lines_share_their_axes_and_an_axis_may_end_above_them() -> None:
    chart = line_chart("share", [("a", [(0, 0.5)]), ("b", [(100, 0.25)])], top=1.0)
    assert points(chart.paths[0]) == [(0, 65)]
    assert points(chart.paths[1]) == [(300, 97.5)]
    assert chart.y == ("0", "1")


@pytest.mark.parametrize("line", [[(5, 0.0)], [(5, 0.0), (5, 0.0)]])
def test_a_line_without_extent_is_no_division_by_zero(line: list[tuple[float, float]]) -> None:
    chart = line_chart("flat", [("flat", line)])
    assert points(chart.paths[0]) == [(0, 130)] * len(line)


def test_histograms_of_groups_have_one_axis_and_the_area_1() -> None:
    rng = np.random.default_rng(0)
    near, far = rng.normal(0, 1, 400), rng.normal(5, 2, 100)
    chart = histogram_chart("distance", [("near", near), ("far", far)])
    low, high = (float(text) for text in chart.x)
    top = float(chart.y[1])
    assert low == pytest.approx(near.min(), rel=1e-3)
    assert high == pytest.approx(far.max(), rel=1e-3)
    for path in chart.paths:
        x, y = np.array(points(path)).T
        height = (Chart.height - y) / Chart.height * top
        width = np.diff(x) / Chart.width * (high - low)
        assert (width * (height[1:] + height[:-1]) / 2).sum() == pytest.approx(1, abs=0.02)


def test_equal_values_have_a_histogram_too() -> None:
    chart = histogram_chart("constant", [("", np.full(20, 3.0, np.float32))])
    assert len(chart.paths) == 1
    assert "nan" not in chart.paths[0]
