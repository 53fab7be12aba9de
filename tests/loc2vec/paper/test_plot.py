"""Figures on paper: their text, sizes, scales and files, seen in artists and in pixels."""

import io
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from PIL import Image

from loc2vec.paper.colours import CLASSES
from loc2vec.paper.plot import (
    COLOURS,
    DPI,
    FAINT,
    INK,
    _round,
    axes_in,
    block,
    lead_lines,
    map_panel,
    new_figure,
    panels,
    png_of,
    printable,
    save,
    show_tile,
    svg_of,
    tile_scale,
)
from tiling.geo.geodesy import ground_distance_m
from tiling.values import ATTRIBUTION, Box


def pixels(figure: Figure, dpi: float = 100) -> NDArray[np.int64]:
    picture = Image.open(io.BytesIO(png_of(figure, dpi))).convert("RGB")
    return np.asarray(picture).astype(np.int64)


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.texts]


class Plain:
    """What can be shown, with a page of its own."""

    def __init__(self, figure: Figure, page: str) -> None:
        self._figure, self._page = figure, page

    def figure(self) -> Figure:
        return self._figure

    def page(self) -> str:
        if not self._page:
            raise RuntimeError("no page")
        return self._page


def test_a_png_has_so_many_pixels_an_inch_and_few_colours() -> None:
    figure = new_figure(3, 2, "Title")
    noise = np.random.default_rng(0).integers(0, 256, (90, 90, 3)).astype(np.uint8)
    show_tile(axes_in(figure, 1, 0.6, 1, 1), noise)
    picture = Image.open(io.BytesIO(png_of(figure)))
    assert picture.size == (3 * DPI, 2 * DPI)
    assert picture.mode == "P"
    assert Image.open(io.BytesIO(png_of(figure, 50))).size == (150, 100)
    colours = picture.convert("RGB").getcolors(picture.width * picture.height)
    assert colours is not None
    assert 64 < len(colours) <= COLOURS
    assert picture.info["Copyright"] == ATTRIBUTION


def test_few_colours_keep_those_of_text_and_of_classes() -> None:
    """A picture of many colours takes none of the palette that text and classes need."""
    figure = new_figure(6, 4, "A title in ink")
    noise = np.random.default_rng(0).integers(0, 256, (300, 500, 3), np.uint8)
    axes_in(figure, 0.2, 1, 5, 2.4).imshow(noise)
    for number, colour in enumerate(CLASSES):
        block(figure, (0.2 + number / 4, 0.2), (0.2, 0.2), colour)
    picture = Image.open(io.BytesIO(png_of(figure))).convert("RGB")
    seen = {colour for _, colour in picture.getcolors(COLOURS) or ()}
    for colour in (*CLASSES, INK, FAINT):
        assert tuple(bytes.fromhex(colour[1:])) in seen, colour


def test_the_same_figure_is_the_same_file() -> None:
    one, other = (new_figure(3, 2, "Title", "lead") for _ in range(2))
    assert png_of(one) == png_of(one) == png_of(other)
    assert svg_of(one).startswith("<svg")
    assert svg_of(one).count("<path") == svg_of(other).count("<path") > 0
    assert "dc:date" not in svg_of(one)


def test_an_svg_is_an_element_whose_letters_are_text() -> None:
    text = svg_of(new_figure(3, 2, "Rue <Basse> & Port"))
    element = ElementTree.fromstring(text)  # noqa: S314  # our own
    assert element.tag.endswith("svg")
    words = ["".join(part.itertext()) for part in element.iter() if part.tag.endswith("}text")]
    assert "Rue <Basse> & Port" in words
    assert ATTRIBUTION in words


def test_a_figure_has_its_title_its_lead_and_the_attribution() -> None:
    lead = "A sentence that is told in several lines. " * 6
    figure = new_figure(5, 3, "交大路, Hsinchu TW", lead)
    title, said, attribution = figure.texts
    assert title.get_text() == "Hsinchu TW"
    assert " ".join(said.get_text().split("\n")) == lead.strip()
    assert attribution.get_text() == ATTRIBUTION
    assert title.get_position()[1] > said.get_position()[1] > attribution.get_position()[1]
    assert tuple(figure.get_size_inches()) == (5, 3)


def test_letters_that_the_font_lacks_are_left_out_of_a_name() -> None:
    assert printable("Rue Grimaldi, Monaco") == "Rue Grimaldi, Monaco"
    assert printable("交大路") == "?"
    assert printable("") == ""
    assert printable("Ströget, 交大路, København") == "Ströget, København"


@pytest.mark.parametrize("width_in", [3.0, 4.0, 6.6, 8.0, 9.6])
def test_the_lead_fits_into_its_figure(width_in: float) -> None:
    lead = "Widest mmmmm, words WWW and others, of several lengths; all of it in lines. " * 4
    figure = new_figure(width_in, 4, "T", lead)
    figure.draw_without_rendering()
    extent = figure.texts[1].get_window_extent()
    assert extent.x1 < width_in * figure.dpi
    assert len(lead_lines(lead, width_in)) == len(figure.texts[1].get_text().split("\n"))
    lines = lead_lines(lead, width_in)
    assert len(lines) > 1
    assert max(map(len, lines)) <= 13.2 * width_in
    assert " ".join(lines) == lead.strip()
    assert lead_lines("", width_in) == []


