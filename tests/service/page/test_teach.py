"""The Teach tab in a real browser: a few clicks colour the map and find more of the same."""

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pyarrow.parquet as pq
import pytest
from playwright.sync_api import expect

from loc2vec.embed.batch import embed, places_of_grid
from loc2vec.encoder import LocationEncoder
from loc2vec.model.names import DEFAULT_MODEL
from service.index.index import NeighborIndex
from service.settings import Settings
from tests.browser import pixels
from tests.service.page.test_page import Start, browser, listening, visit
from tiling.geo.geodesy import ground_distance_m
from tiling.store.store import Store

pytestmark = pytest.mark.untraced  # the browser's driver

__all__ = ["browser", "visit"]  # fixtures

VIEW = "map=15/43.73250/7.42100"
# Five places in each of the two harbours, and the middle of each.
Five = tuple[tuple[float, float], ...]
HERCULE: Five = (
    (43.7347, 7.4213),
    (43.7365, 7.425),
    (43.735, 7.4245),
    (43.7342, 7.423),
    (43.7356, 7.4262),
)
FONTVIEILLE: Five = (
    (43.729, 7.4185),
    (43.7282, 7.4172),
    (43.7295, 7.42),
    (43.7286, 7.4192),
    (43.7293, 7.4175),
)
MIDDLES = {HERCULE: (43.7351, 7.425), FONTVIEILLE: (43.729, 7.4185)}
BASIN_M, AWAY_M = 200.0, 350.0  # within a harbour, and outside of it


@pytest.fixture(scope="module")
def service(monaco_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service with the model that is shipped: a fresh one knows no harbour."""
    encoder = LocationEncoder.load(DEFAULT_MODEL)
    folder = tmp_path_factory.mktemp("taught") / "index"
    with Store.at(monaco_store).open() as source:
        NeighborIndex.build(embed(source, encoder, places_of_grid(source, 80), workers=0), folder)
    settings = Settings(store=str(monaco_store), index=folder, render_processes=0)
    with listening(settings) as url:
        yield url


def test_five_clicks_colour_the_map(visit: Start) -> None:
    seen = visit(f"mode=teach&{VIEW}")
    expect(seen.page.locator("#view")).to_contain_text("Click a few places that are alike")
    before = pixels(seen.page.locator("#map"))
    for number, place in enumerate(HERCULE, 1):
        seen.click_map(place)
        expect(seen.page.locator(".example")).to_have_count(number)
        seen.quiet()
    expect(seen.page.get_by_role("heading", name="Most like them")).to_be_visible()
    after = pixels(seen.page.locator("#map"))
    assert (before != after).any(2).mean() > 0.2, "the map is coloured"
    expect(seen.page.locator("#view ol.cards").nth(1).locator(".card")).to_have_count(8)
    assert len(seen.asked("/predict")) == sum(r.method == "POST" for r in seen.requests) > 5


@pytest.mark.parametrize("clicks", [HERCULE, FONTVIEILLE], ids=["Hercule", "Fontvieille"])
def test_five_clicks_on_one_harbour_find_the_other(service: str, clicks: Five) -> None:
    (other,) = (middle for five, middle in MIDDLES.items() if five != clicks)
    body = {
        "examples": [{"lat": lat, "lon": lon, "label": "harbour"} for lat, lon in clicks],
        "k": 4, "spread_m": 100, "min_distance_m": AWAY_M,
    }  # fmt: skip
    best = httpx2.post(f"{service}/predict", json=body).json()["best"]
    first = [float(ground_distance_m(*other, one["lat"], one["lon"])) for one in best]
    assert min(first) < BASIN_M, "one of the first four lies in the other harbour"

    accept = {"accept": "application/vnd.apache.parquet"}
    answer = httpx2.post(f"{service}/predict", json=body, headers=accept)
    lat, lon, likely = (
        pq.read_table(io.BytesIO(answer.content))[name].to_numpy()
        for name in ("lat", "lon", "probability")
    )
    away = ground_distance_m(*other, lat, lon)
    there = away < BASIN_M
    elsewhere = (ground_distance_m(*MIDDLES[clicks], lat, lon) > AWAY_M) & (away > AWAY_M)
    assert elsewhere.sum() > 10 * there.sum() > 50
    # The chance that a place in the other harbour comes before one that is in none.
    assert (likely[there][:, None] > likely[elsewhere]).mean() > 0.8


def test_a_link_brings_the_examples_back_and_a_no_is_an_example(visit: Start) -> None:
    seen = visit(f"mode=teach&taught=quay%2520%2526:43.735,7.4245;43.7347,7.4228&{VIEW}")
    expect(seen.page.locator(".example")).to_have_count(2)
    kind = seen.page.get_by_role("button", name="quay & (2)")
    expect(kind).to_have_attribute("aria-pressed", "true")
    seen.page.get_by_role("button", name="No: not these").first.click()
    expect(seen.page.locator(".example")).to_have_count(3)
    expect(seen.page.get_by_role("button", name="not these (1)")).to_be_visible()
    seen.quiet()
    seen.page.reload()
    expect(seen.page.locator(".example")).to_have_count(3)
    expect(kind).to_be_visible()
    seen.page.locator(".example span").first.click()  # removes it
    expect(seen.page.locator(".example")).to_have_count(2)
    seen.quiet()


def test_kinds_are_named_and_files_loaded_and_saved(visit: Start, tmp_path: Path) -> None:
    seen = visit(f"mode=teach&{VIEW}")
    lines = "lat,lon,label\n43.7350,7.4245,harbour\n43.7384,7.4246,town\n43.7400,7.4260,town\n"
    upload = seen.page.locator("input[type=file]")
    upload.set_input_files({"name": "some.csv", "mimeType": "text/csv", "buffer": lines.encode()})
    expect(seen.page.get_by_role("button", name="town (2)")).to_be_visible()
    expect(seen.page.locator("#view")).to_contain_text(re.compile(r"(town|harbour), \d[\d.]* %"))
    seen.quiet()
    with seen.page.expect_download() as download:
        seen.page.get_by_role("button", name="Save").click()
    download.value.save_as(tmp_path / "saved.geojson")
    saved = json.loads((tmp_path / "saved.geojson").read_text())
    assert [one["properties"]["label"] for one in saved["features"]] == ["harbour", "town", "town"]
    assert saved["features"][0]["geometry"]["coordinates"] == [7.4245, 43.735]
    seen.page.get_by_role("button", name="Clear").click()
    expect(seen.page.locator(".example")).to_have_count(0)
    upload.set_input_files(tmp_path / "saved.geojson")
    expect(seen.page.locator(".example")).to_have_count(3)
    bad = {"name": "bad.csv", "mimeType": "text/csv", "buffer": b"43.7,7.4\n99,7\n"}
    seen.quiet()
    seen.page.locator("input[type=file]").set_input_files(bad)  # type: ignore[arg-type]
    expect(seen.page.locator(".problem")).to_contain_text("Line 2 is no place")
