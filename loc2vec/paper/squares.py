"""Coloured squares as a picture: what stands for places on a map."""

import math

import numpy as np
from numpy.typing import NDArray

from loc2vec.model.arrays import Pixels

ABUT = 1.02  # squares overlap a little: the sphere of the map is not the ellipsoid of the grid


def paint(
    xy: NDArray[np.floating], colours: Pixels, side_px: float, width: int, height: int
) -> Pixels:
    """Paint squares around `xy` [n, 2], pixels from the north-west, on a clear ground.

    `colours` uint8 [n, 3]. Returns RGBA uint8 [height, width, 4]. Where places share a pixel, it
    has the mean of their colours.
    """
    picture = np.zeros((height, width, 4), np.uint8)
    if side_px <= 1:
        _mean(picture, xy, colours)
    else:
        _fill(picture, xy, colours, side_px)
    return picture


def _fill(picture: Pixels, xy: NDArray[np.floating], colours: Pixels, side_px: float) -> None:
    """Fill the squares. Neighbours round their common edge to the same pixel, so that they abut."""
    limits = picture.shape[1], picture.shape[0]
    first, end = (
        np.clip(np.rint(xy + shift).astype(int), 0, limits) for shift in (-side_px / 2, side_px / 2)
    )
    seen = (end > first).all(1)
    first, end, colours = first[seen], end[seen], colours[seen]
    within = np.arange(math.ceil(side_px) + 1)
    column, row = first[:, 0, None] + within, first[:, 1, None] + within
    shown = (row < end[:, 1, None])[:, :, None] & (column < end[:, 0, None])[:, None, :]
    place, down, right = np.nonzero(shown)
    picture[row[place, down], column[place, right], :3] = colours[place]
    picture[row[place, down], column[place, right], 3] = 255


def _mean(picture: Pixels, xy: NDArray[np.floating], colours: Pixels) -> None:
    height, width, _ = picture.shape
    column, row = np.floor(xy).astype(int).T
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    pixel = (row * width + column)[inside]
    count = np.bincount(pixel, minlength=height * width)
    full = count > 0
    flat = picture.reshape(-1, 4)
    for band in range(3):
        total = np.bincount(pixel, colours[inside, band], minlength=height * width)
        flat[full, band] = np.rint(total[full] / count[full])
    flat[full, 3] = 255
