"""Pictures that are laid over a tile, RGBA uint8 [H, W, 4]: heat, or one channel alone."""

import numpy as np
from PIL import Image

from loc2vec.model.arrays import Floats, Pixels
from tiling.values import Palette

# light to dark, told apart without colour, too
HEAT = ((255, 255, 255), (253, 208, 80), (213, 94, 0), (90, 0, 60))

# how much the map shows through colours, and the grey level that changes nothing
RELIEF, LAND = 1.5, 242.0


def only_channel(tile: Pixels, channel: int, palette: Palette) -> Pixels:
    """Dim a tile [C, H, W] but for one channel, which has its colour."""
    cover = tile[channel, :, :, None] / 255
    ink = 0.6 * palette.ink(channel).astype(np.float64)
    rgb = 250 + cover * (ink - 250)
    return (
        np.concatenate([rgb, np.full((*tile.shape[1:], 1), 255)], axis=2).round().astype(np.uint8)
    )


def heat(values: Floats, high: float, size: int) -> Pixels:
    """Return values [h, w] as a smooth picture `size` pixels a side; `high` is the darkest."""
    smooth = Image.fromarray(values.astype(np.float32)).resize(
        (size, size), Image.Resampling.BICUBIC
    )
    share = np.clip(np.asarray(smooth, np.float64) / (high or 1.0), 0, 1)
    at = share * (len(HEAT) - 1)
    low = np.minimum(at.astype(int), len(HEAT) - 2)
    colours = np.array(HEAT, np.float64)
    rgb = colours[low] + (at - low)[:, :, None] * (colours[low + 1] - colours[low])
    return np.concatenate([rgb, 255 * np.sqrt(share)[:, :, None]], axis=2).round().astype(np.uint8)


def tinted(chart: Pixels, over: Pixels) -> Pixels:
    """Return a map [H, W, 3] in the colours of another picture [H, W, 4].

    Streets are lighter, houses darker.
    """
    grey = chart.astype(np.float64).mean(2, keepdims=True)
    colours = np.clip(over[:, :, :3] + RELIEF * (grey - LAND), 0, 255)
    return np.where(over[:, :, 3:] > 0, colours, chart).astype(np.uint8)


def laid_over(picture: Pixels, over: Pixels, strength: float = 0.75) -> Pixels:
    """Return a picture [H, W, 3] with another [H, W, 4] over it."""
    alpha = over[:, :, 3:] / 255 * strength
    return (
        (picture + alpha * (over[:, :, :3] - picture.astype(np.float64))).round().astype(np.uint8)
    )
