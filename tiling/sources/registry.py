"""Opening a feature store by its location."""

from pathlib import Path

from tiling.catalogue import Catalogue, load_catalogue
from tiling.errors import StoreError
from tiling.sources.base import FeatureSource
from tiling.sources.geopackage import GeoPackageSource
from tiling.values import TileGeometry, check_fingerprint


def open_source(location: str | Path, catalogue: Catalogue | None = None) -> FeatureSource:
    """Open the store at `location`, a GeoPackage file.

    Raises `StoreError` when it is missing or no store, `FingerprintError` when it was made with
    another catalogue.
    """
    if "://" in str(location):
        raise StoreError(f"{location}: a store is a GeoPackage file, for example region.gpkg")
    source = GeoPackageSource(Path(location))
    expected = (catalogue or load_catalogue()).fingerprint(TileGeometry())
    try:
        check_fingerprint(str(location), source.fingerprint, expected)
    except BaseException:
        source.close()
        raise
    return source
