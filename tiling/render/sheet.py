"""A contact sheet: tiles of some places, each as a colour composite and channel by channel."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from tiling.files.atomic import replacing
from tiling.values import ATTRIBUTION, PAPER, Tile

GAP = 6  # pixels between tiles
HEAD = 46  # height of the channel names
LABEL = 15  # height of the line over each row
FOOT = 24  # height of the scale bar and the attribution
INK = (60, 60, 60)
BAR_M = 50  # length of the scale bar


def write_sheet(path: Path, tiles: Sequence[Tile], labels: Sequence[str]) -> None:
    """Write the tiles, one a row with its label, as a PNG."""
    with replacing(path) as temporary:
        _sheet(tiles, labels).save(temporary, "PNG")


def _sheet(tiles: Sequence[Tile], labels: Sequence[str]) -> Image.Image:
    size = tiles[0].pixels.shape[1]
    step = size + GAP
    columns = 1 + len(tiles[0].channels)
    height = HEAD + len(tiles) * (step + LABEL) + FOOT
    sheet = Image.new("RGB", (columns * step + GAP, height), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for column, name in enumerate(("all channels", *tiles[0].channels)):
        pen.text((GAP + column * step, 4), textwrap.fill(name, 20), INK, font)
    for row, (tile, label) in enumerate(zip(tiles, labels, strict=True)):
        y = HEAD + row * (step + LABEL)
        pen.text((GAP, y), label, INK, font)
        for column, picture in enumerate(_pictures(tile)):
            sheet.paste(Image.fromarray(picture), (GAP + column * step, y + LABEL))
    bar = round(BAR_M / tiles[0].metres_per_pixel)
    pen.line([(GAP, height - 12), (GAP + bar, height - 12)], INK, 3)
    pen.text(
        (GAP + bar + 6, height - 19),
        f"{BAR_M} m on the ground, north up   {ATTRIBUTION}",
        INK,
        font,
    )
    return sheet


def _pictures(tile: Tile) -> list[NDArray[np.uint8]]:
    """Return the composite and each channel in its colour, darker, which shows better on paper."""
    paper = np.array(PAPER, np.float32)
    covers = tile.pixels[:, :, :, None].astype(np.float32) / 255
    tinted = [
        paper + cover * (0.72 * tile.palette.ink(channel) - paper)
        for channel, cover in enumerate(covers)
    ]
    return [
        tile.palette.composite(tile.pixels),
        *(picture.round().astype(np.uint8) for picture in tinted),
    ]
