"""No command opens or hashes a store twice; each thread and process may open it for itself."""

from pathlib import Path

import pytest

from loc2vec.model.names import DEFAULT_MODEL
from service.cli.demo import prepare_demo
from tests.opens import Counts
from tests.service.cli.test_commands import run

PLACE, OTHER = "43.7384,7.4246", "43.7347,7.4213"
BOX = "--bbox=7.42,43.735,7.424,43.738"
ON_ANY: dict[str, list[object]] = {
    "embed --points": ["embed", "--points", "POINTS", "--out", "OUT.parquet", "--workers", 0],
    "embed --grid": ["embed", "--grid", 100, BOX, "--out", "OUT.parquet", "--workers", 0],
    "embed raster": ["embed", "--grid", 100, BOX, "--out", "OUT.tif", "--workers", 0],
    "embed parts": ["embed", "--grid", 100, BOX, "--out", "PARTS", "--workers", 0],
    "tile": ["tile", "--locations", 3, "--positives", 1, "--workers", 0, "--out", "OUT"],
    "tile --preview": ["tile", "--locations", 3, "--preview", "OUT.png"],
    "trips walk": ["trips", "walk", "PBF", "--trips", 2, "--points", 3, "--out", "OUT.parquet"],
    "explore why": ["explore", "why", PLACE, OTHER, "--out", "OUT"],
    "explore walk": ["explore", "walk", PLACE, "--places", 20, "--out", "OUT"],
    "explore map": ["explore", "map", "--grid", 200, BOX, "--out", "OUT"],
}
WITH_MODEL = ("embed", "explore")


@pytest.fixture
def named(monaco_pbf: Path, tmp_path: Path) -> dict[object, Path]:
    points = tmp_path / "points.csv"
    points.write_text("lat,lon\n43.7384,7.4246\n")
    out = tmp_path / "out"
    files: dict[object, Path] = {
        f"OUT{ending}": out.with_suffix(ending) for ending in (".png", ".parquet", ".tif")
    }
    return files | {"POINTS": points, "OUT": out, "PARTS": out, "PBF": monaco_pbf}


def check(counts: Counts, *arguments: object) -> None:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    counts.check()


@pytest.mark.parametrize("command", ON_ANY)
@pytest.mark.parametrize("kind", ["GeoPackage", "PostGIS"])
def test_a_command_opens_and_hashes_its_store_once(
    kind: str,
    command: str,
    counts: Counts,
    named: dict[object, Path],
    model_folder: Path,
    request: pytest.FixtureRequest,
) -> None:
    store = request.getfixturevalue("monaco_store" if kind == "GeoPackage" else "monaco_database")
    counts.clear()  # what the fixture did
    words = [named.get(word, word) for word in ON_ANY[command]]
    model = ["--model", model_folder] if words[0] in WITH_MODEL else []
    check(counts, *words, "--store", store, *model)


def test_a_figure_of_classes_opens_its_store_once(
    counts: Counts, monaco_store: Path, model_folder: Path, monaco_pbf: Path, tmp_path: Path
) -> None:
    counts.clear()
    few = ("--per-class", 10, "--out", tmp_path / "lda")
    one = ("--store", monaco_store, "--model", model_folder)
    check(counts, "explore", "lda", monaco_pbf, *one, *few)


def test_an_import_opens_the_store_that_is_there_once(
    counts: Counts, own_store: Path, monaco_pbf: Path
) -> None:
    counts.clear()
    check(counts, "import", monaco_pbf, "--store", own_store, "--if-changed")


def test_an_update_reads_the_catalogue_by_its_own_connection(
    counts: Counts, slim: str, change_file: Path
) -> None:
    counts.clear()
    result = run("update", change_file, "--store", slim)
    assert result.exit_code == 0, result.output
    assert not counts


def test_the_demo_opens_its_store_once_to_make_the_index(
    counts: Counts, monaco_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.cli.demo.GRID_M", 200.0)
    counts.clear()
    paths = prepare_demo(tmp_path / "demo", DEFAULT_MODEL, print)
    opens = [number for (what, _), number in counts.items() if what == "open"]
    assert opens == [1]
    counts.clear()
    assert prepare_demo(tmp_path / "demo", DEFAULT_MODEL, print) == paths
    assert set(counts.values()) <= {1}
