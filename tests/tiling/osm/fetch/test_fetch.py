"""Regions by name, path, code and place; `loc2vec fetch`, and names in `loc2vec import`."""

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner, Result

from service.cli.main import main
from service.cli.serve import serve_command
from service.settings import load_settings
from tests.commands import blocks, commands
from tests.service.conftest import serving
from tests.tiling.osm.fetch.provider import Provider, running
from tiling.errors import FetchError, RegionError, UserError
from tiling.osm.fetch.fetch import Fetcher
from tiling.osm.fetch.provider import load_provider
from tiling.osm.fetch.regions import read_index
from tiling.osm.fetch.server import Server
from tiling.store.store import Store
from tiling.values import LonLat

PBF = "/monaco-latest.osm.pbf"


@pytest.fixture
def provider(monaco_pbf: Path) -> Iterator[Provider]:
    with running() as provider:
        provider.put(PBF, monaco_pbf.read_bytes())
        provider.put_index()
        yield provider


@pytest.fixture
def fetcher(provider: Provider, tmp_path: Path) -> Fetcher:
    known = load_provider(str(provider.settings(tmp_path, geocoder=True)))
    server = Server(tries=1, pause_s=0.01, timeout_s=1)
    return Fetcher(known, server, folder=tmp_path)


@pytest.fixture
def cache(provider: Provider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache of this machine, and the provider in the environment."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("LOC2VEC_PROVIDER", str(provider.settings(tmp_path)))
    return tmp_path / "cache" / "loc2vec" / "extracts" / "local"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.mark.parametrize("name", ["monaco", "europe/monaco", "Monaco", "MONACO", "mc", "Mónaco"])
def test_a_region_has_many_names(fetcher: Fetcher, name: str) -> None:
    assert fetcher.called(name).path == "europe/monaco"


def test_a_name_of_two_regions_is_not_guessed(provider: Provider, fetcher: Fetcher) -> None:
    provider.put_index(
        provider.feature("georgia", "europe", "Georgia"),
        provider.feature("us/georgia", "us", "Georgia"),
        provider.feature("us", "north-america", "United States"),
        provider.feature("north-america", None, "North America"),
    )
    with pytest.raises(RegionError, match="may be europe/georgia, north-america/us/georgia"):
        fetcher.called("georgia")
    assert fetcher.called("us/georgia").id == "us/georgia"
    assert fetcher.called("europe/georgia").id == "georgia"


def test_a_place_finds_the_smallest_region_around_it(fetcher: Fetcher) -> None:
    assert fetcher.around(LonLat(7.42, 43.73)).id == "monaco"
    assert fetcher.around(LonLat(20.0, 50.0)).id == "europe"
    with pytest.raises(RegionError, match=r"no region holds lat -50\.0, lon 150\.0"):
        fetcher.around(LonLat(150.0, -50.0))


def test_a_place_name_is_asked_of_the_geocoder(provider: Provider, fetcher: Fetcher) -> None:
    found = {"geometry": {"coordinates": [7.42, 43.73]}, "properties": {"display_name": "Here"}}
    provider.files["/search"] = json.dumps({"features": [found]}).encode()
    assert fetcher.called("Port Hercule").id == "monaco"
    assert any(path.startswith("/search?q=Port+Hercule") for path, _ in provider.seen)
    provider.files["/search"] = json.dumps({"features": []}).encode()
    with pytest.raises(RegionError, match="called 'monako': did you mean europe/monaco"):
        fetcher.called("monako")
    provider.files["/search"] = b'{"features": [{"geometry": 3}]}'
    with pytest.raises(RegionError, match="does not answer as Nominatim does"):
        fetcher.called("nowhere")


@pytest.mark.parametrize(
    "data", [b"<html>", b"[]", b'{"features": 3}', b'{"features": [{"properties": {"id": "x"}}]}']
)
def test_what_is_no_index_is_refused(data: bytes) -> None:
    with pytest.raises((FetchError, UserError), match="the index"):
        read_index(data, "the index")


@pytest.mark.parametrize("key", ["../../etc/cron.d/x", "/etc/passwd", "a/../b", "", "A b"])
def test_an_id_that_leads_out_of_the_cache_is_no_region(provider: Provider, key: str) -> None:
    good, bad = provider.feature("good", None, "G"), provider.feature(key, None, "B")
    data = json.dumps({"features": [good, bad]}).encode()
    assert [region.id for region in read_index(data, "the index")] == ["good"]


def test_parents_in_a_circle_end(provider: Provider) -> None:
    features = [provider.feature("a", "b", "A"), provider.feature("b", "a", "B")]
    data = json.dumps({"features": features}).encode()
    assert [region.path for region in read_index(data, "index")] == ["b/a", "a/b"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name = 3", "name"),
        ('name = "x"\nindex = "file:///etc/passwd"', "index"),
        ('name = "../x"\nindex = "http://x"', "name"),
        ("no toml", "is no TOML"),
    ],
)
def test_a_malformed_provider_is_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(UserError, match=rf"mine\.toml.*{said}"):
        load_provider(str(path))


