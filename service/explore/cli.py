"""`loc2vec explore`: each command opens a space, makes a figure and writes it."""

import click

from service.explore.commands.arithmetic import arithmetic_command
from service.explore.commands.clusters import clusters_command
from service.explore.commands.equal_histograms import equal_histograms_command
from service.explore.commands.filters import filters_command
from service.explore.commands.interpolate import interpolate_command
from service.explore.commands.lda import lda_command
from service.explore.commands.map import map_command
from service.explore.commands.pca_tsne import pca_command, tsne_command
from service.explore.commands.saliency import saliency_command
from service.explore.commands.walk import walk_command
from service.explore.commands.why import why_command


@click.group("explore", epilog="Example: loc2vec explore walk 43.7384,7.4246 --store monaco.gpkg")
def explore_command() -> None:
    """Show what was learned: maps, clouds, walks, sums of places, filters, reasons.

    A place is "lat,lon", or a name that the store knows. Each command writes a picture (.png) and a
    page (.html).
    """
    from loc2vec.errors import require_extra

    require_extra("explore", "exploring", "matplotlib", "sklearn")


for command in (
    arithmetic_command,
    clusters_command,
    equal_histograms_command,
    filters_command,
    interpolate_command,
    lda_command,
    map_command,
    pca_command,
    saliency_command,
    tsne_command,
    walk_command,
    why_command,
):
    explore_command.add_command(command)
