"""Extracts and stores made by hand, of a few objects each."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from tiling.catalogue.catalogue import load_catalogue
from tiling.osm.gather.gather import ExtractRecord
from tiling.osm.names import Name
from tiling.store.geopackage.source import GeoPackageSource
from tiling.store.geopackage.write import write_geopackage
from tiling.values import Features

SHA256 = "0" * 64
# A square kilometre of trees far from anything else, so that an extract covers some ground.
GROUND = [
    f"n{90_000 + n} v1 x{20 + n % 12 / 1000:.4f} y{20 + n // 12 / 1000:.4f} Tnatural=tree"
    for n in range(144)
]


def opl(path: Path, lines: Iterable[str], header: str = "") -> Path:
    """Write objects in osmium's text format, in the order that extracts have."""
    objects = [line for line in lines if line]
    objects.sort(key=lambda line: ("nwr".index(line[0]), int(line[1:].partition(" ")[0])))
    path.write_text("\n".join([*([header] if header else []), *objects, ""]), encoding="utf-8")
    return path


def features_of(*features: tuple[int, float, BaseGeometry]) -> Features:
    """Return features from channels, widths in metres and geometries in degrees."""
    wkb = np.empty(len(features), object)
    wkb[:] = [shapely.to_wkb(geometry) for _, _, geometry in features]
    return Features(
        np.array([channel for channel, _, _ in features], np.int8),
        np.array([width for _, width, _ in features], np.float32),
        wkb,
    )


def make_store(
    path: Path,
    features: Features,
    area: BaseGeometry,
    names: Sequence[Name] = (),
    extract: str = "hand",
) -> Path:
    """Write a GeoPackage store of one extract."""
    record = ExtractRecord(extract, SHA256, area)
    write_geopackage(path, [features], names, [record], load_catalogue())
    return path


def open_store(path: Path) -> GeoPackageSource:
    """Open a GeoPackage store."""
    return GeoPackageSource(path)
