"""The order of features in a store: along a space-filling curve."""

import numpy as np
from numpy.typing import NDArray


def morton(bounds: NDArray[np.float64]) -> NDArray[np.uint64]:
    """Return the Morton code (Z-order, Morton 1966) of the middle of each box, uint64 [n].

    `bounds`: float64 [n, 4] of (west, south, east, north), degrees.
    """
    middle = np.stack([bounds[:, 0] + bounds[:, 2] + 360, bounds[:, 1] + bounds[:, 3] + 180]) / 720
    x, y = (np.clip(middle, 0, 1) * (2**31 - 1)).astype(np.uint64)
    return spread(x) | (spread(y) << np.uint64(1))


def spread(value: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Put a zero bit between the bits of 32-bit values."""
    for shift, mask in (
        (16, 0x0000FFFF0000FFFF), (8, 0x00FF00FF00FF00FF), (4, 0x0F0F0F0F0F0F0F0F),
        (2, 0x3333333333333333), (1, 0x5555555555555555),
    ):  # fmt: skip
        value = (value | (value << np.uint64(shift))) & np.uint64(mask)
    return value
