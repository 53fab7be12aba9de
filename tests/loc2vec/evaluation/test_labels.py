"""A user's labels and foreign vectors: what is taken, and the errors for what is not."""

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
from click.testing import CliRunner, Result

from loc2vec.embed.files import Vectors, write_vectors
from loc2vec.embed.foreign import read_foreign
from loc2vec.errors import LabelsError, VectorsError
from loc2vec.evaluation.run import Lookup, labels_task, where_vectors_are
from loc2vec.evaluation.tasks.labels import Labels, numbered, read_labels, task_of
from loc2vec.evaluation.tasks.task import Task
from service.cli.main import main
from tests.opens import Counts
from tiling.errors import PointsError
from tiling.store.source import FeatureSource

HEAD = "lat,lon,kind,price\n"
ROWS = ["43.7384,7.4246,old,10.5", "43.7420,7.4275,new,12"]


def csv(tmp_path: Path, *rows: str, head: str = HEAD) -> Path:
    path = tmp_path / "labels.csv"
    path.write_text(head + "\n".join(rows) + "\n")
    return path


def geojson(tmp_path: Path, *features: tuple[object, object]) -> Path:
    path = tmp_path / "labels.geojson"
    found = [{"type": "Feature", "geometry": g, "properties": p} for g, p in features]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": found}))
    return path


def task(labels: Labels) -> Task:
    return task_of(labels, "kind", np.zeros(len(labels.lat), int), ("here",))


def test_the_column_says_whether_it_is_classes_or_a_number(tmp_path: Path) -> None:
    path = csv(tmp_path, *ROWS)
    assert task(read_labels(path, "kind")).classes == ("new", "old")
    assert task(read_labels(path, "kind")).target.tolist() == [1, 0]
    assert task(read_labels(path, "price")).classes == ()
    assert task(read_labels(path, "price")).target.tolist() == [10.5, 12]
    places = np.zeros(30), np.zeros(30)
    where = [""] * 30
    assert task(Labels(*places, [i % 3 for i in range(30)], where)).classes == ("0", "1", "2")
    assert task(Labels(*places, list(range(30)), where)).classes == ()
    assert task(Labels(*places, [bool(i % 2) for i in range(30)], where)).classes == (
        "False",
        "True",
    )


def test_areas_stand_for_a_point_inside_them(tmp_path: Path) -> None:
    horseshoe = shapely.Polygon(
        [
            (7, 43),
            (7.3, 43),
            (7.3, 43.3),
            (7.2, 43.3),
            (7.2, 43.1),
            (7.1, 43.1),
            (7.1, 43.3),
            (7, 43.3),
        ]
    )
    path = geojson(tmp_path, (shapely.geometry.mapping(horseshoe), {"kind": "a"}))
    labels = read_labels(path, "kind")
    assert horseshoe.contains(shapely.Point(labels.lon[0], labels.lat[0]))
    parquet = tmp_path / "labels.parquet"
    pq.write_table(pa.table({"geometry": [horseshoe.wkb], "kind": ["a"]}), parquet)
    assert read_labels(parquet, "kind").lat.tolist() == labels.lat.tolist()


METRES = {"type": "Point", "coordinates": [500000, 4e6]}
POINT = {"type": "Point", "coordinates": [7.4, 43.7]}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: csv(p, "43.7,7.4,,1"), "line 2: 'kind' is empty"),
        (lambda p: csv(p, *ROWS, ",7.4,old,1"), "line 4: lat None is not a number"),
        (lambda p: csv(p, "7.4,old", head="lon,kind\n"), "has 0 columns called lat or latitude"),
        (
            lambda p: csv(p, "43.7,7.4,1", head="lat,lon,price\n"),
            "no column 'kind': --target must be one of 'lat'",
        ),
        (lambda p: csv(p, "93.7,7.4,old,1"), "line 2: lat 93.7"),
        (
            lambda p: geojson(p, (POINT, {"kind": "a"}), (None, {"kind": "b"})),
            "feature 2 has no coordinates",
        ),
        (lambda p: geojson(p, (POINT, {"kind": "a"}), (POINT, {})), "feature 2: 'kind' is empty"),
        (lambda p: geojson(p, (METRES, {"kind": "a"})), r"feature 1: .*degrees"),
        (lambda p: p / "nowhere.csv", "nowhere.csv is not a file"),
    ],
)  # fmt: skip
def test_bad_labels_are_named(tmp_path: Path, make: Callable[[Path], Path], message: str) -> None:
    with pytest.raises((LabelsError, PointsError), match=message):
        read_labels(make(tmp_path), "kind")


