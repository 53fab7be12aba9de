"""The one base of all pages: attribution, both colour schemes, and nothing from elsewhere."""

import base64
import io
import re

import jinja2
import numpy as np
import pytest
from PIL import Image

from loc2vec.paper.page import page
from loc2vec.paper.strips import Cell, Row
from loc2vec.paper.template import data_url, exact_data_url, fill

PICTURE = np.arange(16 * 16 * 3, dtype=np.uint8).reshape(16, 16, 3)
STRIPS = [Row("a row", [Cell(PICTURE, "heading", ["<line>"])])]


def decoded(url: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))


def test_a_page_has_the_attribution_and_both_colour_schemes() -> None:
    text = page("A title", "its lead", [STRIPS], ["channel 0"])
    assert text.startswith("<!doctype html>")
    assert "<footer>Map data (c) OpenStreetMap contributors" in text
    assert "color-scheme: light dark" in text
    assert "prefers-color-scheme: dark" in text


def test_the_three_pages_share_their_style_sheet() -> None:
    pages = [
        page("A title", "its lead", [STRIPS], ["channel 0"]),
        fill("evaluation.html.j2", method="model", tables=[], sections=[]),
    ]
    base = [text.partition("<style>")[2].partition(".line1")[0] for text in pages]
    assert base[0] == base[1] != ""
    assert "[hidden] { display: none !important; }" in base[0]


def test_what_people_wrote_is_escaped() -> None:
    text = page("<b>", "its & lead", [STRIPS], ["</script>"])
    assert "<h1>&lt;b&gt;</h1>" in text
    assert "its &amp; lead" in text
    assert "&lt;line&gt;" in text
    assert text.count("</script>") == 1


def test_a_value_that_is_missing_is_an_error() -> None:
    with pytest.raises(jinja2.UndefinedError, match="'method' is undefined"):
        fill("evaluation.html.j2", tables=[], sections=[])


def test_pictures_of_a_page_are_data() -> None:
    text = page("A title", "", [STRIPS], ["channel 0"])
    assert re.findall(r'src="([^,"]*)', text) == ["data:image/webp;base64"]
    assert np.array_equal(np.asarray(decoded(exact_data_url(PICTURE))), PICTURE)
    lossy = decoded(data_url(PICTURE))
    assert (lossy.format, lossy.size) == ("WEBP", (16, 16))
