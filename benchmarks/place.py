"""CPU time of a place of a batch: its tiles rendered and encoded, by model and by grid.

The models take turns on the same places, and the median of the rounds counts. `times` is beside
the first model. Freed memory is kept, as `embed` does.

    python benchmarks/place.py --store region.gpkg [--grid 50 ...] [--model M ...] [--json]
"""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import product
from statistics import median

import click
import torch

from loc2vec.encoder import LocationEncoder
from loc2vec.model.names import DEFAULT_MODEL
from tiling.cli.options import StoreType
from tiling.geo.grid import grid
from tiling.render.batch import chunks_of
from tiling.render.renderer import Renderer
from tiling.render.wide import block_by_block
from tiling.store.source import FeatureSource
from tiling.store.store import Store
from tiling.values import LonLat


@dataclass(frozen=True)
class Row:
    """CPU milliseconds of a place with one model on one grid; `times` is beside the first model."""

    grid_m: float
    places: int
    model: str
    render_ms: float
    encode_ms: float
    both_ms: float
    times: float


def timed(
    source: FeatureSource, encoder: LocationEncoder, chunks: list[Sequence[LonLat]]
) -> tuple[float, float]:
    """Render and encode the chunks with a new renderer; return the CPU seconds of each."""
    renderer, render_s, encode_s = Renderer(source, encoder.geometry), 0.0, 0.0
    for chunk in chunks:
        begun = time.process_time()
        tiles = renderer.north_up(chunk)
        rendered = time.process_time()
        encoder.encode(tiles)
        render_s += rendered - begun
        encode_s += time.process_time() - rendered
    return render_s, encode_s


def measure(
    source: FeatureSource,
    encoders: dict[str, LocationEncoder],
    metres: float,
    most: int,
    rounds: int,
) -> list[Row]:
    """Return a row for each model."""
    places = grid(source.coverage, metres)[:most]
    chunks = {
        name: list(chunks_of(places[block_by_block(places, encoder.geometry)]))
        for name, encoder in encoders.items()
    }
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in encoders}
    for _, (name, encoder) in product(range(rounds), encoders.items()):
        taken[name].append(timed(source, encoder, chunks[name]))
    rows = list[Row]()
    for name, times in taken.items():
        parts = [[*each, sum(each)] for each in times]
        render_ms, encode_ms, both_ms = (
            1000 * median(column) / len(places) for column in zip(*parts, strict=True)
        )
        ratio = both_ms / rows[0].both_ms if rows else 1.0
        rows.append(Row(metres, len(places), name, render_ms, encode_ms, both_ms, ratio))
    return rows


@click.command()
@click.option("--store", type=StoreType(), required=True)
@click.option("--grid", "grids", multiple=True, default=[50.0, 200.0], show_default=True)
@click.option(
    "--model",
    "models",
    multiple=True,
    default=["inception-16-nce", DEFAULT_MODEL],
    show_default=True,
)
@click.option("--places", "most", default=1024, show_default=True, help="Places at the most.")
@click.option("--rounds", default=5, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def main(
    store: Store,
    grids: tuple[float, ...],
    models: tuple[str, ...],
    most: int,
    rounds: int,
    as_json: bool,
) -> None:
    """Measure places of a batch."""
    torch.set_num_threads(1)
    encoders = {name: LocationEncoder.load(name) for name in models}
    with store.open() as source:
        rows = [row for metres in grids for row in measure(source, encoders, metres, most, rounds)]
    if as_json:
        print(json.dumps([asdict(row) for row in rows]))
        return
    print(" grid, m  places  model               render  encode  both, ms   times")
    for row in rows:
        print(f"{row.grid_m:>8.0f}{row.places:>8}  {row.model:<18}{row.render_ms:>8.2f}", end="")
        print(f"{row.encode_ms:>8.2f}{row.both_ms:>10.2f}{row.times:>8.2f}")


if __name__ == "__main__":
    main()
