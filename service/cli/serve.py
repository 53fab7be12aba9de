"""`loc2vec serve`."""

from typing import Any

import click

from tiling.cli.options import FolderPath, StoreType, WholeRange


@click.command("serve", epilog="Example: loc2vec serve --store monaco.gpkg --index monaco.index")
@click.option("--store", type=StoreType(), help="Feature store, made by `loc2vec import`.")
@click.option("--model", help="Name of a shipped model, or a model folder.")
@click.option("--index", type=FolderPath, help="Index folder, made by `loc2vec index`.")
@click.option("--host", help="Address to listen on.")
@click.option("--port", type=WholeRange(0, 65535), help="Port to listen on; 0 takes any.")
@click.option("--workers", type=WholeRange(1, 256), help="Processes that answer.")
def serve_command(**options: Any) -> None:
    """Answer over HTTP with embeddings, neighbours and tiles.

    Settings that are not given come from the environment (LOC2VEC_STORE, LOC2VEC_API_KEYS, ...),
    then from the TOML file that LOC2VEC_SETTINGS names. docs/service.md lists all settings.
    """
    from service.http.server import bind, serve, url_of
    from service.settings import load_settings

    settings = load_settings(options)
    with bind(settings.host, settings.port) as bound:
        serve(settings, bound, lambda: click.echo(f"Ready: {url_of(bound)}"))
