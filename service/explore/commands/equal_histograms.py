"""`loc2vec explore equal-histograms`."""

import click

from service.explore.options import Output, SpaceOptions, place_facts, seed_option, space_options
from tiling.cli.options import NumberRange, WholeRange
from tiling.cli.progress import progress_bar


@click.command(
    "equal-histograms", epilog="Example: loc2vec explore equal-histograms --store monaco.gpkg"
)
@space_options
@click.option("--pairs", type=WholeRange(1, 10), default=5, show_default=True)
@click.option(
    "--tolerance", type=NumberRange(0, 1), default=0.015, show_default=True,
    help="How much the channels may differ in cover, on the average.",
)  # fmt: skip
@seed_option
def equal_histograms_command(
    pairs: int, tolerance: float, seed: int, space: SpaceOptions, output: Output
) -> None:
    """Find places with as much of everything in their tiles, and far vectors."""
    from loc2vec.explore.equal_histograms import equal_histograms

    with space.open() as opened:
        count = min(space.places, len(opened.vectors))
        with progress_bar("render", "tiles", count) as bar:
            found = equal_histograms(opened, pairs, count, tolerance, seed, bar.update)
    facts = [
        {
            "a": place_facts(pair.a), "b": place_facts(pair.b), "difference": pair.difference,
            "distance": pair.distance,
        }
        for pair in found.pairs
    ]  # fmt: skip
    lines = [
        f"{pair.distance:.2f}  {pair.a.where} and {pair.b.where}: "
        f"cover differs by {pair.difference:.1%}"
        for pair in found.pairs
    ]
    output.finish(found, {"pairs": facts}, lines)
