"""The commands of this package: embed, index, serve, demo. Each parses, calls the library and prints.

What is heavy is imported inside the commands, so that `loc2vec --help` is quick.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from loc2vec.model.options import model_option
from tiling.cli.options import FilePath, FolderPath, StoreType, json_option, print_result


def _address_options(command: Callable[..., None]) -> Callable[..., None]:
    command = click.option(
        "--port", default=8000, show_default=True, type=click.IntRange(0, 65535)
    )(command)
    return click.option("--host", default="127.0.0.1", show_default=True)(command)


@click.command("index", epilog="Example: loc2vec index vectors.parquet --out monaco.index")
@click.argument("vectors", type=FilePath)
@click.option("--out", required=True, type=FolderPath, help="Index folder to write.")
@click.option(
    "--add", is_flag=True, help="Put the vectors behind those that are in the index already."
)
@json_option
def index_command(vectors: Path, out: Path, add: bool, as_json: bool) -> None:
    """Make vectors searchable: `loc2vec serve --index` answers with the nearest of them.

    A service that is running takes the new index into use by itself.
    """
    from loc2vec.embed.files import read_vectors
    from service.index.index import NeighborIndex

    index = (NeighborIndex.add if add else NeighborIndex.build)(read_vectors(vectors), out)
    facts = {
        "out": str(out),
        "count": len(index),
        "dim": index.dim,
        "model": index.model,
        "index": index.name,
    }
    print_result(facts, as_json, f"{len(index)} places indexed in {out}")


@click.command("serve", epilog="Example: loc2vec serve --store monaco.gpkg --index monaco.index")
@click.option("--store", type=StoreType(), help="Feature store, made by `loc2vec import`.")
@click.option("--model", help="Name of a shipped model, or a model folder.")
@click.option("--index", type=FolderPath, help="Index folder, made by `loc2vec index`.")
@click.option("--host", help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on; 0 takes any.")
@click.option("--workers", type=click.IntRange(1, 256), help="Processes that answer.")
def serve_command(**options: Any) -> None:
    """Answer over HTTP with embeddings, neighbours and tiles.

    What is not given here is looked up in the environment (LOC2VEC_STORE, LOC2VEC_API_KEYS, ...),
    then in the TOML file that LOC2VEC_SETTINGS names; docs/service.md lists all settings.
    """
    from service.http.server import bind, serve, url_of
    from service.settings import load_settings

    settings = load_settings(options)
    with bind(settings.host, settings.port) as bound:
        serve(settings, bound, lambda: click.echo(f"Ready: {url_of(bound)}"))


@click.command("demo", epilog="Example: loc2vec demo")
@model_option
@click.option(
    "--work", type=FolderPath, help="Folder for what is made, by default in the user's cache."
)
@_address_options
def demo_command(model: str, work: Path | None, host: str, port: int) -> None:
    """Go the whole way with the bundled extract of Monaco: store, vectors, index, service.

    What an earlier run made is used again.
    """
    from service.cli.demo import default_work_folder, prepare_demo, urls_to_try
    from service.http.server import bind, serve, url_of
    from service.settings import load_settings

    with bind(host, port) as bound:
        paths = prepare_demo(
            work or default_work_folder(), model, lambda line: click.echo(line, err=True)
        )
        settings = load_settings({"store": str(paths.store), "model": model, "index": paths.index})
        serve(settings, bound, lambda: click.echo("\n".join(urls_to_try(url_of(bound)))))
