"""A third kind of store, in one file: features in a GeoParquet file, only to be read."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from numpy.typing import NDArray

from tiling.catalogue.catalogue import load_catalogue
from tiling.store.source import Coverage, FeatureSource, Names, Outline
from tiling.store.store import FileStore
from tiling.values import Box, Features, halves

COLUMNS = {"version": "1.1.0", "primary_column": "geometry"}
GEO = COLUMNS | {"columns": {"geometry": {"encoding": "WKB", "geometry_types": []}}}


class GeoParquetStore(FileStore):
    """A GeoParquet file of features (channel, width_m, geometry), in the order of the store."""

    kind = "a GeoParquet file"

    def _open(self, patience_s: float, only: str | None) -> "GeoParquetSource":
        return GeoParquetSource(self.path)


class GeoParquetSource(Coverage, Names):
    """All of the file in memory; the features of a box are found by a tree of their boxes."""

    def __init__(self, path: Path) -> None:
        self.name, self.location, self.catalogue = path.stem, str(path), load_catalogue()
        table = pq.read_table(path)
        facts = json.loads(table.schema.metadata[b"store"])
        self.fingerprint, self.extract_hashes = facts["fingerprint"], tuple(facts["sha256"])
        super().__init__([bytes.fromhex(area) for area in facts["areas"]], facts["names"])
        wkb = np.array(table["geometry"].to_pylist(), object)
        self._all = Features(table["channel"].to_numpy(), table["width_m"].to_numpy(), wkb)
        self._bounds = shapely.bounds(shapely.from_wkb(wkb))  # [n, 4]

    def features(self, box: Box, smallest_deg: float = 0.0) -> Features:
        west, south, east, north = self._bounds.T
        large = np.maximum(east - west, north - south) >= smallest_deg
        return self._rows(
            np.concatenate(
                [
                    np.flatnonzero(
                        large
                        & (west <= part.east)
                        & (east >= part.west)
                        & (south <= part.north)
                        & (north >= part.south)
                    )
                    for part in halves(box)
                ]
            )
        )

    def _rows(self, rows: NDArray[np.int64]) -> Features:
        return Features(self._all.channel[rows], self._all.width_m[rows], self._all.wkb[rows])

    def outline(self) -> Outline:
        middle = (self._bounds[:, :2] + self._bounds[:, 2:]) / 2
        return Outline(np.arange(len(middle)), self._all.channel, self._all.width_m, middle)

    def geometries(self, ids: NDArray[np.int64]) -> NDArray[np.object_]:
        return self._rows(ids).wkb

    def _called(self, words: Sequence[str], folded: str) -> list[Sequence[Any]]:
        return []

    def _called_in(self, box: Box, ranks: Sequence[int]) -> list[Sequence[Any]]:
        return []

    def close(self) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        pass


def write_geoparquet(path: Path, source: FeatureSource) -> None:
    """Write all that another store holds, but its names."""
    features = source.features(Box(-180, -90, 180, 90))
    facts = {
        "fingerprint": source.fingerprint,
        "sha256": source.extract_hashes,
        "names": list(source.regions),
        "areas": [shapely.to_wkb(area, hex=True) for area in source.regions.values()],
    }
    table = pa.table(
        {
            "channel": features.channel,
            "width_m": features.width_m,
            "geometry": pa.array(features.wkb.tolist(), pa.binary()),
        },
        metadata={"geo": json.dumps(GEO), "store": json.dumps(facts)},
    )
    pq.write_table(table, path)
