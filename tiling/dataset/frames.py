"""Where the compressed tiles of a dataset lie: pieces of its shards, read when they are asked for.

A dataset may then be larger than memory: the system keeps in its cache what fits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import pyarrow as pa
import zstandard
from numpy.typing import NDArray

from tiling.errors import DatasetError
from tiling.files.folders import Pieces

ZSTD_LEVEL = 1  # higher levels take longer than they save on reading


def compress(tiles: NDArray[np.uint8]) -> list[bytes]:
    """Return a zstd frame for each of the tiles, uint8 [n, channels, size, size]."""
    compressor = zstandard.ZstdCompressor(level=ZSTD_LEVEL)
    return [compressor.compress(tile.tobytes()) for tile in tiles]


@dataclass(frozen=True, eq=False)
class ShardFrames:
    """The frames of one shard: `offset` and `length` int64 [n] in bytes of its file."""

    pieces: Pieces
    offset: NDArray[np.int64]
    length: NDArray[np.int64]

    @classmethod
    def find(cls, frames: pa.ChunkedArray, data: bytes, pieces: Pieces, what: str) -> Self:
        """Find the frames in the bytes of their file, which keeps them as they are.

        Raises `DatasetError` about `what` where another program has compressed them.
        """
        places, at = [], 0
        for chunk in frames.chunks:
            for frame in chunk:
                content = frame.as_buffer().to_pybytes()
                at = data.find(content, at)
                at = data.find(content) if at < 0 else at  # equal frames may be kept once
                if at < 0:
                    raise DatasetError(f"{what} was packed by another program")
                places.append((at, len(content)))
                at += len(content)
        offset, length = np.array(places, np.int64).reshape(-1, 2).T
        return cls(pieces, offset, length)


class Frames:
    """The frames of all shards, by row of the dataset. Threads may share it."""

    def __init__(self, shards: Sequence[ShardFrames]) -> None:
        self._shards = shards
        self._ends = np.cumsum([len(shard.offset) for shard in shards])

    def __getitem__(self, row: int) -> memoryview:
        """Return the frame of one tile, in the memory that its file is mapped to."""
        number = int(np.searchsorted(self._ends, row, "right"))
        shard = self._shards[number]
        row -= int(self._ends[number])  # from the end of its shard
        return shard.pieces(int(shard.offset[row]), int(shard.length[row]))
