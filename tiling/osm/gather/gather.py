"""From extracts to what a store holds: each is read in a process of its own, then all is sorted."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import shapely
from shapely.geometry.base import BaseGeometry

from tiling.catalogue.catalogue import Catalogue
from tiling.errors import ExtractError, LossError
from tiling.files.atomic import require_file
from tiling.osm.bounded.read import read_bounded
from tiling.osm.file import region_names
from tiling.osm.gather.part import DONE, SEEN, SHARE, Part, read_part, told_losses
from tiling.osm.gather.stage import Stage
from tiling.values import Box

MOST_LOST = 0.1  # of the objects of an extract, before an import asks

Progress = Callable[[int, float], object]  # objects since it was told last, share of the work done


@dataclass(frozen=True, slots=True, eq=False)
class ExtractRecord:
    """What a store keeps of an extract: its name, its SHA-256, and the area covered, degrees."""

    name: str
    sha256: str
    coverage: BaseGeometry


@dataclass(frozen=True, slots=True, eq=False)
class Gathered:
    """All that a store is made of.

    `frames` are the boxes in which the sea of each extract was made. `lost` counts the objects that
    could not be built, by the reason.
    """

    stage: Stage
    extracts: list[ExtractRecord]
    frames: list[Box]
    lost: Mapping[str, int]

    @property
    def bounds(self) -> Box:
        """Return the box around what is covered."""
        area = shapely.union_all([record.coverage for record in self.extracts])
        return Box(*(float(v) for v in area.bounds))


@contextmanager
def gathered(
    paths: Sequence[Path],
    catalogue: Catalogue,
    folder: Path,
    progress: Progress = lambda objects, share: None,
    allow_loss: bool = False,
) -> Iterator[Gathered]:
    """Read extracts into files of a scratch `folder`, and give what a store is made of.

    Raises `ExtractError` for an extract that cannot be read, and `LossError` for one of whose
    objects more than `MOST_LOST` could not be built, unless `allow_loss`.
    """
    for path in paths:
        require_file(path, ExtractError, "give the path of an .osm.pbf extract")
    sizes = [path.stat().st_size for path in paths]
    parts = []
    for number, path in enumerate(paths):
        told = _Told(progress, sum(sizes[:number]), sizes[number], sum(sizes))
        part = read_bounded(path, partial(read_part, path, number, catalogue, folder), told)
        if not allow_loss:
            _check_loss(path, part)
        parts.append(part)
    stage = Stage(folder / "stage")
    if len(parts) > 1 or not all(part.ordered for part in parts):
        stage.keep_newest()
    records = [
        ExtractRecord(name, part.sha256, shapely.from_wkb(part.area))
        for name, part in zip(region_names(paths), parts, strict=True)
    ]
    try:
        lost = sum((Counter(part.lost) for part in parts), Counter())
        yield Gathered(stage, records, [part.frame for part in parts], lost)
    finally:
        stage.close()


class _Told:
    """Turns what the board of one extract shows into the progress of all."""

    def __init__(self, progress: Progress, before: int, size: int, total: int) -> None:
        self._progress, self._before, self._size, self._total = progress, before, size, total
        self._seen = 0

    def __call__(self, board: Sequence[int]) -> None:
        share = (self._before + self._size * board[SHARE] / DONE) / max(self._total, 1)
        self._progress(board[SEEN] - self._seen, share)
        self._seen = board[SEEN]


def _check_loss(path: Path, part: Part) -> None:
    lost = sum(part.lost.values())
    if lost > MOST_LOST * (lost + part.objects):
        raise LossError(
            f"{lost:,} of {lost + part.objects:,} objects of {path} cannot be built: "
            f"{told_losses(part.lost)}: import the others with --allow-loss"
        )
