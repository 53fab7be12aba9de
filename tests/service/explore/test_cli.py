"""`loc2vec explore` on Monaco, with an untrained model: what is written, and what is refused."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import rasterio
import rasterio.warp
from PIL import Image

from service.explore.cli import explore_command
from tests.service.cli.test_commands import check_failure, run
from tiling.geo.geodesy import ground_distance_m

STREET, QUAY = "43.7384,7.4246", "43.7347,7.4213"
SEA = "43.7372,7.4330"


@pytest.fixture
def ground(monaco_store: Path, model_folder: Path) -> list[object]:
    return ["--store", monaco_store, "--model", model_folder]


@pytest.fixture
def space(ground: list[object], index_folder: Path) -> list[object]:
    return [*ground, "--index", index_folder]


def explore(*arguments: object) -> dict[str, Any]:
    result = run("explore", *arguments, "--json")
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    for file in found["files"]:
        assert Path(file).exists()
        if file.endswith(".png"):
            with Image.open(file) as picture:
                picture.load()
        if file.endswith(".html"):
            text = Path(file).read_text(encoding="utf-8")
            assert "OpenStreetMap contributors" in text
            assert 'src="http' not in text
    return found


def test_a_walk_from_a_street_by_its_name(space: list[object], tmp_path: Path) -> None:
    found = explore(
        "walk",
        "rue grimaldi",
        *space,
        "--walks",
        1,
        "--steps",
        3,
        "--min-distance-m",
        400,
        "--out",
        tmp_path / "w",
    )
    (way,) = found["walks"]
    assert [Path(file).name for file in found["files"]] == ["w.png", "w.html"]
    assert way[0]["name"] == "Rue Grimaldi, Monaco"
    assert way[0]["ground_m"] == 0
    for number, step in enumerate(way[1:], 1):
        before = way[:number]
        for other in before:
            assert ground_distance_m(step["lat"], step["lon"], other["lat"], other["lon"]) >= 400


def test_sums_and_ways(space: list[object], tmp_path: Path) -> None:
    found = explore(
        "arithmetic",
        f"{STREET} - {QUAY} + 43.7277,7.4157",
        *space,
        "-k",
        2,
        "--out",
        tmp_path / "sum",
    )
    assert [operand["sign"] for operand in found["operands"]] == [1, -1, 1]
    assert len(found["nearest"]) == 2
    assert len(found["vector"]) == 16
    found = explore(
        "interpolate", STREET, QUAY, *space, "--steps", 4, "--out", tmp_path / "way.png"
    )
    assert [round(step["share"], 3) for step in found["steps"]] == [0.333, 0.667]
    assert (tmp_path / "way.html").is_file()


def test_reasons_of_places(ground: list[object], tmp_path: Path) -> None:
    found = explore("why", STREET, QUAY, *ground, "--out", tmp_path / "why")
    assert len(found["effect"]) == 12
    assert found["distance"] > 0
    found = explore("saliency", SEA, *ground, "--out", tmp_path / "saliency")
    assert found["moved"]["rail and public transport"] == 0
    assert found["moved"]["water"] > 0


def test_the_map_and_its_tiles(ground: list[object], tmp_path: Path) -> None:
    box = "7.419,43.735,7.427,43.741"
    found = explore(
        "map",
        *ground,
        "--grid",
        150,
        "--bbox",
        box,
        "--title",
        "The Port",
        "--out",
        tmp_path / "map",
    )
    assert len(found["shares"]) == 3
    with rasterio.open(tmp_path / "map.tif") as raster:
        assert raster.crs.to_epsg() == 3857
        assert raster.count == 4
        west, south, east, north = rasterio.warp.transform_bounds(
            raster.crs, "EPSG:4326", *raster.bounds
        )
        assert (west, south, east, north) == pytest.approx(tuple(found["bbox"]), abs=1e-6)
        across, up = rasterio.warp.transform("EPSG:4326", raster.crs, [7.423], [43.738])[:2]
        middle = next(raster.sample([(across[0], up[0])]))
        assert middle[3] == 255
        assert raster.tags()["TIFFTAG_COPYRIGHT"].startswith("(c) OpenStreetMap")
    tiles = sorted((tmp_path / "map-tiles").glob("*/*/*.png"))
    assert len(tiles) == found["tiles"] >= 5
    with Image.open(tiles[0]) as tile:
        assert tile.size == (256, 256)
        assert 0 < sum(tile.getchannel("A").histogram()[1:]) < 256 * 256
    assert "The Port" in (tmp_path / "map.html").read_text(encoding="utf-8")


def test_a_cloud_of_places_that_are_drawn_now(ground: list[object], tmp_path: Path) -> None:
    found = explore("pca", *ground, "--places", 40, "--count", 30, "--out", tmp_path / "pca")
    assert len(found["places"]) == 30
    with Image.open(tmp_path / "pca.webp") as moving:
        assert moving.n_frames == 40  # type: ignore[attr-defined]


def test_kinds_as_files_for_a_gis(space: list[object], monaco_pbf: Path, tmp_path: Path) -> None:
    found = explore("clusters", monaco_pbf, *space, "--kinds", 3, "--out", tmp_path / "kinds")
    table = pq.read_table(tmp_path / "kinds.parquet")
    assert b"geo" in table.schema.metadata
    assert sorted(set(table["kind"].to_pylist())) == [0, 1, 2]
    geojson = json.loads((tmp_path / "kinds.geojson").read_text())
    assert len(geojson["features"]) == table.num_rows
    first = geojson["features"][0]
    assert first["geometry"]["coordinates"] == [table["lon"][0].as_py(), table["lat"][0].as_py()]
    assert first["properties"] == {
        "kind": table["kind"][0].as_py(),
        "kind_name": table["kind_name"][0].as_py(),
    }
    names = {kind["name"] for kind in found["kinds"]}
    assert not [name for name in names if "=" in name]
    assert len(names) == 3


def test_classes_of_ways(ground: list[object], monaco_pbf: Path, tmp_path: Path) -> None:
    found = explore("lda", monaco_pbf, *ground, "--per-class", 25, "--out", tmp_path / "lda")
    assert set(found["classes"]) <= {
        "rail",
        "motorway",
        "main street",
        "residential street",
        "footpath",
    }
    assert 0 <= found["accuracy"] <= 1


def test_filters_of_a_layer(model_folder: Path, tmp_path: Path) -> None:
    result = run("explore", "filters", "--model", model_folder)
    assert result.stdout.splitlines()[0].split() == ["32", "features.0"]
    found = explore(
        "filters",
        "--model",
        model_folder,
        "--layer",
        "features.0",
        "--count",
        2,
        "--out",
        tmp_path / "f",
    )
    assert found["filters"] == 2
    assert all(
        after > before for before, after in zip(found["before"], found["after"], strict=True)
    )


def test_equal_histograms(space: list[object], tmp_path: Path) -> None:
    found = explore(
        "equal-histograms", *space, "--pairs", 2, "--tolerance", 0.05, "--out", tmp_path / "equal"
    )
    assert all(pair["difference"] <= 0.05 for pair in found["pairs"])


def test_what_cannot_be_done_is_said(
    space: list[object], ground: list[object], monaco_pbf: Path, tmp_path: Path
) -> None:
    out = ["--out", tmp_path / "x"]
    check_failure(
        run("explore", "walk", STREET, *space, "-k", 100_000, *out),
        2,
        "k = 100000: only",
        "ask for fewer",
    )
    check_failure(
        run("explore", "walk", "50.0,8.0", *space, *out), 2, "outside the data of this store"
    )
    check_failure(
        run("explore", "walk", "7.4246,43.7384", *space, *out), 2, "are lat and lon swapped?"
    )
    check_failure(
        run("explore", "walk", "rue grimaldo", *space, *out), 2, "no place of this store is called"
    )
    check_failure(
        run("explore", "arithmetic", f"{STREET} - + {QUAY}", *space, *out),
        2,
        "position 18",
        "a place is expected",
    )
    check_failure(
        run("explore", "tsne", *space, "--count", 20, *out),
        2,
        "20 places are too few for t-SNE",
        "--perplexity",
    )
    check_failure(
        run("explore", "map", *space, "--bbox", "1,2,3,4", *out),
        2,
        "no indexed place lies in the box",
    )
    check_failure(
        run("explore", "filters", "--layer", "nothing", *out),
        2,
        "no layer is called 'nothing'",
        "trunks.0.0.0",
    )
    check_failure(
        run("explore", "pca", *ground[:2], "--index", space[-1], *out),
        2,
        "the index was made with model",
    )
    result = run("explore", "lda", monaco_pbf, *ground, "--task", "wya", *out)
    assert result.exit_code == 2
    assert "choose from" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_missing_library_is_named(
    space: list[object], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "matplotlib" else find(name)
    )
    result = run("explore", "pca", *space, "--out", tmp_path / "x")
    check_failure(result, 2, "matplotlib", "pip install 'loc2vec[explore]'")


def test_every_command_ends_its_help_with_an_example() -> None:
    for name in explore_command.commands:
        result = run("explore", name, "--help")
        assert result.exit_code == 0
        assert f"Example: loc2vec explore {name} " in " ".join(result.output.split())
