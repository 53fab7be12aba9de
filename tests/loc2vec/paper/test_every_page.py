"""Every page that a command writes, in a browser, by what is seen: large and small, light, dark."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from playwright.sync_api import Browser, Page

from loc2vec.encoders.registry import build
from loc2vec.evaluation.measure import measure
from loc2vec.evaluation.report.page import page as evaluation_page
from loc2vec.evaluation.report.table import LARGE, as_values
from loc2vec.evaluation.tasks.task import Task
from loc2vec.explore.arithmetic import arithmetic
from loc2vec.explore.clusters import kinds_of
from loc2vec.explore.equal_histograms import equal_histograms
from loc2vec.explore.filters import excite
from loc2vec.explore.interpolate import interpolate
from loc2vec.explore.lda import discriminate
from loc2vec.explore.map import town
from loc2vec.explore.pca_tsne import pca, tsne
from loc2vec.explore.saliency import saliency
from loc2vec.explore.walk import random_walks
from loc2vec.explore.why import compare
from tests.browser import count_colours, launched, pixels, watched
from tests.loc2vec.evaluation.test_measure import make, telling
from tests.loc2vec.explore.explored import CHANNELS, SIDE, SOUTH, STEP_DEG, WEST, make_space
from tiling.values import LonLat

pytestmark = pytest.mark.untraced  # the browser's driver

CORNER, MIDDLE = LonLat(WEST, SOUTH), LonLat(WEST + 6 * STEP_DEG, SOUTH + 6 * STEP_DEG)
DESKTOP, PHONE = (1300, 900), (360, 640)


def classes() -> Task:
    known = make_space().vectors
    third = np.minimum((known.lon - WEST) // (4 * STEP_DEG), 2).astype(np.int64)
    zeros = np.zeros(SIDE * SIDE, np.int64)
    return Task("third", "third", known.lat, known.lon, third, ("a", "b", "c"), zeros, ("town",))


def filters() -> str:
    torch.manual_seed(0)
    return excite(build("loc2vec").eval(), "features.0", CHANNELS, count=4, steps=2).page()


def evaluation() -> str:
    task = make(towns=8)
    outcome = measure(task, {"model": telling(task), LARGE: telling(task, 2.0)}, 1)
    return evaluation_page([outcome], as_values([outcome], {"model": "model"}), "model")


PAGES: dict[str, Callable[[], str]] = {
    "arithmetic": lambda: arithmetic(make_space(), "50.016,8.004 - 50.010,8.002").page(),
    "clusters": lambda: kinds_of(make_space(), "Town", 3).page(),
    "equal-histograms": lambda: equal_histograms(make_space(), 3, tolerance=0.02).page(),
    "evaluation": evaluation,
    "filters": filters,
    "interpolate": lambda: interpolate(make_space(), CORNER, MIDDLE).page(),
    "lda": lambda: discriminate(make_space(), classes()).page(),
    "map": lambda: town(make_space(), "Town").page(),
    "pca": lambda: pca(make_space(), 40).page(),
    "saliency": lambda: saliency(make_space(), MIDDLE).page(),
    "tsne": lambda: tsne(make_space(), 40, 5).page(),
    "walk": lambda: random_walks(make_space(), CORNER, apart_m=900).page(),
    "why": lambda: compare(make_space(), CORNER, MIDDLE).page(),
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as browser:
        yield browser


# Waits for what a busy machine decodes late; a broken picture is left to the test.
DECODED = "Promise.all([...document.images].map(one => one.decode().catch(() => 0)))"


@pytest.fixture(scope="module")
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pages") / f"{request.param}.html"
    path.write_text(PAGES[request.param](), encoding="utf-8")
    return path


@pytest.fixture
def dark(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def opened(browser: Browser, written: Path, size: tuple[int, int], dark: bool) -> Iterator[Page]:
    page = browser.new_page(
        viewport={"width": size[0], "height": size[1]},
        color_scheme="dark" if dark else "light",
        reduced_motion="reduce",
    )
    wrong = watched(page)
    page.goto(written.as_uri())
    page.wait_for_function("() => [...document.images].every(image => image.complete)")
    page.evaluate(DECODED)
    page.wait_for_function(
        "() => [...document.querySelectorAll('.points')].every(stage => stage.dataset.drawn)"
    )
    yield page
    page.close()
    assert wrong == []


@pytest.mark.parametrize("written", PAGES, indirect=True)
@pytest.mark.parametrize(
    ("size", "dark"), [(DESKTOP, False), (PHONE, True)], indirect=["dark"], ids=["desktop", "phone"]
)
def test_a_page_shows_its_pictures_and_no_more_than_fits(opened: Page, dark: bool) -> None:
    fits = "document.documentElement.scrollWidth <= innerWidth"
    assert opened.evaluate(fits), "it scrolls sideways"
    broken = "all => all.filter(one => !one.naturalWidth).length"
    assert opened.locator("img").evaluate_all(broken) == 0
    seen = pixels(opened)
    assert (seen[4, 4].mean() < 60) == dark, "the colour of the paper"
    assert count_colours(seen) > 30
    for canvas in opened.locator("canvas").all():
        drawn = pixels(canvas)
        assert count_colours(drawn) > 30
        assert (drawn != seen[4, 4]).any(2).mean() > 0.002
    for picture in opened.locator("svg, figure img").all():
        if picture.is_visible():
            assert count_colours(pixels(picture)) > 1


@pytest.mark.parametrize("written", ["saliency", "why"], indirect=True)
@pytest.mark.parametrize(("size", "dark"), [(DESKTOP, False)], indirect=["dark"])
def test_of_several_layers_one_is_seen(opened: Page) -> None:
    """Each choice changes what lies over the tile, and without strength the tile is bare."""
    stage = opened.locator(".layers .stage")
    strength = opened.locator(".layers [type=range]")
    choices = opened.locator(".layers [type=radio]")
    strength.fill("0")
    bare = pixels(stage)
    strength.fill("100")
    shown = []
    for number in range(choices.count()):
        choices.nth(number).check()
        visible = stage.locator("img.over").evaluate_all(
            "all => all.filter(one => getComputedStyle(one).display !== 'none').length"
        )
        assert visible == 1
        shown.append(pixels(stage))
    assert any((one != bare).any() for one in shown)
    assert len({one.tobytes() for one in shown}) >= 3
    choices.nth(0).check()
    assert np.array_equal(pixels(stage), shown[0]), "the others leave nothing behind"
