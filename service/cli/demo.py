"""`loc2vec demo`: make a store and an index of the bundled extract of Monaco, and serve them."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Self

import click

from loc2vec.embed.batch import embed, places_of_grid
from loc2vec.encoder import LocationEncoder
from loc2vec.model.options import model_option
from service.errors import SearchIndexError
from service.http.server import bind, serve, url_of
from service.index.index import NeighborIndex
from service.settings import load_settings
from tiling.catalogue.catalogue import load_catalogue
from tiling.cli.options import FolderPath, WholeRange
from tiling.cli.progress import import_bar, progress_bar
from tiling.errors import FingerprintError, StoreError, UserError
from tiling.files.atomic import read_json, sha256_of, write_json
from tiling.machine import cpu_count
from tiling.store.store import Store
from tiling.values import TileGeometry

GRID_M = 50.0
Facts = dict[str, Any]


@dataclass(frozen=True, slots=True)
class DemoPaths:
    """Where the demo keeps its store and its index."""

    store: Path
    index: Path

    @classmethod
    def of(cls, work: Path) -> Self:
        """Return the paths in a folder."""
        return cls(work / "monaco.gpkg", work / "index")


@click.command("demo", epilog="Example: loc2vec demo")
@model_option
@click.option(
    "--work", type=FolderPath, help="Folder for the files, by default in the user's cache."
)
@click.option("--host", help="Address to listen on, by default 127.0.0.1.")
@click.option(
    "--port",
    type=WholeRange(0, 65535),
    help="Port to listen on, by default LOC2VEC_PORT or 8000; 0 takes any.",
)
def demo_command(model: str, work: Path | None, host: str | None, port: int | None) -> None:
    """Go the whole way with the bundled extract of Monaco: store, vectors, index, service.

    A second run uses the files of the first. Other settings are those of `loc2vec serve`.
    """
    work = work or default_work_folder()
    paths = DemoPaths.of(work)
    settings = load_settings(
        {"store": paths.store, "model": model, "index": paths.index, "host": host, "port": port}
    )
    with bind(settings.host, settings.port) as bound:
        prepare_demo(work, model, lambda line: click.echo(line, err=True))
        serve(settings, bound, lambda: click.echo("\n".join(urls_to_try(url_of(bound)))))


def default_work_folder() -> Path:
    """Return `loc2vec-demo` in the user's cache folder (XDG Base Directory specification)."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "loc2vec-demo"


def prepare_demo(work: Path, model: str, tell: Callable[[str], None]) -> DemoPaths:
    """Make the store and the index in `work`, unless they are there and of the same inputs.

    `tell` gets a line for each step.
    """
    paths = DemoPaths.of(work)
    done = work / "demo.json"
    with resources.as_file(resources.files("service") / "data" / "monaco.osm.pbf") as extract:
        of_store = {
            "extract": sha256_of(extract),
            "catalogue": load_catalogue().fingerprint(TileGeometry()),
        }
        if _remembered(done).get("store") == of_store and _opens(paths.store):
            tell(f"1/2 store: {paths.store} is there already")
        else:
            tell(f"1/2 store: importing the extract of Monaco into {paths.store}")
            _import(extract, paths.store)
            write_json(done, {"store": of_store})
    encoder = LocationEncoder.load(model)
    of_index = of_store | {"model": encoder.model_id, "grid_m": GRID_M}
    if _remembered(done).get("index") == of_index and _is_index(paths.index):
        tell(f"2/2 index: {paths.index} is there already")
    else:
        tell(
            f"2/2 index: embedding a grid of {GRID_M:.0f} m "
            f"with {encoder.model_id} into {paths.index}"
        )
        _index(paths, encoder)
        write_json(done, {"store": of_store, "index": of_index})
    return paths


def urls_to_try(url: str) -> list[str]:
    """Return what to print when the service is ready."""
    place = "lat=43.7384&lon=7.4246"
    return [
        f"Ready: {url}",
        f"  The map is at {url} in a browser, what can be asked at {url}/docs",
        f"  curl '{url}/embed?{place}'",
        f"  curl '{url}/neighbors?{place}&k=5'",
        f"  curl '{url}/tile.png?{place}' -o tile.png",
        "Map data (c) OpenStreetMap contributors, ODbL. Ctrl-C ends the service.",
    ]


def _remembered(done: Path) -> Facts:
    try:
        return read_json(done)
    except UserError:
        return {}


def _opens(store: Path) -> bool:
    try:
        Store.at(store).open().close()
    except (StoreError, FingerprintError):
        return False
    return True


def _is_index(folder: Path) -> bool:
    try:
        NeighborIndex.open(folder)
    except SearchIndexError:
        return False
    return True


def _import(extract: Path, store: Path) -> None:
    with import_bar() as told:
        Store.at(store).import_extracts([extract], load_catalogue(), told)


def _index(paths: DemoPaths, encoder: LocationEncoder) -> None:
    with Store.at(paths.store).open() as source:
        places = places_of_grid(source, GRID_M)
        with progress_bar("embed", "places", len(places)) as bar:
            vectors = embed(source, encoder, places, cpu_count(), bar.update)
    NeighborIndex.build(vectors, paths.index)
