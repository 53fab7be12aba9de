"""Updates of a PostGIS store by a real file of changes, and the tiles they change."""

import gzip
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import osmium
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

from service.cli.main import main
from tests.postgres import Server
from tiling.catalogue.catalogue import load_catalogue
from tiling.dataset.job import TileJob, run_job
from tiling.errors import DatasetError, ExtractError, ReplicationError, StoreError
from tiling.geo.geodesy import MetresPerDegree
from tiling.render.renderer import Renderer
from tiling.store.store import Store
from tiling.values import Box, LonLat, Pose, TileGeometry

WORLD = Box(-180, -90, 180, 90)
STEP_M = 80


def grid() -> NDArray[np.float64]:
    """Places over Monaco, (lon, lat) [n, 2]."""
    scale = MetresPerDegree.at(43.737)
    lon, lat = np.meshgrid(
        np.arange(7.4130, 7.4400, STEP_M / scale.x), np.arange(43.7270, 43.7480, STEP_M / scale.y)
    )
    return np.stack([lon.ravel(), lat.ravel()], axis=1)


def tiles(location: str, places: NDArray[np.float64]) -> NDArray[np.uint8]:
    with Store.at(location).open() as source:
        renderer = Renderer(source)
        return np.concatenate(
            [renderer.tiles(LonLat(*p), [Pose(p[1], p[0])]) for p in places.tolist()]
        )


def content(location: str) -> list[tuple[int, float, bytes]]:
    with Store.at(location).open() as source:
        found = source.features(WORLD)
    return sorted(
        zip(found.channel.tolist(), found.width_m.tolist(), found.wkb.tolist(), strict=True)
    )


def test_an_update_is_an_import_of_the_changed_extract(
    server: Server, slim: str, monaco_pbf: Path, change_file: Path, tmp_path: Path
) -> None:
    before, places = Store.at(slim).content_hash(), grid()
    drawn = tiles(slim, places)
    summary = Store.at(slim).update(change_file)
    after = tmp_path / "after.osm.pbf"
    merging = osmium.MergeInputReader()
    merging.add_file(str(change_file))
    old = osmium.io.Reader(str(monaco_pbf))
    new = osmium.io.Writer(str(after), old.header())
    merging.apply_to_reader(old, new)
    new.close()
    server.create("again")
    Store.at(server.url("again")).import_extracts([after], load_catalogue())
    assert content(slim) == content(server.url("again"))
    # the museum was drawn as a building and as a civic place
    assert (summary.went, summary.came) == (3, 2)
    changes = Store.at(slim).changes_since(before)
    assert len(changes) == len(summary.changes)
    met = changes.meet(places, TileGeometry())
    differ = (tiles(slim, places) != drawn).any(axis=(1, 2, 3))
    assert differ.sum() > 20
    assert not (differ & ~met).any(), "a tile changed and nobody said so"
    assert (met & ~differ).sum() <= 0.1 * differ.sum(), (
        "places are to be embedded again for nothing"
    )
    assert not Store.at(slim).changes_since(Store.at(slim).content_hash()).wkb.size


