"""A coloured map as a folder of numbered tiles, {z}/{x}/{y}.png, as web maps ask for them."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from loc2vec.paper.painting import Painting
from tiling.files.atomic import replacing_folder
from tiling.geo.mercator import TILE_PX, tile_box, to_world

ZOOMS = range(12, 17)


def write_tiles(folder: Path, painting: Painting) -> int:
    """Write the tiles of `ZOOMS` that hold a colour, in place of an older folder.

    Returns how many there are.
    """
    count = 0
    with replacing_folder(folder) as temporary:
        for zoom, x, y in _numbers(painting):
            picture = painting.paint(tile_box(zoom, x, y), TILE_PX, TILE_PX)
            if picture[:, :, 3].any():
                path = temporary / str(zoom) / str(x) / f"{y}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(picture).save(path, "PNG")
                count += 1
    return count


def _numbers(painting: Painting) -> Iterator[tuple[int, int, int]]:
    """Yield zoom, x and y of the tiles that the box of the places meets."""
    box = painting.box
    (west, east), (north, south) = to_world([box.west, box.east], [box.north, box.south])
    for zoom in ZOOMS:
        columns, rows = (
            (np.array(ends) * 2**zoom).astype(int) for ends in ((west, east), (north, south))
        )
        for x in range(columns[0], columns[1] + 1):
            yield from ((zoom, x, y) for y in range(rows[0], rows[1] + 1))
