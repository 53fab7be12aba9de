"""`loc2vec trips` on Monaco, from the extract to the table."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from loc2vec.encoder import LocationEncoder
from loc2vec.errors import LabelsError
from loc2vec.evaluation.run import covered_by
from loc2vec.trips.run import encode_points, read_trips, ways_of
from service.cli.main import main
from tests.catalogues import without
from tests.models import save_fresh_model
from tests.opens import Counts
from tiling.osm.ways import read_graphs
from tiling.store.source import FeatureSource
from tiling.store.store import Store
from tiling.values import TileGeometry


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["trips", *map(str, arguments)])


@pytest.fixture(scope="module")
def file(monaco_pbf: Path, monaco_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trips in Monaco, its west and its east as two towns."""
    path = tmp_path_factory.mktemp("trips") / "trips.parquet"
    result = run(
        "walk", monaco_pbf, "--store", monaco_store, "--trips", 8, "--points", 6, "--out", path
    )
    assert result.exit_code == 0, result.output
    table = pq.read_table(path)
    west = np.repeat(table["lon"].to_numpy()[::6] < 7.42, 6)
    town = pa.array(np.where(west, "west", "east"))
    pq.write_table(table.set_column(table.column_names.index("town"), "town", town), path)
    return path


def test_trips_follow_the_ways_of_their_mode(
    file: Path, monaco_pbf: Path, monaco: FeatureSource
) -> None:
    table = pq.read_table(file)
    assert set(table["mode"].to_pylist()) >= {"road", "foot"}
    places = np.stack([table["lon"].to_numpy(), table["lat"].to_numpy()], 1)
    assert covered_by(monaco)(*places.T).all()
    mode, graphs = np.array(table["mode"].to_pylist()), read_graphs(monaco_pbf)
    for name in set(mode.tolist()):
        graph = graphs[name]
        middles = graph.lon_lat[graph.edges].mean(1)
        away = np.abs(places[mode == name][:, None] - middles).sum(2).min(1) * 1e5  # about metres
        assert np.median(away) < 25


def test_walks_are_the_same_for_a_seed_and_told_as_json(
    file: Path, monaco_pbf: Path, monaco_store: Path, tmp_path: Path
) -> None:
    again, other = tmp_path / "again.parquet", tmp_path / "other.parquet"
    told = json.loads(
        run(
            "walk",
            monaco_pbf,
            "--store",
            monaco_store,
            "--trips",
            8,
            "--points",
            6,
            "--out",
            again,
            "--json",
        ).stdout
    )
    table = pq.read_table(again)
    assert table.drop_columns(["town"]) == pq.read_table(file).drop_columns(["town"])
    assert sum(told["trips"].values()) == table.num_rows / 6
    run(
        "walk",
        monaco_pbf,
        "--store",
        monaco_store,
        "--trips",
        8,
        "--points",
        6,
        "--out",
        other,
        "--seed",
        1,
    )
    assert pq.read_table(other) != table
    assert b"OpenStreetMap" in pq.read_schema(again).metadata[b"attribution"]


def test_from_trips_to_the_table(
    file: Path, monaco_store: Path, model_folder: Path, counts: Counts
) -> None:
    counts.clear()
    quick = ("--store", monaco_store, "--model", model_folder, "--seeds", 1, "--workers", 0)
    result = run("classify", file, *quick)
    assert result.exit_code == 0, result.output
    counts.check()
    for word in (
        "trips in 2 towns",
        "| fresh-0@",
        "transformer",
        "channel means",
        "shape of the track",
        "majority",
    ):
        assert word in result.stdout
    values = json.loads(run("classify", file, *quick, "--json", "--without-ways").stdout)
    readers = [(score["vectors"].split("@")[0], score["reader"]) for score in values["scores"]]
    assert readers == [
        ("-", "majority"), ("position", "mean"), ("shape of the track", "numbers"),
        *(("fresh-0", reader) for reader in ("mean", "LSTM", "transformer")),
        *(("channel means", reader) for reader in ("mean", "LSTM", "transformer")),
    ]  # fmt: skip
    assert sum(values["trips"].values()) == np.sum(values["scores"][0]["confusion"])


