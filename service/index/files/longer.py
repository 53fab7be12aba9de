"""The vectors of an index that grows: those that it holds, then those of new places."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loc2vec.embed.blocks import read_blocks
from loc2vec.embed.files import Vectors, join_vectors
from service.errors import SearchIndexError
from service.index.files.caches import VECTORS
from service.index.files.rows import Rows


class Longer:
    """Blocks of the vectors of a longer index.

    `known` counts the places that were given and are there already. It is right after the last
    block. Raises `SearchIndexError` when all are.
    """

    def __init__(self, folder: Path, rows: Rows, more: Iterable[Vectors]) -> None:
        self._folder, self._more, self.known = folder, iter(more), 0
        self._places = np.sort(_key(rows.lat, rows.lon))

    def __iter__(self) -> Iterator[Vectors]:
        path = self._folder / VECTORS
        new = self._new(_none_of(next(read_blocks(path))))
        first = next(new, None)
        if first is None:
            raise SearchIndexError("it holds all of these places already: nothing to add")
        for block in read_blocks(path):
            yield join_vectors(block, _none_of(first))
        yield first
        yield from new

    def _new(self, held: Vectors) -> Iterator[Vectors]:
        """Yield what is new in each block, where something is, with the columns of `held`, too."""
        for block in self._more:
            key = _key(block.lat, block.lon)
            at = np.minimum(np.searchsorted(self._places, key), len(self._places) - 1)
            new = self._places[at] != key
            self.known += len(block) - int(np.count_nonzero(new))
            if len(found := join_vectors(held, _rows(block, new))):
                yield found


def _key(lat: NDArray[np.float64], lon: NDArray[np.float64]) -> NDArray[Any]:
    """Return sort keys of places: complex128 sorts by its real part, then its imaginary part."""
    return lat + 1j * lon


def _none_of(vectors: Vectors) -> Vectors:
    """Return none of the rows, which still tell their columns and their model."""
    return _rows(vectors, np.zeros(len(vectors), np.bool_))


def _rows(vectors: Vectors, kept: NDArray[np.bool_]) -> Vectors:
    table = None if vectors.table is None else vectors.table.filter(kept)
    lat, lon, embedding = vectors.lat[kept], vectors.lon[kept], vectors.embedding[kept]
    return replace(vectors, lat=lat, lon=lon, embedding=embedding, table=table)
