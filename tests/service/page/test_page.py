"""The map page in a real browser: what people do with it, and that it asks nobody else."""

import contextlib
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pyarrow as pa
import pytest
import shapely
import uvicorn
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Locator,
    Page,
    Request,
    expect,
)

from loc2vec.embed.files import Vectors
from service.engine.engine import Engine
from service.http.app import create_app
from service.http.server import bind, url_of
from service.index.index import NeighborIndex
from service.settings import Settings
from tests.browser import launched, pixels
from tests.service.http.test_access import HASHES, KEY, changed
from tiling.catalogue.catalogue import Catalogue, load_catalogue
from tiling.geo.geodesy import ground_distance_m
from tiling.geo.mercator import to_world
from tiling.osm.gather.gather import ExtractRecord
from tiling.store.geopackage.write import write_geopackage
from tiling.store.source import FeatureSource
from tiling.store.store import Store
from tiling.values import Pose

pytestmark = pytest.mark.untraced  # the browser's driver

PLACE, STADIUM, QUAY = (43.7384, 7.4246), (43.7277, 7.4157), (43.7347, 7.4213)
AT = "a=43.7384,7.4246"
SEA = "a=43.7310,7.4300"
VIEW = "map=15/43.73400/7.42100"
PAIR = f"mode=compare&{AT}&b=43.7277,7.4157&{VIEW}"
SUM = f"mode=sum&{AT}&b=43.7347,7.4213&c=43.7277,7.4157&{VIEW}"
WALK = f"mode=walk&{AT}&{VIEW}"
DESKTOP, PHONE = (1200, 800), (360, 640)
CALM = 4  # turns of the page without a question or an answer that is waited for
A_TURN = "() => new Promise(done => requestAnimationFrame(() => setTimeout(done, 10)))"
Start = Callable[..., "Visit"]
_log = logging.getLogger(__name__)
Scheme = Literal["dark", "light"]


@contextlib.contextmanager
def listening(settings: Settings, engine: Engine | None = None) -> Iterator[str]:
    """The URL of a service on a port of its own, in a thread."""

    @contextlib.contextmanager
    def opened(_: Settings) -> Iterator[Engine]:
        assert engine is not None
        yield engine

    app = create_app(settings, Engine.open if engine is None else opened)
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False))
    with bind("127.0.0.1", 0) as bound:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield url_of(bound)
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def service(settings: Settings, engine: Engine) -> Iterator[str]:
    with listening(settings, engine) as url:
        yield url


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as browser:
        yield browser


@dataclass
class Visit:
    """A page and all that it asked for."""

    page: Page
    url: str
    requests: list[Request] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    waiting: set[Request] = field(default_factory=set)

    def watch(self, context: BrowserContext) -> None:
        """Take down what is asked for, and what is not answered yet."""
        context.on("request", lambda request: self.requests.append(request))
        context.on("request", lambda request: self.waiting.add(request))
        context.on("requestfinished", lambda request: self.waiting.discard(request))
        context.on("requestfailed", lambda request: self.waiting.discard(request))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", self._heard)

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.errors.append(message.text)

    def asked(self, path: str, **query: str) -> list[dict[str, list[str]]]:
        """The queries of the requests of a path that hold `query`."""
        parts = [urlsplit(request.url) for request in self.requests]
        queries = [parse_qs(part.query) for part in parts if re.fullmatch(path, part.path)]
        return [
            given
            for given in queries
            if all(given.get(name) == [value] for name, value in query.items())
        ]

    def quiet(self) -> None:
        """Wait until the page is idle and has no request in flight; faster than `networkidle`."""
        calm = 0
        while calm < CALM:
            self.page.evaluate(A_TURN)
            calm = 0 if self.waiting else calm + 1

    def cards(self) -> Locator:
        return self.page.locator(".card")

    def click_map(self, lat_lon: tuple[float, float]) -> None:
        """Click a place, wherever the map shows it."""
        zoom, lat, lon = (float(v) for v in re.search(r"map=([^&]+)", self.page.url)[1].split("/"))  # type: ignore[index]
        (x, y), (x0, y0) = to_world(lat_lon[1], lat_lon[0]), to_world(lon, lat)
        box = self.page.locator("#map").bounding_box()
        assert box is not None
        side = 256 * 2**zoom
        self.page.mouse.click(
            box["x"] + box["width"] / 2 + float(x - x0) * side,
            box["y"] + box["height"] / 2 + float(y - y0) * side,
        )


