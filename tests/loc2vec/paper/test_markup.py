"""Names and labels that are markup or formulas stay text on every page and in every plot."""

from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from loc2vec.evaluation.measure import measure
from loc2vec.evaluation.report.page import page as evaluation_page
from loc2vec.evaluation.report.table import LARGE, as_values
from loc2vec.explore.clusters import kinds_of
from loc2vec.explore.map import town
from loc2vec.explore.pca_tsne import pca
from loc2vec.explore.space import Space
from loc2vec.explore.walk import random_walks
from loc2vec.paper.plot import panels, png_of, styled, svg_of
from tests.loc2vec.evaluation.test_measure import make, telling
from tests.loc2vec.explore.explored import SOUTH, WEST, make_space
from tiling.values import LonLat

HOSTILE = "</script></style><x-ss onload='y'>\"&$\\frac{$ {{ 7 * 7 }}"


class Elements(HTMLParser):
    """The elements and attributes of a page, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


def evaluation() -> str:
    classes = (HOSTILE, HOSTILE + "2", "c")
    task = replace(make(towns=8, classes=classes), about=HOSTILE)
    outcome = measure(task, {"model": telling(task), LARGE: telling(task, 2.0)}, 1)
    return evaluation_page([outcome], as_values([outcome], {"model": HOSTILE}), "model")


def space() -> Space:
    return replace(make_space(), title=HOSTILE, name=lambda _: HOSTILE, channels=(HOSTILE,) * 12)


PAGES = {
    "evaluation": evaluation,
    "clusters": lambda: kinds_of(space(), HOSTILE, 3).page(),
    "map": lambda: town(space(), HOSTILE).page(),
    "pca": lambda: pca(space(), 40).page(),
    "walk": lambda: random_walks(space(), LonLat(WEST, SOUTH), apart_m=900).page(),
}


@pytest.mark.parametrize("name", PAGES)
def test_names_stay_text(name: str) -> None:
    page = Elements(PAGES[name]())
    assert "x-ss" not in page.names
    assert not {each for each in page.attributes if each.startswith("on")}
    assert "x-ss" in page.text or name in ("pca", "walk")
    assert "49" not in page.text.partition("x-ss")[2][:60]


@styled()
def test_a_plot_takes_no_name_for_a_formula() -> None:
    figure, (axes,) = panels(1, 1, (4.4, 3.4))
    axes.bar(np.arange(2), [1, 2], label=HOSTILE)
    axes.set_xticks([0, 1], [HOSTILE, "$5 to $10"])
    axes.legend()
    plot = Elements(svg_of(figure))
    assert "x-ss" not in plot.names
    assert "$5 to $10" in plot.text


def test_a_figure_takes_no_name_for_a_formula() -> None:
    assert png_of(town(space(), HOSTILE).figure())
