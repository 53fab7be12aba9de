"""`loc2vec explore saliency`."""

import click

from service.explore.options import GroundOptions, Output, ground_options, place_facts
from tiling.cli.progress import progress_bar


@click.command(
    "saliency", epilog="Example: loc2vec explore saliency 43.7384,7.4246 --store monaco.gpkg"
)
@click.argument("place")
@ground_options
def saliency_command(place: str, ground: GroundOptions, output: Output) -> None:
    """Show which channels, and which parts of the ground, the vector of PLACE depends on."""
    from loc2vec.explore.saliency import saliency

    with ground.open() as opened:
        maps = len(opened.channels) + opened.geometry.scales
        with progress_bar("empty", "maps", maps) as bar:
            found = saliency(opened, opened.locate(place), bar.update)
    moved = dict(zip(found.channels, found.channel.tolist(), strict=True))
    ranked = sorted(moved.items(), key=lambda item: -item[1])
    facts = {**place_facts(found.view), "moved": moved, "empty": found.empty}
    output.finish(found, facts, [f"{value:.2f}  {name}" for name, value in ranked])
