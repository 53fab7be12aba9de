"""What changed between two handmade states of a town, and what is told of it."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pyogrio
import pytest
import rasterio
import shapely
from click.testing import CliRunner, Result
from shapely.geometry.base import BaseGeometry

from loc2vec.embed.batch import Places, embed
from loc2vec.encoder import LocationEncoder
from service.cli.main import main
from tests.browser import launched, pixels, watched
from tests.tiling.handmade import features_of, make_store
from tiling.catalogue.catalogue import load_catalogue
from tiling.files.tables import own_gdal_data
from tiling.store.store import Store

NAMES = load_catalogue().channels
AREA = shapely.box(9.99, 49.99, 10.01, 50.01)
HERE = (10.0, 50.0)  # the middle of what changes
BOX = "9.9999,49.9999,10.0001,50.0001"


def number(name: str) -> int:
    return NAMES.index(name)


def field(name: str, reach: float = 0.002) -> tuple[int, float, BaseGeometry]:
    return number(name), 0.0, shapely.Point(HERE).buffer(reach).envelope


def part_of_a_field() -> tuple[int, float, BaseGeometry]:
    """A field on 39 % of the tile in the middle."""
    return number("farmland and bare ground"), 0.0, shapely.box(9.998, 49.998, 9.9997, 50.002)


def houses(count: int, shift: float = 0.0) -> list[tuple[int, float, BaseGeometry]]:
    """Houses of 14 m in a row of rows around the middle."""
    places = [(n % 5 - 2, n // 5 - 1) for n in range(count)]
    return [
        (number("buildings"), 0.0, shapely.box(x, y, x + 2e-4, y + 1.2e-4))
        for x, y in ((10 + a * 4e-4 + shift, 50 + b * 3e-4) for a, b in places)
    ]


def road() -> tuple[int, float, BaseGeometry]:
    return number("minor roads"), 8.0, shapely.LineString([(9.998, 50.0002), (10.002, 50.0002)])


def store(path: Path, *features: tuple[int, float, BaseGeometry]) -> Path:
    # Something at the edge, because a store without a feature is none.
    far = (number("water"), 0.0, shapely.box(9.9905, 49.9905, 9.991, 49.991))
    return make_store(path, features_of(far, *features), AREA)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["changes", *map(str, arguments), "--workers", "0"])


CASES = {
    "new buildings on farmland and bare ground": (
        [field("farmland and bare ground")],
        [field("farmland and bare ground"), *houses(3)],
        "unclear",
    ),
    "residential land in place of farmland and bare ground": (
        [field("farmland and bare ground")],
        [field("residential land")],
        "ground",
    ),
    "new buildings on residential land": (
        [field("residential land"), road()],
        [field("residential land"), road(), *houses(15)],
        "mapping",
    ),
    "new green": (houses(2), [*houses(2), field("green")], "mapping"),
    "new commercial, retail and industrial land": (
        [part_of_a_field()],
        [part_of_a_field(), field("commercial, retail and industrial land")],
        "unclear",
    ),
    "no more buildings": (houses(6), [], "unclear"),
    "buildings redrawn": (houses(6), houses(6, shift=1e-4), "unclear"),
    "more buildings": (houses(10), houses(12), "unclear"),
}


@pytest.mark.parametrize("sentence", CASES)
def test_a_change_is_told_in_a_sentence(sentence: str, tmp_path: Path, model_folder: Path) -> None:
    before, after, kind = CASES[sentence]
    old, new = (store(tmp_path / f"{n}.gpkg", *f) for n, f in enumerate((before, after)))
    done = run(old, new, "--out", tmp_path / "c.csv", "--bbox", BOX, "--grid", 20,
               "--model", model_folder, "--json")  # fmt: skip
    assert done.exit_code == 0, done.output
    strongest = json.loads(done.stdout)["strongest"][0]
    assert (
        sentence in (strongest["sentence"], *strongest["sentence"].split(" and "))
        or sentence == strongest["sentence"]
    )
    assert strongest["kind"] == kind


@pytest.fixture
def both(tmp_path: Path) -> tuple[Path, Path]:
    old = store(tmp_path / "old.gpkg", field("farmland and bare ground"))
    new = store(tmp_path / "new.gpkg", field("farmland and bare ground"), *houses(6))
    return old, new


def test_distances_are_those_of_the_vectors(
    both: tuple[Path, Path], tmp_path: Path, model_folder: Path
) -> None:
    out, page = tmp_path / "changes.parquet", tmp_path / "changes.html"
    done = run(*both, "--out", out, "--grid", 150, "--model", model_folder, "--page", page)
    assert done.exit_code == 0, done.output
    assert "changed, in" in done.stdout
    table = pq.read_table(out)
    lon_lat = np.stack([table["lon"].to_numpy(), table["lat"].to_numpy()], axis=1)
    encoder = LocationEncoder.load(model_folder)
    vectors = []
    for path in both:
        with Store.at(path).open() as source:
            vectors.append(embed(source, encoder, Places(lon_lat), 0).embedding)
    wanted = np.linalg.norm(vectors[1].astype(np.float64) - vectors[0], axis=1)
    distance = table["distance"].to_numpy()
    np.testing.assert_allclose(distance, wanted, atol=1e-3)
    still = np.array([text is None for text in table["sentence"].to_pylist()])
    assert 0 < (~still).sum() < len(still) / 2
    assert (distance[still] == 0).all()
    # One channel alone changed, so it did all of it.
    np.testing.assert_allclose(table["effect of buildings"].to_numpy(), distance, atol=1e-3)
    assert not table["effect of water"].to_numpy().any()
    text = page.read_text()
    assert text.count("before") >= 1
    assert "1. new buildings on farmland and bare ground (unclear), moved by" in text
    facts = pq.read_schema(out).metadata
    assert facts[b"old"].decode() == Store.at(both[0]).content_hash()


def test_the_page_shows_the_places_of_change_and_their_tiles(
    both: tuple[Path, Path], tmp_path: Path, model_folder: Path
) -> None:
    path = tmp_path / "changes.html"
    done = run(*both, "--out", tmp_path / "c.csv", "--grid", 100, "--model", model_folder,
               "--page", path)  # fmt: skip
    assert done.exit_code == 0, done.output
    with launched() as browser:
        page = browser.new_page(viewport={"width": 1200, "height": 900})
        wrong = watched(page)
        page.goto(path.as_uri())
        shown = pixels(page.locator("canvas").first).astype(int)
        first = page.locator(".strip").first.locator("img")
        assert [first.nth(n).get_attribute("alt") for n in range(2)] == ["before", "after"]
        old, new = (pixels(first.nth(n)).astype(int)[:128, :128] for n in range(2))
    assert not wrong
    red = shown[..., 0] - shown[..., 1:].max(axis=2) > 60  # the squares, and nothing of the map
    rows, columns = np.nonzero(red)
    height, width = red.shape
    assert 0.002 < red.mean() < 0.05
    assert np.abs(np.median(rows) / height - 0.5) < 0.1, "the middle of the map changed"
    assert np.abs(np.median(columns) / width - 0.5) < 0.1
    differ = np.abs(old - new).max(axis=2) > 60
    assert 0.02 < differ.mean() < 0.5, "houses are in the tile after, on the same field"


@pytest.mark.parametrize("ending", ["gpkg", "tif"])
def test_gis_formats_hold_the_same(
    ending: str, both: tuple[Path, Path], tmp_path: Path, model_folder: Path
) -> None:
    out = tmp_path / f"changes.{ending}"
    done = run(*both, "--out", out, "--grid", 150, "--model", model_folder)
    assert done.exit_code == 0, done.output
    if ending == "tif":
        with rasterio.open(out) as raster:
            assert raster.descriptions[0] == "distance"
            assert raster.read(1).max() > 0
    else:
        with own_gdal_data():
            table = pyogrio.raw.read_arrow(out)[1]
        assert {"distance", "sentence", "kind"} <= set(table.column_names)


def test_extracts_are_compared_as_they_are(
    monaco_pbf: Path, tmp_path: Path, model_folder: Path
) -> None:
    done = run(monaco_pbf, monaco_pbf, "--out", tmp_path / "c.csv", "--model", model_folder,
               "--bbox", "7.42,43.735,7.425,43.738")  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "0 of" in done.stdout


def test_what_cannot_be_compared_is_said(
    both: tuple[Path, Path], tmp_path: Path, monaco_store: Path, model_folder: Path
) -> None:
    for arguments, said in (
        ((*both, "--out", both[0]), "would be lost"),
        ((*both, "--out", tmp_path / "a.txt"), "must end in"),
        ((both[0], monaco_store, "--out", tmp_path / "a.csv"), "share no ground"),
    ):
        done = run(*arguments, "--model", model_folder)
        assert done.exit_code == 2, done.output
        assert said in done.stderr