@pytest.fixture
def visit(browser: Browser, service: str) -> Iterator[Start]:
    """Open the page.

    In the end nothing may have been asked of another machine, and no script may have failed.
    """
    visits, contexts = [], []

    def start(
        fragment: str = "",
        size: tuple[int, int] = DESKTOP,
        scheme: Scheme = "light",
        url: str = service,
    ) -> Visit:
        context = browser.new_context(
            viewport={"width": size[0], "height": size[1]},
            color_scheme=scheme,
            reduced_motion="reduce",
        )
        contexts.append(context)
        visit = Visit(context.new_page(), url)
        visit.watch(context)
        visits.append(visit)
        visit.page.goto(f"{url}/#{fragment}")
        expect(visit.page.locator("#modes button, .problem")).not_to_have_count(0)
        visit.quiet()
        return visit

    yield start
    for done in visits:
        _log.warning("left at %s, waiting for %s: %s", done.page.url, done.waiting, done.errors)
    for context in contexts:
        context.close()
    for done in visits:
        hosts = {
            urlsplit(request.url).netloc
            for request in done.requests
            if not request.url.startswith(("blob:", "data:"))
        }
        assert hosts == {urlsplit(done.url).netloc}
        assert [
            error for error in done.errors if "the server responded with a status of" not in error
        ] == []


def test_a_click_says_what_the_place_is_like(visit: Start, engine: Engine) -> None:
    seen = visit(VIEW)
    expect(seen.page.get_by_role("heading", level=2)).to_have_text("What is this place like?")
    seen.click_map(PLACE)
    expect(seen.cards()).to_have_count(8)
    seen.quiet()
    (asked,) = seen.asked("/embed", names="true")
    called = seen.page.request.get(
        f"{seen.url}/embed",
        params={"lat": asked["lat"][0], "lon": asked["lon"][0], "names": "true"},
    ).json()["called"]
    expect(seen.page.get_by_role("heading", level=2)).to_have_text(called["name"])
    expect(seen.page.locator(".kind")).to_have_text(
        re.compile(r"^[A-Z].*; like [^;]+ % of the region\.$")
    )
    assert [float(asked[name][0]) for name in ("lat", "lon")] == pytest.approx(PLACE, abs=1e-4)
    expect(seen.page.locator(".bars rect")).to_have_count(16)
    expect(seen.page.locator("#map .dot")).to_have_count(8)
    picture = seen.page.locator(".image.tile img")
    assert picture.evaluate("image => [image.naturalWidth, image.naturalHeight]") == [128, 128]
    (query,) = seen.asked("/neighbors", min_distance_m="500")
    place = {"lat": float(query["lat"][0]), "lon": float(query["lon"][0])}
    answer = seen.page.request.get(
        f"{seen.url}/neighbors",
        params={**place, "k": 8, "min_distance_m": 500, "spread_m": 300, "names": "true"},
    ).json()
    for number, near in enumerate(answer["neighbors"]):
        card = seen.cards().nth(number)
        expect(card).to_contain_text(near["called"]["name"] or f"{near['lat']:.5f}")
        expect(card).to_contain_text(re.compile(r"closer than \d[\d.]* %"))
        expect(card).to_contain_text(re.compile(r"\d m away|km away"))
        assert card.locator("img").evaluate("image => image.naturalWidth") == 128
    seen.page.get_by_role("button", name="Anywhere").click()
    expect(seen.page.get_by_role("button", name="Anywhere")).to_have_attribute(
        "aria-pressed", "true"
    )
    seen.quiet()
    assert "min_distance_m" not in seen.asked("/neighbors")[-1]


