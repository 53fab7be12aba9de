"""`loc2vec index`."""

from pathlib import Path

import click

from tiling.cli.options import FolderPath, json_option, print_result
from tiling.files.outputs import claimed
from tiling.words import counted


@click.command("index", epilog="Example: loc2vec index vectors.parquet --out monaco.index")
@click.argument("vectors", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=FolderPath, help="Index folder to write.")
@click.option(
    "--add", is_flag=True, help="Append the vectors to those that are in the index already."
)
@click.option(
    "--model",
    help="Model that made the vectors: for a file that another program has written again.",
)
@json_option
def index_command(vectors: Path, out: Path, add: bool, model: str | None, as_json: bool) -> None:
    """Make vectors searchable: `loc2vec serve --index` answers with the nearest of them.

    VECTORS is a file or a folder of parts, made by `loc2vec embed`. A running service loads the
    new index by itself. What an index holds already is not added again.
    """
    from loc2vec.embed.blocks import read_blocks
    from loc2vec.model.folder import load_model, model_path
    from service.index.index import NeighborIndex

    loaded = None if model is None else load_model(model_path(model))
    made_by = None if loaded is None else (loaded.model_id, loaded.config.fingerprint)
    with claimed(out):
        make = NeighborIndex.add if add else NeighborIndex.build
        index = make(read_blocks(vectors, made_by), out)
    if index.known:
        click.echo(f"places that were in the index already: {index.known}", err=True)
    facts = {
        "known": index.known,
        "out": str(out),
        "count": len(index),
        "dim": index.dim,
        "model": index.model,
        "index": index.name,
    }
    print_result(facts, as_json, f"{counted(len(index), 'place')} indexed in {out}")
