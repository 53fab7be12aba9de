"""From import to the service by somebody's own twelve channels, which `import` alone is told of."""

import io
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray
from PIL import Image

from loc2vec.encoder import LocationEncoder
from service.cli.main import main
from service.settings import Settings
from tests.catalogues import OWN
from tests.models import save_fresh_model
from tests.postgres import Server
from tests.probes import quick_probes
from tests.service.conftest import serving
from tiling.catalogue.catalogue import Catalogue, load_catalogue
from tiling.dataset.dataset import TileDataset
from tiling.errors import FingerprintError
from tiling.geo.mercator import to_world
from tiling.render.renderer import Renderer
from tiling.render.style import looks_of
from tiling.store.store import ImportOptions, Store
from tiling.values import LonLat, TileGeometry


def catalogue_of(store: str | Path) -> Catalogue:
    with Store.at(store).open() as source:
        return source.catalogue


SEA, CASINO = LonLat(7.425, 43.735), LonLat(7.4274, 43.7394)
SHIPPED = Path("tiling/catalogue/catalogue.toml")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, list(map(str, arguments)))


def picture(png: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def has_catalogue(store: Path) -> bool:
    with closing(sqlite3.connect(store)) as connection:
        query = "SELECT 1 FROM sqlite_master WHERE name = 'catalogue'"
        return connection.execute(query).fetchone() is not None


def test_all_that_is_made_carries_the_catalogue(
    own_settings: Settings, own_catalogue: Catalogue
) -> None:
    store = Path(own_settings.store.location)
    assert has_catalogue(store)
    assert catalogue_of(store) == own_catalogue
    dataset = TileDataset.open(store.parent / "tiles")
    assert (dataset.catalogue, dataset.channels) == (own_catalogue, own_catalogue.channels)
    assert dataset.fingerprint == own_catalogue.fingerprint(TileGeometry())
    encoder = LocationEncoder.load(own_settings.model)
    assert encoder.catalogue == own_catalogue
    assert encoder.fingerprint == dataset.fingerprint


def test_what_the_shipped_catalogue_made_carries_none(
    monaco_store: Path, model_folder: Path, own_settings: Settings
) -> None:
    assert not has_catalogue(monaco_store)
    assert "catalogue" not in json.loads((model_folder / "config.json").read_text())
    assert "catalogue" in json.loads((Path(own_settings.model) / "config.json").read_text())


def test_both_kinds_of_store_give_the_same_tiles(
    server: Server,
    database: str,
    own_settings: Settings,
    own_catalogue: Catalogue,
    monaco_pbf: Path,
) -> None:
    url = server.url(database)
    result = run("import", monaco_pbf, "--catalogue", OWN, "--store", url, "--slim")
    assert result.exit_code == 0, result.output
    assert catalogue_of(url) == own_catalogue
    with Store.at(url).open() as theirs, own_settings.store.open() as ours:
        places = [LonLat(7.4197 + 0.002 * n, 43.7314 + 0.002 * n) for n in range(5)]
        tiles = [Renderer(source).north_up(places) for source in (ours, theirs)]
    np.testing.assert_array_equal(tiles[0], tiles[1])
    assert tiles[0].any(axis=(2, 3)).sum() > 20


def test_a_store_of_own_channels_is_updated_by_them(
    server: Server, database: str, monaco_pbf: Path, change_file: Path, own_catalogue: Catalogue
) -> None:
    store = Store.at(server.url(database))
    store.import_extracts([monaco_pbf], own_catalogue, options=ImportOptions(slim=True))
    summary = store.update(change_file)
    houses = own_catalogue.channels.index("houses")
    assert (summary.came, summary.went) == (2, 2)
    with store.open() as source:
        assert (source.outline().channel == houses).sum() > 1000


def test_the_service_has_the_names_and_colours(
    own_settings: Settings, own_catalogue: Catalogue
) -> None:
    sea = own_catalogue.channels.index("sea and rivers")
    with serving(own_settings) as client:
        info = client.get("/info").json()
        assert info["channels"] == list(own_catalogue.channels)
        assert info["colours"][sea] == "#1f5fbf"
        place = {"lat": SEA.lat, "lon": SEA.lon}
        tile = picture(client.get("/tile.png", params=place).content)
        assert (tile == [0x1F, 0x5F, 0xBF]).all()
        alone = picture(client.get("/tile.png", params={**place, "channel": sea}).content)
        assert (alone == 255).all()
        x, y = (int(v * 2**16) for v in to_world(SEA.lon, SEA.lat))
        chart = picture(client.get(f"/map/base/16/{x}/{y}.png").content).reshape(-1, 3)
        colour = looks_of(own_catalogue)[sea].colour
        assert colour is not None
        assert (chart == list(bytes.fromhex(colour[0][1:]))).all(axis=1).mean() > 0.2
        there = {"to_lat": CASINO.lat, "to_lon": CASINO.lon}
        named = client.get("/compare", params={**place, **there}).json()["channels"]
        assert [channel["name"] for channel in named] == list(own_catalogue.channels)
        assert len(client.get("/neighbors", params={**place, "k": 3}).json()["neighbors"]) == 3


def test_tasks_read_it_from_the_model(
    own_settings: Settings, monaco_pbf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loc2vec.evaluation.splits.FOLDS", 2)  # fits take most of the time
    quick = ["--task", "point of interest", "--per-class", 10, "--seeds", 1, "--workers", 0]
    with quick_probes():
        result = run("evaluate", monaco_pbf, "--model", own_settings.model, *quick, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["tasks"][0]["task"] == "point of interest"


def test_figures_read_it_from_the_store(own_settings: Settings, tmp_path: Path) -> None:
    pair = ["43.7384,7.4246", "43.7277,7.4157", "--store", own_settings.store]
    model = ["--model", own_settings.model]
    result = run("explore", "why", *pair, *model, "--json", "--out", tmp_path / "why")
    assert result.exit_code == 0, result.output
    assert "sea and rivers" in result.stdout


def test_stores_of_two_catalogues_do_not_mix(
    own_settings: Settings, monaco_store: Path, tmp_path: Path
) -> None:
    both = ["--store", own_settings.store, "--store", monaco_store]
    result = run("tile", *both, "--locations", 4, "--out", tmp_path / "tiles")
    assert result.exit_code == 2
    assert "were made with different catalogues: import both with the same one" in result.stderr
    model = save_fresh_model(tmp_path / "fresh", seed=1)
    for store, other, whose in (
        (own_settings.store, model, "that of "),
        (Store.at(monaco_store), own_settings.model, "the shipped catalogue"),
    ):
        settings = Settings(store=store, model=str(other), render_processes=0)
        with pytest.raises(FingerprintError, match=f"geometry than {whose}"), serving(settings):
            pass


def test_import_if_changed_knows_the_catalogue(
    own_settings: Settings, monaco_pbf: Path, own_store: Path
) -> None:
    ours = ["import", monaco_pbf, "--if-changed", "--store", own_settings.store]
    assert "is up to date" in run(*ours, "--catalogue", OWN).stdout
    assert "is up to date" in run("import", monaco_pbf, "--if-changed", "--store", own_store).stdout
    again = run("import", monaco_pbf, "--if-changed", "--store", own_store, "--catalogue", OWN)
    assert "sea and rivers" in again.stdout
    assert has_catalogue(own_store)


def test_the_shipped_file_is_the_shipped_catalogue(monaco_pbf: Path, tmp_path: Path) -> None:
    store = tmp_path / "shipped.gpkg"
    assert run("import", monaco_pbf, "--catalogue", SHIPPED, "--store", store).exit_code == 0
    assert not has_catalogue(store)
    assert catalogue_of(store) == load_catalogue()


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('[[channel]]\nname = "sport"', "[[sport]]", "no key 'sport', there are channel"),
        ("sea = true", "", "0 channels have sea = true, must be one"),
        (
            '["way"]',
            '["road"]',
            "channel 'busy streets': `roles` must be a list of building, civic",
        ),
        ('"sport"', '"trade"', "channel names must be given and distinct"),
        (
            '"#c04020"',
            '"brick"',
            "channel 'houses': `colour` must be like \"#d6603c\", not 'brick'",
        ),
    ],
)
def test_a_broken_catalogue_ends_the_import(
    monaco_pbf: Path, tmp_path: Path, old: str, new: str, sentence: str
) -> None:
    text = OWN.read_text(encoding="utf-8")
    assert old in text
    path, store = tmp_path / "broken.toml", tmp_path / "store.gpkg"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    result = run("import", monaco_pbf, "--catalogue", path, "--store", store)
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"loc2vec: error: {path}: ")
    assert sentence in line
    assert not store.exists()