def test_results_are_filtered_by_the_columns_of_the_index(
    visit: Start, settings: Settings, vectors: Vectors, tmp_path: Path
) -> None:
    rows = np.arange(len(vectors))
    table = pa.table({"kind": np.array(["bar", "school"])[rows % 2], "price": rows})
    NeighborIndex.build(replace(vectors, table=table), tmp_path / "index")
    with listening(settings.model_copy(update={"index": tmp_path / "index"})) as url:
        seen = visit(f"{AT}&{VIEW}", url=url)
        field = seen.page.get_by_role("textbox", name="Only places where")
        expect(field).to_have_attribute("placeholder", "price < 100")
        field.fill("kind = school and price < 200")
        field.press("Enter")
        expect(seen.cards()).to_contain_text(["kind school"] * 8)
        for text in seen.cards().all_inner_texts():
            assert int(re.search(r"price (\d+)", text)[1]) < 200  # type: ignore[index]
        seen.page.reload()  # a link brings it back
        expect(field).to_have_value("kind = school and price < 200")
        field.fill("kind <")
        field.press("Enter")
        expect(seen.page.locator(".problem")).to_contain_text("ends too early")
        seen.quiet()


def test_the_page_shows_the_channels_of_the_store(
    visit: Start, own_settings: Settings, own_catalogue: Catalogue
) -> None:
    """A store by a user's own catalogue: its names, and swatches of its colours."""
    with listening(own_settings) as url:
        seen = visit(AT, url=url)
        expect(seen.page.locator(".channel")).to_have_text(list(own_catalogue.channels))
        shown = "all => all.map(one => getComputedStyle(one).backgroundColor)"
        colours = seen.page.locator(".channel .swatch").evaluate_all(shown)
        assert colours == [f"rgb{rgb}" for rgb in own_catalogue.palette.colours]
        seen.quiet()


def test_a_channel_is_shown_alone_while_it_is_pointed_at(visit: Start) -> None:
    seen = visit(AT)
    picture, names = seen.page.locator(".image.tile img"), load_catalogue().channels
    expect(seen.page.locator(".channel")).to_have_text(list(names))

    def mean() -> float:
        script = """image => { const c = document.createElement("canvas"); c.width = c.height = 128;
          const d = c.getContext("2d"); d.drawImage(image, 0, 0);
          const p = d.getImageData(0, 0, 128, 128).data;
          return p.reduce((sum, value) => sum + value, 0) / p.length; }"""
        return float(picture.evaluate(script))

    seen.page.locator(".channel").nth(4).hover()
    seen.quiet()
    assert seen.asked(r"/tile\.png", channel="4")
    only = mean()
    seen.page.mouse.move(5, 5)
    seen.quiet()
    assert mean() != only
    seen.page.locator(".channel").nth(6).focus()
    seen.quiet()
    assert seen.asked(r"/tile\.png", channel="6")


def test_a_channel_alone_is_ink_on_paper(visit: Start, engine: Engine) -> None:
    """A channel comes as white on black; the page shows it in its colour on white."""
    seen = visit(AT)
    for channel in (0, 4):
        seen.page.locator(".channel").nth(channel).hover()
        seen.quiet()
        expect(seen.page.locator(".image.tile.alone")).to_have_count(1)
        shown = pixels(seen.page.locator(".image.tile img"))[4:-4, 4:-4].astype(float)
        cover = engine.tile(Pose(*PLACE)).pixels[channel].mean() / 255
        ink = 0.7 * np.array(engine.catalogue.palette.colours[channel], np.float64)
        expected = 255 + cover * (ink - 255)
        np.testing.assert_allclose(shown.mean((0, 1)), expected, atol=6)


