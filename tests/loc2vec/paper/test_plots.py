"""Figures on paper: what stands where, and in which size."""

import io

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.container import BarContainer
from PIL import Image

from loc2vec.paper.graphs import bars, curves, densities, scatter
from loc2vec.paper.plot import (
    CLASSES,
    DPI,
    FAINT,
    INK,
    Figure,
    _round,
    axes_in,
    block,
    lead_lines,
    map_panel,
    new_figure,
    panels,
    png_of,
    printable,
    svg_of,
    tile_scale,
)
from loc2vec.paper.sheet import LETTERS, TILE_IN, Sheet, sheet
from loc2vec.paper.strips import Cell, Row, Strips
from tiling.geo.geodesy import MetresPerDegree
from tiling.values import ATTRIBUTION, Box

PICTURE = np.zeros((16, 16, 3), np.uint8)


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.texts]


def strips(*rows: Row, side_m: float = 200.0) -> Strips:
    return Strips("A title", "its lead", rows, side_m, [f"channel {n}" for n in range(12)])


def test_a_figure_has_its_title_its_lead_and_the_attribution() -> None:
    figure = new_figure(6, 4, "Title", "lead")
    assert texts(figure) == ["Title", "lead", ATTRIBUTION]


def test_letters_that_the_font_lacks_are_left_out_of_a_name() -> None:
    assert printable("Rue Grimaldi, Monaco") == "Rue Grimaldi, Monaco"
    assert printable("交大路") == "?"
    assert printable("Ströget, 交大路, København") == "Ströget, København"


@pytest.mark.parametrize("width_in", [4.0, 8.0])
def test_a_lead_is_broken_to_the_width_of_the_figure(width_in: float) -> None:
    lines = lead_lines("many words " * 40, width_in)
    assert len(lines) > 1
    assert max(map(len, lines)) <= 13.2 * width_in
    assert " ".join(lines) == ("many words " * 40).strip()


def test_a_png_has_its_size_in_pixels_few_colours_and_the_attribution() -> None:
    picture = Image.open(io.BytesIO(png_of(new_figure(3, 2, "Title"))))
    assert picture.size == (3 * DPI, 2 * DPI)
    assert picture.mode == "P"
    assert picture.info["Copyright"] == ATTRIBUTION


def test_few_colours_keep_those_of_text_and_of_classes() -> None:
    """A picture of many colours takes none of the palette that text and classes need."""
    figure = new_figure(6, 4, "A title in ink")
    noise = np.random.default_rng(0).integers(0, 256, (300, 500, 3), np.uint8)
    axes_in(figure, 0.2, 1, 5, 2.4).imshow(noise)
    for number, colour in enumerate(CLASSES):
        block(figure, (0.2 + number / 4, 0.2), (0.2, 0.2), colour)
    picture = np.asarray(Image.open(io.BytesIO(png_of(figure))).convert("RGB"))
    seen = {tuple(colour) for colour in np.unique(picture.reshape(-1, 3), axis=0).tolist()}
    for colour in (*CLASSES, INK, FAINT):
        assert tuple(bytes.fromhex(colour[1:])) in seen, colour


def test_the_same_figure_is_the_same_svg() -> None:
    first, again = (svg_of(curves({"a": {1: 0.5, 10: 0.7}}, "x", "y")) for _ in range(2))
    assert first.startswith("<svg")
    assert first.count("<path") == again.count("<path")
    assert "<dc:date>" not in first


@pytest.mark.parametrize(
    ("metres", "expected"),
    [(1, 1), (1.9, 1), (2, 2), (4.99, 2), (5, 5), (99, 50), (100, 100), (2300, 2000)],
)
def test_a_scale_is_a_round_length_that_fits(metres: float, expected: float) -> None:
    assert _round(metres) == pytest.approx(expected)


def test_the_bar_of_a_map_is_as_long_as_it_says() -> None:
    box = Box(7.40, 43.70, 7.50, 43.80)
    figure, (axes,) = panels(1, 1, (4, 4))
    map_panel(axes, np.zeros((300, 400, 3), np.uint8), box)
    _, bar = axes.patches
    said = next(text.get_text() for text in axes.texts if "m" in text.get_text())
    assert said == "1 km"
    width_m = MetresPerDegree.at(43.75).x * 0.1
    assert bar.get_extents().width / axes.bbox.width * width_m == pytest.approx(1000, rel=0.01)
    assert "N" in [text.get_text() for text in axes.texts]
    assert len(figure.axes) == 1


def test_the_scale_of_tiles_is_a_fourth_of_one() -> None:
    figure = new_figure(6, 4, "Title")
    tile_scale(figure, 200.0, 0.15, 0.13, TILE_IN)
    assert texts(figure)[-1].startswith("50 m    tiles are 200 m × 200 m")
    (bar,) = figure.artists
    assert bar.get_window_extent().width == pytest.approx(figure.dpi * TILE_IN / 4)


def test_axes_lie_where_they_are_put_from_the_upper_left_corner() -> None:
    figure = new_figure(8, 4, "Title")
    box = axes_in(figure, 1, 0.5, 2, 1).get_position()
    assert (box.x0, box.width) == pytest.approx((1 / 8, 2 / 8))
    assert (box.y1, box.height) == pytest.approx((1 - 0.5 / 4, 1 / 4))