def test_numbers_that_are_not_finite_are_named(tmp_path: Path) -> None:
    with pytest.raises(LabelsError, match="line 3: 'price' is empty"):
        read_labels(csv(tmp_path, ROWS[0], "43.7,7.4,old,nan"), "price")
    path = tmp_path / "labels.parquet"
    pq.write_table(pa.table({"lat": [43.7], "lon": [7.4], "price": [float("inf")]}), path)
    with pytest.raises(LabelsError, match="row 1: 'price' is inf"):
        read_labels(path, "price")


def test_no_geojson(tmp_path: Path) -> None:
    path = tmp_path / "labels.geojson"
    path.write_text('{"type": "Topology"}')
    with pytest.raises(PointsError, match=r"cannot read .*labels\.geojson"):
        read_labels(path, "kind")


@pytest.mark.parametrize("price", ["€ 1,200", "1,200.50", "1 200", "EUR 12", "12 %", "'1,5'"])
def test_amounts_are_not_taken_for_classes(tmp_path: Path, price: str) -> None:
    path = csv(tmp_path, f'43.7,7.4,old,"{price}"')
    with pytest.raises(LabelsError, match=r"line 2: 'price' is .*: write a plain number"):
        read_labels(path, "price")


def test_a_long_label_takes_no_memory_in_each_row() -> None:
    values = ["long" * 1_000_000, *("abc" * 1000)]
    tracemalloc.start()
    names, numbers = numbered(values)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert names == ("a", "b", "c", values[0])
    assert numbers.tolist() == [3, *[0, 1, 2] * 1000]
    assert peak < 2_000_000


def parquet(tmp_path: Path, values: pa.Array) -> Path:
    table = pa.table(
        {"lat": [43.7384] * len(values), "lon": [7.4246] * len(values), "kind": values}
    )
    pq.write_table(table, tmp_path / "labels.parquet")
    return tmp_path / "labels.parquet"


def test_decimal_numbers_are_numbers(tmp_path: Path) -> None:
    prices = pa.array([n + 0.5 for n in range(3)]).cast(pa.decimal128(20, 2))
    assert read_labels(parquet(tmp_path, prices), "kind").values == [0.5, 1.5, 2.5]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (pa.array([["a"], []]), "holds list<.*>: it must hold numbers or text"),
        (pa.array([b"a"], pa.large_binary()), "holds large_binary: it must hold numbers or text"),
        (pa.array([{"a": 1}]), "holds struct<.*>: it must hold numbers or text"),
        (pa.array([2**62], pa.timestamp("us")), "cannot read the column 'kind' of"),
    ],
)
def test_what_is_no_label_is_refused(tmp_path: Path, values: pa.Array, message: str) -> None:
    with pytest.raises(PointsError, match=message):
        read_labels(parquet(tmp_path, values), "kind")


@pytest.mark.parametrize("code", ["02139", "1st", "zone 3", "A1", "ABC", "1-2"])
def test_codes_are_classes(tmp_path: Path, code: str) -> None:
    assert read_labels(csv(tmp_path, f"43.7,7.4,{code},1"), "kind").values == [code]