def test_a_mouse_sees_no_help_for_the_keyboard(visit: Start) -> None:
    seen = visit(VIEW)
    seen.click_map(PLACE)
    expect(seen.cards()).to_have_count(8)
    for part in ("#cross", "#hint"):
        expect(seen.page.locator(part)).to_be_hidden()
    ring = "getComputedStyle(document.getElementById('map')).outlineStyle"
    assert seen.page.evaluate(ring) == "none"
    seen.page.keyboard.press("ArrowRight")
    expect(seen.page.locator("#cross")).to_be_visible()
    seen.click_map(STADIUM)
    expect(seen.page.locator("#cross")).to_be_hidden()


def test_places_without_a_difference_are_one_sentence(visit: Start) -> None:
    seen = visit(f"{SEA}&where=any&{VIEW}")
    expect(seen.page.locator(".same")).to_contain_text("cannot tell this place from others")
    expect(seen.cards()).to_have_count(0)
    seen.page.get_by_role("button", name="Show all on the map").click()


def test_the_sea_and_a_street_share_nothing(visit: Start) -> None:
    seen = visit(f"mode=compare&{AT}&{SEA.replace('a', 'b', 1)}&{VIEW}")
    expect(seen.page.get_by_role("heading", level=2)).to_have_text("Two places compared")
    verdict = seen.page.locator(".verdict")
    expect(verdict).to_contain_text("apart in the embedding")
    expect(verdict).not_to_contain_text("brought together")
    expect(verdict).to_contain_text(re.compile(r"^(Alike|Not alike): closer than \d[\d.]* %"))


@pytest.mark.parametrize("size", [DESKTOP, (1440, 900), PHONE])
def test_the_first_view_fills_the_stage(visit: Start, size: tuple[int, int]) -> None:
    seen = visit(size=size)
    picture = pixels(seen.page.locator("#map"))
    land = (picture != picture[2, 2]).any(2)  # the upper left corner lies outside the data
    rows, columns = np.flatnonzero(land[:, 80:-80].any(1)), np.flatnonzero(land[80:-60].any(0))
    share = np.ptp(rows) / land.shape[0], np.ptp(columns) / land.shape[1]
    assert max(share) > 0.8


def test_a_card_leads_to_its_place_and_back_again(visit: Start) -> None:
    seen = visit(f"{AT}&{VIEW}")
    dot = seen.page.locator("#map .dot").nth(2)
    seen.cards().nth(2).hover()
    expect(dot).to_have_class(re.compile("marked"))
    before = seen.page.url
    seen.cards().nth(2).click()
    seen.quiet()
    assert AT not in seen.page.url
    assert "a=" in seen.page.url
    expect(seen.cards()).to_have_count(8)
    seen.page.go_back()
    seen.quiet()
    assert seen.page.url == before
    expect(seen.page.locator(".heading")).to_contain_text("43.73840, 7.42460")
    seen.page.locator("#map .dot").first.dispatch_event("click")
    seen.quiet()
    assert AT not in seen.page.url


def test_two_places_are_compared_by_picking_them(visit: Start) -> None:
    seen = visit(f"{AT}&{VIEW}")
    seen.page.get_by_role("button", name="Compare").last.click()
    expect(seen.page.get_by_role("group", name="Places")).to_contain_text("click the map")
    seen.click_map(STADIUM)
    expect(seen.page.locator(".effects .channel")).to_have_count(12)
    expect(seen.page.locator(".verdict")).to_contain_text(
        "apart in the embedding, 1.4 km on the ground"
    )
    values = [
        float(text.replace("−", "-"))
        for text in seen.page.locator(".effects .value").all_inner_texts()
    ]
    assert values == sorted(values, reverse=True)
    assert max(map(abs, values)) > 0
    seen.page.locator(".effects .channel").first.hover()
    seen.quiet()
    assert len({query["lat"][0] for query in seen.asked(r"/tile\.png") if "channel" in query}) == 2


