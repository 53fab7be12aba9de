"""`loc2vec evaluate` on Monaco, from the extract to the table."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from loc2vec.encoder import LocationEncoder
from loc2vec.errors import LabelsError
from loc2vec.evaluation.cli import _tasks
from loc2vec.evaluation.intrinsic import Triplets
from loc2vec.evaluation.retrieval import Retrieval
from loc2vec.evaluation.run import Methods, covered_by, encode_tasks, read_towns
from loc2vec.evaluation.tasks.osm import RECIPES, Town, make_task
from service.cli.main import main
from tiling.catalogue.catalogue import load_catalogue
from tiling.dataset.job import TileJob, run_job
from tiling.errors import ExtractError
from tiling.osm.extract import read_objects
from tiling.store.source import FeatureSource
from tiling.store.store import Store
from tiling.values import LonLat


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["evaluate", *map(str, arguments)])


@pytest.fixture(scope="module")
def towns(monaco_pbf: Path) -> list[Town]:
    return read_towns([monaco_pbf], load_catalogue())


def test_towns_are_named_as_regions_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loc2vec.evaluation.run.read_objects", lambda *_: [])
    paths = [tmp_path / name for name in ("a.b.osm.pbf", "a.c.osm.pbf", "old/a.c.osm")]
    assert [town.name for town in read_towns(paths, load_catalogue())] == ["a.b", "a.c", "a.c-2"]


def test_one_command_from_extract_to_table(
    monaco_pbf: Path, monaco_store: Path, model_folder: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("loc2vec.evaluation.splits.FOLDS", 3)  # fits take most of the time
    quick = (
        "--task",
        "point of interest",
        "--task",
        "amenities near",
        "--per-class",
        10,
        "--seeds",
        1,
        "--workers",
        0,
    )
    run_job(TileJob((Store.at(monaco_store),), positives=1, locations=20), tmp_path / "tiles")
    result = run(
        monaco_pbf,
        "--model",
        model_folder,
        *quick,
        "--tiles",
        tmp_path / "tiles",
        "--out",
        tmp_path / "report",
    )
    assert result.exit_code == 0, result.output
    for word in (
        "fresh-0@",
        "channel means",
        "tag counts",
        "point of interest, macro-F1",
        "amenities near, R2",
    ):
        assert word in result.stdout
    values = json.loads((tmp_path / "report" / "results.json").read_text())
    assert [task["task"] for task in values["tasks"]] == ["point of interest", "amenities near"]
    numbers = {
        score["method"].split("@")[0]: score["numbers"] for score in values["tasks"][0]["scores"]
    }
    assert numbers == {
        "fresh-0": 16, "channel means": 12, "means in 2x2 squares": 48, "means in 4x4 squares": 192,
        "pixel components": 16, "patch features": 16, "untrained loc2vec": 16, "position": 16,
        "tag counts": numbers["tag counts"],
    }  # fmt: skip
    of_tiles = [name for name in numbers if name not in ("position", "tag counts")]
    assert [name.split("@")[0] for name in values["without_labels"]] == of_tiles
    first = next(iter(values["without_labels"].values()))
    # as the report of a run has them
    assert set(first) >= {Retrieval.primary, Triplets.primary, "equal accuracy"}
    assert set(values["methods"].values()) == {"model", "baseline"}
    page = (tmp_path / "report" / "report.html").read_text()
    assert "triplets, near" in page
    assert "undrawn tasks ahead" in page
    assert (tmp_path / "report" / "table.md").read_text().strip() in result.stdout


def test_tiles_are_those_of_their_places_with_channels_blanked(
    monaco_pbf: Path,
    monaco_store: Path,
    monaco: FeatureSource,
    encoder: LocationEncoder,
    towns: list[Town],
) -> None:
    from loc2vec.evaluation.baselines import channel_means
    from tiling.render.renderer import Renderer

    names = ("land use", "building levels")
    tasks = [make_task(name, towns, covered_by(monaco), 10) for name in names]
    found = encode_tasks(monaco, tasks, Methods({"model": encoder}), workers=0)
    with Store.at(monaco_store).open() as source:
        for task, vectors in zip(tasks, found, strict=True):
            row = len(task) // 2
            tile = Renderer(source).north_up([LonLat(task.lon[row], task.lat[row])])
            tile[:, list(task.blank)] = 0
            np.testing.assert_allclose(
                vectors["channel means"][row], channel_means(tile)[0], rtol=1e-6
            )
            np.testing.assert_allclose(vectors["model"][row], encoder.encode(tile)[0], atol=1e-4)
    assert tasks[0].blank == (6, 7, 8, 9, 10, 11)
    assert (found[0]["channel means"][:, 6:] == 0).all()
    assert (found[1]["channel means"][:, 6:] > 0).any()


def test_only_whole_tiles_are_taken(monaco_store: Path, monaco: FeatureSource) -> None:
    covered = covered_by(monaco)
    with Store.at(monaco_store).open() as source:
        _, south, east, north = source.bounds
    middle = (south + north) / 2
    assert covered(np.array([7.4246, 2.0, east]), np.array([43.7384, 48.0, middle])).tolist() == [
        True,
        False,
        False,
    ]


def test_objects_hold_what_is_drawn_and_what_is_not(monaco_pbf: Path) -> None:
    objects = list(read_objects(monaco_pbf, load_catalogue(), ["building", "shop", "highway"]))
    shops = [item for item in objects if item.kind == "point" and "shop" in item.tags]
    assert len(shops) > 100
    assert all(
        item.drawn == ()
        for item in shops
        if "amenity" not in item.tags and "tourism" not in item.tags
    )
    buildings = [item for item in objects if item.kind == "area" and "building" in item.tags]
    assert len(buildings) > 1000
    drawn = [(4, "building") in item.drawn for item in buildings if item.tags["building"] != "no"]
    assert np.mean(drawn) > 0.99  # the others are underground
    assert {item.kind for item in objects} == {"point", "line", "area"}
    with pytest.raises(ExtractError, match="not a file"):
        list(read_objects(Path("nowhere.osm.pbf"), load_catalogue(), ["building"]))


def test_tasks_without_labels_are_left_out_unless_they_were_asked_for(
    towns: list[Town], monaco: FeatureSource, capsys: pytest.CaptureFixture[str]
) -> None:
    covered = covered_by(monaco, radius_m=100.0)
    tasks = _tasks((), towns, covered, 20, 1)
    assert [task.name for task in tasks] == [name for name in RECIPES if name != "town"]
    assert "left out: task town: every place is 'monaco'" in capsys.readouterr().err
    with pytest.raises(LabelsError, match="task town"):
        _tasks(("town",), towns, covered, 20, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.osm.pbf"], "nowhere.osm.pbf"),
        (["{pbf}", "--task", "bulding type"], "no task 'bulding type': choose from building type"),
        (["{pbf}", "--model", "no-model"], "no model folder"),
        (["{pbf}", "--store", "nowhere.gpkg"], "nowhere.gpkg is not a file"),
    ],
)
def test_what_the_user_did_wrong_is_said(
    monaco_pbf: Path, arguments: list[str], message: str
) -> None:
    result = run(*(argument.format(pbf=monaco_pbf) for argument in arguments))
    assert result.exit_code == 2
    assert message in result.output
    assert "Traceback" not in result.output


def test_the_missing_extra_is_named(monaco_pbf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loc2vec.evaluation.cli.LIBRARIES", ("sklearn", "no_such_library"))
    result = run(monaco_pbf)
    assert result.exit_code == 2
    assert "needs no_such_library: pip install 'loc2vec[evaluate]'" in result.output
