"""`loc2vec explore map`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from service.explore.options import (
    TILES,
    Output,
    SpaceOptions,
    grid_option,
    seed_option,
    space_options,
)
from tiling.words import counted

if TYPE_CHECKING:
    from loc2vec.explore.map import Town


@click.command("map", epilog="Example: loc2vec explore map --store monaco.gpkg --grid 50")
@space_options
@grid_option
@click.option("--title", help="What the map is called, by default as the store.")
@seed_option
def map_command(
    metres: float | None, title: str | None, seed: int, space: SpaceOptions, output: Output
) -> None:
    """Colour every place by its first three principal components, over the streets.

    Writes a GeoTIFF (OUT.tif, Web Mercator) and map tiles (OUT-tiles/{z}/{x}/{y}.png), too.
    """
    from loc2vec.embed.raster import require_extra
    from loc2vec.explore.map import town
    from service.explore.xyz import write_tiles

    require_extra()
    with space.open(metres) as opened:
        found = town(opened, title or opened.title, metres, seed)
    places, shares = len(found.painting.lat), found.shares
    facts = {"places": places, "shares": shares.tolist(), "bbox": found.box}
    about = {"model": opened.vectors.model, "fingerprint": opened.vectors.fingerprint}

    def more(path: Path) -> list[Path]:
        tiles = path.with_name(path.name + TILES)
        facts["tiles"] = write_tiles(tiles, found.painting)
        return [_write_tif(path, found, about), tiles]

    line = f"{counted(places, 'place')}, three components hold {shares.sum():.0%} of the variance"
    output.finish(found, facts, [line], more)


def _write_tif(target: Path, found: "Town", about: dict[str, str]) -> Path:
    """Write the coloured places to TARGET.tif."""
    from loc2vec.embed.raster import write_picture

    path = target.with_name(target.name + ".tif")
    height, width = found.chart.shape[:2]
    write_picture(path, found.painting.paint(found.box, width, height), found.box, about)
    return path
