"""`loc2vec explore pca` and `loc2vec explore tsne`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from service.explore.options import (
    Command,
    Output,
    SpaceOptions,
    count_option,
    place_facts,
    seed_option,
    space_options,
)
from tiling.cli.options import NumberRange
from tiling.cli.progress import progress_bar
from tiling.words import counted

if TYPE_CHECKING:
    from loc2vec.explore.pca_tsne import Cloud


def cloud_options(command: Command) -> Command:
    """Add what both clouds take."""
    return space_options(count_option(600)(seed_option(command)))


@click.command("pca", epilog="Example: loc2vec explore pca --store monaco.gpkg")
@cloud_options
def pca_command(count: int, seed: int, space: SpaceOptions, output: Output) -> None:
    """Lay places out by three principal components, their tiles as the points.

    Writes an animation, too (.webp).
    """
    from loc2vec.explore.pca_tsne import pca

    with space.open() as opened:
        _finish(pca(opened, count, seed), output)


@click.command("tsne", epilog="Example: loc2vec explore tsne --store monaco.gpkg --perplexity 20")
@cloud_options
@click.option("--perplexity", type=NumberRange(min=1), default=30.0, show_default=True)
def tsne_command(
    count: int, perplexity: float, seed: int, space: SpaceOptions, output: Output
) -> None:
    """Lay places out by t-SNE in three dimensions; writes an animation, too (.webp)."""
    from loc2vec.explore.pca_tsne import tsne

    with space.open() as opened:
        _finish(tsne(opened, count, perplexity, seed), output)


def _finish(cloud: "Cloud", output: Output) -> None:
    from loc2vec.explore.pca_tsne import FRAMES, write_animation

    def move(path: Path) -> list[Path]:
        with progress_bar("turn", "frames", FRAMES) as bar:
            return [write_animation(cloud, path, bar.update)]

    places = [
        {**place_facts(view), "at": at}
        for view, at in zip(cloud.views, cloud.at.tolist(), strict=True)
    ]
    facts = {"axes": cloud.axes, "places": places}
    output.finish(cloud, facts, [counted(len(places), "place")], move)
