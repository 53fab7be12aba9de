"""Strips of tiles on paper and on a page: what is shown where, and of which size."""

import io
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from loc2vec.paper.plot import FAINT, new_figure, png_of
from loc2vec.paper.sheet import LEAST_IN, LETTERS, TILE_IN, Sheet, kind_row, sheet
from loc2vec.paper.strips import Cell, Row, Strips, View
from tiling.catalogue.catalogue import load_catalogue
from tiling.values import N_CHANNELS, LonLat

PALETTE = load_catalogue().palette
RED = np.full((16, 16, 3), (255, 0, 0), np.uint8)


def view(name: str = "Rue Basse", channel: int = 2) -> View:
    tile = np.zeros((N_CHANNELS, 16, 16), np.uint8)
    tile[channel, :8] = 255
    return View(LonLat(7.4, 43.7), name, tile, PALETTE)


def strips(*rows: Row, side_m: float = 200.0) -> Strips:
    return Strips("Title", "What is seen.", rows, side_m, tuple("abcdefghijkl"))


def words(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.texts]


class Page(HTMLParser):
    """The titles, captions, buttons and pictures of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.pictures: list[str] = []
        self.buttons: list[dict[str, str | None]] = []
        self.text: dict[str, list[str]] = {}
        self._open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "button" and "data-place" in values:
            self.buttons.append(values)
        if tag == "img":
            self.pictures.append(values["src"] or "")
        if tag not in {"img", "br", "meta", "input"}:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if data.strip() and self._open:
            self.text.setdefault(self._open[-1], []).append(data.strip())


def test_a_view_knows_its_picture_and_where_it_is() -> None:
    seen = view()
    assert seen.where == "43.70000,7.40000"
    assert seen.picture.shape == (16, 16, 3)
    assert not np.array_equal(seen.picture[0, 0], seen.picture[15, 15])
    assert np.array_equal(seen.picture, PALETTE.composite(seen.tile))


def test_a_cell_of_a_place_says_its_name_first() -> None:
    seen = view()
    cell = Cell.of(seen, "25%", ["d 0.50"], frame="#D55E00")
    assert (cell.heading, cell.lines) == ("25%", ["Rue Basse", "d 0.50"])
    assert (cell.frame, cell.place) == ("#D55E00", "43.70000,7.40000")
    assert cell.tile is seen.tile
    assert cell.picture is not None
    assert np.array_equal(cell.picture, seen.picture)


@pytest.mark.parametrize("columns", [1, 4, 5, 8])
def test_a_figure_is_as_wide_as_its_longest_row(columns: int) -> None:
    figure = sheet(strips(Row("", [Cell(RED)] * columns), Row("", [Cell(RED)])))
    width, _ = figure.get_size_inches()
    assert width == pytest.approx(max(LEAST_IN, columns * TILE_IN + (columns - 1) * 0.14 + 0.3))
    assert len(figure.axes) == columns + 1
    for axes in figure.axes:
        place = axes.get_position()
        assert place.width * width == pytest.approx(TILE_IN)
        assert place.x0 > 0
        assert place.x1 < 1


def test_rows_lie_below_each_other() -> None:
    figure = sheet(strips(Row("one", [Cell(RED)]), Row("two", [Cell(RED)] * 2)))
    tops = [axes.get_position().y1 for axes in figure.axes]
    assert tops[0] > tops[1] == pytest.approx(tops[2])
    left = [axes.get_position().x0 for axes in figure.axes]
    assert left[0] == pytest.approx(left[1])
    assert left[1] < left[2]
    assert {"one", "two"} <= set(words(figure))


def test_more_text_makes_a_higher_figure() -> None:
    lines = ["word " * LETTERS]
    short, long = (sheet(strips(Row("", [Cell(RED, "", said)]))) for said in ((), lines))
    assert long.get_size_inches()[1] > short.get_size_inches()[1] + 0.5


def test_text_lies_under_its_tile_and_above_the_next_row() -> None:
    lines = ["a name of several words that is wrapped", "d 0.50"]
    figure = sheet(strips(*[Row("row", [Cell(RED, "head", lines)])] * 3))
    bottoms = [axes.get_position().y0 for axes in figure.axes]
    tops = [axes.get_position().y1 for axes in figure.axes]
    assert bottoms == sorted(bottoms, reverse=True)
    headings = [text.get_position()[1] for text in figure.texts if text.get_text() == "head"]
    last = [text.get_position()[1] for text in figure.texts if text.get_text() == "d 0.50"]
    titles = [text.get_position()[1] for text in figure.texts if text.get_text() == "row"]
    for row in range(3):
        assert titles[row] > tops[row] > bottoms[row] > headings[row] > last[row]
    assert last[0] > titles[1]
    assert last[1] > titles[2]
    assert last[2] > 0.05, "room for the scale"
    assert "a name of several" in words(figure)


def test_no_text_lies_on_another() -> None:
    long = Cell(RED, "head", ["Boulevard de la République", "Monaco MC", "d 0.50"])
    figure = sheet(strips(Row("first", [long] * 5), Row("second", [long] * 3)))
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in figure.texts if text.get_text()]
    for number, one in enumerate(boxes):
        for other in boxes[number + 1 :]:
            assert (
                min(one.x1, other.x1) - max(one.x0, other.x0) < 1
                or min(one.y1, other.y1) - max(one.y0, other.y0) < 2
            )


def test_a_gap_has_no_picture_and_a_frame_is_heavy() -> None:
    figure = sheet(strips(Row("", [Cell(None, "gap"), Cell(RED, frame="#00AA00"), Cell(RED)])))
    gap, framed, plain = figure.axes
    assert "gap" in words(figure)
    assert len(framed.images) == 1
    assert not gap.images
    assert not gap.axison
    assert to_hex(framed.spines["left"].get_edgecolor()) == "#00aa00"
    assert to_hex(plain.spines["left"].get_edgecolor()) == FAINT
    assert framed.spines["left"].get_linewidth() > 2 * plain.spines["left"].get_linewidth()
    assert np.array_equal(np.asarray(plain.images[0].get_array()), RED)


def test_only_tiles_have_a_scale() -> None:
    rows = [Row("", [Cell(RED)])]
    assert any("200 m × 200 m" in text for text in words(sheet(strips(*rows))))
    assert not any(" m × " in text for text in words(sheet(strips(*rows, side_m=0.0))))


def test_a_long_lead_makes_room_for_itself() -> None:
    short = strips(Row("", [Cell(RED)]))
    long = replace(short, lead="Many words are told here of what is seen below. " * 8)
    low, high = sheet(short), sheet(long)
    assert high.get_size_inches()[1] > low.get_size_inches()[1] + 0.4
    high.draw_without_rendering()
    lead = high.texts[1].get_window_extent()
    assert lead.y0 > high.axes[0].get_window_extent().y1


def test_a_page_of_strips_has_every_tile_with_its_text() -> None:
    cells = [Cell.of(view("Café <b> & Bar"), "A"), Cell(None, "gap"), Cell(RED, "B", ["plain"])]
    shown = Sheet(strips(Row("Row & Co", cells), Row("", [Cell.of(view("交大路"))])))
    assert "gap" in words(shown.figure())
    page = Page(shown.page())
    assert page.text["h1"] == ["Title"]
    assert page.text["h2"] == ["Row & Co"]
    assert page.text["b"] == ["A", "gap", "B"]
    captions = page.text["figcaption"]
    assert "Café <b> & Bar" in captions
    assert "交大路" in captions
    assert len(page.pictures) == 3, "a gap has none"
    assert [button["data-place"] for button in page.buttons] == [
        "43.70000,7.40000",
        "",
        "43.70000,7.40000",
    ]
    assert ["data-channels" in button for button in page.buttons] == [True, False, True]


def seen_colours(figure: Figure) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(png_of(figure, 100))).convert("RGB"))


def test_a_kind_has_its_bar_its_tiles_its_share_and_its_name() -> None:
    figure = new_figure(9, 3, "")
    said = ("37%", "shop=bakery ×3.0; amenity=cafe ×2.0")
    kind_row(figure, (0.5, 1.0), [RED, RED, RED], "#0072B2", said)
    assert len(figure.axes) == 3
    share, name = words(figure)[-2:]
    assert share == "37%"
    assert name.split("\n") == ["shop=bakery ×3.0", "amenity=cafe ×2.0"]
    picture = seen_colours(figure)
    y, x = np.nonzero((np.abs(picture.astype(int) - (0, 0x72, 0xB2)) < 4).all(2))
    assert [x.min(), x.max() + 1, y.min(), y.max() + 1] == pytest.approx([50, 60, 100, 205], abs=1)
    left = [axes.get_position().x0 * 9 for axes in figure.axes]
    assert left == pytest.approx([0.66, 1.79, 2.92])
    assert figure.texts[-1].get_position()[0] * 9 > left[-1] + 1.05