def test_places_outside_the_store_are_told(tmp_path: Path, monaco: FeatureSource) -> None:
    told: list[str] = []
    found = labels_task(csv(tmp_path, *ROWS, "48.85,2.35,old,9"), "kind", monaco, told.append)
    assert len(found) == 2
    assert "1 of 3 places" in told[0]
    assert "line 4 (lat 48.85, lon 2.35)" in told[0]
    with pytest.raises(LabelsError, match=r"the first is line 2 \(lat 48.85"):
        labels_task(csv(tmp_path, "48.85,2.35,old,9"), "kind", monaco, told.append)


def vectors(tmp_path: Path, embedding: object, **columns: object) -> Path:
    path = tmp_path / "theirs.parquet"
    pq.write_table(pa.table(columns | {"embedding": embedding}), path)
    return path


def test_vectors_of_others_are_read(tmp_path: Path) -> None:
    path = vectors(
        tmp_path, [[1.0, 2.0], None, [3.0, 4.0]], lat=[1.0, 2.0, 3.0], lon=[7.0, 7.0, 8.0]
    )
    found = read_foreign(path)
    assert found.embedding.tolist() == [[1, 2], [3, 4]]
    assert (found.lat.tolist(), found.lon.tolist()) == ([1, 3], [7, 8])
    cells = vectors(tmp_path, [[1.0]], geometry=[shapely.box(7, 43, 8, 44).wkb])
    assert (read_foreign(cells).lat[0], read_foreign(cells).lon[0]) == (43.5, 7.5)


@pytest.mark.parametrize("ending", ["parquet", "csv", "gpkg", "geojson"])
def test_our_vectors_are_read_as_well(tmp_path: Path, ending: str) -> None:
    ours = Vectors(
        np.array([1.0, 2.0]),
        np.array([7.0, 8.0]),
        np.array([[1, 2], [np.nan, np.nan]], np.float32),
        None,
        "m",
        "f",
    )
    path = tmp_path / f"ours.{ending}"
    write_vectors(path, ours)
    found = read_foreign(path)
    assert found.embedding.tolist() == [[1, 2]]
    assert (found.lat.tolist(), found.lon.tolist()) == ([1], [7])
    assert found.model == ("m" if ending == "parquet" else path.name)


def test_vectors_in_another_coordinate_system_are_refused(tmp_path: Path) -> None:
    table = pa.table({"geometry": [shapely.Point(1, 2).wkb], "embedding": [[1.0]]})
    crs = {"type": "ProjectedCRS", "name": "Web", "id": {"authority": "EPSG", "code": 3857}}
    geo = {"primary_column": "geometry", "columns": {"geometry": {"encoding": "WKB", "crs": crs}}}
    path = tmp_path / "theirs.parquet"
    pq.write_table(table.replace_schema_metadata({"geo": json.dumps(geo)}), path)
    with pytest.raises(PointsError, match=r"are in EPSG:3857: save them in degrees"):
        read_foreign(path)


@pytest.mark.parametrize(
    ("embedding", "columns", "message"),
    [
        (
            [[1.0, 2.0], [1.0]],
            {"lat": [1.0, 2.0], "lon": [1.0, 2.0]},
            "row 2: 1 numbers, row 1 has 2",
        ),
        (
            [[1.0], [float("nan")]],
            {"lat": [1.0, 2.0], "lon": [1.0, 2.0]},
            "row 2: its vector is not finite",
        ),
        ([[1.0]], {"x": [1.0]}, "0 columns called lat or latitude, and no geometry"),
        ([[1.0]], {"lat": ["north"], "lon": [1.0]}, "row 1: lat 'north' is not a number"),
        ([[1.0]], {"lat": [7.0], "lon": [200.0]}, "row 1: .*200"),
        ([None], {"lat": [1.0], "lon": [1.0], "embedding_1": ["a"]}, "holds no numbers"),
        (["text"], {"lat": [1.0], "lon": [1.0]}, "no column 'embedding' of lists"),
        (pa.array([None], pa.list_(pa.float32())), {"lat": [1.0], "lon": [1.0]}, "holds no vector"),
    ],
)
def test_bad_vectors_are_named(
    tmp_path: Path, embedding: object, columns: dict[str, object], message: str
) -> None:
    with pytest.raises((VectorsError, PointsError), match=message):
        read_foreign(vectors(tmp_path, embedding, **columns))


