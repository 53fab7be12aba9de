"""`loc2vec explore walk`."""

from typing import Any

import click

from service.explore.options import Output, SpaceOptions, place_facts, seed_option, space_options
from tiling.cli.options import NumberRange, WholeRange


@click.command("walk", epilog="Example: loc2vec explore walk 43.7384,7.4246 --store monaco.gpkg")
@click.argument("place")
@space_options
@click.option("--steps", type=WholeRange(1, 20), default=6, show_default=True)
@click.option(
    "-k", type=WholeRange(min=1), default=5, show_default=True,
    help="Each step goes to one of so many.",
)  # fmt: skip
@click.option(
    "--min-distance-m", "apart_m", type=NumberRange(min=0), default=1000.0, show_default=True,
    help="How far on the ground the places of a walk lie from each other, at least.",
)  # fmt: skip
@click.option("--walks", type=WholeRange(1, 10), default=3, show_default=True)
@seed_option
def walk_command(place: str, space: SpaceOptions, output: Output, **options: Any) -> None:
    """Walk at random from PLACE to places alike in kind that are not near on the ground."""
    from loc2vec.explore.walk import kilometres, random_walks

    with space.open() as opened:
        found = random_walks(opened, opened.locate(place), **options)
    ways = [
        [
            {**place_facts(step.view), "distance": step.distance, "ground_m": step.ground_m}
            for step in way
        ]
        for way in found.walks
    ]
    lines = [
        " -> ".join(
            [start.view.name, *(f"{s.view.name} ({kilometres(s.ground_m)})" for s in steps)]
        )
        + (f"; {end}" if end else "")
        for (start, *steps), end in zip(found.walks, found.ends, strict=True)
    ]
    output.finish(found, {"walks": ways, "ends": found.ends}, lines)