def test_ways_can_be_blanked(monaco: FeatureSource, encoder: LocationEncoder) -> None:
    ways = ways_of(monaco)
    place = np.array([[7.4246, 43.7384]])
    seen, blanked = (
        encode_points(monaco, place, {"model": encoder}, blank, workers=0) for blank in ((), ways)
    )
    assert (seen["channel means"][0, :3] > 0).any()
    assert (blanked["channel means"][0, :4] == 0).all()
    np.testing.assert_array_equal(blanked["channel means"][0, 4:], seen["channel means"][0, 4:])
    assert not np.allclose(blanked["model"], seen["model"])


def test_a_store_without_ways_has_none_to_blank(monaco_pbf: Path, tmp_path: Path) -> None:
    store = Store.at(tmp_path / "own.gpkg")
    store.import_extracts([monaco_pbf], without("way"))
    said = "no channel with the role 'way': leave out --without"
    with store.open() as source, pytest.raises(LabelsError, match=said):
        ways_of(source)


def test_models_of_other_radii_read_tiles_of_their_own(
    monaco: FeatureSource, tmp_path: Path
) -> None:
    """One network for 100 m, 200 m and both: the last one's numbers are those of the two."""
    kinds = {
        "both": TileGeometry(wider_m=(200.0,)),
        "narrow": TileGeometry(),
        "wide": TileGeometry(radius_m=200.0),
    }
    models = {
        name: LocationEncoder.load(save_fresh_model(tmp_path / name, seed=1, geometry=geometry))
        for name, geometry in kinds.items()
    }
    place = np.array([[7.4246, 43.7384]])
    found = encode_points(monaco, place, models, workers=0)
    assert list(found) == [*kinds, "channel means"]
    near, wider = np.hsplit(found["both"], 2)
    np.testing.assert_allclose(near, found["narrow"], atol=1e-5)
    # The wider scale is half a pixel off (`tiling/render/wide.py`).
    off, apart = (np.linalg.norm(wider - found[name]) for name in ("wide", "narrow"))
    assert off < 0.25 * apart
    assert not np.allclose(found["narrow"], found["wide"])
    means = encode_points(monaco, place, models, (0, 1, 2, 3), workers=0)["channel means"].reshape(
        2, 12
    )
    assert (means[:, :4] == 0).all()  # in either scale
    assert (means[:, 4:] > 0).any(1).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.drop_columns(["mode"]), "has no column 'mode'"),
        (lambda table: put(table, "mode", "foot"), "every trip is of mode foot"),
        (lambda table: put(table, "town", "west"), "every trip is in west"),
        (lambda table: put(table, "lon", 2.0), "no trip lies in the store"),
        (lambda table: put(table, "trip", 1), "has the modes"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(
    file: Path,
    monaco_store: Path,
    tmp_path: Path,
    change: Callable[[pa.Table], pa.Table],
    message: str,
) -> None:
    path = tmp_path / "trips.csv"
    pyarrow.csv.write_csv(change(pq.read_table(file).drop_columns(["geometry"])), path)
    result = run("classify", path, "--store", monaco_store)
    assert result.exit_code == 2
    assert message in result.output
    assert "Traceback" not in result.output


def put(table: pa.Table, column: str, value: object) -> pa.Table:
    return table.set_column(
        table.column_names.index(column), column, pa.array([value] * table.num_rows)
    )


def test_trips_that_leave_the_store_are_left_out_and_told(
    file: Path, monaco: FeatureSource, tmp_path: Path
) -> None:
    table = pq.read_table(file)
    lon = table["lon"].to_numpy().copy()
    lon[3] = 2.0
    path = tmp_path / "trips.parquet"
    told: list[str] = []
    pq.write_table(table.set_column(table.column_names.index("lon"), "lon", pa.array(lon)), path)
    trips = read_trips(path, monaco, told.append)
    assert len(trips) == table.num_rows / 6 - 1
    assert told == [f"{path}: 1 of {len(trips) + 1} trips leave the store and are left out"]
    wider = read_trips(path, monaco, told.append, radius_m=400.0)
    assert len(wider) < len(trips)  # wider tiles reach out of it


def test_extracts_outside_the_store_give_no_trip(
    monaco_pbf: Path, tmp_path: Path, monaco_store: Path
) -> None:
    missing = run(
        "walk",
        tmp_path / "no.osm.pbf",
        "--store",
        monaco_store,
        "--out",
        tmp_path / "trips.parquet",
    )
    assert missing.exit_code == 2
    assert "no.osm.pbf" in missing.output