def test_places_are_reckoned_with_by_picking_them(visit: Start) -> None:
    seen = visit(VIEW)
    seen.page.get_by_role("button", name="Arithmetic").click()
    for place in (PLACE, QUAY, STADIUM):
        expect(seen.cards()).to_have_count(0)
        seen.click_map(place)
    expect(seen.cards()).to_have_count(8)
    expect(seen.page.locator(".bars rect")).to_have_count(16)
    (post,) = [request for request in seen.requests if request.method == "POST"]
    body = post.post_data_json
    assert body is not None
    assert [(place["lat"], place["lon"]) for place in body["minus"]] == [
        pytest.approx(QUAY, abs=1e-4)
    ]
    assert [place["lat"] for place in body["plus"]] == pytest.approx(
        [PLACE[0], STADIUM[0]], abs=1e-4
    )


def test_a_walk_is_drawn_and_another_one_differs(visit: Start) -> None:
    seen = visit(WALK)
    expect(seen.cards()).to_have_count(10)
    expect(seen.page.locator("#map path.way")).to_have_count(1)
    first = seen.cards().all_inner_texts()
    seen.page.get_by_role("button", name="Another walk").click()
    seen.quiet()
    assert "seed=2" in seen.page.url
    expect(seen.cards()).to_have_count(10)
    assert seen.cards().all_inner_texts() != first


def test_the_overlay_has_an_opacity(visit: Start) -> None:
    seen = visit(VIEW)
    assert not seen.asked("/map/pca/.*")
    seen.page.get_by_label("Colour by vector").check()
    seen.quiet()
    assert seen.asked("/map/pca/.*", scale="1")
    layer = seen.page.locator(".cells")
    assert layer.evaluate("layer => getComputedStyle(layer).opacity") == "0.6"
    seen.page.get_by_label("Opacity of the colours").focus()
    seen.page.keyboard.press("End")
    assert layer.evaluate("layer => getComputedStyle(layer).opacity") == "1"
    assert "colours=100" in seen.page.url
    seen.page.get_by_label("Colour by vector").uncheck()
    expect(layer).to_have_count(0)


@pytest.mark.parametrize("text", ["43.7384, 7.4246", "43.7384 N 7.4246 E"])
def test_search_by_coordinates(visit: Start, text: str) -> None:
    seen = visit()
    seen.page.get_by_role("combobox", name="Search").fill(text)
    seen.page.keyboard.press("Enter")
    expect(seen.cards()).to_have_count(8)
    assert AT in seen.page.url


def test_search_by_name(visit: Start) -> None:
    seen = visit()
    field = seen.page.get_by_role("combobox", name="Search")
    field.press_sequentially("monte-c")
    option = seen.page.get_by_role("option", name="Monte-Carlo").first
    expect(option).to_be_visible()
    seen.page.keyboard.press("ArrowDown")
    seen.page.keyboard.press("Enter")
    expect(seen.cards()).to_have_count(8)
    lat, lon = (float(v) for v in re.search(r"a=([^&]+)", seen.page.url)[1].split(","))  # type: ignore[index]
    assert ground_distance_m(lat, lon, 43.7397, 7.4274) < 600
    field.fill("Nowhere at all")
    expect(seen.page.locator("#found")).to_contain_text("Nothing here is called “Nowhere at all”")
    seen.page.keyboard.press("Escape")
    expect(seen.page.locator("#found")).to_be_hidden()


@pytest.mark.parametrize(
    "fragment",
    [f"{AT}&where=any&colours=35&{VIEW}", PAIR, SUM, f"{WALK}&steps=7&seed=5"],
    ids=["place", "pair", "sum", "walk"],
)
def test_a_link_brings_everything_back(visit: Start, fragment: str) -> None:
    first = visit(fragment)
    assert set(urlsplit(first.page.url).fragment.split("&")) == set(fragment.split("&"))
    again = visit(urlsplit(first.page.url).fragment)
    for part in ("#view", "#modes", "#colours"):
        assert again.page.locator(part).inner_text() == first.page.locator(part).inner_text()
    assert again.page.get_by_label("Colour by vector").is_checked() == ("colours" in fragment)
    assert (
        first.page.locator("#map .dot, #map .pin").count()
        == again.page.locator("#map .dot, #map .pin").count()
        > 0
    )


