"""What an embedding has to beat: numbers that need no training, or nearly none."""

from collections.abc import Iterable, Sequence

import numpy as np
import shapely
import torch
from torch import Tensor, nn

from loc2vec.encoders.registry import build
from loc2vec.model.arrays import Floats, Pixels, Vectors
from loc2vec.model.compute import Encode, encode_tiles
from tiling.geo.geodesy import box_around
from tiling.osm.extract import OsmObject
from tiling.values import N_CHANNELS, LonLat

COARSE = 16  # pixels a side of the tiles that principal components are taken of
COMPONENTS = 16
MIDDLE = 3 / 8  # side of the middle of a tile, as a share of it
PATCHES, PATCH, FITTED = 256, 6, 5000  # filters, their pixels a side, patches they are fitted on
# of the position's sines: the globe, a country, a town, a quarter
WAVELENGTHS_DEG = (360.0, 10.0, 0.3, 0.03)
NEAR_M = 100.0


def histogram(parts: int) -> Encode:
    """Return a function to the mean cover of each channel in parts x parts squares of a tile."""

    def encode(tiles: Pixels) -> Vectors:
        n, channels, height, width = tiles.shape
        squares = tiles.reshape(n, channels, parts, height // parts, parts, width // parts)
        means: Vectors = squares.mean((3, 5), dtype=np.float32).reshape(n, -1) / 255
        return means

    return encode


channel_means = histogram(1)


def pixel_components(sample: Pixels, count: int = COMPONENTS) -> Encode:
    """Return the projection on the principal components of a sample of tiles at 16x16 pixels."""
    coarse = histogram(COARSE)
    pixels = coarse(sample)
    mean = pixels.mean(0)
    axes = np.linalg.svd(pixels - mean, full_matrices=False)[2][:count].T
    return lambda tiles: np.ascontiguousarray((coarse(tiles) - mean) @ axes)


def means_of_scales(tiles: Pixels) -> Vectors:
    """Return the mean cover of each channel of each scale, then of the first one's middle.

    Tiles uint8 [n, scales * 12, H, W] become float32 [n, scales * 12 + 12].
    """
    edge = round(tiles.shape[-1] * (1 - MIDDLE) / 2)
    middle = np.ascontiguousarray(tiles[:, :N_CHANNELS, edge:-edge, edge:-edge])
    return np.concatenate([channel_means(tiles), channel_means(middle)], 1)


def patch_features(sample: Pixels, count: int = COMPONENTS, seed: int = 0) -> Encode:
    """Return the answer of tiles to patches of other tiles: features that need no training.

    Whitened patches of the sample are the filters; their answers are rectified, averaged over the
    tile, and reduced to principal components of the sample. Coates, Ng, Lee: An Analysis of
    Single-Layer Networks in Unsupervised Feature Learning, AISTATS 2011.
    """
    filters, shift = _patch_filters(_halved(sample), seed)

    def answers(tiles: Pixels) -> Vectors:
        with torch.inference_mode():
            found = nn.functional.conv2d(_halved(tiles), filters, shift, stride=2)
            mean: Vectors = (found - 1).relu().mean((2, 3)).numpy()
        return mean

    seen = np.concatenate([answers(part) for part in np.array_split(sample, 16) if len(part)])
    mean, scale = seen.mean(0), seen.std(0) + 1e-6
    axes = np.linalg.svd((seen - mean) / scale, full_matrices=False)[2][:count].T
    return lambda tiles: np.ascontiguousarray(((answers(tiles) - mean) / scale) @ axes)


def _halved(tiles: Pixels) -> Tensor:
    """Return tiles at half their pixels a side, float32 from 0 to 1."""
    return nn.functional.avg_pool2d(torch.from_numpy(tiles).float() / 255, 2)


def _patch_filters(tiles: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Return whitened patches as filters [PATCHES, C, PATCH, PATCH] and their shift [PATCHES]."""
    patches = tiles.unfold(2, PATCH, PATCH).unfold(3, PATCH, PATCH).permute(0, 2, 3, 1, 4, 5)
    flat = patches.flatten(3).flatten(0, 2)  # [n, C * PATCH * PATCH]
    flat = flat[flat.std(1) > 0]
    flat = flat[torch.from_numpy(np.random.default_rng(seed).permutation(len(flat))[:FITTED])]
    mean = flat.mean(0)
    values, vectors = torch.linalg.eigh(torch.cov((flat - mean).T) + 0.1 * torch.eye(flat.shape[1]))
    whiten = vectors @ torch.diag(values.rsqrt()) @ vectors.T
    chosen = (flat[:PATCHES] - mean) @ whiten
    chosen = chosen / chosen.norm(dim=1, keepdim=True)
    filters = chosen @ whiten
    return filters.view(-1, tiles.shape[1], PATCH, PATCH), -(filters @ mean)


def untrained(families: Iterable[str], sample: Pixels, seed: int = 0) -> dict[str, Encode]:
    """Return the network of each family with its first weights, by the name of its row in a table.

    Its batch normalisation has the statistics of a sample of tiles.
    """
    return {
        f"untrained {family}": _fresh(family, sample, seed) for family in dict.fromkeys(families)
    }


def _fresh(family: str, sample: Pixels, seed: int) -> Encode:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build(family, sample.shape[1] // N_CHANNELS).train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.momentum = None  # the mean over all batches: here, of the one
    with torch.no_grad():
        network(torch.from_numpy(sample))
    network.eval()
    return lambda tiles: encode_tiles(network, tiles)


def without_labels(
    families: Iterable[str], statistics: Pixels, sample: Pixels
) -> dict[str, Encode]:
    """Return what models of some families are compared with where nothing has a label.

    `statistics`: the sample for `untrained`; `sample`: that for `pixel_components`.
    """
    return untrained(families, statistics) | {
        "channel means": channel_means,
        f"{COMPONENTS} pixel components": pixel_components(sample),
    }


def position(lat: Floats, lon: Floats) -> Vectors:
    """Return the sine and cosine of latitude and longitude at four wavelengths: float32 [n, 16]."""
    angle = 2 * np.pi * np.stack([lat, lon], axis=1)[:, :, None] / np.array(WAVELENGTHS_DEG)
    return (
        np.concatenate([np.sin(angle), np.cos(angle)], axis=1)
        .reshape(len(lat), -1)
        .astype(np.float32)
    )


def tag_counts(
    objects: Sequence[OsmObject], places: Sequence[LonLat], blank: Sequence[int] = ()
) -> Vectors:
    """Return log(1 + count) of each rendered tag in the 200 m square about a place: [n, tags].

    Tags of a channel of `blank` are left out. What is not rendered (shops, types of building) does
    not count: it is what is predicted.
    """
    drawn = [
        (item.wkb, tag) for item in objects for channel, tag in item.drawn if channel not in blank
    ]
    return np.log1p(count_near(drawn, places)[1])


def count_near(
    tagged: Sequence[tuple[bytes, str]], places: Sequence[LonLat]
) -> tuple[list[str], Vectors]:
    """Return the tags of geometries, sorted, and how many of each lie within a place's square.

    `tagged`: WKB in degrees and its tag; the squares have 200 m a side. Counts are float32
    [n, tags].
    """
    names = sorted({tag for _, tag in tagged})
    counts = np.zeros((len(places), len(names)), np.float32)
    if tagged:
        number = {name: column for column, name in enumerate(names)}
        column = np.array([number[tag] for _, tag in tagged])
        tree = shapely.STRtree(shapely.from_wkb([wkb for wkb, _ in tagged]))
        squares = np.array([shapely.box(*box_around(place, NEAR_M)) for place in places])
        which, feature = tree.query(squares, predicate="intersects")
        np.add.at(counts, (which, column[feature]), 1)
    return names, counts
