"""`loc2vec explore interpolate`."""

from typing import Any

import click

from service.explore.options import Output, SpaceOptions, apart_option, place_facts, space_options
from tiling.cli.options import WholeRange


@click.command(
    "interpolate",
    epilog="Example: loc2vec explore interpolate 43.7384,7.4246 43.7277,7.4157 --store monaco.gpkg",
)
@click.argument("start")
@click.argument("end")
@space_options
@click.option(
    "--steps", type=WholeRange(3, 20), default=7, show_default=True,
    help="The two ends counted.",
)  # fmt: skip
@apart_option
def interpolate_command(
    start: str, end: str, space: SpaceOptions, output: Output, **options: Any
) -> None:
    """Go from START to END in equal steps, each shown as the nearest real place."""
    from loc2vec.explore.interpolate import interpolate

    with space.open() as opened:
        found = interpolate(opened, opened.locate(start), opened.locate(end), **options)
    rows = zip(found.shares.tolist(), found.distances, found.nearest, strict=True)
    steps = [
        {"share": share, "distance": distance, **place_facts(view)}
        for share, distance, view in rows
    ]
    lines = [
        f"{step['share']:.0%}  {step['name']} ({step['lat']:.5f},{step['lon']:.5f})"
        for step in steps
    ]
    ends = {"start": place_facts(found.start), "end": place_facts(found.end)}
    output.finish(found, {**ends, "steps": steps}, lines)
