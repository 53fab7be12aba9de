"""Make docs/stn.png: tiles turned and shifted, and below each what a spatial transformer reads.

    python docs/make/stn_picture.py build/stn.npz

benchmarks/straighten.py --out writes the tiles.
"""

from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from tiling.catalogue.catalogue import load_catalogue
from tiling.files.atomic import replacing
from tiling.values import ATTRIBUTION, TILE_RADIUS_M

PICTURE = Path(__file__).parent.parent / "stn.png"
GAP, LABEL, MARGIN = 6, 18, 8  # pixels
INK = (60, 60, 60)
Tiles = NDArray[np.uint8]  # [..., 12, H, W]


def sheet_of(upright: Tiles, turned: Tiles, read: Tiles) -> Image.Image:
    """Return two rows a place: the upright tile and its views, and what is read of each view.

    `upright` [P, 12, H, W]; `turned` and `read` [P, V, 12, H, W].
    """
    step = upright.shape[-1] + GAP
    row = 2 * step + LABEL
    size = 2 * MARGIN + (1 + turned.shape[1]) * step, MARGIN + len(upright) * row + LABEL
    sheet, paint = Image.new("RGB", size, "white"), load_catalogue().palette.composite
    for place, pairs in enumerate(zip(turned, read, strict=True)):
        top = MARGIN + place * row + LABEL
        write(sheet, MARGIN, top - LABEL, "upright")
        note = "turned and shifted; below it, what the transformer reads"
        write(sheet, MARGIN + step, top - LABEL, note)
        sheet.paste(Image.fromarray(paint(upright[place])), (MARGIN, top))
        for line, views in enumerate(pairs):
            for column, tile in enumerate(views, 1):
                at = (MARGIN + column * step, top + line * step)
                sheet.paste(Image.fromarray(paint(tile)), at)
    note = f"tiles of {2 * TILE_RADIUS_M:.0f} m   {ATTRIBUTION}"
    write(sheet, MARGIN, sheet.height - LABEL, note)
    return sheet


def write(sheet: Image.Image, x: int, y: int, text: str) -> None:
    """Write a line of text with its upper left corner at (x, y)."""
    ImageDraw.Draw(sheet).text((x, y), text, INK, ImageFont.load_default(12))


@click.command()
@click.argument("views", type=click.Path(path_type=Path, exists=True))
def main(views: Path) -> None:
    """Paint the tiles."""
    with np.load(views) as shown, replacing(PICTURE) as temporary:
        sheet = sheet_of(shown["upright"], shown["turned"], shown["read"])
        sheet.save(temporary, "PNG", optimize=True)


if __name__ == "__main__":
    main()
