"""`loc2vec explore arithmetic`."""

from typing import Any

import click

from service.explore.options import Output, SpaceOptions, apart_option, place_facts, space_options
from tiling.cli.options import WholeRange


@click.command(
    "arithmetic",
    epilog='Example: loc2vec explore arithmetic "43.7384,7.4246 - 43.7347,7.4213 + '
    '43.7277,7.4157" --store monaco.gpkg',
)
@click.argument("expression")
@space_options
@click.option("-k", type=WholeRange(min=1), default=5, show_default=True, help="How many results.")
@apart_option
def arithmetic_command(
    expression: str, space: SpaceOptions, output: Output, **options: Any
) -> None:
    """Add and subtract places, as in "A - B + C", and show the real places nearest to the result.

    A name that holds + or - between spaces goes in double quotes.
    """
    from loc2vec.explore.arithmetic import arithmetic, parse

    parse(expression)  # before anything is opened
    with space.open() as opened:
        found = arithmetic(opened, expression, **options)
    operands = [
        {"sign": term.sign, **place_facts(view)}
        for term, view in zip(found.terms, found.operands, strict=True)
    ]
    nearest = [
        {**place_facts(view), "distance": distance}
        for view, distance in zip(found.nearest, found.distances, strict=True)
    ]
    lines = [f"{n['distance']:.2f}  {n['name']} ({n['lat']:.5f},{n['lon']:.5f})" for n in nearest]
    facts = {"operands": operands, "vector": found.vector.tolist(), "nearest": nearest}
    output.finish(found, facts, lines)
