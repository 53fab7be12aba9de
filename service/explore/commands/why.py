"""`loc2vec explore why`."""

import click

from service.explore.options import GroundOptions, Output, ground_options, place_facts


@click.command(
    "why", epilog="Example: loc2vec explore why 43.7384,7.4246 43.7420,7.4275 --store monaco.gpkg"
)
@click.argument("a")
@click.argument("b")
@ground_options
def why_command(a: str, b: str, ground: GroundOptions, output: Output) -> None:
    """Say which channels make A and B alike or different."""
    from loc2vec.explore.why import compare

    with ground.open() as opened:
        found = compare(opened, opened.locate(a), opened.locate(b))
    distance = found.why.distance
    effect = dict(zip(found.channels, found.why.effect.tolist(), strict=True))
    facts = {
        "a": place_facts(found.a), "b": place_facts(found.b), "distance": distance,
        "effect": effect,
    }  # fmt: skip
    ranked = sorted(effect.items(), key=lambda item: -item[1])
    lines = [f"{distance:.2f} apart", *(f"{value:+.2f}  {name}" for name, value in ranked)]
    output.finish(found, facts, lines)