def test_the_shipped_provider_is_valid() -> None:
    assert load_provider("geofabrik").index.startswith("https://")
    with pytest.raises(UserError, match="no provider is called 'nobody'"):
        load_provider("nobody")


def test_fetch_gives_the_path_and_the_licence(cache: Path, monaco_pbf: Path) -> None:
    found = run("fetch", "monaco")
    assert found.exit_code == 0, found.output
    path = cache / "monaco.osm.pbf"
    assert found.stdout == f"{path}\n"
    assert path.read_bytes() == monaco_pbf.read_bytes()
    assert "0.5 MB, Tue, 25 Nov 2025" in found.stderr
    assert "(c) OpenStreetMap contributors, ODbL (https://www." in found.stderr
    again = run("fetch", "--around", "43.73,7.42", "--json")
    assert json.loads(again.stdout)["fetched"] is False


def test_without_the_network_the_cache_counts(
    provider: Provider, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("fetch", "monaco").exit_code == 0

    provider.shutdown()
    provider.server_close()
    clock = SimpleNamespace(sleep=lambda seconds: None)
    monkeypatch.setattr("tiling.osm.fetch.server.time", clock)
    found = run("fetch", "monaco")
    assert found.exit_code == 0, found.output
    assert "taking what came before, of Tue, 25 Nov 2025" in found.stderr


def test_import_takes_names_beside_files(
    provider: Provider, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = tmp_path / "m.gpkg"
    done = run("import", "monaco", "--store", store)
    assert done.exit_code == 0, done.output
    with Store.at(store).open() as source:
        assert list(source.regions) == ["monaco"]
    asked = len(provider.seen)
    held = run("import", cache / "monaco.osm.pbf", "--store", store, "--if-changed")
    assert "is up to date" in held.stdout
    assert len(provider.seen) == asked  # a file asks nobody
    wrong = run("import", "monaco.osm.pfb", "--store", store)
    assert wrong.exit_code == 2
    assert "no region is called 'monaco.osm.pfb'" in wrong.stderr
    missing = run("import", "none.osm.pbf", "--store", store)
    assert "none.osm.pbf is not a file" in missing.stderr


def test_the_commands_of_the_docs_lead_from_a_name_to_a_service(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    block = next(block for block in blocks("bash") if block.page.name == "fetch.md")
    install, imported, served = (list(command.words[1:]) for command in commands(block))
    assert install == ["install", "loc2vec"]
    monkeypatch.chdir(tmp_path)
    done = run(*imported)
    assert done.exit_code == 0, done.output
    given = serve_command.make_context("serve", served[1:]).params
    with serving(load_settings(given | {"render_processes": 0})) as client:
        assert client.get("/embed", params={"place": "Monte-Carlo"}).status_code == 200


@pytest.mark.parametrize("arguments", [[], ["monaco", "--around", "43,7"], ["--around", "x"]])
def test_fetch_says_how_it_is_used(arguments: list[str]) -> None:
    assert run("fetch", *arguments).exit_code == 2


def test_the_service_knows_the_variable_of_fetch(
    cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert load_settings({"store": tmp_path / "m.gpkg"}).port == 8000