def test_a_link_that_makes_no_sense_does_no_harm(visit: Start) -> None:
    seen = visit("mode=x&a=1,b&b=&where=../&colours=900&steps=-1&seed=x&map=99/x/<script>")
    expect(seen.page.get_by_role("heading", level=2)).to_have_text("What is this place like?")


def test_it_works_with_the_keyboard_alone(visit: Start) -> None:
    seen = visit()
    keys = seen.page.keyboard

    def focus(selector: str, most: int = 60) -> None:
        for _ in range(most):
            if seen.page.evaluate("selector => document.activeElement.matches(selector)", selector):
                return
            keys.press("Tab")
        raise AssertionError(f"Tab does not lead to {selector}")

    keys.press("Tab")
    assert seen.page.evaluate("document.activeElement.className") == "skip"
    focus("#map")
    expect(seen.page.locator("#cross")).to_be_visible()
    for key in ("+", "ArrowLeft", "Enter"):
        keys.press(key)
        seen.quiet()
    expect(seen.cards()).to_have_count(8)
    focus(".channel")
    focus(".choice button[aria-pressed=false]")
    keys.press("Enter")
    seen.quiet()
    # the focus stays
    assert seen.page.evaluate("document.activeElement.dataset.key") == "Where to look any"
    focus(".card")
    before = seen.page.url
    keys.press("Enter")
    seen.quiet()
    assert seen.page.url != before
    focus("#modes button:nth-child(2)", 100)
    keys.press("Enter")
    focus("#map", 100)
    keys.press("ArrowDown")
    keys.press("Enter")
    expect(seen.page.locator(".effects .channel")).to_have_count(12)
    # who wants no motion need not wait for the map's end: it was picked where it stands
    chosen, shown = re.findall(r"(?:b=|map=[^/]+/)([-\d.]+)[,/]([-\d.]+)", seen.page.url)
    assert [float(v) for v in chosen] == [float(v) for v in shown]


def test_a_place_outside_is_explained_in_the_services_words(visit: Start) -> None:
    seen = visit("a=48.85,2.35")
    problem = seen.page.get_by_role("alert")
    expect(problem).to_have_count(1)
    expect(problem).to_contain_text("The place lies outside the extract")
    expect(problem).to_contain_text("it holds lat 43.7")
    problem.get_by_role("button", name="Show what is covered").click()
    seen.quiet()
    assert "map=1" in seen.page.url


def test_a_busy_service_is_asked_again(visit: Start) -> None:
    seen = visit(VIEW)
    kind = "application/problem+json"
    busy = (
        '{"title": "The service is busy", "status": 503, '
        '"detail": "too many requests wait already"}'
    )
    seen.page.route(
        "**/neighbors?*", lambda route: route.fulfill(status=503, content_type=kind, body=busy)
    )
    seen.click_map(PLACE)
    expect(seen.page.get_by_role("alert")).to_contain_text("Too many requests wait already")
    expect(seen.page.locator(".bars rect")).to_have_count(16)  # the rest is there
    seen.page.unroute("**/neighbors?*")
    seen.page.get_by_role("button", name="Try again").click()
    expect(seen.cards()).to_have_count(8)


def test_a_service_that_is_gone_is_said_to_be_gone(visit: Start) -> None:
    seen = visit(VIEW)
    seen.page.route("**/embed?*", lambda route: route.abort())
    seen.click_map(PLACE)
    expect(seen.page.get_by_role("alert").first).to_contain_text("The service does not answer")
    seen.errors.clear()


