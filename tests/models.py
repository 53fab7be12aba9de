"""Models with untrained weights."""

from pathlib import Path

import torch

from loc2vec.encoders.registry import build
from loc2vec.model.folder import ModelConfig, save_model
from tiling.catalogue.catalogue import load_catalogue
from tiling.values import TileGeometry


def save_fresh_model(
    folder: Path, seed: int, fingerprint: str | None = None, geometry: TileGeometry | None = None
) -> Path:
    """Write a model with untrained weights."""
    geometry = geometry or TileGeometry()
    torch.manual_seed(seed)
    network, catalogue = build("loc2vec", geometry.scales, dim=16), load_catalogue()
    config = ModelConfig(
        name=f"fresh-{seed}",
        encoder="loc2vec",
        options={"dim": 16},
        channels=catalogue.channels,
        geometry=geometry,
        fingerprint=fingerprint or catalogue.fingerprint(geometry),
    )
    save_model(folder, network.eval(), config)
    return folder
