"""One extract, read in a process of its own into the file of a stage."""

import sqlite3
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely
from shapely.errors import GEOSException

from tiling.catalogue.catalogue import Catalogue
from tiling.errors import ExtractError, WriteError
from tiling.files.atomic import sha256_of
from tiling.osm.bounded.read import TYPE, Board
from tiling.osm.file import facts_of
from tiling.osm.gather.coast import sea_polygons
from tiling.osm.gather.coverage import coverage
from tiling.osm.gather.stage import Shapes, Stage
from tiling.osm.gather.vertices import Vertices
from tiling.osm.sieve import SEA, Batch, DrawnObject, sift
from tiling.values import Box

TRUSTED = 0.9  # of the objects lie in the box that a file declares, or it is no box of theirs
DONE = 1000  # of `SHARE`
# What a process says of where it is.
SEEN, SHARE = range(2, 4)  # after `TYPE` and `ID`


@dataclass(frozen=True, slots=True)
class Part:
    """An extract that was read: its hash, what it covers (WKB, degrees), and what was found.

    `frame` is the box in which its sea was made. `objects` are drawn, `lost` could not be built.
    """

    sha256: str
    area: bytes
    frame: Box
    objects: int
    lost: Mapping[str, int]
    ordered: bool


def read_part(path: Path, number: int, catalogue: Catalogue, folder: Path, board: Board) -> Part:
    """Read an extract into `folder`/stage; `board` shows where the process is.

    Raises `ExtractError` for a file that cannot be read, or that covers nothing.
    """
    try:
        reader = _Reader(path, number, catalogue, folder, board)
        return reader.read()
    except sqlite3.OperationalError as error:
        raise WriteError(
            f"cannot keep what was read of {path.name}: is the disk full? ({error})"
        ) from error
    except GEOSException as error:
        if "bad_alloc" in str(error):
            raise MemoryError from error
        raise ExtractError(
            f"cannot read {path}: it holds a shape that GEOS refuses ({error})"
        ) from error


def told_losses(lost: Mapping[str, int]) -> str:
    """Return how many objects were lost, and why, for people.

    >>> told_losses({"lack nodes": 2, "cross": 1})
    '2 lack nodes, 1 cross'
    """
    return ", ".join(f"{count:,} {reason}" for reason, count in sorted(lost.items()))


class _Reader:
    """Puts batches of objects into the stage, and keeps what the area is made from."""

    def __init__(
        self, path: Path, number: int, catalogue: Catalogue, folder: Path, board: Board
    ) -> None:
        self._path, self._number, self._catalogue, self._board = path, number, catalogue, board
        self._folder, self._facts = folder, facts_of(path)
        self._stage = Stage(folder / "stage")
        self._vertices = Vertices(folder / "vertices")
        self._buildings = Vertices(folder / "buildings")
        self._building = set(catalogue.with_role("building"))
        self._coastline: dict[int, bytes] = {}
        self._objects = self._in_box = 0

    def read(self) -> Part:
        """Read the file, and find its area, its sea and the names in it."""
        index = None if self._facts.located else self._folder / "nodes"
        found = sift(self._path, self._catalogue, index, self._take, self._board)
        if index is not None:
            index.unlink()
        lost = {reason: count for reason, count in found.lost.items() if count}
        if not self._objects:
            none = f"none of its objects can be built: {told_losses(lost)}"
            nothing = "it holds nothing that the channel catalogue draws"
            raise ExtractError(
                f"cannot read {self._path}: {none if lost else nothing}: is it the right extract?"
            )
        area, frame = self._area()
        self._put_sea(frame)
        self._stage.keep_names_in(self._number, area)
        self._stage.close()
        self._board[SHARE] = DONE
        outline = shapely.MultiPolygon(list(shapely.get_parts(area)))
        return Part(sha256_of(self._path), outline.wkb, frame, self._objects, lost, found.ordered)

    def _take(self, batch: Batch) -> None:
        shapes = Shapes.of(batch.drawn)
        self._stage.put(self._number, batch.drawn, shapes)
        self._stage.put_names(self._number, batch.named)
        self._coastline.update((way, bytes.fromhex(wkb)) for way, wkb in batch.coastline)
        channels = [len(item.drawn) for item in batch.drawn]
        self._vertices.append(shapely.get_coordinates(np.repeat(shapes.geometry, channels)))
        buildings = [
            item.area and any(channel in self._building for channel, _ in item.drawn)
            for item in batch.drawn
        ]
        bounds = shapes.bounds
        self._buildings.append((bounds[buildings, :2] + bounds[buildings, 2:]) / 2)
        self._objects += len(bounds)
        if self._facts.box is not None:
            west, south, east, north = self._facts.box
            meets = (bounds[:, 0] <= east) & (bounds[:, 2] >= west)
            self._in_box += int((meets & (bounds[:, 1] <= north) & (bounds[:, 3] >= south)).sum())
        self._board[SHARE] = int(_share_read(self._path) * DONE * 0.95)

    def _area(self) -> tuple[shapely.Geometry, Box]:
        """Return the area that the extract covers, and the box of its sea."""
        box = self._facts.box if self._in_box >= TRUSTED * self._objects else None
        area = coverage(self._vertices, box, self._buildings)
        self._vertices.remove()
        self._buildings.remove()
        if area.is_empty:
            raise ExtractError(
                f"{self._path} covers no ground: it is too small, or its objects lie too far apart"
            )
        return area, box or Box(*(float(v) for v in area.bounds))

    def _put_sea(self, frame: Box) -> None:
        self._board[TYPE] = SEA
        first = self._number * 1_000_000  # the sea has no OSM ids
        drawn = ((self._catalogue.sea_channel, 0.0),)
        faces = [
            DrawnObject(SEA, True, first + n, 0, drawn, face.wkb_hex)
            for n, face in enumerate(sea_polygons(list(self._coastline.values()), frame))
        ]
        self._stage.put(self._number, faces, Shapes.of(faces))


def _share_read(path: Path) -> float:
    """Return which share of a file has been read, 0 to 1, by what the system knows of it."""
    size = path.stat().st_size
    for link in Path("/proc/self/fd").glob("*"):
        with suppress(OSError):
            if link.readlink() == path.resolve():
                told = Path(f"/proc/self/fdinfo/{link.name}").read_text().split()
                return min(1.0, int(told[1]) / max(size, 1))
    return 0.0
