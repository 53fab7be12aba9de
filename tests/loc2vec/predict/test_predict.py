"""`loc2vec predict` on Monaco, with labels that the map gives away, and labels that it does not."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.csv
import pyarrow.parquet as pq
import pyogrio
import pytest
import rasterio
from click.testing import CliRunner, Result
from numpy.typing import NDArray

from loc2vec.embed.files import Vectors
from loc2vec.encoder import LocationEncoder
from loc2vec.errors import LabelsError, PredictorError
from loc2vec.predict.estimators import PlaceClassifier, PlaceRegressor
from loc2vec.predict.fit import PlacePredictor
from loc2vec.predict.predictor import FITTED, Predictor
from loc2vec.predict.target import Target
from service.cli.main import main
from tests.browser import count_colours, launched, pixels, watched

INSIDE = 400  # places, of which every second has a label

MARKUP = "<x-ss>"  # the name of a class, which stays text


@pytest.fixture(scope="module", autouse=True)
def quick() -> Iterator[None]:
    """Few tiles to look at, few resamples, and no boosting, which takes most of the time."""

    def fresh(target: Target) -> PlaceClassifier | PlaceRegressor:
        families = ("linear", "neighbours")
        return PlaceRegressor(families) if target.kind == "number" else PlaceClassifier(families)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("loc2vec.predict.predictor.fresh", fresh)
        patched.setattr("loc2vec.predict.judge.fresh", fresh)
        patched.setattr("loc2vec.predict.judge.RESAMPLES", 30)
        patched.setattr("loc2vec.predict.examples.LOOKED_AT", 6)
        patched.setattr("loc2vec.predict.examples.SPACING_M", 200.0)
        yield


@pytest.fixture(scope="module")
def towns(vectors: Vectors) -> dict[str, NDArray[np.float64]]:
    """Places of Monaco with a number that their vectors give away, and one that is noise."""
    rows = np.flatnonzero(vectors.inside)[:INSIDE:2]
    embedding = vectors.embedding[rows].astype(np.float64)
    first = embedding @ np.linalg.svd(embedding - embedding.mean(0), full_matrices=False)[2][0]
    rng = np.random.default_rng(0)
    return {
        "lat": vectors.lat[rows],
        "lon": vectors.lon[rows],
        "told": (first - first.mean()) / first.std(),
        "noise": rng.normal(size=len(rows)),
    }


@pytest.fixture(scope="module")
def labels(towns: dict[str, NDArray[np.float64]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("labels") / "labels.csv"
    kind = np.where(towns["told"] > 0.3, MARKUP, np.where(towns["told"] > -0.5, "some", "none"))
    rows = ["lat,lon,told,noise,kind,constant"]
    for row in range(len(kind)):
        numbers = ",".join(f"{towns[name][row]:.6f}" for name in ("lat", "lon", "told", "noise"))
        rows.append(f"{numbers},{kind[row]},same")
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def common(monaco_store: Path, model_folder: Path) -> list[object]:
    return ["--store", monaco_store, "--model", model_folder, "--workers", 0]


def predict(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["predict", *map(str, arguments)])


@pytest.fixture(scope="module")
def numbers(common: list[object], labels: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the map of a number, and its report."""
    folder = tmp_path_factory.mktemp("numbers")
    result = predict(
        *common, "--labels", labels, "--target", "told", "--grid", 350, "--out",
        folder / "told.parquet", "--report", folder / "report",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "The vectors help" in result.stdout
    return folder


def test_a_number_is_predicted_with_an_interval(numbers: Path) -> None:
    table = pq.read_table(numbers / "told.parquet")
    names = ["lat", "lon", "told", "low", "high", "extrapolated", "geometry"]
    assert table.column_names == names
    low, value, high = (table[name].to_numpy() for name in ("low", "told", "high"))
    assert ((low < value) & (value < high)).all()
    scores = json.loads((numbers / "report" / "predictor" / "predictor.json").read_text())["scores"]
    assert scores["better"]
    assert scores["held"]["0.9"] >= 0.84  # at least what is promised, but for 61 places' luck
    assert [score["method"] for score in scores["scores"]] == [
        "vectors", "channel means", "position", "mean",
    ]  # fmt: skip


def test_the_report_shows_what_it_is_worth(numbers: Path) -> None:
    with launched() as browser:
        page = browser.new_page(viewport={"width": 1200, "height": 900})
        wrong = watched(page)
        page.goto((numbers / "report" / "report.html").as_uri())
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert "The vectors help" in page.locator(".verdict").inner_text()
        assert page.locator(".plot").count() == 4  # the map, the errors, labels, channels
        for plot in page.locator(".plot").all():
            seen = pixels(plot)
            assert count_colours(seen) > 30
            assert (np.ptp(seen.astype(int), axis=2) > 60).any(), "something in a colour"
        page.set_viewport_size({"width": 360, "height": 640})
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert wrong == []


def test_a_predictor_is_used_again(common: list[object], numbers: Path, tmp_path: Path) -> None:
    out = tmp_path / "again.csv"
    kept = numbers / "report" / "predictor"
    result = predict(*common, "--predictor", kept, "--grid", 350, "--out", out)
    assert result.exit_code == 0, result.output
    again, first = pyarrow.csv.read_csv(out), pq.read_table(numbers / "told.parquet")
    np.testing.assert_allclose(again["told"].to_numpy(), first["told"].to_numpy(), rtol=1e-6)


def test_a_grid_can_be_a_raster(common: list[object], numbers: Path, tmp_path: Path) -> None:
    out = tmp_path / "told.tif"
    kept = numbers / "report" / "predictor"
    result = predict(*common, "--predictor", kept, "--grid", 400, "--out", out)
    assert result.exit_code == 0, result.output
    with rasterio.open(out) as raster:
        assert raster.descriptions == ("told", "low", "high", "extrapolated")
        bands = raster.read()
    known = np.isfinite(bands[0])
    assert 0 < known.sum() < known.size
    assert (bands[1][known] < bands[0][known]).all()


def test_points_keep_their_columns_and_those_outside_are_null(
    common: list[object], labels: Path, tmp_path: Path
) -> None:
    points, out, report = (tmp_path / name for name in ("visits.csv", "visits.gpkg", "report"))
    points.write_text("who,lat,lon\nann,43.7384,7.4246\nbob,48.85,2.35\n", encoding="utf-8")
    result = predict(
        *common, "--labels", labels, "--target", "kind", "--points", points, "--out", out,
        "--report", report,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "1 lie outside the store" in result.stdout
    found = pyogrio.read_info(out)
    assert (found["features"], found["crs"]) == (2, "EPSG:4326")
    _, _, _, columns = pyogrio.raw.read(out)
    rows = dict(zip(found["fields"], columns, strict=True))
    assert rows["who"].tolist() == ["ann", "bob"]
    assert rows["kind"][0] in {MARKUP, "some", "none"}
    assert rows["kind"][1] is None
    shares = np.array([rows[f"p_{name}"][0] for name in (MARKUP, "none", "some")])
    assert shares.sum() == pytest.approx(1)
    assert rows["probability"][0] == pytest.approx(shares.max())
    page = (report / "report.html").read_text()
    assert MARKUP not in page
    assert "&lt;x-ss" in page


@pytest.fixture(scope="module")
def priced(towns: dict[str, NDArray[np.float64]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A price that the map tells half of, and two columns of the user's the rest."""
    path, rng = tmp_path_factory.mktemp("priced") / "priced.csv", np.random.default_rng(0)
    beds, kind = rng.integers(1, 6, len(towns["lat"])), rng.integers(0, 2, len(towns["lat"]))
    price = 50 + 5 * towns["told"] + 9 * beds + 30 * kind
    rows = [
        f"{lat},{lon},{value:.3f},{bed},{('room', 'flat')[one]}"
        for lat, lon, value, bed, one in zip(
            towns["lat"], towns["lon"], price, beds, kind, strict=True
        )
    ]
    path.write_text("\n".join(["lat,lon,price,beds,kind", *rows]) + "\n", encoding="utf-8")
    return path


def test_columns_of_the_user_are_further_features(
    common: list[object], priced: Path, tmp_path: Path
) -> None:
    out, kept = tmp_path / "price.csv", tmp_path / "report"
    learned = [*common, "--labels", priced, "--target", "price"]
    result = predict(
        *learned, "--with", "beds", "--with", "kind=flat", "--points", priced_points(priced),
        "--out", out, "--report", kept,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    beds, price = (pyarrow.csv.read_csv(out)[name].to_numpy() for name in ("beds", "price"))
    assert np.polyfit(beds, price, 1)[0] == pytest.approx(9, abs=2)
    about = json.loads((kept / "predictor" / "predictor.json").read_text())
    assert [column["texts"] for column in about["columns"]] == [[], ["flat", "room"]]
    methods = [score["method"] for score in about["scores"]["scores"]]
    assert methods == ["vectors", "channel means", "position", "columns alone", "mean"]
    assert "beds, kind" in (kept / "report.html").read_text()

    grids = []
    for kind in ("room", "flat"):
        again = [*common, "--predictor", kept / "predictor", "--grid", 400, "--out", out]
        assert predict(*again, "--with", "beds=2", "--with", f"kind={kind}").exit_code == 0
        grids.append(pyarrow.csv.read_csv(out)["price"].to_numpy())
    assert (grids[1] - grids[0]).mean() == pytest.approx(30, abs=6)
    for given, said in (
        ([], "have no column 'beds': give --points with it"),
        (["--with", "beds=2"], "have no column 'kind'"),
        (["--with", "beds=two", "--with", "kind=flat"], "'beds' of place 1 is 'two'"),
        (["--with", "beds=2", "--with", "kind=tent"], "'tent', which was not learned: there is"),
        (["--with", "beds=2", "--with", "beds=3"], "beds is given twice"),
    ):
        result = predict(*again, *given)
        assert (result.exit_code, said in result.stderr) == (2, True), result.stderr


def priced_points(priced: Path) -> Path:
    """The same places without their price."""
    path = priced.with_name("points.csv")
    lines = [line.split(",") for line in priced.read_text(encoding="utf-8").split()]
    path.write_text("\n".join(",".join([*row[:2], row[3]]) for row in lines), encoding="utf-8")
    return path


def test_a_column_that_is_no_feature_is_one_sentence(
    common: list[object], priced: Path, tmp_path: Path
) -> None:
    empty = tmp_path / "empty.csv"
    empty.write_text(priced.read_text(encoding="utf-8").replace("flat", ""), encoding="utf-8")
    given = ["--target", "price", "--grid", 400, "--out", tmp_path / "x.csv"]
    for path, more, said in (
        (priced, ["--with", "rooms"], "has no column 'rooms': --with must be one of"),
        (priced, ["--with", "beds"], "have no column 'beds'"),
        (empty, ["--with", "kind=room"], "'kind' is empty: fill it in"),
    ):
        result = predict(*common, "--labels", path, *given, *more)
        assert (result.exit_code, said in result.stderr) == (2, True), result.stderr
    result = predict(*common, "--labels", priced, *given[2:], "--with", "beds=1")
    assert "--with goes with --target" in result.stderr


def test_what_the_map_does_not_say_is_not_written_unless_told(
    common: list[object], labels: Path, tmp_path: Path
) -> None:
    out = tmp_path / "noise.parquet"
    given = [*common, "--labels", labels, "--target", "noise", "--grid", 400, "--out", out]
    result = predict(*given)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("The vectors are no better than")
    assert "--anyway writes them" in result.stderr
    assert not out.exists()
    assert predict(*given, "--anyway").exit_code == 0
    assert out.exists()


def test_examples_without_a_value_find_places_like_them(
    common: list[object], towns: dict[str, NDArray[np.float64]], tmp_path: Path
) -> None:
    liked = np.argsort(-towns["told"])[:25]
    path, out = tmp_path / "shops.csv", tmp_path / "like.parquet"
    rows = [f"{towns['lat'][row]},{towns['lon'][row]}" for row in liked]
    path.write_text("\n".join(["lat,lon", *rows]) + "\n", encoding="utf-8")
    result = predict(*common, "--labels", path, "--grid", 350, "--out", out, "--anyway")
    assert result.exit_code == 0, result.output
    assert "AUC of shops" in result.stdout
    table = pq.read_table(out)
    likeness = table["likeness"].to_numpy()
    assert likeness.min() >= 0
    assert likeness.max() <= 1
    assert likeness.std() > 0.02


@pytest.mark.parametrize(
    ("column", "said"),
    [
        ("constant", "every 'constant' is 'same', one value cannot be told from another"),
        ("price", "has no column 'price': --target must be one of"),
    ],
)
def test_labels_that_do_not_suffice_are_one_sentence(
    common: list[object], labels: Path, tmp_path: Path, column: str, said: str
) -> None:
    result = predict(
        *common, "--labels", labels, "--target", column, "--grid", 350, "--out", tmp_path / "x.csv"
    )
    assert result.exit_code == 2
    assert said in result.stderr
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (
            ["48.85,2.35,1.5", "48.86,2.36,2.5"],
            "no place lies in the store, the first is lat 48.85",
        ),
        (
            ["43.7384,7.4246,1.5", "43.7347,7.4213,2.5"],
            "2 labelled places lie in the store, at least",
        ),
        ([f"43.738{n},7.4246,{n}.5" for n in range(10)], "all places lie in 1 block of 1 km"),
    ],
)
def test_places_that_do_not_suffice_are_one_sentence(
    common: list[object], tmp_path: Path, rows: list[str], said: str
) -> None:
    path = tmp_path / "few.csv"
    path.write_text("\n".join(["lat,lon,y", *rows]) + "\n", encoding="utf-8")
    result = predict(
        *common, "--labels", path, "--target", "y", "--grid", 350, "--out", tmp_path / "x.csv"
    )
    assert result.exit_code == 2
    assert said in result.stderr


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            ["--grid", 50, "--out", "x.xlsx"],
            "its name must end in .parquet, .csv, .gpkg, .geojson, .tif",
        ),
        (["--points", "p.csv", "--out", "x.tif"], "a raster is of a --grid, not of --points"),
        (["--out", "x.csv"], "give one of --points and --grid"),
        (["--grid", 50, "--out", "x.csv", "--predictor", "p"], "one of --labels and --predictor"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    common: list[object], given: list[object], said: str
) -> None:
    result = predict(*common, "--labels", "labels.csv", *given)
    assert result.exit_code == 2
    assert said in result.stderr


def test_a_column_that_would_be_replaced_is_refused(common: list[object], tmp_path: Path) -> None:
    points = tmp_path / "visits.csv"
    points.write_text("lat,lon,kind\n43.7384,7.4246,old\n", encoding="utf-8")
    given = ["--labels", "l.csv", "--target", "kind", "--points", points]
    result = predict(*common, *given, "--out", tmp_path / "x.csv")
    assert result.exit_code == 2
    assert "--points has a column 'kind' already: rename it" in result.stderr


def test_a_predictor_of_another_kind_of_file_is_refused(numbers: Path, tmp_path: Path) -> None:
    with pytest.raises(PredictorError, match="is no predictor"):
        Predictor.load(tmp_path)
    kept = Predictor.load(numbers / "report" / "predictor")
    with pytest.raises(PredictorError, match="takes vectors of"):
        kept.check("another@0123", kept.fingerprint)
    kept.save(tmp_path / "damaged")
    (tmp_path / "damaged" / FITTED).write_bytes(b"no zip")
    with pytest.raises(PredictorError, match="is no predictor"):
        Predictor.load(tmp_path / "damaged")


def test_from_python_an_encoder_learns_and_is_kept(
    monaco_store: Path, model_folder: Path, towns: dict[str, NDArray[np.float64]], tmp_path: Path
) -> None:
    with LocationEncoder.load(model_folder, monaco_store) as encoder:
        places = list(zip(towns["lat"][:120].tolist(), towns["lon"][:120].tolist(), strict=True))
        predictor = encoder.fit(places, towns["told"][:120].tolist())
        assert isinstance(predictor, PlacePredictor)
        told = predictor.predict(places[:5])
        assert np.corrcoef(predictor.predict(places), towns["told"][:120])[0, 1] > 0.9
        low, high = predictor.predict_interval(places[:5], 0.5).T
        assert ((low < told) & (told < high)).all()
        predictor.save(tmp_path / "kept")
        again = PlacePredictor.load(tmp_path / "kept", encoder)
        np.testing.assert_allclose(again.predict(places[:5]), told)
        with pytest.raises(PredictorError, match="ask for predict_interval"):
            predictor.predict_proba(places[:1])
        kinds = encoder.fit(places, ["a" if value > 0 else "b" for value in towns["told"][:120]])
        assert kinds.predict_proba(places[:3]).shape == (3, 2)
        assert set(kinds.predict(places)) == {"a", "b"}
        with pytest.raises(LabelsError, match="places and 1 labels: give one"):
            encoder.fit(places, ["a"])