def test_axes_lie_at_inches_from_the_upper_left_corner() -> None:
    figure = new_figure(4, 3, "")
    axes = axes_in(figure, 1.0, 0.5, 2.0, 1.0)
    show_tile(axes, np.full((8, 16, 3), (250, 0, 0), np.uint8))
    red = (np.abs(pixels(figure) - (250, 0, 0)) < 30).all(2)
    y, x = np.nonzero(red)
    assert [x.min(), x.max(), y.min(), y.max()] == pytest.approx([100, 300, 50, 150], abs=3)


def test_a_block_lies_at_inches_from_the_lower_left_corner() -> None:
    figure = new_figure(4, 3, "")
    block(figure, (0.5, 1.0), (1.5, 0.25), "#0000ff")
    y, x = np.nonzero((pixels(figure) == (0, 0, 255)).all(2))
    assert [x.min(), x.max() + 1] == pytest.approx([50, 200], abs=1)
    assert [y.min(), y.max() + 1] == pytest.approx([300 - 125, 300 - 100], abs=1)


@pytest.mark.parametrize(("count", "columns", "rows"), [(1, 1, 1), (4, 2, 2), (5, 3, 2), (7, 3, 3)])
def test_panels_fill_rows_of_so_many_columns(count: int, columns: int, rows: int) -> None:
    figure, axes = panels(count, columns, (2.0, 1.5))
    assert len(axes) == len(figure.axes) == count
    assert tuple(figure.get_size_inches()) == (2.0 * columns, 1.5 * rows)
    figure.draw_without_rendering()
    corners = [(each.get_position().x0, each.get_position().y0) for each in axes]
    assert len({round(y, 2) for _, y in corners}) == rows
    assert [y for _, y in corners] == sorted((y for _, y in corners), reverse=True)


def test_a_tile_has_a_frame_and_no_ticks() -> None:
    axes = axes_in(new_figure(3, 3, ""), 0, 0, 2, 2)
    show_tile(axes, np.zeros((4, 4, 3), np.uint8), "#D55E00", 3)
    assert not len(axes.get_xticks())
    assert not len(axes.get_yticks())
    for spine in axes.spines.values():
        assert spine.get_visible()
        assert to_hex(spine.get_edgecolor()) == "#d55e00"
        assert spine.get_linewidth() == 3


def test_the_scale_of_tiles_is_a_quarter_of_a_side() -> None:
    figure = new_figure(4, 3, "")
    tile_scale(figure, 200.0, 0.5, 0.2, 1.2)
    bar = next(artist for artist in figure.get_children() if isinstance(artist, Rectangle)
               and to_hex(artist.get_facecolor()) == INK)  # fmt: skip
    assert bar.get_width() * 4 == pytest.approx(1.2 / 4)  # inches
    assert bar.get_x() * 4 == pytest.approx(0.5)
    assert bar.get_y() * 3 == pytest.approx(0.2)
    assert texts(figure)[-1] == "50 m    tiles are 200 m × 200 m, north ↑"


@pytest.mark.parametrize(
    ("metres", "expected"),
    [(1, 1), (1.9, 1), (2, 2), (4.99, 2), (5, 5), (99, 50), (100, 100), (2300, 2000)],
)
def test_a_scale_is_a_round_length_that_fits(metres: float, expected: float) -> None:
    assert _round(metres) == pytest.approx(expected)


@pytest.mark.parametrize("lat", [0.0, 43.7, -60.0])
@pytest.mark.parametrize("degrees", [0.004, 0.02, 0.31, 3.0])
def test_the_bar_of_a_map_is_as_long_as_it_says(lat: float, degrees: float) -> None:
    box = Box(7.0, lat - 0.01, 7.0 + degrees, lat + 0.01)
    axes = axes_in(new_figure(5, 4, ""), 0.2, 0.2, 4, 3)
    map_panel(axes, np.full((300, 400, 3), 255, np.uint8), box)
    bar = next(
        patch
        for patch in axes.patches
        if isinstance(patch, Rectangle) and to_hex(patch.get_facecolor()) == INK
    )
    said, north = (text.get_text() for text in axes.texts if text.get_text())
    assert north == "N"
    number, unit = said.split()
    metres = float(number) * {"m": 1, "km": 1000}[unit]
    width = float(ground_distance_m(lat, box.west, lat, box.east))
    assert bar.get_width() * width == pytest.approx(metres, rel=0.01)
    seen = bar.get_extents().width / axes.bbox.width
    assert seen == pytest.approx(bar.get_width(), rel=0.01)
    assert axes.figure.axes == [axes]
    assert 0.07 < bar.get_width() <= 0.2001
    assert f"{metres:.0e}"[0] in "125"


def test_a_figure_and_its_page_are_saved_beside_each_other(tmp_path: Path) -> None:
    shown = Plain(new_figure(2, 2, "T"), "<html>Höhe</html>")
    png, html = save(shown, tmp_path / "a.b")
    assert (png, html) == (tmp_path / "a.b.png", tmp_path / "a.b.html")
    assert html.read_text(encoding="utf-8") == "<html>Höhe</html>"
    assert png.read_bytes() == png_of(shown.figure())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.b.html", "a.b.png"]


def test_what_cannot_be_shown_leaves_no_half_of_a_file(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="no page"):
        save(Plain(new_figure(2, 2, "T"), ""), tmp_path / "broken")
    assert [path.name for path in tmp_path.iterdir()] == ["broken.png"]
    with Image.open(tmp_path / "broken.png") as picture:
        assert picture.size == (2 * DPI, 2 * DPI)
