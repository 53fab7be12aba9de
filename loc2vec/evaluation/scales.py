"""Models of fewer scales on tiles of more."""

import numpy as np

from loc2vec.encoder import LocationEncoder
from loc2vec.model.compute import Encode
from tiling.dataset.dataset import TileDataset
from tiling.errors import FingerprintError
from tiling.values import N_CHANNELS


def of_first_scales(encoder: LocationEncoder, dataset: TileDataset) -> Encode:
    """Return an encoder as a function of a dataset's tiles, whose first scales it reads.

    Raises `FingerprintError` for a model that reads other tiles than these.
    """
    scales = encoder.geometry.scales
    name = f"model {encoder.model_id}"
    if encoder.geometry.each != dataset.geometry.each[:scales]:
        raise FingerprintError(f"{name} reads {encoder.geometry}, the tiles are {dataset.geometry}")
    dataset.catalogue.check(name, encoder.fingerprint, encoder.geometry)
    if scales == dataset.geometry.scales:
        return encoder.encode
    return lambda tiles: encoder.encode(np.ascontiguousarray(tiles[:, : N_CHANNELS * scales]))
