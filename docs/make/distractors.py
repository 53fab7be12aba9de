"""Write places of many stores for a gallery, no two of them within 250 m, as CSV.

python docs/make/distractors.py --store A.gpkg [--store ...] --out places.csv [--count 10000]
loc2vec tile --store A.gpkg [--store ...] --points places.csv --positives 0 --out distractors

The places lie so deep inside the data that wide tiles are whole.
"""

from pathlib import Path

import click
import numpy as np

from loc2vec.evaluation.retrieval import APART_M, thinned
from tiling.dataset.places import sample_places
from tiling.store.store import Store

SAMPLED = 16  # places for one that is kept
MARGIN_M = 700.0  # of turned tiles of 800 m


@click.command()
@click.option("--store", "stores", multiple=True, required=True)
@click.option("--out", type=click.Path(path_type=Path), required=True)
@click.option("--count", default=10_000, show_default=True)
@click.option("--seed", default=7, show_default=True)
def main(stores: tuple[str, ...], out: Path, count: int, seed: int) -> None:
    """Choose the places."""
    sources = [Store.at(store).open() for store in stores]
    places = sample_places(sources, SAMPLED * count, MARGIN_M, seed)
    lat, lon = (np.asarray(each) for each in (places.lat, places.lon))
    kept = thinned(lat, lon, APART_M, count)
    lines = [f"{north:.7f},{east:.7f}" for north, east in zip(lat[kept], lon[kept], strict=True)]
    out.write_text("\n".join(["lat,lon", *lines, ""]), encoding="utf-8")
    click.echo(f"{len(kept)} places in {out}")


if __name__ == "__main__":
    main()
