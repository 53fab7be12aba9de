"""The docs site: built strictly, complete, without a request to another machine."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest
from playwright.sync_api import Browser, Page, expect

from service.cli.main import COMMANDS
from service.settings import PREFIX, Settings
from tests.browser import launched

ROOT = Path(__file__).parent.parent
# What newcomers ask: the links that they click from the front page, and words of the answer.
QUESTIONS = {
    "What does it do?": ((), "what kind of place it is"),
    "Can I use it for my problem?": (("Questions",), "add a column about surroundings"),
    "Does it need a GPU?": ((), "no GPU is needed"),
    "How do I install it without CUDA?": (
        ("Questions", "Install"),
        "pip install torch --index-url https://download.pytorch.org/whl/cpu",
    ),
    "Where do I get data?": (("docs/fetch.md",), "loc2vec fetch monaco"),
    "How long does it take?": (("Questions",), "one vector of a new place"),
    "How good is it?": (("model card",), "Finding a place again"),
    "How do I use my labels?": (("docs/predict.md",), "Whether to trust it"),
    "How do I add a channel?": (("docs/catalogue.md",), "--catalogue my.toml"),
    "How do I run it for a country?": (("docs/scale.md",), "A country: one machine"),
    "How do I update?": (("Questions", "Follow the map"), "loc2vec update --follow"),
    "Which licence?": ((), "MIT licence"),
}
LOADED = {("script", "src"), ("link", "href"), ("img", "src"), ("iframe", "src")}


class Html(HTMLParser):
    """The links, the anchors and the text of a page, and what it loads."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors = {""}
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.anchors.add(value)
            elif value and (tag, name) in LOADED:
                self.loaded.append(value)
            elif value and (tag, name) == ("a", "href"):
                self.links.append(value)

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = ["mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Html]:
    return {path: Html(path) for path in site.rglob("*.html") if path.name != "404.html"}


def test_no_link_is_broken(pages: dict[Path, Html]) -> None:
    for path, page in pages.items():
        for link in page.links:
            address, anchor = urldefrag(link)
            if ":" in address:
                continue
            target = (path.parent / unquote(address)).resolve() if address else path
            assert target.is_file(), f"{path}: {link}"
            assert target not in pages or unquote(anchor) in pages[target].anchors, link


def test_nothing_is_loaded_from_another_machine(pages: dict[Path, Html]) -> None:
    for path, page in pages.items():
        assert not [each for each in page.loaded if "//" in each], path


def test_every_page_names_those_who_made_the_map(pages: dict[Path, Html]) -> None:
    for path, page in pages.items():
        assert "(c) OpenStreetMap contributors, ODbL" in " ".join(page.text.split()), path


def test_the_references_are_complete(site: Path, pages: dict[Path, Html]) -> None:
    reference = site / "reference"
    commands = pages[reference / "commands.html"].text
    assert [name for name in COMMANDS if f"loc2vec {name}" not in commands] == []
    settings = pages[reference / "settings.html"].text
    names = [PREFIX + name.upper() for name in Settings.model_fields]
    assert [name for name in names if name not in settings] == []
    assert {"get-embed", "post-arithmetic", "embedding"} <= pages[reference / "http.html"].anchors
    python = pages[reference / "python.html"].anchors
    assert {"loc2vec.encoder.LocationEncoder.encode", "tiling.values.LonLat"} <= python


def test_the_tutorial_has_its_pictures(pages: dict[Path, Html], site: Path) -> None:
    assert len([each for each in pages[site / "tour.html"].loaded if each.endswith(".png")]) >= 5


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        pass


@pytest.fixture
def url(site: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


def wider_than_the_screen(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth > innerWidth"))


def test_pages_fit_a_phone_and_the_search_finds(url: str) -> None:
    with launched() as browser:
        page = phone(browser)
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        for name in ("index", "questions", "reference/http", "evaluation_table", "tour"):
            page.goto(f"{url}{name}.html")
            assert not wider_than_the_screen(page), name
        page.goto(f"{url}questions.html")
        page.locator("label[for=__search]").first.click()
        page.locator("input[name=query]").press_sequentially("fingerprint")
        page.locator(".md-search-result__link").first.wait_for()
        assert [each for each in asked if not each.startswith((url, "data:", "blob:"))] == []


def test_questions_of_newcomers_are_answered_within_two_clicks(url: str) -> None:
    with launched() as browser:
        page = browser.new_page()
        article = page.locator("article")
        for question, (clicks, answer) in QUESTIONS.items():
            page.goto(f"{url}index.html", wait_until="domcontentloaded")
            assert len(clicks) <= 2, question
            for name in clicks:
                article.get_by_role("link", name=name, exact=True).first.click()
            expect(article, question).to_contain_text(answer)


def test_the_page_of_questions_answers_the_same(pages: dict[Path, Html], site: Path) -> None:
    text = pages[site / "questions.html"].text
    assert [question for question in QUESTIONS if question not in text] == []


def phone(browser: Browser) -> Page:
    return browser.new_page(viewport={"width": 390, "height": 844}, color_scheme="dark")