def test_bars_are_as_long_as_their_values_and_the_first_is_on_top() -> None:
    figure, (axes,) = panels(1, 1, (4, 3))
    bars(axes, ["one", "a name that is far too long to stand beside a bar"], np.array([0.5, -2.0]),
         ["#0072B2", "#E69F00"])  # fmt: skip
    (container,) = axes.containers
    assert isinstance(container, BarContainer)
    assert [bar.get_width() for bar in container] == [0.5, -2.0]
    assert [to_hex(bar.get_facecolor()) for bar in container] == ["#0072b2", "#e69f00"]
    assert axes.yaxis_inverted()
    one, other = (label.get_text() for label in axes.get_yticklabels())
    assert one == "one"
    assert other.endswith("…")
    assert [text.get_text() for text in axes.texts] == ["0.50", "-2.00"]
    low, high = axes.get_xlim()
    assert low < -2.0
    assert high > 0.5
    assert figure.axes == [axes]


def test_nothing_below_zero_is_shown_as_minus_zero() -> None:
    _, (axes,) = panels(1, 1, (4, 3))
    bars(axes, ["a"], np.array([-0.001]), ["#000000"])
    assert [text.get_text() for text in axes.texts] == ["0.00"]


def test_each_class_has_its_points_colour_and_shape() -> None:
    _, (axes,) = panels(1, 1, (4, 3))
    at = np.array([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]])
    scatter(axes, at, np.array([1, 0, 1]), ["road", "rail"])
    road, rail = axes.collections
    assert np.asarray(road.get_offsets()).tolist() == [[2, 3]]
    assert np.asarray(rail.get_offsets()).tolist() == [[0, 1], [4, 5]]
    assert [each.get_label() for each in (road, rail)] == ["road", "rail"]
    assert to_hex(np.asarray(road.get_facecolor())[0]) == CLASSES[0].lower()


def test_densities_are_plotted_of_classes_with_enough_points() -> None:
    rng = np.random.default_rng(0)
    at = np.concatenate([rng.normal(0, 1, (50, 2)), rng.normal(9, 1, (3, 2))])
    label = np.repeat([0, 1], [50, 3])
    _, (axes,) = panels(1, 1, (4, 3))
    densities(axes, at, label, 2)
    lines, _ = axes.collections  # of the first class alone: lines, and the ground within
    assert to_hex(np.asarray(lines.get_edgecolor())[0]) == CLASSES[0].lower()
    shares = [path.contains_points(at[:50]).mean() for path in lines.get_paths()]
    assert shares == pytest.approx([0.9, 0.5], abs=0.12)


@pytest.mark.parametrize("spread", [(1, 1), (0.2, 3), (5, 0.01)])
def test_no_line_of_a_density_is_clipped(spread: tuple[float, float]) -> None:
    rng = np.random.default_rng(1)
    at = rng.normal(0, spread, (40, 2))
    _, (axes,) = panels(1, 1, (4, 3))
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


def test_curves_share_one_axis_with_a_tick_for_each_x() -> None:
    figure = curves({"a": {1: 0.5, 10: 0.7}, "b": {10: 0.4, 100: 0.6}}, "labels", "F1")
    (axes,) = figure.axes
    assert axes.get_xscale() == "log"
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "10", "100"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("labels", "F1")
    assert [np.asarray(line.get_ydata()).tolist() for line in axes.lines] == [
        [0.5, 0.7],
        [0.4, 0.6],
    ]


class TestSheets:
    def test_a_picture_is_plotted_for_each_cell_and_a_gap_for_none(self) -> None:
        figure = sheet(strips(Row("row", [Cell(PICTURE, "one"), Cell(None, "two")])))
        shown, gap = figure.axes
        assert len(shown.images) == 1
        assert not gap.images
        assert not gap.axison
        assert {"row", "one", "two"} <= set(texts(figure))

    def test_rows_lie_below_each_other(self) -> None:
        figure = sheet(strips(Row("", [Cell(PICTURE)]), Row("", [Cell(PICTURE)] * 2)))
        tops = [axes.get_position().y1 for axes in figure.axes]
        assert tops[0] > tops[1] == pytest.approx(tops[2])
        left = [axes.get_position().x0 for axes in figure.axes]
        assert left[0] == pytest.approx(left[1])
        assert left[1] < left[2]

    def test_more_text_makes_a_higher_figure(self) -> None:
        lines = ["word " * LETTERS]
        short, long = (sheet(strips(Row("", [Cell(PICTURE, "", said)]))) for said in ((), lines))
        assert long.get_size_inches()[1] > short.get_size_inches()[1] + 0.5

    def test_a_frame_is_heavy_where_there_is_one(self) -> None:
        framed, plain = sheet(strips(Row("", [Cell(PICTURE, frame="#D55E00"), Cell(PICTURE)]))).axes
        assert to_hex(framed.spines["left"].get_edgecolor()) == "#d55e00"
        assert framed.spines["left"].get_linewidth() > plain.spines["left"].get_linewidth()
        assert to_hex(plain.spines["left"].get_edgecolor()) == FAINT

    def test_pictures_that_are_no_tiles_have_no_scale(self) -> None:
        row = Row("", [Cell(PICTURE)])
        assert any("tiles are" in text for text in texts(sheet(strips(row))))
        assert not any("tiles are" in text for text in texts(sheet(strips(row, side_m=0))))

    def test_a_sheet_is_a_figure_and_a_page(self) -> None:
        shown = Sheet(strips(Row("row", [Cell(PICTURE, "heading")])))
        assert "heading" in shown.page()
        assert "heading" in texts(shown.figure())
