"""`loc2vec index`."""

from pathlib import Path

import click

from tiling.cli.options import FilePath, FolderPath, json_option, print_result


@click.command("index", epilog="Example: loc2vec index vectors.parquet --out monaco.index")
@click.argument("vectors", type=FilePath)
@click.option("--out", required=True, type=FolderPath, help="Index folder to write.")
@click.option(
    "--add", is_flag=True, help="Append the vectors to those that are in the index already."
)
@json_option
def index_command(vectors: Path, out: Path, add: bool, as_json: bool) -> None:
    """Make vectors searchable: `loc2vec serve --index` answers with the nearest of them.

    A running service loads the new index by itself.
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