def test_every_method_has_the_same_places(tmp_path: Path, monaco: FeatureSource) -> None:
    found = labels_task(csv(tmp_path, *ROWS), "kind", monaco, print)
    lookup = Lookup.read(vectors(tmp_path, [[1.0], [2.0]], lat=[43.7385, 43.0], lon=[7.4246, 7.0]))
    told: list[str] = []
    assert where_vectors_are(found, [lookup], told.append).lat.tolist() == [43.7384]
    assert "1 of 2 places have no vector" in told[0]
    assert lookup.nearest(found.lat, found.lon).tolist() == [0, -1]
    far = Lookup.read(vectors(tmp_path, [[1.0]], lat=[0.0], lon=[0.0]))
    with pytest.raises(LabelsError, match="none of its places has a vector of theirs"):
        where_vectors_are(found, [far], print)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["evaluate", *map(str, arguments)])


def test_labels_and_vectors_in_one_command(
    tmp_path: Path, monaco_store: Path, model_folder: Path, counts: Counts,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("loc2vec.evaluation.splits.FOLDS", 3)  # fits take most of the time
    rng = np.random.default_rng(0)
    lat, lon = rng.uniform(43.730, 43.745, 80), rng.uniform(7.415, 7.430, 80)
    kind = np.where(lat > 43.7375, "north", "south")
    rows = [f"{a},{b},{c},1" for a, b, c in zip(lat, lon, kind, strict=True)]
    theirs = vectors(tmp_path, [[float(a > 43.7375), 0.0] for a in lat], lat=lat, lon=lon)
    out = tmp_path / "report"
    counts.clear()
    result = run(
        "--store", monaco_store, "--labels", csv(tmp_path, *rows), "--target", "kind",
        "--model", model_folder,
        "--vectors", theirs, "--seeds", 1, "--workers", 0, "--out", out,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    counts.check()
    scores = json.loads((out / "results.json").read_text())["tasks"][0]["scores"]
    found = {
        s["method"]: s["metrics"]["macro-F1"]["mean"]
        for s in scores
        if (s["split"], s["probe"]) == ("blocks", "linear")
    }
    assert found["theirs.parquet"] > 0.95  # their vectors say it outright
    page = (out / "report.html").read_text()
    for word in ("<svg", "Confusion", "theirs.parquet", "OpenStreetMap", "north"):
        assert word in page
    again = read_labels(out / "places" / "kind.parquet", "label")  # the places are labels again
    inside = np.isin(lat, again.lat)
    assert 70 < inside.sum() < 80
    assert again.values == kind[inside].tolist()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give at least one extract"),
        (["--store", "{store}"], "tasks are made of extracts"),
        (["--store", "{store}", "--labels", "x.csv"], "--labels and --target go together"),
        (
            ["--store", "{store}", "--labels", "{one}", "--target", "kind"],
            "task kind: every place is 'old'",
        ),
        (["--store", "{store}", "--labels", "{two}", "--target", "kind"], "fewer than the 5 folds"),
        (
            ["--store", "{store}", "--labels", "{two}", "--target", "kind", "--task", "way"],
            "leave it out with --labels",
        ),
    ],
)
def test_usage(tmp_path: Path, monaco_store: Path, arguments: list[str], message: str) -> None:
    (tmp_path / "one").mkdir()
    one = csv(tmp_path / "one", *[ROWS[0]] * 8)
    two = csv(tmp_path, *ROWS)
    result = run(*(argument.format(store=monaco_store, one=one, two=two) for argument in arguments))
    assert result.exit_code == 2, result.output
    assert message in result.output
