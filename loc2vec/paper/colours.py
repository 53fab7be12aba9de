"""Vectors as colours: their first three principal components.

They are fitted once for all that is shown together. The first component goes from blue to yellow,
the second from dark to light, the third from green to red. The colour space is Oklab (Ottosson
2020, https://bottosson.github.io/posts/oklab/), where equal steps look equal. A person who cannot
tell green from red still sees the first two. Lightness keeps to the middle: every colour shows on
white and on black.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from loc2vec.errors import InputError
from loc2vec.model.arrays import Floats, Pixels

# Okabe and Ito, Color Universal Design (2008): told apart by colour-blind people, too.
CLASSES = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#F0E442", "#000000")
VIRIDIS = ("#471365", "#3e4989", "#26828e", "#35b779", "#9fda3a", "#fde725")
FIT_ROWS = 100_000  # at most, evenly taken: three axes need no more
TAIL_PERCENT = 2.0  # of the places at either end have the colour of the end
LIGHTNESS = (0.66, 0.15)  # middle and reach, in Oklab
BLUE_YELLOW = (0.0, 0.13)
GREEN_RED = (0.0, 0.11)
# The matrices of Oklab: to the roots of the cones' answers, and from their cubes to linear sRGB.
TO_CONES = np.array(
    [
        [1, 0.3963377774, 0.2158037573],
        [1, -0.1055613458, -0.0638541728],
        [1, -0.0894841775, -1.2914855480],
    ]
)
TO_LINEAR = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)


@dataclass(frozen=True, eq=False)
class Components:
    """The first principal components of vectors.

    `mean` [D]; `axes` [k, D] of length 1; `shares` [k] of the variance. An axis points to where its
    greatest loading is positive: the same vectors always give the same axes.
    """

    mean: Floats
    axes: Floats
    shares: Floats

    @classmethod
    def fit(cls, vectors: NDArray[np.floating], count: int = 3) -> Self:
        """Fit to vectors [n, D]; rows that are not finite are left out.

        Raises `InputError` when none is left.
        """
        rows = _finite(vectors)
        rows = rows[:: -(-len(rows) // FIT_ROWS)].astype(np.float64)
        mean = rows.mean(0)
        values, axes = np.linalg.eigh(np.atleast_2d((rows - mean).T @ (rows - mean)))
        axes, values = axes.T[::-1][:count], np.maximum(values[::-1], 0)
        greatest = axes[np.arange(len(axes)), np.abs(axes).argmax(1)]
        lacking = ((0, count - len(axes)), (0, 0))  # vectors of fewer numbers have no further axis
        shares = values[:count] / (values.sum() or 1.0)
        return cls(
            mean, np.pad(axes * np.sign(greatest)[:, None], lacking), np.pad(shares, lacking[0])
        )

    def project(self, vectors: NDArray[np.floating]) -> Floats:
        """Return the coordinates of vectors [n, D] along the axes: float64 [n, k]."""
        projected: Floats = (vectors - self.mean) @ self.axes.T
        return projected


@dataclass(frozen=True, eq=False)
class Colours:
    """A colour for every vector.

    `low`, `high` [3]: where the components reach the ends of their ranges.
    """

    components: Components
    low: Floats
    high: Floats

    @classmethod
    def fit(cls, vectors: NDArray[np.floating]) -> Self:
        """Fit to vectors [n, D] of a whole map or index; rows that are not finite are left out."""
        components = Components.fit(vectors)
        low, high = np.percentile(
            components.project(_finite(vectors)), [TAIL_PERCENT, 100 - TAIL_PERCENT], axis=0
        )
        return cls(components, low, high)

    def rgb(self, vectors: NDArray[np.floating]) -> Pixels:
        """Return the colours of finite vectors [n, D]: uint8 [n, 3]."""
        # what never differs is in the middle
        span = np.where(self.high > self.low, self.high - self.low, np.inf)
        middle = (self.low + self.high) / 2
        blue_yellow, lightness, green_red = np.clip(
            2 * (self.components.project(vectors) - middle) / span, -1, 1
        ).T
        axes = ((lightness, LIGHTNESS), (green_red, GREEN_RED), (blue_yellow, BLUE_YELLOW))
        return _srgb(np.stack([centre + reach * value for value, (centre, reach) in axes], axis=1))


def to_hex(rgb: Pixels) -> list[str]:
    """Return colours uint8 [n, 3] as CSS writes them.

    >>> to_hex(np.array([[0, 114, 178]], np.uint8))
    ['#0072b2']
    """
    return [f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in rgb.tolist()]


def from_hex(colours: Iterable[str]) -> Pixels:
    """Return colours as CSS writes them as uint8 [n, 3].

    >>> from_hex(["#0072b2"]).tolist()
    [[0, 114, 178]]
    """
    return np.array([list(bytes.fromhex(colour[1:])) for colour in colours], np.uint8)


def ramp(count: int) -> Pixels:
    """Return colours from dark blue to yellow, told apart without colour, too: uint8 [count, 3]."""
    at = np.linspace(0, len(VIRIDIS) - 1, count)
    ends = from_hex(VIRIDIS).astype(np.float64)
    bands = [np.interp(at, np.arange(len(VIRIDIS)), ends[:, band]) for band in range(3)]
    return np.stack(bands, axis=1).round().astype(np.uint8)


def _finite(vectors: NDArray[np.floating]) -> NDArray[np.floating]:
    rows: NDArray[np.floating] = vectors[np.isfinite(vectors).all(1)]
    if not len(rows):
        raise InputError("no vector is finite: there is nothing to colour")
    return rows


def _srgb(oklab: Floats) -> Pixels:
    """Turn Oklab [n, 3] into sRGB uint8 [n, 3]; what a screen cannot show is clipped."""
    linear = np.clip((oklab @ TO_CONES.T) ** 3 @ TO_LINEAR.T, 0, 1)
    # IEC 61966-2-1
    shown = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    rgb: Pixels = (shown * 255).round().astype(np.uint8)
    return rgb