def test_a_stopped_update_is_taken_up_by_the_next(
    server: Server, slim: str, change_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, hashed = content(slim), Store.at(slim).content_hash()
    with monkeypatch.context() as patch:
        patch.setattr(
            "tiling.store.postgis.update.make_features",
            lambda *_: (_ for _ in ()).throw(KeyboardInterrupt),
        )
        with pytest.raises(KeyboardInterrupt):  # osm2pgsql is through, the features are not
            Store.at(slim).update(change_file)
    assert content(slim) == before
    assert Store.at(slim).content_hash() == hashed
    nothing = tmp_path / "nothing.osc"
    nothing.write_text('<osmChange version="0.6"></osmChange>')
    summary = Store.at(slim).update(nothing)
    assert (summary.went, summary.came) == (3, 2)


def test_a_job_whose_store_is_updated_meanwhile_makes_no_dataset(
    slim: str, change_file: Path, tmp_path: Path
) -> None:
    job, out = TileJob((Store.at(slim),), positives=0, locations=70), tmp_path / "tiles"
    with pytest.raises(DatasetError, match="was changed while its tiles were made"):
        run_job(
            job,
            out,
            progress=lambda done, shards: Store.at(slim).update(change_file),
        )
    assert list(out.glob("*.parquet"))
    assert not (out / "dataset.json").exists()


@pytest.fixture
def replication_server(change_file: Path, tmp_path: Path) -> Iterator[str]:
    """A server of two states: one older than the extract, one with the changes."""
    folder = tmp_path / "replication" / "000" / "000"
    folder.mkdir(parents=True)
    for number, (when, text) in enumerate(
        (("2024-01-01T00\\:00\\:00Z", '<osmChange version="0.6"></osmChange>'),
         ("2099-01-01T00\\:00\\:00Z", change_file.read_text()))
    ):  # fmt: skip
        state = f"sequenceNumber={number}\ntimestamp={when}\n"
        (folder / f"{number:03}.state.txt").write_text(state)
        (folder / f"{number:03}.osc.gz").write_bytes(gzip.compress(text.encode()))
        (tmp_path / "replication" / "state.txt").write_text(state)
    handler = partial(QuietHandler, directory=str(tmp_path / "replication"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


def test_a_replication_server_brings_the_store_up_to_date(
    slim: str, replication_server: str
) -> None:
    summary = Store.at(slim).replicate(replication_server)
    assert (summary.went, summary.came) == (3, 2)
    hashed = Store.at(slim).content_hash()
    again = Store.at(slim).replicate(replication_server)
    assert (again.went, again.came, len(again.changes)) == (0, 0, 0)
    assert Store.at(slim).content_hash() == hashed
    with pytest.raises(ReplicationError, match="does not answer as a replication server"):
        Store.at(slim).replicate(f"{replication_server}/nowhere")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--store", "region.gpkg", "changes.osc"], "region.gpkg is not a file"),
        (
            ["--store", "postgresql://127.0.0.1/osm"],
            "give a file of changes, --replication URL or --follow",
        ),
        (
            ["--store", "postgresql://me:sec ret@x/osm?nonsense=1", "changes.osc"],
            "is no URL of a database",
        ),
        (["--store", "postgresql://127.0.0.1/osm", "none.osc"], "none.osc is not a file"),
    ],
)
def test_a_command_that_makes_no_sense_says_so(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(main, ["update", *arguments])
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())
    assert "sec ret" not in result.output


def test_what_cannot_be_updated_says_why(
    server: Server, monaco_database: str, change_file: Path, tmp_path: Path
) -> None:
    with pytest.raises(StoreError, match="import its extract again, with --slim"):
        Store.at(server.url("monaco")).update(change_file)
    with pytest.raises(StoreError, match="embed all places again"):
        Store.at(monaco_database).changes_since("of another store")
    for name, text, message in (
        ("cut.osc", change_file.read_text()[:300], "is it a complete .osc file"),
        ("changes.txt", "hello", "must end in .osc"),
    ):
        path = tmp_path / name
        path.write_text(text)
        with pytest.raises(ExtractError, match=message):
            Store.at(server.url("monaco")).update(path)


def test_changes_that_osm2pgsql_refuses_change_nothing(slim: str, tmp_path: Path) -> None:
    before = Store.at(slim).content_hash()
    node = '<node id="{}" version="2" lat="43.73" lon="7.42"/>'
    for osm_id in (-5, 0):
        path = tmp_path / f"id{osm_id}.osc"
        changed = f"<modify>{node.format(osm_id)}</modify>"
        path.write_text(f'<osmChange version="0.6">{changed}</osmChange>')
        with pytest.raises(ExtractError, match=rf"cannot read {path.name} \("):
            Store.at(slim).update(path)
        assert Store.at(slim).content_hash() == before