def test_a_key_is_asked_for_and_kept_in_the_tab(
    visit: Start, settings: Settings, engine: Engine
) -> None:
    with listening(changed(settings, api_keys=HASHES), engine) as url:
        seen = visit(AT, url=url)
        field = seen.page.get_by_label("API key")
        field.fill("a guess")
        field.press("Enter")
        expect(seen.page.get_by_role("alert")).to_contain_text("Give a valid key")
        field.fill(KEY)
        field.press("Enter")
        expect(seen.cards()).to_have_count(8)
        seen.quiet()
        expect(seen.page.locator(".leaflet-tile-loaded").nth(4)).to_be_attached()
        seen.page.reload()
        expect(seen.cards()).to_have_count(8)
        assert KEY not in seen.page.url
        assert seen.page.evaluate("[localStorage.length, document.cookie]") == [0, ""]
        seen.page.close()


def test_without_an_index_it_says_so_and_shows_the_rest(visit: Start, settings: Settings) -> None:
    with listening(settings.model_copy(update={"index": None})) as url:
        seen = visit(f"{AT}&{VIEW}", url=url)
        expect(seen.page.get_by_role("alert")).to_contain_text("No index is loaded")
        expect(seen.page.get_by_role("alert")).to_contain_text("loc2vec index")
        expect(seen.page.locator(".bars rect")).to_have_count(16)
        expect(seen.page.get_by_label("Colour by vector")).to_be_hidden()
        expect(seen.page.locator(".leaflet-tile-loaded").nth(4)).to_be_attached()
        seen.page.close()


def test_a_refused_index_is_explained(
    visit: Start, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "index_refused", "A newer index was refused")
    expect(visit().page.get_by_role("status")).to_have_text("A newer index was refused")


