"""Writing a GeoPackage store with GDAL. The only module that knows pyogrio."""

import contextlib
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyogrio
import shapely
from numpy.typing import NDArray
from pyogrio.errors import DataLayerError, DataSourceError, FeatureError

from tiling.catalogue.catalogue import Catalogue
from tiling.errors import WriteError
from tiling.osm.gather.gather import ExtractRecord, Gathered
from tiling.store.geopackage.source import EXTRACTS, LAYER, objects
from tiling.values import ATTRIBUTION, Features, TileGeometry

GEOMETRY = "geom"
# `fold` has separated the words by spaces, and left no other ASCII than letters and digits. So the
# plain `ascii` tokenizer splits them right.
_NAMES = """
CREATE TABLE names (
    fid INTEGER PRIMARY KEY, name TEXT NOT NULL, folded TEXT NOT NULL,
    kind TEXT NOT NULL, rank SMALLINT NOT NULL,
    lat DOUBLE NOT NULL, lon DOUBLE NOT NULL
);
CREATE INDEX names_by_rank ON names (rank, lat, lon);
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


def write_gathered(path: Path, found: Gathered, catalogue: Catalogue) -> None:
    """Write a store to `path`, a new file, in the order of what was gathered.

    Raises `WriteError` when the disk is full.
    """
    features = map(_features, found.stage.features("channel, width_m, geom"))
    some_names = found.stage.names("name, folded, kind, rank, lat, lon")
    names = (name for some in some_names for name in some)
    write_geopackage(path, features, names, found.extracts, catalogue)


def _features(rows: Sequence[tuple[Any, ...]]) -> Features:
    channel, width, wkb = zip(*rows, strict=True)
    return Features(np.array(channel, np.int8), np.array(width, np.float32), objects(list(wkb)))


def write_geopackage(
    path: Path,
    features: Iterable[Features],
    names: Iterable[Sequence[Any]],
    extracts: Sequence[ExtractRecord],
    catalogue: Catalogue,
) -> None:
    """Write a store to `path`, a new file; the order of `features` and `names` stays.

    `features` come in chunks, `names` are rows of `Name`.

    Raises `WriteError` when the disk is full.
    """
    areas = [shapely.MultiPolygon(list(shapely.get_parts(e.coverage))).wkb for e in extracts]
    facts = {
        "name": [e.name for e in extracts],
        "sha256": [e.sha256 for e in extracts],
        "fingerprint": [catalogue.fingerprint(TileGeometry())] * len(extracts),
        "attribution": [ATTRIBUTION] * len(extracts),
    }
    try:
        _write_features(path, features)
        _write_extracts(path, objects(areas), {k: np.array(v, object) for k, v in facts.items()})
        _write_names(path, names)
        if catalogue.carried is not None:
            _write_catalogue(path, catalogue.carried)
    except (DataLayerError, DataSourceError, FeatureError, sqlite3.OperationalError) as error:
        raise WriteError(f"cannot write {path.name}: {error}: is the disk full?") from error


def _write_features(path: Path, chunks: Iterable[Features]) -> None:
    schema = pa.schema(
        [("channel", pa.int16()), ("width_m", pa.float32()), (GEOMETRY, pa.binary())]
    )
    batches = (
        pa.record_batch(
            [
                pa.array(some.channel, pa.int16()),
                pa.array(some.width_m),
                pa.array(some.wkb, pa.binary()),
            ],
            schema,
        )
        for some in chunks
    )
    pyogrio.raw.write_arrow(
        pa.RecordBatchReader.from_batches(schema, batches),
        path,
        driver="GPKG",
        layer=LAYER,
        geometry_name=GEOMETRY,
        geometry_type="Unknown",
        crs="EPSG:4326",
    )


def _write_extracts(
    path: Path, wkb: NDArray[np.object_], columns: Mapping[str, NDArray[Any]]
) -> None:
    pyogrio.raw.write(
        path,
        wkb,
        list(columns.values()),
        list(columns),
        driver="GPKG",
        layer=EXTRACTS,
        geometry_type="MultiPolygon",
        crs="EPSG:4326",
        append=True,
    )


def _write_catalogue(path: Path, text: str) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(_CATALOGUE)
        connection.execute("INSERT INTO catalogue VALUES (1, ?)", (text,))


def _write_names(path: Path, names: Iterable[Sequence[Any]]) -> None:
    """Add the names and their full-text index, which GDAL cannot write."""
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(_NAMES)
        connection.executemany("INSERT INTO names VALUES (NULL, ?, ?, ?, ?, ?, ?)", names)
        connection.execute("INSERT INTO names_words (names_words) VALUES ('rebuild')")
