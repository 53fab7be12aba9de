"""The pages of figures in a real browser: they plot, follow the mouse, and request nothing."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from loc2vec.explore.map import town
from loc2vec.explore.pca_tsne import pca
from loc2vec.explore.walk import random_walks
from loc2vec.explore.why import compare
from loc2vec.paper.overlays import only_channel
from loc2vec.paper.plot import Shown, save
from tests.browser import launched, pixels, watched
from tests.loc2vec.explore.explored import SOUTH, STEP_DEG, WEST, make_space
from tiling.catalogue.catalogue import load_catalogue
from tiling.values import LonLat

CORNER, OTHER = LonLat(WEST, SOUTH), LonLat(WEST + 8 * STEP_DEG, SOUTH + 8 * STEP_DEG)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as browser:
        yield browser


@pytest.fixture
def opened(browser: Browser) -> Iterator[Page]:
    """A page that fails on errors, and on requests for more than the file and data in it."""
    page = browser.new_page(viewport={"width": 1000, "height": 800}, reduced_motion="reduce")
    wrong = watched(page)
    yield page
    page.close()
    assert wrong == []


def show(page: Page, shown: Shown, folder: Path) -> None:
    _, html = save(shown, folder / "figure")
    page.goto(html.as_uri())


def colours(page: Page) -> int:
    """Count the colours on the canvas."""
    return int(page.evaluate(
        "() => { const c = document.querySelector('canvas');"
        " const all = c.getContext('2d').getImageData(0, 0, c.width, c.height);"
        " return new Set(new Uint32Array(all.data.buffer)).size; }"
    ))  # fmt: skip


def picture_of(page: Page, size: tuple[int, int]) -> NDArray[np.float64]:
    """Return the mean colour of what is seen of the layers, without their frame."""
    shot = Image.fromarray(pixels(page.locator(".layers .stage")))
    inside = shot.crop((2, 2, shot.width - 2, shot.height - 2)).resize(size)
    mean: NDArray[np.float64] = np.asarray(inside, np.float64).mean((0, 1))
    return mean


def test_a_cloud_turns_and_a_tile_is_shown_under_the_mouse(opened: Page, tmp_path: Path) -> None:
    show(opened, pca(make_space(), count=40), tmp_path)
    expect(opened.locator(".stage")).to_have_attribute("data-drawn", "40")
    assert colours(opened) > 100
    before = opened.locator("canvas").screenshot()
    box = opened.locator("canvas").bounding_box()
    assert box is not None
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    opened.mouse.move(*middle)
    opened.mouse.down()
    opened.mouse.move(middle[0] + 120, middle[1], steps=3)
    opened.mouse.up()
    assert opened.locator("canvas").screenshot() != before
    for x in range(0, int(box["width"]), 12):
        opened.mouse.move(box["x"] + x, middle[1])
        if opened.locator(".tip").is_visible():
            break
    expect(opened.locator(".tip b")).to_contain_text("Place 50.")


def test_a_map_shows_the_tile_of_the_place_under_the_mouse(opened: Page, tmp_path: Path) -> None:
    show(opened, town(make_space(), "Known Town"), tmp_path)
    expect(opened.locator(".stage")).to_have_attribute("data-drawn", "144")
    opened.locator("canvas").hover()
    expect(opened.locator(".tip")).to_be_visible()
    expect(opened.locator("figure")).to_have_count(6)


def test_a_tile_of_a_walk_opens_into_its_channels(opened: Page, tmp_path: Path) -> None:
    show(opened, random_walks(make_space(), CORNER, steps=2, k=3, apart_m=250, walks=1), tmp_path)
    opened.locator("figure button").first.click()
    expect(opened.locator("dialog .all small")).to_have_count(12)
    there = "https://www.openstreetmap.org/?mlat=50.00000&mlon=8.00000#map=17/50.00000/8.00000"
    expect(opened.locator("dialog a")).to_have_attribute("href", there)
    opened.get_by_role("button", name="close").click()
    expect(opened.locator("dialog")).to_be_hidden()


def test_one_channel_at_a_time_is_laid_over_the_tiles(opened: Page, tmp_path: Path) -> None:
    show(opened, compare(make_space(), CORNER, OTHER), tmp_path)
    shown = opened.locator(".over:not([hidden])")
    expect(shown).to_have_count(1)
    first = shown.get_attribute("src")
    opened.get_by_label("channel 7").check()
    expect(shown).to_have_count(1)
    assert shown.get_attribute("src") != first


def test_the_layer_that_is_chosen_hides_the_others(opened: Page, tmp_path: Path) -> None:
    comparison = compare(make_space(), CORNER, OTHER)
    show(opened, comparison, tmp_path)
    both = np.concatenate([comparison.a.tile, comparison.b.tile], axis=2)
    opened.locator("[type=range]").fill("100")
    for channel in (2, 4, 7):
        opened.get_by_label(f"channel {channel} ").check()
        expected = only_channel(both, channel, load_catalogue().palette)[:, :, :3]
        found = picture_of(opened, expected.shape[1::-1])
        np.testing.assert_allclose(found, expected.mean((0, 1)), atol=6)
