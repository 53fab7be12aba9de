"""Writing a GeoPackage store with GDAL. The only module that knows pyogrio."""

import contextlib
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import shapely
from numpy.typing import NDArray
from pyogrio.errors import DataLayerError, DataSourceError, FeatureError
from shapely.geometry.base import BaseGeometry

from tiling.catalogue import Catalogue
from tiling.errors import WriteError
from tiling.osm.names import Name
from tiling.store.geopackage.source import EXTRACTS, LAYER, objects
from tiling.values import ATTRIBUTION, Features, TileGeometry

# `fold` has separated the words by spaces, and left no other ASCII than letters and digits. So the
# plain `ascii` tokenizer splits them right.
_NAMES = """
CREATE TABLE names (
    fid INTEGER PRIMARY KEY, name TEXT NOT NULL, folded TEXT NOT NULL,
    kind TEXT NOT NULL, rank SMALLINT NOT NULL,
    lat DOUBLE NOT NULL, lon DOUBLE NOT NULL
);
CREATE VIRTUAL TABLE names_words USING fts5(
    folded, content = names, content_rowid = fid, tokenize = ascii, detail = none, columnsize = 0
);
INSERT INTO gpkg_contents (table_name, data_type, identifier)
VALUES ('names', 'attributes', 'names');
"""
_CATALOGUE = """
CREATE TABLE catalogue (fid INTEGER PRIMARY KEY, toml TEXT NOT NULL);
INSERT INTO gpkg_contents (table_name, data_type, identifier)
VALUES ('catalogue', 'attributes', 'catalogue');
"""


@dataclass(frozen=True, slots=True, eq=False)
class ExtractRecord:
    """What a store keeps of an extract: its file name, SHA-256, and the area covered, degrees."""

    name: str
    sha256: str
    coverage: BaseGeometry


def write_geopackage(
    path: Path,
    features: Features,
    names: Sequence[Name],
    extracts: Sequence[ExtractRecord],
    catalogue: Catalogue,
) -> None:
    """Write a store to `path`, a new file; the order of `features` stays.

    Raises `WriteError` when the disk is full.
    """
    areas = [shapely.MultiPolygon(list(shapely.get_parts(e.coverage))).wkb for e in extracts]
    facts = {
        "name": [e.name for e in extracts],
        "sha256": [e.sha256 for e in extracts],
        "fingerprint": [catalogue.fingerprint(TileGeometry())] * len(extracts),
        "attribution": [ATTRIBUTION] * len(extracts),
    }
    attributes: dict[str, NDArray[Any]] = {
        "channel": features.channel.astype(np.int16),
        "width_m": features.width_m,
    }
    try:
        _write_layer(path, LAYER, "Unknown", features.wkb, attributes)
        _write_layer(
            path,
            EXTRACTS,
            "MultiPolygon",
            objects(areas),
            {k: np.array(v, object) for k, v in facts.items()},
        )
        _write_names(path, names)
        if catalogue.carried is not None:
            _write_catalogue(path, catalogue.carried)
    except (DataLayerError, DataSourceError, FeatureError, sqlite3.OperationalError) as error:
        raise WriteError(f"cannot write {path.name}: {error}: is the disk full?") from error


def _write_layer(
    path: Path, layer: str, kind: str, wkb: NDArray[np.object_], columns: Mapping[str, NDArray[Any]]
) -> None:
    pyogrio.raw.write(
        path,
        wkb,
        list(columns.values()),
        list(columns),
        driver="GPKG",
        layer=layer,
        geometry_type=kind,
        crs="EPSG:4326",
        append=path.exists(),
    )


def _write_catalogue(path: Path, text: str) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(_CATALOGUE)
        connection.execute("INSERT INTO catalogue VALUES (1, ?)", (text,))


def _write_names(path: Path, names: Sequence[Name]) -> None:
    """Add the names and their full-text index, which GDAL cannot write."""
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(_NAMES)
        connection.executemany("INSERT INTO names VALUES (NULL, ?, ?, ?, ?, ?, ?)", names)
        connection.execute("INSERT INTO names_words (names_words) VALUES ('rebuild')")