@pytest.fixture(scope="module")
def two_towns(monaco_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Monaco as if it had been imported from two extracts."""
    path = tmp_path_factory.mktemp("stores") / "towns.gpkg"
    with Store.at(monaco_store).open() as source:
        west, south, east, north = source.bounds
        middle = (west + east) / 2
        halves = {
            "west_town.osm.pbf": shapely.box(west, south, middle, north),
            "east_town.osm.pbf": shapely.box(middle, south, east, north),
        }
        extracts = [
            ExtractRecord(name, "0" * 64, shapely.intersection(source.coverage, half))
            for name, half in halves.items()
        ]
        write_geopackage(
            path,
            [source.features(source.bounds)],
            (),
            extracts,
            load_catalogue(),
        )
    return path


def test_other_towns(
    visit: Start, settings: Settings, two_towns: Path, monaco: FeatureSource
) -> None:
    with listening(changed(settings, store=str(two_towns))) as url:
        seen = visit(f"a=43.7347,7.4213&where=other&{VIEW}", url=url)
        expect(seen.page.get_by_role("heading", level=2)).to_have_text("West town")
        expect(seen.cards()).to_have_count(8)
        for text in seen.cards().all_inner_texts():
            assert "East town" in text
        far = visit("map=6/43.7/7.4", url=url)
        expect(far.page.locator(".region")).to_have_text(["East town", "West town"])
        far.page.get_by_role("button", name="Go to West town").press("Enter")
        expect(far.page.locator(".region")).to_have_count(0)
        far.page.close()
        seen.page.get_by_label("Go to a region").select_option(label="East town")
        seen.quiet()
        lon = float(re.search(r"map=[^/]+/[^/]+/([\d.]+)", seen.page.url)[1])  # type: ignore[index]
        assert lon > sum(monaco.bounds[::2]) / 2
        seen.page.close()


def test_far_towns_begin_with_one_of_them(
    visit: Start, settings: Settings, monaco: FeatureSource, tmp_path: Path
) -> None:
    """Towns of two continents in one view would be two specks in a void."""
    path, far = tmp_path / "far.gpkg", shapely.box(-172.0, -44.0, -171.9, -43.9)
    areas = {"monaco.osm.pbf": monaco.coverage, "antipode.osm.pbf": far}
    extracts = [ExtractRecord(name, "0" * 64, area) for name, area in areas.items()]
    write_geopackage(path, [monaco.features(monaco.bounds)], (), extracts, load_catalogue())
    with listening(changed(settings, store=str(path), index=None)) as url:
        seen = visit(url=url)
        chosen = seen.page.get_by_label("Go to a region")
        shown = chosen.evaluate("list => list.selectedOptions[0].text")
        zoom, lat, _ = re.search(r"map=([^&]+)", seen.page.url)[1].split("/")  # type: ignore[index]
        assert float(zoom) > 11
        assert shown == ("Monaco" if float(lat) > 0 else "Antipode")
        seen.page.close()


def test_one_town_has_no_others_and_says_so(visit: Start) -> None:
    seen = visit(f"{AT}&where=other")
    expect(seen.page.locator("#view")).to_contain_text("one region only")


def test_dark_is_dark(visit: Start) -> None:
    dark, light = (visit(f"{AT}&{VIEW}", scheme=scheme) for scheme in ("dark", "light"))
    for seen, theme in ((dark, "dark"), (light, "light")):
        assert seen.asked("/map/base/.*", theme=theme)
        assert len(seen.asked("/map/base/.*")) == len(seen.asked("/map/base/.*", theme=theme))
    shade = "getComputedStyle(document.body).backgroundColor"
    assert dark.page.evaluate(shade) != light.page.evaluate(shade)


@pytest.mark.parametrize("fragment", ["", AT, PAIR], ids=["start", "place", "pair"])
def test_a_phone_shows_all_without_scrolling_sideways(visit: Start, fragment: str) -> None:
    assert_a_phone_shows_all(visit(fragment, size=PHONE))


def assert_a_phone_shows_all(seen: Visit) -> None:
    wider = """() => [
        ...document.querySelectorAll("header *, #panel *, #colours, #colours *")
    ].filter((node) => {
        const box = node.getBoundingClientRect();
        return box.width && !node.closest(".hidden, .skip")
            && (box.right > innerWidth + 1 || box.left < -1);
    }).map((node) => node.outerHTML.slice(0, 80))"""
    assert seen.page.evaluate(wider) == []
    assert seen.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    for name in ("#map", "#panel"):
        box = seen.page.locator(name).bounding_box()
        assert box is not None
        assert box["height"] >= 200
    small = """() => [...document.querySelectorAll("button, input, select")].filter((node) => {
        const box = node.getBoundingClientRect();
        return box.width && Math.min(box.width, box.height) < 24
            && !node.matches("[type=checkbox], [type=range]");
    }).map((node) => node.outerHTML.slice(0, 80))"""
    assert seen.page.evaluate(small) == []  # WCAG 2.2, 2.5.8


@pytest.mark.parametrize(
    ("fragment", "size", "scheme"),
    [
        ("", DESKTOP, "light"),
        (f"{AT}&colours=60&{VIEW}", DESKTOP, "light"),
        (f"{AT}&{VIEW}", DESKTOP, "dark"),
        (PAIR, DESKTOP, "light"),
        (SUM, PHONE, "dark"),
        (WALK, PHONE, "light"),
        ("a=48.85,2.35", DESKTOP, "dark"),
    ],
)
def test_axe_finds_nothing(
    visit: Start, fragment: str, size: tuple[int, int], scheme: Scheme
) -> None:
    seen = visit(fragment, size=size, scheme=scheme)
    if size == PHONE:
        assert_a_phone_shows_all(seen)
    found = Axe().run(seen.page).response
    # a check that fell over found nothing
    assert [rule["id"] for rule in found["incomplete"] if "error" in rule] == []
    assert any(rule["id"] == "color-contrast" for rule in found["passes"])
    violations = [
        (rule["id"], [node["html"][:120] for node in rule["nodes"]]) for rule in found["violations"]
    ]
    assert violations == []


def test_the_policy_lets_nothing_else_in(visit: Start) -> None:
    seen = visit()
    headers = seen.page.request.get(seen.url).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    body = seen.page.request.get(seen.url).text()
    assert "style=" not in body
    assert not re.search(r"<script(?![^>]* src=)", body)
    assert not re.search(r'(src|href)="(https?:)?//', body)
    assert headers["etag"]
